"""Lowered circuits against Qiskit's own simulation of the bound circuit, by the direct interpreter of programs."""

from __future__ import annotations

import cmath
import math
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings, strategies as st
from numpy.typing import NDArray
from qiskit import AncillaRegister, ClassicalRegister, QuantumCircuit, QuantumRegister, qasm2
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    Gate,
    Instruction,
    InverseModifier,
    Parameter,
    ParameterExpression,
    ParameterVector,
    PowerModifier,
    Qubit,
    library,
)
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Kraus, Operator, SparsePauliOp, Statevector, random_clifford, random_unitary
from qiskit.synthesis import SuzukiTrotter
from support.interpreter import adjoint_gradient, expectation, program_unitary, run_program

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit import lowering
from qiskit_fusedqml.interfaces.qiskit.lowering import (
    MULTI_CONTROLLED,
    Lowered,
    lower,
    lower_observable,
)
from qiskit_fusedqml.ir.dynamic import Segment
from qiskit_fusedqml.ir.program import (
    Diagonal,
    Matrix,
    Program,
    Rotation,
    validate,
)

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")


def random_state(num_qubits: int, seed: int) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    state = rng.normal(size=2**num_qubits) + 1j * rng.normal(size=2**num_qubits)
    return state / np.linalg.norm(state)


def check(circuit: QuantumCircuit, reference: QuantumCircuit | None = None, seed: int = 0) -> Program:
    """Compare a circuit at random values with Statevector's result for the reference, the circuit itself by default."""
    lowered = lower(circuit)
    validate(lowered.program)
    values = np.random.default_rng(seed).uniform(-3, 3, len(lowered.parameters))
    bound = (reference or circuit).assign_parameters(dict(zip(lowered.parameters, values, strict=True)))
    found = run_program(lowered.program, lowered.angle_map.evaluate(values))
    # idle qubits are in |0>, and all others keep their order
    whole = np.zeros(2**circuit.num_qubits, dtype=np.complex128)
    for index, amplitude in enumerate(found):
        whole[sum(1 << qubit for k, qubit in enumerate(lowered.active.qubits) if index >> k & 1)] = amplitude
    np.testing.assert_allclose(whole, Statevector(bound).data, atol=1e-10)
    return lowered.program


def check_gradient(circuit: QuantumCircuit, seed: int = 0) -> None:
    """Compare the adjoint gradient through the angle map with finite differences of Qiskit's expectation values."""
    rng = np.random.default_rng(seed)
    operator = SparsePauliOp(
        ["".join(rng.choice(list("IXYZ"), circuit.num_qubits)) for _ in range(3)], [1.0, 0.5, -2.0]
    )
    lowered = lower(circuit)
    values = rng.uniform(-2, 2, len(lowered.parameters))
    angles = lowered.angle_map.evaluate(values)
    observable = lower_observable(operator, circuit.num_qubits)
    found = lowered.angle_map.pullback(values, adjoint_gradient(lowered.program, angles, observable))

    def energy(point: NDArray[np.float64]) -> float:
        state = Statevector(circuit.assign_parameters(dict(zip(lowered.parameters, point, strict=True))))
        return float(state.expectation_value(operator).real)

    assert abs(energy(values) - expectation(observable, run_program(lowered.program, angles))) < 1e-10
    step = 1e-5
    expected = [(energy(values + step * u) - energy(values - step * u)) / (2 * step) for u in np.eye(len(values))]
    np.testing.assert_allclose(found, expected, atol=2e-8 * max(1.0, float(np.linalg.norm(expected))))


def test_the_checks_notice_a_wrong_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    def sabotaged(circuit: QuantumCircuit) -> Lowered:
        lowered = lowering.lower(circuit)
        good = lowered.angle_map
        return replace(lowered, angle_map=replace(good, coefficients=1.001 * good.coefficients))

    circuit = library.zz_feature_map(2)
    monkeypatch.setattr(sys.modules[__name__], "lower", sabotaged)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(circuit)
    with pytest.raises(AssertionError):
        check_gradient(circuit)


def test_the_checks_notice_a_missing_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    def sabotaged(circuit: QuantumCircuit) -> Lowered:
        lowered = lowering.lower(circuit)
        program = replace(lowered.program, instructions=lowered.program.instructions[1:])
        return replace(lowered, dynamic=replace(lowered.dynamic, nodes=(Segment(program),)))

    circuit = library.real_amplitudes(3)
    monkeypatch.setattr(sys.modules[__name__], "lower", sabotaged)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(circuit)
    with pytest.raises(AssertionError):
        check_gradient(circuit)


# --- the library ---

LIBRARY: dict[str, Callable[[], QuantumCircuit]] = {
    "zz_feature_map": lambda: library.zz_feature_map(4, reps=2, entanglement="full"),
    "z_feature_map": lambda: library.z_feature_map(3),
    "pauli_feature_map": lambda: library.pauli_feature_map(3, paulis=["Z", "XX", "ZYZ"]),
    "real_amplitudes": lambda: library.real_amplitudes(4, entanglement="circular"),
    "efficient_su2": lambda: library.efficient_su2(3, su2_gates=["rx", "y", "rz"]),
    "n_local": lambda: library.n_local(4, ["ry", "p"], ["crx", "rzz"], reps=1),
    "excitation_preserving": lambda: library.excitation_preserving(3),
    "pauli_two_design": lambda: library.pauli_two_design(3, seed=1),
    "ZZFeatureMap": lambda: library.ZZFeatureMap(3),
    "PauliFeatureMap": lambda: library.PauliFeatureMap(3, paulis=["Y", "ZX"]),
    "RealAmplitudes": lambda: library.RealAmplitudes(3),
    "EfficientSU2": lambda: library.EfficientSU2(3),
    "TwoLocal": lambda: library.TwoLocal(3, "ry", "cz"),
    "ExcitationPreserving": lambda: library.ExcitationPreserving(3),
    "IQP": lambda: library.iqp([[6, 5, 3], [5, 4, 5], [3, 5, 1]]),
    "QFT": lambda: QuantumCircuit(3).compose(library.QFTGate(3), [2, 0, 1]),
    "quantum_volume": lambda: library.quantum_volume(4, seed=3),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_library_circuits(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old classes are deprecated, and in use
        circuit = LIBRARY[name]()
        check(circuit)
        check_gradient(circuit)


def evolution(**options: object) -> library.PauliEvolutionGate:
    operator = SparsePauliOp(["ZZI", "XYZ", "IIX", "YIY"], [1, 2, 0.5, -0.7])
    return library.PauliEvolutionGate(operator, **options)


@pytest.mark.parametrize(
    "options", [{"time": 0.7}, {"time": A}, {"time": A * B, "synthesis": SuzukiTrotter(2, reps=2)}]
)
def test_pauli_evolution_means_its_definition(options: dict[str, object]) -> None:
    gate = evolution(**options)
    circuit, reference = QuantumCircuit(4), QuantumCircuit(4)
    for each in (circuit, reference):
        each.h(range(4))
    circuit.append(gate, [2, 0, 3])
    reference.compose(gate.definition, [2, 0, 3], inplace=True)
    check(circuit, reference)


def test_qaoa_ansatz() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        circuit = library.QAOAAnsatz(SparsePauliOp(["ZZI", "IZZ", "ZII"], [1, 2, 0.5]), reps=2)
        check(circuit)  # the terms commute, so that the definition is exact
        check_gradient(circuit)


# --- random circuits ---


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_random_circuits(num_qubits: int, depth: int, seed: int) -> None:
    check(random_circuit(num_qubits, depth, max_operands=min(4, num_qubits), seed=seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10**6))
def test_random_nested_circuits(num_qubits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-3, 3, 2)
    point = {A: values[0], B: values[1]}
    circuit = random_circuit(num_qubits, 2, max_operands=min(3, num_qubits), seed=seed)
    circuit.global_phase = rng.uniform(-3, 3) * A
    matrix = Operator(circuit.assign_parameters({A: values[0]}))
    for level in range(2):
        outer = QuantumCircuit(num_qubits + 1, global_phase=A * B)
        outer.h(range(num_qubits + 1))
        outer.rx(2 * A - B, 0)
        reference = outer.assign_parameters(point)
        modifiers = [] if level else [ControlModifier(1, int(rng.integers(2)))]
        qubits = rng.permutation(num_qubits + 1).tolist()
        outer.append(AnnotatedOperation(circuit.to_gate(), modifiers) if modifiers else circuit.to_gate(), qubits)
        reference.append(AnnotatedOperation(matrix.to_instruction(), modifiers).to_matrix().to_instruction(), qubits)
        circuit, matrix = outer, Operator(reference)
    lowered = lower(circuit, [A, B])
    found = run_program(lowered.program, lowered.angle_map.evaluate(values))
    np.testing.assert_allclose(found, matrix.data[:, 0], atol=1e-10)


# --- parameters ---


def random_expression(rng: np.random.Generator, depth: int) -> ParameterExpression:
    if not depth or rng.random() < 0.15:
        return (A, B, C)[rng.integers(3)]
    first, second = random_expression(rng, depth - 1), random_expression(rng, depth - 1)
    number = float(rng.choice([2, -1.5, math.pi, 1 / 3, 1e-3]))
    builders = (
        lambda: first + second,
        lambda: first - second,
        lambda: first * second,
        lambda: first / second,
        lambda: first ** int(rng.choice([2, 3, -1])),
        lambda: number * first,
        lambda: number - first,
        lambda: -first,
        first.sin,
        first.cos,
        first.exp,
        first.abs,
    )
    return builders[rng.integers(len(builders))]()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_random_expressions(seed: int) -> None:
    """The angle against Qiskit's own bind, its derivative against finite differences."""
    rng = np.random.default_rng(seed)
    try:
        expression = random_expression(rng, 3)
    except (ZeroDivisionError, RuntimeError):  # a / (b - b)
        reject()
    assume("/-" not in str(expression))  # read by Qiskit in one way, printed in another
    assume(not {"inf", "NaN", "nan", "oo", "zoo"} & set(re.findall(r"\w+", str(expression))))  # 1 / (a - a)
    circuit = QuantumCircuit(1)
    circuit.rx(expression, 0)
    lowered = lower(circuit)
    values = rng.uniform(0.3, 1.2, (3, len(lowered.parameters)))

    def bound(point: NDArray[np.float64]) -> float:
        try:
            number = complex(expression.bind(dict(zip(lowered.parameters, point, strict=True))))
        except (ZeroDivisionError, RuntimeError):
            return math.nan
        return number.real if abs(number.imag) < 1e-12 else math.nan

    expected = np.array([bound(row) for row in values])
    assume(lowered.angle_map.num_angles and np.isfinite(expected).all() and np.abs(expected).max() < 1e3)
    np.testing.assert_allclose(lowered.angle_map.evaluate(values)[:, 0], expected, rtol=1e-11, atol=1e-11)
    gradients = lowered.angle_map.pullback(values, np.ones((3, 1)))
    assume(np.abs(gradients).max() < 1e3)
    step = 1e-6
    for point, gradient in zip(values, gradients, strict=True):
        numeric = [(bound(point + step * u) - bound(point - step * u)) / (2 * step) for u in np.eye(len(point))]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def angles_of(expression: ParameterExpression, values: dict[Parameter, float]) -> float:
    circuit = QuantumCircuit(1)
    circuit.rx(expression, 0)
    lowered = lower(circuit)
    return float(lowered.angle_map.evaluate([values[p] for p in lowered.parameters])[0])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (A.sign() * B, lambda a, b: math.copysign(b, a)),
        (A.conjugate() * B, lambda a, b: a * b),
        (A.arctan() + B.tan(), lambda a, b: math.atan(a) + math.tan(b)),
        ((A * B).log(), lambda a, b: math.log(a * b)),
        (A.arcsin() * B.arccos(), lambda a, b: math.asin(a) * math.acos(b)),
        (0.1234567890123456789 * A * B, lambda a, b: 0.1234567890123456789 * a * b),
        ((math.pi - A) * (math.pi - B), lambda a, b: (math.pi - a) * (math.pi - b)),
        (A**B, lambda a, b: a**b),
    ],
)
def test_functions(expression: ParameterExpression, expected: Callable[[float, float], float]) -> None:
    assert abs(angles_of(expression, {A: 0.3, B: 0.7}) - expected(0.3, 0.7)) < 1e-13


def test_expressions_with_a_misleading_text() -> None:
    faithful, misleading = (A / -B) * C, A / -(B * C)
    assert angles_of(faithful, {A: 0.3, B: 0.7, C: 1.9}) == pytest.approx(0.3 / -0.7 * 1.9)
    if str(faithful) == str(misleading):  # in Qiskit 2.1 to 2.6, at least
        circuit = QuantumCircuit(1)
        circuit.rx(faithful, 0)
        circuit.rx(misleading, 0)
        with pytest.raises(InvalidInputError, match=r"instruction 1 .*a/-b\*c cannot be read.*not in denominators"):
            lower(circuit)
    else:
        assert angles_of(misleading, {A: 0.3, B: 0.7, C: 1.9}) == pytest.approx(0.3 / -(0.7 * 1.9))


def test_affine_expressions_become_plain_terms() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(2 * A - B / 4 + 1, 0)
    circuit.ry((A + B) - A, 0)
    circuit.u(A, B, A + B, 0)
    lowered = lower(circuit)
    assert lowered.angle_map.groups == ()
    check(circuit)
    check_gradient(circuit)


def test_an_expression_that_cancels_is_a_constant() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(A - A + 0.3, 0)
    lowered = lower(circuit)
    assert lowered.angle_map.num_angles == 0
    assert lowered.program.instructions == (Rotation(1, 0, theta=0.3),)


def test_expressions_of_one_form_share_a_formula() -> None:
    x = ParameterVector("x", 12)
    lowered = lower(library.zz_feature_map(12, parameter_prefix="x", entanglement="full"))
    groups = lowered.angle_map.groups
    assert sum(len(group.labels) for group in groups) == len(x) * (len(x) - 1) // 2
    assert len(groups) <= 2
    assert [p.name for p in lowered.parameters] == [p.name for p in x]  # x[10] after x[9]


def test_parameters_in_any_order() -> None:
    x = ParameterVector("x", 12)
    circuit = QuantumCircuit(12)
    for index in range(12):
        circuit.ry(x[index], index)
    order = [x[i] for i in np.random.default_rng(0).permutation(12)]
    lowered = lower(circuit, order)
    values = {parameter: 0.1 * index for index, parameter in enumerate(x)}
    angles = lowered.angle_map.evaluate([values[p] for p in order])
    np.testing.assert_allclose(angles, 0.1 * np.arange(12))
    assert lower(circuit, x).parameters == tuple(x)


def test_a_parameter_used_many_times() -> None:
    circuit = QuantumCircuit(3, global_phase=A)
    circuit.h(range(3))
    for qubit in range(3):
        circuit.rx(A, qubit)
        circuit.cp(3 * A, qubit, (qubit + 1) % 3)
        circuit.rz(A * A, qubit)
    check(circuit)
    check_gradient(circuit)


def test_wrong_parameters() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(A + B, 0)
    with pytest.raises(InvalidInputError, match="listed nowhere: b"):
        lower(circuit, [A])
    with pytest.raises(InvalidInputError, match=r"not in the circuit: c\. The circuit has a, b"):
        lower(circuit, [A, B, C])
    with pytest.raises(InvalidInputError, match="more than once: a"):
        lower(circuit, [A, B, A])
    with pytest.raises(InvalidInputError, match=r"Parameter objects, got 'a'"):
        lower(circuit, ["a", "b"])


def test_expressions_that_cannot_be_angles() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.rx(1j * A * A, 0)
    with pytest.raises(InvalidInputError, match=r"the angle of instruction 1 \(.*'rx.*\) of the circuit: "):
        lower(circuit)


# --- global phase, registers, what is dropped ---


def test_global_phases() -> None:
    inner = QuantumCircuit(2, global_phase=A * B)
    inner.x(0)
    inner.crz(B, 0, 1)
    circuit = QuantumCircuit(3, global_phase=0.3)
    circuit.h(range(3))
    circuit.append(inner.to_gate().control(1, ctrl_state=0, annotated=False), [1, 2, 0])
    circuit.append(library.GlobalPhaseGate(A), [])
    check(circuit)
    check_gradient(circuit)


def test_constant_phases_are_one_instruction() -> None:
    circuit = QuantumCircuit(2, global_phase=0.1)
    for _ in range(5):
        circuit.x(0)
        circuit.h(1)
    program = check(circuit)
    phases = [r for r in program.instructions if isinstance(r, Rotation) and not r.x | r.z | r.ctrl_mask]
    assert len(phases) == 1


def test_registers_in_any_order() -> None:
    loose, first, second = Qubit(), QuantumRegister(2, "b"), QuantumRegister(2, "a")
    circuit = QuantumCircuit([loose], second, AncillaRegister(1), first, ClassicalRegister(2))
    circuit.ry(0.4, loose)
    circuit.cx(loose, first[1])
    circuit.crx(1.1, second[0], first[0])
    circuit.h(first)
    circuit.swap(second[1], loose)
    check(circuit)


def test_barriers_delays_and_identities_are_dropped() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.barrier()
    circuit.delay(100, 0)
    circuit.id(1)
    circuit.rz(0.0, 1)
    reference = QuantumCircuit(2)
    reference.h(0)
    assert check(circuit).instructions == check(reference).instructions


# --- matrices, diagonals, states ---


def test_unitary_gates() -> None:
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.unitary(random_unitary(8, seed=1), [3, 1, 0])
    circuit.unitary(random_unitary(2, seed=2), [2])
    program = check(circuit)
    assert [i.qubits for i in program.instructions if isinstance(i, Matrix)] == [(3, 1, 0), (2,)]


@pytest.mark.parametrize("num_qubits", [1, 2, 3])
@pytest.mark.parametrize("state", [0, 1, 2])
def test_unitary_gates_under_controls(num_qubits: int, state: int) -> None:
    gate = library.UnitaryGate(random_unitary(2**num_qubits, seed=3))
    n = num_qubits + 2
    circuit, reference = QuantumCircuit(n), QuantumCircuit(n)
    qubits = np.random.default_rng(4).permutation(n).tolist()
    operation = AnnotatedOperation(gate, ControlModifier(2, state))
    for each in (circuit, reference):
        each.h(range(n))
    circuit.append(operation, qubits)
    reference.unitary(operation.to_matrix(), qubits)
    check(circuit, reference)


def test_diagonal_gates() -> None:
    table = np.exp(1j * np.random.default_rng(0).normal(size=8))
    gate = library.DiagonalGate(table)
    circuit = QuantumCircuit(5)
    circuit.h(range(5))
    circuit.append(gate, [3, 1, 0])
    circuit.append(gate.control(1, ctrl_state=0, annotated=False), [4, 2, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        circuit.append(library.Diagonal(table).to_gate(), [2, 3, 4])
    program = check(circuit)
    assert [i.qubits for i in program.instructions if isinstance(i, Diagonal)] == [(3, 1, 0), (2, 0, 1, 4), (2, 3, 4)]


def test_other_named_gates() -> None:
    circuit = QuantumCircuit(5)
    circuit.h(range(5))
    circuit.append(library.PauliGate("XYZ"), [4, 0, 2])
    circuit.append(library.PermutationGate([2, 0, 1, 4, 3]), range(5))
    circuit.append(random_clifford(3, seed=1), [0, 4, 2])
    circuit.append(library.RVGate(0.1, 0.2, 0.3), [1])
    circuit.append(library.UCRYGate([0.1, 0.2, 0.3, 0.4]), [0, 3, 2])
    circuit.append(library.MCMTGate(library.RYGate(0.1), 2, 2), [0, 1, 2, 3])
    circuit.append(library.MSGate(3, 0.4), [1, 2, 3])
    check(circuit)


def test_initialize_a_subset() -> None:
    circuit = QuantumCircuit(5)
    circuit.initialize(random_state(3, 1), [2, 0, 3])
    circuit.h(1)
    circuit.initialize("r", [4])
    circuit.cx(1, 2)
    program = check(circuit)
    assert program.initial_state is not None
    assert all(isinstance(i, Rotation) for i in program.instructions)


@pytest.mark.parametrize("state", ["r-0", 5, random_state(3, 2)], ids=["label", "integer", "amplitudes"])
@pytest.mark.parametrize("method", ["initialize", "prepare_state"])
def test_initial_states(state: object, method: str) -> None:
    circuit = QuantumCircuit(3)
    getattr(circuit, method)(state, [1, 2, 0])
    circuit.rx(A, 0)
    assert check(circuit).initial_state is not None
    check_gradient(circuit)


def test_state_preparation_is_a_unitary_anywhere_else() -> None:
    gate = library.StatePreparation(random_state(2, 3))
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.append(gate, [0, 2])
    circuit.append(gate.inverse(), [3, 1])
    circuit.append(AnnotatedOperation(gate, ControlModifier(1, 0)), [1, 2, 0])
    assert check(circuit, circuit.decompose()).initial_state is None


def test_reset_of_untouched_qubits_is_nothing() -> None:
    circuit = QuantumCircuit(2)
    circuit.reset([0, 1])
    circuit.h(0)
    reference = QuantumCircuit(2)
    reference.h(0)
    check(circuit, reference)


# --- annotated operations ---


def test_annotated_operations() -> None:
    body = QuantumCircuit(2, global_phase=A)
    body.rx(A, 0)
    body.crz(B + 2 * A, 0, 1)
    body.h(0)
    modifiers = [ControlModifier(1, 0), InverseModifier(), PowerModifier(2), ControlModifier(2, 2)]
    circuit = QuantumCircuit(5)
    circuit.h(range(5))
    circuit.append(AnnotatedOperation(AnnotatedOperation(body.to_gate(), []), modifiers), [4, 0, 1, 3, 2])
    lowered = lower(circuit)
    values = [0.3, 0.7]
    base = Operator(body.assign_parameters(dict(zip(lowered.parameters, values, strict=True))))
    expected = AnnotatedOperation(base.to_instruction(), modifiers).to_matrix()
    reference = Statevector(np.full(32, 1 / math.sqrt(32))).evolve(expected, [4, 0, 1, 3, 2])
    np.testing.assert_allclose(
        run_program(lowered.program, lowered.angle_map.evaluate(values)), reference.data, atol=1e-12
    )


def test_fractional_powers() -> None:
    operation = AnnotatedOperation(library.SXGate(), [PowerModifier(0.3), ControlModifier(1)])
    circuit = QuantumCircuit(2)
    circuit.append(operation, [1, 0])
    expected = Operator(np.eye(4)).compose(operation.to_matrix(), [1, 0])
    np.testing.assert_allclose(program_unitary(lower(circuit).program), expected.data, atol=1e-12)


@pytest.mark.parametrize(("num_targets", "num_controls"), [(1, 1), (1, 3), (2, 2), (1, 0), (1, 6), (3, 4)])
def test_multiplexers_by_name(num_targets: int, num_controls: int) -> None:
    matrices = [random_unitary(2**num_targets, seed=k).data for k in range(2**num_controls)]
    width = num_targets + num_controls
    qubits = np.random.default_rng(1).permutation(width).tolist()
    circuit, expected = QuantumCircuit(width + 1), QuantumCircuit(width + 1)
    circuit.append(Instruction("multiplexer", width, 0, matrices), qubits)
    for value, matrix in enumerate(matrices):
        gate = library.UnitaryGate(matrix)
        if num_controls:
            gate = AnnotatedOperation(gate, [ControlModifier(num_controls, value)])
        expected.append(gate, [*qubits[num_targets:], *qubits[:num_targets]])
    state = random_state(width + 1, 3)
    reference = Statevector(state)
    for each in expected.data:
        operator = Operator(each.operation.to_matrix())
        reference = reference.evolve(operator, [expected.find_bit(qubit).index for qubit in each.qubits])
    found = run_program(replace(lower(circuit).program, initial_state=state))
    np.testing.assert_allclose(found, reference.data, atol=1e-12)


def test_multiplexers_of_qiskit_and_wrong_ones() -> None:
    for matrices in ([random_unitary(2, seed=k).data for k in range(4)], [np.eye(2), np.eye(2)] * 2):
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.append(library.UCGate(matrices), [2, 0, 1])
        circuit.append(library.UCGate(matrices).control(1), [3, 2, 0, 1])
        check(circuit)
    circuit = QuantumCircuit(3)
    circuit.append(Instruction("multiplexer", 3, 0, [np.eye(2)] * 3), [0, 1, 2])
    refused(circuit, "a matrix on its first qubits")


# --- names ---


def test_a_users_gate_with_a_known_name_means_its_definition() -> None:
    gate = Gate("rx", 1, [A])
    gate.definition = QuantumCircuit(1)
    gate.definition.ry(A, 0)
    circuit = QuantumCircuit(1)
    circuit.append(gate, [0])
    assert lower(circuit).program.instructions == (Rotation(1, 1, slot=0),)


BASE_OF_NAME = {
    "cu2": library.U2Gate(0.4, -0.7), "mcp": library.PhaseGate(0.3), "mcphase": library.PhaseGate(1.3),
    "mcr": library.RGate(0.3, -0.4), "mcrx": library.RXGate(0.9), "mcry": library.RYGate(0.8),
    "mcrz": library.RZGate(-1.1), "mcswap": library.SwapGate(), "mcsx": library.SXGate(),
    "mcu": library.UGate(0.2, 0.5, -0.9), "mcu1": library.U1Gate(0.6), "mcu2": library.U2Gate(0.2, 1.4),
    "mcu3": library.U3Gate(1.2, -0.3, 0.5), "mcx": library.XGate(), "mcx_gray": library.XGate(),
    "mcy": library.YGate(), "mcz": library.ZGate(),
}  # fmt: skip


@pytest.mark.parametrize("name", BASE_OF_NAME)
def test_an_instruction_that_is_a_name_means_what_aer_means_by_it(name: str) -> None:
    assert BASE_OF_NAME.keys() == MULTI_CONTROLLED.keys()
    base = BASE_OF_NAME[name]
    for num_ctrl in (1,) if name == "cu2" else (1, 2, 3):
        width = num_ctrl + base.num_qubits
        qubits = np.random.default_rng(num_ctrl).permutation(width).tolist()
        circuit, expected = QuantumCircuit(width), QuantumCircuit(width)
        circuit.append(Instruction(name, width, 0, base.params), qubits)
        expected.append(base.control(num_ctrl, annotated=False), qubits)
        np.testing.assert_allclose(program_unitary(lower(circuit).program), Operator(expected).data, atol=1e-12)


def test_names_with_other_numbers_of_parameters_or_qubits() -> None:
    circuit = QuantumCircuit(3)
    circuit.append(Gate("mcu", 3, [0.1, 0.2, 0.3, 0.4]), [2, 0, 1])
    expected = QuantumCircuit(3)
    expected.append(library.UGate(0.1, 0.2, 0.3).control(2, annotated=False), [2, 0, 1])
    expected.cp(0.4, 2, 0)
    np.testing.assert_allclose(program_unitary(lower(circuit).program), Operator(expected).data, atol=1e-12)
    for gate in (Gate("mcrx", 3, []), Gate("mcx", 1, []), Gate("x", 2, []), Gate("rx", 1, [])):
        circuit = QuantumCircuit(3)
        circuit.append(gate, range(gate.num_qubits))
        refused(circuit, gate.name)


def test_instructions_that_are_names_only() -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.append(Instruction("h", 1, 0, []), [2])
    circuit.append(Gate("rzx", 2, [0.3]), [2, 0])
    circuit.append(Instruction("unitary", 1, 0, [np.diag([1, 1j])]), [0])
    circuit.append(Instruction("measure", 2, 2, []), [2, 0], [0, 1])
    expected = QuantumCircuit(3)
    expected.h(2)
    expected.rzx(0.3, 2, 0)
    expected.s(0)
    found = lower(circuit, qubits=range(3))
    np.testing.assert_allclose(program_unitary(found.program), Operator(expected).data, atol=1e-12)
    assert found.measurement.pairs == ((2, 0), (0, 1))
    assert lower(circuit).measurement.pairs == ((1, 0), (0, 1))


def test_a_users_gate_with_a_matrix() -> None:
    class Root(Gate):
        def __init__(self) -> None:
            super().__init__("root", 1, [])

        def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.complex128]:
            return np.diag([1, cmath.exp(0.3j)])

    circuit = QuantumCircuit(2)
    circuit.h(range(2))
    circuit.append(Root(), [1])
    check(circuit)


def refused(circuit: QuantumCircuit, pattern: str) -> None:
    with pytest.raises(UnsupportedInstructionError, match=pattern):
        lower(circuit)


def test_a_gate_defined_in_openqasm_means_its_definition() -> None:
    """Also where the name is one of Qiskit's: cs here is another gate, and ecr has no global phase."""
    circuit = qasm2.loads(
        'OPENQASM 2.0; include "qelib1.inc"; gate cs a, b { rx(0.3) a; cx a, b; }\n'
        "gate ecr a, b { s a; rx(pi/2) b; cx a, b; x a; } qreg q[2]; ry(0.4) q[0]; cs q[0], q[1]; ecr q[1], q[0];"
    )
    np.testing.assert_allclose(program_unitary(lower(circuit).program), Operator(circuit).data, atol=1e-12)


def test_unknown_gates_are_named_with_their_place() -> None:
    inner = QuantumCircuit(1, name="inner")
    inner.h(0)
    inner.append(Gate("mystery", 1, [0.1]), [0])
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.x(1)
    circuit.append(inner.to_gate(), [1])
    refused(circuit, r"instruction 2 \(\W*inner.*\) of the circuit, in its definition instruction 1 \(\W*mystery")


def test_controlled_resets_are_refused() -> None:
    inner = QuantumCircuit(1)
    inner.reset(0)
    circuit = QuantumCircuit(2)
    circuit.append(AnnotatedOperation(inner.to_instruction(), [ControlModifier(1)]), [0, 1])
    refused(circuit, "controlled by qubits")


def test_control_flow_is_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    refused(circuit, r"instruction 0 \(\W*if_else")


def test_gates_after_a_measurement_are_refused() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    refused(circuit, r"instruction 2 \(\W*cx\W*\).*qubit 0 after a measurement; mid-circuit")
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.unitary(random_unitary(2, seed=0), [0])
    refused(circuit, "after a measurement")


def test_channels_after_a_measurement_are_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(2.0, 0)
    circuit.measure(0, 0)
    circuit.append(Kraus([np.diag([1, np.sqrt(0.5)]), [[0, np.sqrt(0.5)], [0, 0]]]), [0])
    refused(circuit, r"instruction 2 \(\W*kraus\W*\).*qubit 0 after a measurement; mid-circuit")


def test_definitions_that_cannot_be_built_are_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(library.HamiltonianGate(np.eye(2), A), [0])
    refused(circuit, r"hamiltonian\W*\).*its definition cannot be built")


def test_what_is_no_circuit() -> None:
    with pytest.raises(InvalidInputError, match="QuantumCircuit is expected, got str"):
        lower("circuit")
    with pytest.raises(InvalidInputError, match="no qubits; at least 1"):
        lower(QuantumCircuit())
    circuit = QuantumCircuit(42)
    circuit.h(range(41))
    with pytest.raises(InvalidInputError, match="acts on 41 of its 42 qubits; at most 40"):
        lower(circuit)
    assert issubclass(UnsupportedInstructionError, FusedQMLError)


# --- measurements ---


def test_measurements() -> None:
    first, second = ClassicalRegister(2, "first"), ClassicalRegister(1, "second")
    circuit = QuantumCircuit(QuantumRegister(3), first, second)
    circuit.h(range(3))
    circuit.measure(2, first[1])
    circuit.measure(0, second[0])
    circuit.barrier()
    circuit.measure(1, second[0])  # overwrites
    circuit.measure(2, first[0])  # the same qubit again
    lowered = lower(circuit)
    assert lowered.measurement.pairs == ((2, 0), (2, 1), (1, 2))
    assert lowered.dynamic.num_clbits == 3
    assert [type(i) for i in lowered.program.instructions] == [Rotation] * 7
    assert lower(QuantumCircuit(2, 3)).dynamic.nodes[1:] == ()


def test_measurements_inside_an_instruction() -> None:
    inner = QuantumCircuit(2, 2)
    inner.h(0)
    inner.measure([0, 1], [1, 0])
    circuit = QuantumCircuit(3, 4)
    circuit.h(range(3))
    circuit.append(inner.to_instruction(), [2, 0], [3, 1])
    assert lower(circuit).measurement.pairs == ((2, 1), (0, 3))


@pytest.mark.parametrize("given", ["Z0", "Z0Z1", "ZA00", {"Z0": 1.0}])
def test_labels_that_count_qubits_are_answered(given: object) -> None:
    with pytest.raises(InvalidInputError, match=r'one letter a qubit.*"IIIZ"'):
        DifferentiableCircuit(QuantumCircuit(5), [given])
