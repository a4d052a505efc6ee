"""Circuits whose states several ranks share: values, gradients and all else as of one process, on every rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector
from support import staged
from support.ranks import on_ranks

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.errors import InvalidInputError, OutOfMemoryError, UnsupportedInstructionError
from qiskit_fusedqml.ir.gates import GATES

N = 7
CIRCUITS = {kind: staged.layered(N, 2, kind) for kind in ("ring", "linear", "brick", "full", "cz")}
CIRCUITS |= {"su4": staged.su4(N, 2), "ising": staged.ising(N, 2)}
OBSERVABLES = [
    SparsePauliOp.from_sparse_list([("Z", [q], 1.0) for q in range(N)], num_qubits=N),
    SparsePauliOp.from_sparse_list(
        [("XX", [0, N - 1], 0.5), ("YZ", [2, 3], -1.5), *(("X", [q], 0.7) for q in range(N))], num_qubits=N
    ),
    SparsePauliOp.from_list([("Z" * N, 1.0), ("Y" * N, 0.3)]),
]


def function(circuit: QuantumCircuit, comm: Any = None, **options: Any) -> DifferentiableCircuit:
    return DifferentiableCircuit(circuit, OBSERVABLES, comm=comm, num_threads=1, **options)


def same_on_all(results: list[Any]) -> Any:
    """The result of rank 0, if all ranks have the same bits."""
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(one, other)
    return results[0]


def shift_rule(circuit: QuantumCircuit, w: np.ndarray, weights: np.ndarray, chosen: list[int]) -> np.ndarray:
    """Derivatives of a weighted sum of the observables, from Qiskit's state vectors; each weight turns one gate."""
    total = sum((SparsePauliOp(o) * c for o, c in zip(OBSERVABLES, weights, strict=True)), start=0 * OBSERVABLES[0])

    def value(point: np.ndarray) -> float:
        return float(Statevector(circuit.assign_parameters(point)).expectation_value(total).real)

    steps = [np.pi / 2 * np.eye(len(w))[k] for k in chosen]
    return np.array([(value(w + step) - value(w - step)) / 2 for step in steps])


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("kind", CIRCUITS)
def test_values_and_gradients(kind: str, size: int) -> None:
    circuit = CIRCUITS[kind]
    rng = np.random.default_rng(size)
    w, cotangents = rng.uniform(-np.pi, np.pi, circuit.num_parameters), rng.normal(size=(1, 3))
    results = on_ranks(size, lambda comm: function(circuit, comm).value_and_vjp(None, w, cotangents)[::2])
    values, gradient = same_on_all(results)
    own_values, _, own_gradient = function(circuit).value_and_vjp(None, w, cotangents)
    np.testing.assert_allclose(values, own_values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, own_gradient, rtol=0, atol=1e-12)
    chosen = rng.integers(len(w), size=2).tolist()
    np.testing.assert_allclose(gradient[chosen], shift_rule(circuit, w, cotangents[0], chosen), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [2, 4])
def test_single_precision(size: int) -> None:
    circuit = CIRCUITS["ring"]
    w = np.random.default_rng(size).uniform(-np.pi, np.pi, circuit.num_parameters)
    ones = np.ones((1, 3))

    def run(comm: Any) -> tuple[Any, Any]:
        return function(circuit, comm, precision="single").value_and_vjp(None, w, ones)[::2]

    values, gradient = same_on_all(on_ranks(size, run))
    own_values, _, own_gradient = function(circuit).value_and_vjp(None, w, ones)
    assert values.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(values, own_values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(gradient, own_gradient, rtol=0, atol=1e-5 * np.linalg.norm(own_gradient))


def test_the_same_bits_over_runs_and_threads_of_a_rank() -> None:
    circuit = CIRCUITS["ring"]
    w, ones = np.linspace(-2, 2, circuit.num_parameters), np.ones((1, 3))

    def run(comm: Any) -> list[Any]:
        f = function(circuit, comm)
        return [f.value_and_vjp(None, w, ones)[2] for _ in range(3)]

    gradients = same_on_all(on_ranks(4, run) + on_ranks(4, run))
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, gradients[0])


def all_gates(rng: np.random.Generator) -> QuantumCircuit:
    """Every gate of the table that has angles, and a few that have none, on random qubits."""
    from qiskit.circuit.library import get_standard_gate_name_mapping

    known = get_standard_gate_name_mapping()
    names = [name for name in GATES if name in known and known[name].num_qubits <= 4]
    weights = iter(ParameterVector("w", sum(len(known[name].params) for name in names)))
    circuit = QuantumCircuit(N)
    for q in range(N):
        circuit.ry(0.3 + q, q)
    for name in names:
        gate = known[name]
        if gate.params:
            gate = gate.to_mutable()
            gate.params = [next(weights) for _ in gate.params]
        circuit.append(gate, rng.permutation(N)[: gate.num_qubits].tolist())
        q = int(rng.integers(N))
        circuit.rx(0.4, q)
    return circuit


@pytest.mark.parametrize("size", [2, 8])
def test_every_gate_of_the_table(size: int) -> None:
    rng = np.random.default_rng(size)
    circuit = all_gates(rng)
    w, ones = rng.uniform(-3, 3, circuit.num_parameters), np.ones((1, 3))
    results = on_ranks(size, lambda comm: function(circuit, comm).value_and_vjp(None, w, ones)[::2])
    values, gradient = same_on_all(results)
    state = Statevector(circuit.assign_parameters(w))
    expected = [state.expectation_value(observable).real for observable in OBSERVABLES]
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(gradient, function(circuit).value_and_vjp(None, w, ones)[2], rtol=0, atol=1e-12)


X = ParameterVector("x", N)


def encoded() -> QuantumCircuit:
    circuit = QuantumCircuit(N)
    for q in range(N):
        circuit.ry(X[q], q)
    return circuit.compose(CIRCUITS["ring"])


READS: dict[str, Callable[[DifferentiableCircuit, np.ndarray, np.ndarray], Any]] = {
    "values": lambda f, x, w: f.values(x, w),
    "jacobian": lambda f, x, w: f.jacobian(x, w, wrt="all"),
    "inputs": lambda f, x, w: f.value_and_vjp(x, w, np.ones((3, 3)))[1],
    "probabilities": lambda f, x, w: f.probabilities(x, w),
    "statevector": lambda f, x, w: f.statevector(x, w),
    "hvp": lambda f, x, w: f.hvp(x[:1], w, np.ones(len(w))),
    "weights by sample": lambda f, x, w: f.value_and_vjp(x, np.outer([1, 2, 3], w), np.ones((3, 3)))[2],
    "state_vjp": lambda f, x, w: f.state_vjp(x, w)[1](np.ones((3, 2**N), complex))[1],
    "overlaps": lambda f, x, w: f.overlap_jacobian(x[:1], w),
    "groups": lambda f, x, w: f.probability_jacobian(x, w, np.arange(2**N) % 3, 3),
    "initial states": lambda f, x, w: f.values(x, w, initial_states=np.eye(2**N)[5].astype(complex)),
}


@pytest.mark.parametrize("what", READS)
def test_all_that_a_circuit_offers(what: str) -> None:
    circuit, read = encoded(), READS[what]
    rng = np.random.default_rng(1)
    x, w = rng.uniform(-2, 2, (3, N)), rng.uniform(-2, 2, CIRCUITS["ring"].num_parameters)

    def run(comm: Any) -> tuple[Any]:
        return (read(function(circuit, comm, inputs=X, input_gradients=True), x, w),)

    (found,) = same_on_all(on_ranks(4, run))
    np.testing.assert_allclose(found, run(None)[0], rtol=0, atol=2e-12)


@pytest.mark.parametrize("checkpoint", [2, "auto"])
def test_deep_circuits_are_cut(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qiskit_fusedqml.planner.segments.LONGEST", 20)
    circuit = staged.layered(6, 8, "ring")
    w, observable = np.linspace(-1, 1, circuit.num_parameters), ["ZXIIYZ"]

    def gradient(comm: Any) -> tuple[Any]:
        f = DifferentiableCircuit(circuit, observable, comm=comm, num_threads=1, checkpoint=checkpoint)
        return (f.value_and_grad(w=w)[1],)

    (found,) = same_on_all(on_ranks(4, gradient))
    np.testing.assert_allclose(found, gradient(None)[0], rtol=0, atol=1e-12)


def test_local_amplitudes_are_parts_of_the_state() -> None:
    circuit = CIRCUITS["su4"]
    w = np.linspace(-1, 1, circuit.num_parameters)
    parts = on_ranks(4, lambda comm: function(circuit, comm).local_amplitudes(None, w))
    expected = Statevector(circuit.assign_parameters(w)).data
    indices = np.concatenate([each[0] for each in parts])
    assert sorted(indices) == list(range(2**N))
    found = np.concatenate([each[1][0] for each in parts])
    np.testing.assert_allclose(found, function(circuit).statevector(None, w)[0][indices], rtol=0, atol=1e-12)
    np.testing.assert_allclose(abs(np.vdot(expected[indices], found)), 1.0, atol=1e-12)


def test_memory_is_that_of_a_rank() -> None:
    circuit = staged.layered(10, 1, "linear")

    def states(comm: Any) -> int:
        f = DifferentiableCircuit(circuit, ["Z" * 10], comm=comm, num_threads=1)
        return f.memory_estimate().states

    assert on_ranks(4, states) == [states(None) // 4] * 4


def test_amplitudes_that_do_not_fit_are_refused() -> None:
    circuit = staged.layered(12, 1, "linear")

    def run(comm: Any) -> Any:
        f = DifferentiableCircuit(circuit, ["Z" * 12], comm=comm, num_threads=1, max_memory_mb=0.04)
        w = np.zeros(f.num_weights)
        assert f.values(None, w).shape == (1, 1)
        return f.statevector(None, w)

    with pytest.raises(OutOfMemoryError, match="local_amplitudes"):
        on_ranks(4, run)


def test_what_cannot_be_shared_is_refused() -> None:
    w = np.zeros(CIRCUITS["ring"].num_parameters)
    with pytest.raises(UnsupportedInstructionError, match="Hessian products, probabilities and shots are there"):
        on_ranks(2, lambda comm: function(CIRCUITS["ring"], comm).geometric_tensor(None, w))
    with pytest.raises(InvalidInputError, match=r"3 ranks were given for one state; a power of two is needed. Start 2"):
        on_ranks(3, lambda comm: function(CIRCUITS["ring"], comm))
    small = staged.layered(4, 1, "ring")
    with pytest.raises(InvalidInputError, match="16 ranks are too many for a state of 4 qubits: at most 8"):
        on_ranks(16, lambda comm: DifferentiableCircuit(small, ["ZZZZ"], comm=comm).values(None, np.zeros(12)))
    with pytest.raises(InvalidInputError, match="comm is 5; a communicator of mpi4py"):
        function(CIRCUITS["ring"], 5)


def test_one_rank_has_the_device_itself() -> None:
    (f,) = on_ranks(1, lambda comm: function(CIRCUITS["ring"], comm))
    assert type(f.device) is CPUDevice
    w = np.linspace(-1, 1, f.num_weights)
    np.testing.assert_array_equal(f.values(None, w), function(CIRCUITS["ring"]).values(None, w))
    assert f.geometric_tensor(None, w).shape == (1, len(w), len(w))
    indices, amplitudes = f.local_amplitudes(None, w)
    np.testing.assert_array_equal(amplitudes, f.statevector(None, w)[:, indices])
