"""Circuits with qubits that nothing acts on, and circuits that reset qubits, against `qiskit.quantum_info`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import (
    DensityMatrix,
    Operator,
    SparseObservable,
    SparsePauliOp,
    Statevector,
    random_statevector,
)
from qiskit.transpiler import CircuitTooWideForTarget, generate_preset_pass_manager

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedSampler,
    FusedSimulator,
    FusionPass,
    transpile as fused_transpile,
)
from qiskit_fusedqml.errors import InvalidInputError, OutOfMemoryError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.memory import default_budget

T = ParameterVector("t", 3)
VALUES = [0.3, 0.7, 1.1]
OPERATOR = SparsePauliOp(["ZZI", "XIY", "IIZ"], [0.3, 0.5, 0.7])
LETTERS = "IXYZ01+-rl"


def narrow() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ry(T[0], 0)
    circuit.cx(0, 1)
    circuit.ry(T[1], 1)
    circuit.cx(1, 2)
    circuit.rx(T[2], 2)
    return circuit


def wide(num_qubits: int, circuit: QuantumCircuit | None = None) -> QuantumCircuit:
    """The circuit on the last qubits of a device."""
    layout = [num_qubits - 1, num_qubits - 2, num_qubits - 3]
    backend = GenericBackendV2(num_qubits, seed=1)
    return transpile(circuit or narrow(), backend, initial_layout=layout, optimization_level=0)


def gradient_by_differences(
    circuit: QuantumCircuit, operator: SparsePauliOp, values: list[float]
) -> NDArray[np.float64]:
    def value(shifted: NDArray[np.float64]) -> float:
        state = DensityMatrix(circuit.assign_parameters(shifted))
        return float(np.real(state.expectation_value(operator)))

    steps = 1e-5 * np.eye(len(values))
    return np.array([value(np.array(values) + step) - value(np.array(values) - step) for step in steps]) / 2e-5


@pytest.mark.parametrize("num_qubits", [5, 41, 156])
def test_a_circuit_for_a_device_is_the_circuit(num_qubits: int) -> None:
    circuit, placed = narrow(), wide(num_qubits)
    operator = OPERATOR.apply_layout(placed.layout)
    want = Statevector(circuit.assign_parameters(VALUES)).expectation_value(OPERATOR).real
    found = FusedEstimator().run([(placed, operator, VALUES)]).result()[0].data.evs
    f = DifferentiableCircuit(placed, [operator])
    jacobian = f.jacobian(None, VALUES)
    np.testing.assert_allclose(found, want, atol=1e-10)
    np.testing.assert_allclose(jacobian[0, 0], gradient_by_differences(circuit, OPERATOR, VALUES), atol=1e-8)
    assert f.active_qubits == (num_qubits - 3, num_qubits - 2, num_qubits - 1)
    assert f.num_qubits == 3
    hessian = DifferentiableCircuit(circuit, [OPERATOR])
    np.testing.assert_allclose(f.hvp(None, VALUES, [1, 2, 3]), hessian.hvp(None, VALUES, [1, 2, 3]), atol=1e-10)
    np.testing.assert_allclose(f.geometric_tensor(None, VALUES), hessian.geometric_tensor(None, VALUES), atol=1e-10)


def test_every_letter_on_idle_qubits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        circuit = QuantumCircuit(4)
        circuit.ry(rng.uniform(0, 3), 1)
        circuit.rx(rng.uniform(0, 3), 3)
        circuit.cx(1, 3)
        labels = ["".join(rng.choice(list(LETTERS), 4)) for _ in range(3)]
        terms = {label: rng.normal() for label in labels}
        operator = SparseObservable.from_list(list(terms.items()))
        want = Statevector(circuit).expectation_value(SparsePauliOp.from_sparse_observable(operator)).real
        found = FusedEstimator().run([(circuit, terms)]).result()[0].data.evs
        np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize(
    ("letter", "value"), list(zip("IXYZ01+-rl", [1, 0, 0, 1, 1, 0, 0.5, 0.5, 0.5, 0.5], strict=True))
)
def test_circuits_without_active_qubits(letter: str, value: float) -> None:
    empty, phase, barriers = QuantumCircuit(45), QuantumCircuit(45, global_phase=1.3), QuantumCircuit(45, 1)
    barriers.barrier()
    barriers.delay(10, 3)
    barriers.id(4)
    barriers.reset(5)
    barriers.measure(6, 0)
    pubs = [(circuit, letter + 44 * "I") for circuit in (empty, phase, barriers)]
    found = [result.data.evs for result in FusedEstimator().run(pubs).result()]
    np.testing.assert_allclose(found, value, atol=1e-12)
    np.testing.assert_allclose(DifferentiableCircuit(barriers).probabilities(), [[1, 0]], atol=1e-12)
    np.testing.assert_allclose(
        DifferentiableCircuit(QuantumCircuit(2, global_phase=1.3)).statevector(), [[np.exp(1.3j), 0, 0, 0]], atol=1e-12
    )


def test_gates_that_are_wider_than_what_they_do() -> None:
    body = QuantumCircuit(60)
    body.h(50)
    body.cx(50, 3)
    circuit = QuantumCircuit(60)
    circuit.append(body.to_gate(), range(60))
    operator = SparsePauliOp.from_sparse_list([("XX", [3, 50], 2.0), ("Z", [7], 1.0)], 60)
    np.testing.assert_allclose(FusedEstimator().run([(circuit, operator)]).result()[0].data.evs, 3, atol=1e-12)
    circuit.measure_all()
    counts = FusedSampler(seed=1).run([circuit]).result()[0].data.meas.get_counts()
    assert {int(key, 2) for key in counts} == {0, 1 << 3 | 1 << 50}


def test_probabilities_and_amplitudes_of_all_qubits() -> None:
    circuit = QuantumCircuit(5, 3)
    circuit.ry(T[0], 3)
    circuit.cry(T[1], 3, 1)
    f, bound = DifferentiableCircuit(circuit), Statevector(circuit.assign_parameters(VALUES[:2]))
    np.testing.assert_allclose(f.statevector(None, VALUES[:2])[0], bound.data, atol=1e-12)
    np.testing.assert_allclose(f.probabilities(None, VALUES[:2])[0], bound.probabilities(), atol=1e-12)
    g = random_statevector(32, seed=1).data[None]
    amplitudes, pullback = f.state_vjp(None, VALUES[:2])
    np.testing.assert_allclose(amplitudes[0], bound.data, atol=1e-12)
    slopes = pullback(g)[1]
    for k, step in enumerate(1e-5 * np.eye(2)):
        plus, minus = (Statevector(circuit.assign_parameters(VALUES[:2] + s * step)).data for s in (1, -1))
        np.testing.assert_allclose(slopes[k], np.real(g[0].conj() @ (plus - minus)) / 2e-5, atol=1e-8)
    with pytest.raises(InvalidInputError, match="32"):
        f.state_vjp(None, VALUES[:2])[1](g[:, :4])
    circuit.measure([1, 0, 3], [0, 1, 2])  # qubit 0 is idle: its bit is 0
    marginal = bound.probabilities([1, 0, 3])
    np.testing.assert_allclose(DifferentiableCircuit(circuit).probabilities(None, VALUES[:2])[0], marginal, atol=1e-12)


def test_a_clbit_that_an_idle_qubit_overwrites() -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.measure(2, 0)
    np.testing.assert_allclose(DifferentiableCircuit(circuit).probabilities(), [[1, 0]], atol=1e-12)


def test_states_of_all_qubits_that_do_not_fit() -> None:
    circuit = QuantumCircuit(60)
    circuit.h([3, 40])
    f = DifferentiableCircuit(circuit, ["I" * 60])
    for ask in (f.statevector, f.state_vjp):
        with pytest.raises(OutOfMemoryError, match=r"60 qubits, of which 2 are active \(3, 40\)"):
            ask()
    with pytest.raises(OutOfMemoryError):
        f.probabilities()
    save(circuit, "statevector")
    result = FusedSimulator().run(circuit).result()
    assert not result.success
    assert "of its 60 that gates act on or whose state is saved" in result.results[0].status


def test_initial_states_that_are_given() -> None:
    circuit = QuantumCircuit(3)
    circuit.rx(T[0], 1)
    f = DifferentiableCircuit(circuit, ["IZI"])
    active = random_statevector(2, seed=3).data
    given = np.kron(np.array([1, 0]), np.kron(active, np.array([1, 0])))[None]
    want = Statevector(given[0]).evolve(circuit.assign_parameters([0.4])).expectation_value(SparsePauliOp("IZI")).real
    np.testing.assert_allclose(f.values(None, [0.4], initial_states=given), [[want]], atol=1e-12)
    np.testing.assert_allclose(f.values(None, [0.4], initial_states=active[None]), [[want]], atol=1e-12)
    with pytest.raises(InvalidInputError, match="it acts on 1"):
        f.values(None, [0.4], initial_states=np.roll(given, 1, axis=1))


def test_observables_of_another_width_are_refused() -> None:
    circuit = QuantumCircuit(50)
    circuit.h(3)
    for width in (49, 51):
        with pytest.raises(ValueError, match=str(width)):
            FusedEstimator().run([(circuit, "Z" * width)]).result()
        with pytest.raises(InvalidInputError, match=str(width)):
            DifferentiableCircuit(circuit, ["Z" * width])


# --- resets ---


def with_resets() -> QuantumCircuit:
    """Resets at the top, in a definition, after a measurement, and by initialize."""
    inner = QuantumCircuit(2)
    inner.cry(T[1], 0, 1)
    inner.reset(0)
    inner.ry(2 * T[1], 0)
    circuit = QuantumCircuit(4, 1)
    circuit.ry(T[0], 0)
    circuit.cx(0, 2)
    circuit.reset(0)
    circuit.append(inner.to_instruction(), [2, 0])
    circuit.initialize([0.6, 0.8j], 0)
    circuit.crx(T[2], 0, 2)
    return circuit


def test_values_and_gradients_with_resets() -> None:
    circuit = with_resets()
    operators = [SparsePauliOp(["IZIZ", "IXII"], [1.0, 0.3]), SparsePauliOp("ZYIX"), SparsePauliOp("IIIZ")]
    state = DensityMatrix(circuit.assign_parameters(VALUES))
    want = [np.real(state.expectation_value(operator)) for operator in operators]
    found = FusedEstimator().run([(circuit, operators, VALUES)]).result()[0].data.evs
    np.testing.assert_allclose(found, want, atol=1e-10)
    f = DifferentiableCircuit(circuit, operators)
    np.testing.assert_allclose(f.values(None, VALUES)[0], want, atol=1e-10)
    jacobian = f.jacobian(None, VALUES)[0]
    for operator, row in zip(operators, jacobian, strict=True):
        np.testing.assert_allclose(row, gradient_by_differences(circuit, operator, VALUES), atol=1e-8)
    np.testing.assert_allclose(f.probabilities(None, VALUES)[0], state.probabilities(), atol=1e-10)
    step = np.array([0.0, 1e-5, 0.0])
    slope = f.jacobian(None, VALUES + step)[0, 0] - f.jacobian(None, VALUES - step)[0, 0]
    np.testing.assert_allclose(f.hvp(None, VALUES, [0, 1, 0], [[1, 0, 0]]), slope / 2e-5, atol=1e-7)


def test_measured_then_reset_then_used_again() -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.ry(T[0], 0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.ry(T[1], 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [1, 2])
    first, second = np.sin(0.15) ** 2, np.sin(0.35) ** 2
    want = np.zeros(8)
    want[[0, 1, 6, 7]] = np.outer([1 - second, second], [1 - first, first]).ravel()
    f = DifferentiableCircuit(circuit)
    np.testing.assert_allclose(f.probabilities(None, VALUES[:2])[0], want, atol=1e-12)
    counts = FusedSampler(seed=2).run([(circuit, VALUES[:2])], shots=100_000).result()[0].data.c.get_int_counts()
    np.testing.assert_allclose([counts.get(k, 0) / 1e5 for k in range(8)], want, atol=0.01)


def test_idle_measurements_that_are_reset() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.x(0)
    f = DifferentiableCircuit(circuit, ["Z"])
    np.testing.assert_allclose(f.probabilities(), [[1, 0]], atol=1e-12)
    np.testing.assert_allclose(f.statevector(), [[0, 1]], atol=1e-12)


def test_what_resets_leave_undefined_is_refused() -> None:
    f = DifferentiableCircuit(with_resets(), ["ZIII"])
    for ask in (f.statevector, f.state_vjp, f.overlap_jacobian, f.geometric_tensor):
        with pytest.raises(UnsupportedInstructionError, match="resets 3 qubit"):
            ask(None, VALUES)


def test_resets_do_not_count_where_nothing_acted() -> None:
    circuit = QuantumCircuit(50)
    circuit.reset(range(50))
    circuit.h(7)
    circuit.reset(range(8, 50))
    f = DifferentiableCircuit(circuit, [SparsePauliOp.from_sparse_list([("X", [7], 1.0)], 50)])
    assert f.active_qubits == (7,)
    np.testing.assert_allclose(f.values(), [[1]], atol=1e-12)


# --- the backend ---


def test_shots_of_wide_circuits() -> None:
    circuit = wide(127, narrow().measure_all(inplace=False)).assign_parameters(VALUES)
    result = FusedSimulator(seed_simulator=1).run(circuit, shots=20_000).result()
    want = Statevector(narrow().assign_parameters(VALUES)).probabilities_dict()
    counts = result.get_counts()
    np.testing.assert_allclose([counts.get(k, 0) / 20_000 for k in want], list(want.values()), atol=0.02)
    assert result.results[0].metadata["active_input_qubits"] == [124, 125, 126]


def test_expectation_values_saved_over_all_qubits() -> None:
    circuit = QuantumCircuit(70)
    circuit.h(10)
    circuit.cx(10, 60)
    for k, letters in enumerate(("XX", "ZZ", "XI")):
        operator = SparsePauliOp.from_sparse_list([(letters + "Z", [10, 60, 3], 1.5), ("X", [5], 1.0)], 70)
        save(circuit, "expval", operator=operator, label=str(k))
    data = FusedSimulator().run(circuit).result().data()
    np.testing.assert_allclose([data[str(k)] for k in range(3)], [1.5, 1.5, 0], atol=1e-12)


def test_blocks_over_all_qubits_with_few_in_use() -> None:
    circuit = QuantumCircuit(50, 2)
    circuit.x(40)
    circuit.measure(40, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(7)
        circuit.barrier()
    circuit.measure(7, 1)
    assert FusedSimulator().run(circuit, shots=10).result().get_counts() == {"11": 10}


def test_initial_states_on_a_few_qubits() -> None:
    state = random_statevector(4, seed=5).data
    circuit = QuantumCircuit(50)
    circuit.initialize(state, [30, 4])
    circuit.cx(4, 30)
    operator = SparsePauliOp.from_sparse_list([("XZ", [4, 30], 1.0), ("Z", [0], 0.5)], 50)
    reference = QuantumCircuit(2)
    reference.initialize(state, [1, 0])
    reference.cx(0, 1)
    want = Statevector(reference).expectation_value(SparsePauliOp("ZX")).real + 0.5
    np.testing.assert_allclose(FusedEstimator().run([(circuit, operator)]).result()[0].data.evs, want, atol=1e-12)
    circuit.measure_all()
    counts = FusedSampler(seed=1).run([circuit], shots=50_000).result()[0].data.meas.get_int_counts()
    found = [counts.get((k & 1) << 4 | (k >> 1) << 30, 0) / 50_000 for k in range(4)]
    np.testing.assert_allclose(found, Statevector(reference).probabilities(), atol=0.02)


def test_fusion_of_wide_circuits() -> None:
    circuit = wide(60)
    fused = FusionPass()(circuit)
    operator = OPERATOR.apply_layout(circuit.layout)
    results = FusedEstimator().run([(each, operator, VALUES) for each in (circuit, fused)]).result()
    np.testing.assert_allclose(results[0].data.evs, results[1].data.evs, atol=1e-12)
    assert "fused" in fused.count_ops()


def test_fusion_of_a_gate_with_idle_qubits() -> None:
    body = QuantumCircuit(3)
    body.rx(Parameter("b"), 2)
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.append(body.to_gate(), [3, 1, 2])
    circuit.cz(2, 0)
    bound = FusionPass(max_qubits=3)(circuit).assign_parameters([0.3])
    assert Operator(bound).equiv(circuit.assign_parameters([0.3]))


def test_the_width_is_what_a_run_can_take() -> None:
    for options in ({}, {"precision": "single"}):
        simulator = FusedSimulator(max_memory_mb=1, **options)
        n = simulator.num_qubits
        circuits = []
        for width in (n, n + 1):
            circuit = QuantumCircuit(width)
            circuit.h(range(width))
            circuit.measure_all()
            circuits.append(circuit)
        result = simulator.run(circuits, shots=10).result()
        assert [each.success for each in result.results] == [True, False]
    assert 2 ** FusedSimulator().num_qubits * 24 <= default_budget()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_transpile_for_circuits_wider_than_a_state(level: int) -> None:
    circuit = QuantumCircuit(150, 2)
    circuit.h(3)
    circuit.cx(3, 140)
    circuit.measure([3, 140], [0, 1])
    simulator = FusedSimulator(seed_simulator=1)
    assert 20 <= simulator.num_qubits <= 40
    for mapped in (
        transpile(circuit, simulator, optimization_level=level),
        fused_transpile(circuit, simulator, optimization_level=level, passes=[FusionPass]),
        generate_preset_pass_manager(level, simulator).run(circuit),
    ):
        assert mapped.num_qubits == 150
        assert set(simulator.run(mapped, shots=50).result().get_counts()) == {"00", "11"}
    with pytest.raises(CircuitTooWideForTarget):
        transpile(QuantumCircuit(513), simulator, optimization_level=level)
