"""Every interface with ``comm=``: as of one process, on every rank."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from support import staged
from support.ranks import on_ranks
from support.sharded import Here

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedEstimatorGradient,
    FusedLayer,
    FusedSampler,
    FusedSimulator,
)
from qiskit_fusedqml.distributed import DistributedDevice
from qiskit_fusedqml.errors import InvalidInputError, SimulationError
from qiskit_fusedqml.interfaces.qiskit.backend.options import DEFAULTS, runner_options
from qiskit_fusedqml.interfaces.qiskit.backend.saves import save
from qiskit_fusedqml.interfaces.qiskit.cache import CACHE
from qiskit_fusedqml.interfaces.qiskit.compiled import compile_runner

N = 6
ANSATZ = staged.layered(N, 2, "ring")
W = np.linspace(-2, 2, ANSATZ.num_parameters)
OBSERVABLES = ["Z" * N, "XIIIIY"]


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    made = circuit.copy()
    made.measure_all()
    return made


def test_the_estimator_and_its_gradient() -> None:
    def run(comm: Any) -> tuple[Any, Any]:
        estimator = FusedEstimator(comm=comm, num_threads=1)
        values = estimator.run([(ANSATZ, OBSERVABLES, W)]).result()[0].data.evs
        gradient = FusedEstimatorGradient(estimator).run([ANSATZ], [OBSERVABLES[1]], [W]).result().gradients[0]
        return values, gradient

    expected = run(None)
    for found in on_ranks(2, run):
        np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [3, None])
def test_the_sampler_draws_the_same_on_all_ranks(seed: int | None) -> None:
    circuit = measured(ANSATZ)

    def counts(comm: Any) -> dict[str, int]:
        sampler = FusedSampler(comm=comm, num_threads=1, seed=seed)
        found: dict[str, int] = sampler.run([(circuit, W)], shots=4000).result()[0].data.meas.get_counts()
        return found

    ranks = on_ranks(4, counts)
    assert ranks[1:] == ranks[:1] * 3
    probabilities = DifferentiableCircuit(ANSATZ).probabilities(None, W)[0]
    found = np.array([ranks[0].get(f"{k:0{N}b}", 0) for k in range(2**N)])
    assert np.sum((found - 4000 * probabilities) ** 2 / (4000 * probabilities + 1e-9)) < 120  # 63 degrees of freedom


def test_the_simulator_and_its_blocking_options() -> None:
    circuit = ANSATZ.assign_parameters(W)
    saved = save(
        circuit.copy(), "expval", label="value", operator=SparsePauliOp.from_list([(o, 1.0) for o in OBSERVABLES])
    )

    def run(comm: Any, **options: Any) -> Any:
        return FusedSimulator(comm=comm, **options).run(saved, seed_simulator=1).result().data()["value"]

    expected = run(None)
    shared_states: list[dict[str, Any]] = [{}, {"blocking_enable": True, "blocking_qubits": N - 1}]
    for options in (*shared_states, {"blocking_qubits": N}, {"blocking_enable": False}):
        for found in on_ranks(2, lambda comm, options=options: run(comm, **options)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)

    def shared(comm: Any, **options: Any) -> bool:
        runner = compile_runner(CACHE.known(circuit), runner_options(DEFAULTS | {"comm": comm} | options)).runner
        return isinstance(runner.device, DistributedDevice)

    assert on_ranks(2, shared) == [True, True]
    assert on_ranks(2, lambda comm: shared(comm, blocking_qubits=N)) == [False, False]
    assert on_ranks(2, lambda comm: shared(comm, blocking_enable=False)) == [False, False]


def test_counts_without_a_seed_are_the_same_on_all_ranks() -> None:
    circuit = measured(ANSATZ.assign_parameters(W))
    found = on_ranks(2, lambda comm: FusedSimulator(comm=comm).run(circuit).result().get_counts())
    assert found[0] == found[1]


def test_measurements_midway_are_refused() -> None:
    circuit = QuantumCircuit(4, 4)
    circuit.h(range(4))
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    with pytest.raises(SimulationError, match=r"measurements at the end are allowed; leave comm=... out"):
        on_ranks(2, lambda comm: FusedSampler(comm=comm).run([circuit]).result())

    def result(comm: Any) -> Any:
        return FusedSimulator(comm=comm).run(circuit).result()

    for each in on_ranks(2, result):
        assert not each.success
        assert "leave comm=... out" in each.status


def test_pennylane() -> None:
    def run(comm: Any) -> tuple[Any, Any]:
        device = qml.device("fusedqml.qubit", wires=N, comm=comm, num_threads=1, seed=1)

        @qml.qnode(device, interface="torch", diff_method="adjoint")
        def circuit(w: Any) -> Any:
            for q in range(N):
                qml.RY(w[q], wires=q)
                qml.CNOT(wires=[q, (q + 1) % N])
                qml.RX(w[N + q], wires=q)
            return qml.expval(qml.X(0) @ qml.Z(N - 1))

        w = torch.linspace(-1, 1, 2 * N, dtype=torch.float64, requires_grad=True)
        value = circuit(w)
        value.backward()
        return value.item(), w.grad.numpy()

    expected = run(None)
    for value, gradient in on_ranks(2, run):
        np.testing.assert_allclose(value, expected[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=1e-12)


X = ParameterVector("x", N)


def encoded() -> QuantumCircuit:
    circuit = QuantumCircuit(N)
    for q in range(N):
        circuit.ry(X[q], q)
    return circuit.compose(ANSATZ)


@pytest.mark.parametrize(("size", "each"), [(2, None), (2, 1), (4, 2), (8, 2), (6, 2), (8, 8)])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_layer_with_samples_among_groups_of_ranks(size: int, each: int | None, batch: int) -> None:
    circuit = encoded()
    x = np.random.default_rng(batch).uniform(-1, 1, (batch, N))

    def run(comm: Any) -> tuple[np.ndarray, ...]:
        options = {} if comm is None else {"comm": comm, "ranks_per_state": each}
        layer = FusedLayer(circuit, OBSERVABLES, X, initial_weights=W, dtype=torch.float64, num_threads=1, **options)
        inputs = torch.tensor(x, requires_grad=True)
        values = layer(inputs)
        (values**2).sum().backward()
        return values.detach().numpy(), inputs.grad.numpy(), layer.weight.grad.numpy()

    expected = run(None)
    results = on_ranks(size, run)
    for found in results:
        for one, other, first in zip(found, expected, results[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(one, first)


def test_a_layer_begins_with_the_weights_of_the_first_rank() -> None:
    def weights(comm: Any) -> np.ndarray:
        torch.manual_seed(comm.rank)  # of one generator for all threads: they differ
        return FusedLayer(encoded(), OBSERVABLES, X, comm=comm, num_threads=1).weight.detach().numpy()

    first, *others = on_ranks(4, weights)
    assert np.ptp(first) > 0
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_groups_that_cannot_share_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"3 of 6 ranks cannot share a state; a power of two"):
        on_ranks(6, lambda comm: FusedLayer(encoded(), OBSERVABLES, X, comm=comm, ranks_per_state=3))
    circuit = measured(ANSATZ.assign_parameters(W))
    with pytest.raises(InvalidInputError, match="executor and comm were both given"):
        on_ranks(2, lambda comm: FusedSimulator(comm=comm, executor=Here()).run(circuit))


def test_noise_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="trajectories and comm were both given; ranks share pure states"):
        on_ranks(2, lambda comm: DifferentiableCircuit(ANSATZ, OBSERVABLES, comm=comm, trajectories=5))


def test_what_ranks_share_is_not_pickled() -> None:
    def work(comm: Any) -> tuple[str, Any]:
        f = DifferentiableCircuit(ANSATZ, OBSERVABLES, comm=comm, num_threads=1)
        with pytest.raises(InvalidInputError, match="Make the circuit on every rank") as caught:
            pickle.dumps(f)
        return caught.value.message, deepcopy(f).values(None, W)

    for _, values in on_ranks(2, work):
        expected = DifferentiableCircuit(ANSATZ, OBSERVABLES).values(None, W)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
