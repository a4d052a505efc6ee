"""The gate table against Qiskit's own matrices: value and gradient, every control state."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, ControlModifier, Gate, ParameterVector
from qiskit.circuit.library import standard_gates
from qiskit.quantum_info import Operator, Statevector
from support.interpreter import adjoint_gradient, program_unitary

from qiskit_fusedqml.interfaces.qiskit.lowering import lower, lower_observable
from qiskit_fusedqml.ir.gates import (
    GATES,
    Factor,
    GateRow,
    PlacedFactor,
    place,
    undone,
)
from qiskit_fusedqml.ir.program import Program, Rotation, validate

ANGLES = {"theta", "phi", "lam", "gamma", "beta", "phase"}
CLASSES = [value for _, value in sorted(vars(standard_gates).items()) if inspect.isclass(value)]


def build(gate_class: type[Gate], rng: np.random.Generator, **options: object) -> Gate:
    """A gate at random angles."""
    arguments: dict[str, object] = {
        name: rng.uniform(-7, 7) for name in inspect.signature(gate_class.__init__).parameters if name in ANGLES
    }
    if "num_ctrl_qubits" in inspect.signature(gate_class.__init__).parameters:
        arguments["num_ctrl_qubits"] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gate_class(**arguments, **options)


def named_gates() -> dict[str, type[Gate]]:
    """The library's class for every name; where several share one, any."""
    rng = np.random.default_rng(0)
    return {build(gate_class, rng).name: gate_class for gate_class in CLASSES}


def product_unitary(factors: tuple[PlacedFactor, ...], num_qubits: int, params: list[float]) -> NDArray[np.complex128]:
    """The matrix of a product of factors."""
    rotations = []
    for f in factors:
        angle = f.constant + sum(c * p for c, p in zip(f.coefficients, params, strict=False))
        rotations.append(Rotation(f.x, f.z, f.ctrl_mask, f.ctrl_value, theta=angle))
    program = Program(max(num_qubits, 1), 0, tuple(rotations))
    validate(program)
    return program_unitary(program)[: 2**num_qubits, : 2**num_qubits]


def row_error(row: GateRow, gate: Gate) -> float:
    """Largest deviation of a row from the library's matrix, its own controls closed."""
    own = (1 << row.num_ctrl) - 1
    factors = place(row, range(row.num_ctrl, row.num_qubits), own, own)
    return float(np.abs(product_unitary(factors, row.num_qubits, gate.params) - Operator(gate).data).max())


@pytest.mark.parametrize("name", GATES)
def test_row_is_the_librarys_matrix(name: str) -> None:
    gate = build(named_gates()[name], np.random.default_rng(1))
    row = GATES[name]
    assert (row.num_qubits, row.num_params) == (gate.num_qubits, len(gate.params))
    assert row_error(row, gate) < 1e-12


@pytest.mark.parametrize("name", GATES)
def test_a_wrong_row_is_noticed(name: str) -> None:
    gate = build(named_gates()[name], np.random.default_rng(1))
    row = GATES[name]
    field = "factors" if row.factors and not row.num_ctrl else "core" if row.core else "factors"
    factors: tuple[Factor, ...] = getattr(row, field)
    for position, factor in enumerate(factors):
        wrong = replace(
            factor, coefficients=tuple(1.001 * c for c in factor.coefficients), constant=1.001 * factor.constant
        )
        changed = (*factors[:position], wrong, *factors[position + 1 :])
        assert row_error(replace(row, **{field: changed}), gate) > 1e-5, factor
    assert factors or name == "id"


@pytest.mark.parametrize("name", [name for name, row in GATES.items() if not row.num_ctrl])
@pytest.mark.parametrize("num_ctrl", [1, 2])
def test_row_under_controls(name: str, num_ctrl: int) -> None:
    gate, row = build(named_gates()[name], np.random.default_rng(2)), GATES[name]
    base = Operator(gate).data
    for state in range(2**num_ctrl):
        # targets first, controls above them
        expected = np.eye(2 ** (row.num_targets + num_ctrl), dtype=complex)
        block = slice(state * len(base), (state + 1) * len(base))
        expected[block, block] = base
        ctrl_mask = (2**num_ctrl - 1) << row.num_targets
        factors = place(row, range(row.num_targets), ctrl_mask, state << row.num_targets)
        found = product_unitary(factors, row.num_targets + num_ctrl, gate.params)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_undone_is_the_inverse() -> None:
    for row in GATES.values():
        if row.num_targets:
            params = list(np.random.default_rng(3).normal(size=row.num_params))
            both = GateRow(row.num_targets, row.num_params, row.product + undone(row.product))
            found = product_unitary(place(both, range(row.num_targets)), row.num_targets, params)
            np.testing.assert_allclose(found, np.eye(2**row.num_targets), atol=1e-12)


def variants(gate_class: type[Gate], rng: np.random.Generator) -> Iterator[Gate]:
    """A gate in every control state, and with one or two more controls."""
    first = build(gate_class, rng)
    states = range(2**first.num_ctrl_qubits) if hasattr(first, "num_ctrl_qubits") else [None]
    for state in states:
        gate = first if state is None else build(gate_class, rng, ctrl_state=state)
        yield gate
        for extra, extra_state in ((1, 0), (2, 1)):
            if gate.num_qubits + extra <= 5:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # asks for annotated=, which some gates do not accept
                    yield gate.control(extra, ctrl_state=extra_state)


@pytest.mark.parametrize("gate_class", CLASSES, ids=lambda gate_class: gate_class.__name__)
def test_every_standard_gate_in_every_control_state(gate_class: type[Gate]) -> None:
    rng = np.random.default_rng(4)
    for gate in variants(gate_class, rng):
        circuit = QuantumCircuit(max(gate.num_qubits, 1))
        circuit.append(gate, rng.permutation(gate.num_qubits).tolist())
        lowered = lower(circuit, qubits=range(circuit.num_qubits))
        validate(lowered.program)
        np.testing.assert_allclose(program_unitary(lowered.program), Operator(circuit).data, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, row in GATES.items() if row.num_params])
def test_gradient_against_finite_differences(name: str) -> None:
    rng = np.random.default_rng(5)
    row = GATES[name]
    gate = build(named_gates()[name], rng)
    params = ParameterVector("p", row.num_params)
    n = row.num_qubits + 1
    circuit = QuantumCircuit(n)
    for qubit in range(n):
        circuit.u(*rng.uniform(-3, 3, 3), qubit)
    for first, second in itertools.pairwise(range(n)):
        circuit.cx(first, second)
    parametrised = gate.copy()
    parametrised.params = list(params)
    # a control in front makes phases count
    circuit.append(AnnotatedOperation(parametrised, ControlModifier(1, 0)), list(range(n)))
    for qubit in range(n):
        circuit.u(*rng.uniform(-3, 3, 3), qubit)
    observable = "ZXY"[: min(n, 3)].rjust(n, "Z")
    values = rng.uniform(-3, 3, row.num_params)

    lowered = lower(circuit, params)
    angles = lowered.angle_map.evaluate(values)
    d_angles = adjoint_gradient(lowered.program, angles, lower_observable(observable, n))
    found = lowered.angle_map.pullback(values, d_angles)

    def energy(point: NDArray[np.float64]) -> float:
        matrix = Operator(build_at(gate, point)).data
        controlled = np.eye(2 * len(matrix), dtype=complex)
        controlled[::2, ::2] = matrix  # the control is the lowest bit, and open
        bound = QuantumCircuit(n)
        for instruction in circuit.data:
            if instruction.name == "annotated":
                bound.unitary(controlled, range(n))
            else:
                bound.append(instruction)
        return float(Statevector(bound).expectation_value(Operator.from_label(observable)).real)

    step = 1e-5
    expected = [
        (energy(values + step * unit) - energy(values - step * unit)) / (2 * step) for unit in np.eye(row.num_params)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected).max() > 1e-3  # the comparison has something to compare


def build_at(gate: Gate, values: NDArray[np.float64]) -> Gate:
    """The same gate at other angles."""
    other = gate.copy()
    other.params = values.tolist()
    return other
