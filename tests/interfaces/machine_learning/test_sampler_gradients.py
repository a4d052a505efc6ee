"""`FusedSamplerGradient` against parameter shift and finite differences, and inside the stock SamplerQNN."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, Parameter
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_fusedqml import FusedEstimator, FusedSamplerGradient, FusedSamplerQNN
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError

gradients = pytest.importorskip("qiskit_machine_learning.gradients")

RNG = np.random.default_rng(12)
TOLERANCE = 5e-8  # of the differences


def network(num_qubits: int = 3) -> QuantumCircuit:
    """A feature map with products of parameters, and an ansatz, measured."""
    circuit = zz_feature_map(num_qubits, reps=1).compose(real_amplitudes(num_qubits, reps=1))
    circuit.measure_all()
    return circuit


def exact_sampler() -> Any:
    from qiskit_machine_learning.primitives import QMLSampler

    return QMLSampler()


def dense(gradient: Sequence[dict[int, float]], size: int) -> np.ndarray:
    """(parameters, outcomes)."""
    result = np.zeros((len(gradient), size))
    for row, values in zip(result, gradient, strict=True):
        row[list(values)] = list(values.values())
    return result


def differences(circuit: QuantumCircuit, values: Sequence[float]) -> np.ndarray:
    """Central differences (parameters, outcomes) of order 4 of the probabilities, all qubits measured in order."""
    step, weights = 1e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    plain = circuit.remove_final_measurements(inplace=False) if circuit.num_clbits else circuit

    def probabilities(at: Any) -> np.ndarray:
        return np.asarray(Statevector(plain.assign_parameters(at)).probabilities())

    return np.array(
        [
            sum(weight * probabilities(np.add(values, k * step * unit)) for k, weight in weights.items()) / step
            for unit in np.eye(len(values))
        ]
    )


def assert_as_parameter_shift(*arguments: Any, size: int = 8) -> None:
    ours = FusedSamplerGradient().run(*arguments).result()
    theirs = gradients.ParamShiftSamplerGradient(exact_sampler()).run(*arguments).result()
    for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
        np.testing.assert_allclose(dense(mine, size), dense(other, size), rtol=0, atol=1e-10)
        assert all(type(key) is int and type(value) is float for each in mine for key, value in each.items())
    assert [each[0]["parameters"] for each in ours.metadata] == [each[0]["parameters"] for each in theirs.metadata]


def test_a_batch_and_subsets_in_any_order() -> None:
    circuit, values = network(), RNG.normal(size=(4, 9))
    assert_as_parameter_shift([circuit] * 4, values)
    p = circuit.parameters
    assert_as_parameter_shift([circuit] * 4, values, [[p[4], p[0], p[8]], None, [p[2]], p[3:]])
    assert FusedSamplerGradient().run([circuit], values[:1], [[]]).result().gradients == [[]]


def test_circuits_of_different_widths_and_one_circuit_without_a_list() -> None:
    small = QuantumCircuit(1, 1)
    small.rx(Parameter("a"), 0)
    small.measure(0, 0)
    circuits, values = [network(), small, network(2)], [RNG.normal(size=9), [0.4], RNG.normal(size=6)]
    ours = FusedSamplerGradient().run(circuits, values).result().gradients
    for mine, circuit, row in zip(ours, circuits, values, strict=True):
        np.testing.assert_allclose(
            dense(mine, 2**circuit.num_qubits), differences(circuit, row), rtol=0, atol=TOLERANCE
        )
    assert_as_parameter_shift(small, [[0.4]], size=2)


def test_gates_with_controls_phases_and_no_measurement() -> None:
    a, b, c = Parameter("a"), Parameter("b"), Parameter("c")
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.cu(a, b, c, a * b, 0, 1)
    circuit.crx(b.sin(), 1, 2)
    circuit.mcp(c, [0, 1], 2)
    circuit.ry(a, 2)
    circuit.h([0, 1, 2])
    circuit.global_phase = a
    values = RNG.normal(size=3)
    ours = FusedSamplerGradient().run([circuit], [values]).result().gradients[0]
    np.testing.assert_allclose(dense(ours, 8), differences(circuit, values), rtol=0, atol=TOLERANCE)


def test_only_some_qubits_are_measured() -> None:
    circuit = real_amplitudes(3, reps=1)
    circuit.add_register(ClassicalRegister(4, "c"))
    circuit.measure([2, 0], [3, 0])
    values = RNG.normal(size=6)
    each = differences(real_amplitudes(3, reps=1), values).reshape(-1, 2, 2, 2).sum(axis=2)  # (P, q2, q0)
    ours = FusedSamplerGradient().run([circuit], [values]).result().gradients[0]
    assert set(ours[0]) == {0, 1, 8, 9}
    np.testing.assert_allclose(dense(ours, 16)[:, [0, 1, 8, 9]], each.reshape(-1, 4), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("measured", [False, True])
def test_a_pass_manager_may_widen_and_permute(measured: bool) -> None:
    circuit = network()
    circuit = circuit if measured else circuit.remove_final_measurements(inplace=False)
    values = RNG.normal(size=(2, 9))
    backend = GenericBackendV2(5, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=1)
    manager = generate_preset_pass_manager(1, backend=backend, initial_layout=[4, 0, 2], seed_transpiler=1)
    ours = FusedSamplerGradient(pass_manager=manager).run([circuit] * 2, values).result().gradients
    for mine, row in zip(ours, values, strict=True):
        np.testing.assert_allclose(dense(mine, 8), differences(circuit, row), rtol=0, atol=TOLERANCE)


def test_arguments_that_do_not_fit() -> None:
    circuit, row = network(), [0.1] * 9
    cases: list[tuple[Any, ...]] = [
        ([circuit], [row, row]),
        ([circuit] * 2, [row] * 2, [[circuit.parameters[0]]]),
        ([circuit], [[0.1] * 8]),
        ([QuantumCircuit(1, 1)], [[]]),
        ([circuit], [row], [[Parameter("elsewhere")]]),
    ]
    for case in cases:
        with pytest.raises(ValueError, match="circuit"):
            gradients.ParamShiftSamplerGradient(exact_sampler()).run(*case)
        with pytest.raises(InvalidInputError):
            FusedSamplerGradient().run(*case)
    with pytest.raises(InvalidInputError, match="finite"):
        FusedSamplerGradient().run([circuit], [[np.nan] * 9])


def test_options_and_samplers_of_other_kinds() -> None:
    gradient = FusedSamplerGradient(StatevectorSampler(), options={"shots": 100}, num_threads=1)
    assert gradient.options.get("shots") == 100
    circuit, values = network(), RNG.normal(size=(1, 9))
    assert gradient.run([circuit], values, shots=300).result().options.get("shots") == 300
    gradient.update_default_options(shots=200)
    assert gradient.run([circuit], values).result().options.get("shots") == 200
    assert FusedSamplerGradient(exact_sampler()).run([circuit], values).result().gradients
    lender = FusedEstimator(precision="single", num_threads=1)  # whatever has our options lends them
    assert FusedSamplerGradient(lender).engine_options.precision == "single"
    assert gradient.engine_options.num_threads == 1


def test_the_stock_network() -> None:
    from qiskit_machine_learning.neural_networks import SamplerQNN

    features, ansatz = zz_feature_map(2, reps=1), real_amplitudes(2, reps=1)
    x, w = RNG.normal(size=(3, 2)), RNG.normal(size=4)
    results = []
    for gradient in (FusedSamplerGradient(), gradients.ParamShiftSamplerGradient(exact_sampler())):
        qnn = SamplerQNN(
            circuit=features.compose(ansatz),
            sampler=exact_sampler(),
            input_params=list(features.parameters),
            weight_params=list(ansatz.parameters),
            gradient=gradient,
            interpret=lambda value: value % 2,
            output_shape=2,
            input_gradients=True,
        )
        results.append(qnn.backward(x, w))
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_clbits", [40, 62, 63, 64, 300])
def test_classical_bits_far_beyond_the_qubits(num_clbits: int) -> None:
    angle = Parameter("a")
    circuit = QuantumCircuit(1, num_clbits)
    circuit.ry(angle, 0)
    circuit.measure(0, num_clbits - 1)
    ((gradient,),) = FusedSamplerGradient().run([circuit], [[0.4]]).result().gradients
    assert gradient == pytest.approx({0: -np.sin(0.4) / 2, 1 << (num_clbits - 1): np.sin(0.4) / 2}, abs=1e-12)
    bit = num_clbits - 1
    ours = FusedSamplerQNN(
        circuit=circuit, weight_params=[angle], interpret=lambda outcome: outcome >> bit, output_shape=2
    )
    np.testing.assert_allclose(ours.forward(None, [0.4]), [[np.cos(0.2) ** 2, np.sin(0.2) ** 2]], rtol=0, atol=1e-12)
    slope = np.sin(0.4) / 2
    np.testing.assert_allclose(ours.backward(None, [0.4])[1], [[[-slope], [slope]]], rtol=0, atol=1e-12)
    ours.set_interpret()  # outcomes of one qubit are 0 and 1
    with pytest.raises(InvalidInputError, match=f"interpret\\({1 << bit}\\) is .*Measure into the first bits"):
        ours.forward(None, [0.4])


def test_eight_threads_at_once_copies_and_pickles() -> None:
    gradient, circuits = FusedSamplerGradient(), [network(), network(2)]
    calls = [([circuits[k % 2]], RNG.normal(size=(1, circuits[k % 2].num_parameters))) for k in range(24)]
    expected = [differences(circuit[0], values[0]) for circuit, values in calls]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda call: gradient.run(*call).result().gradients[0], calls))
    for mine, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(dense(mine, other.shape[1]), other, rtol=0, atol=TOLERANCE)
    for other in (copy.deepcopy(gradient), pickle.loads(pickle.dumps(gradient))):
        assert other.run(*calls[0]).result().gradients[0] == results[0]


def test_the_comparison_sees_a_wrong_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ProgramFunction.statevector
    monkeypatch.setattr(ProgramFunction, "statevector", lambda self, x, w: original(self, x, np.asarray(w) * 1.001))
    with pytest.raises(AssertionError):
        assert_as_parameter_shift([network()], RNG.normal(size=(1, 9)))
