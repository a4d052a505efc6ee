"""Definitions, blocks and modifiers nested deeper than Python's calls."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, Gate, Instruction, InverseModifier, Operation
from qiskit.circuit.classical import expr
from qiskit.circuit.library import RXGate
from support.interpreter import program_unitary

from qiskit_fusedqml import DifferentiableCircuit, FusedEstimator, FusedSimulator
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.lowering import lower, lower_dynamic
from qiskit_fusedqml.ir.dynamic import Branch, Repeat, While, validate, walk

LEVELS = 600
BLOCKS = 250


def nested_definitions(innermost: Operation, levels: int = LEVELS) -> QuantumCircuit:
    operation = innermost
    for level in range(levels):
        outer = Instruction(f"level{level}", 1, 0, [])
        outer.definition = QuantumCircuit(1)
        outer.definition.append(operation, [0])
        operation = outer
    circuit = QuantumCircuit(1)
    circuit.append(operation, [0])
    return circuit


def test_definitions() -> None:
    circuit = nested_definitions(RXGate(0.3))
    np.testing.assert_allclose(program_unitary(lower(circuit).program), RXGate(0.3).to_matrix(), atol=1e-14)
    assert len(lower_dynamic(circuit, (0,)).dynamic.nodes) == 1
    with pytest.raises(UnsupportedInstructionError, match="levels deeper") as caught:
        lower(nested_definitions(Gate("mystery", 1, [])))
    assert "mystery" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_annotations() -> None:
    operation: Operation = RXGate(0.3)
    for _ in range(LEVELS + 1):
        operation = AnnotatedOperation(operation, [InverseModifier()])
    circuit = QuantumCircuit(1)
    circuit.append(operation, [0])
    np.testing.assert_allclose(program_unitary(lower(circuit).program), RXGate(-0.3).to_matrix(), atol=1e-14)


@pytest.mark.parametrize("kind", ["if", "else", "for", "while", "box", "switch"])
def test_blocks(kind: str) -> None:
    body = QuantumCircuit(1, 1)
    body.x(0)
    body.measure(0, 0)
    for _ in range(BLOCKS):
        outer = QuantumCircuit(1, 1)
        bit = outer.clbits[0]
        if kind == "if":
            outer.if_test((bit, 0), body, [0], [0])
        elif kind == "else":
            outer.if_else((bit, 1), QuantumCircuit(1, 1), body, [0], [0])
        elif kind == "for":
            outer.for_loop((0,), None, body, [0], [0])
        elif kind == "while":
            outer.while_loop((bit, 0), body, [0], [0])
        elif kind == "switch":
            outer.switch(bit, [(0, body)], [0], [0])
        else:
            outer.box(body, [0], [0])
        body = outer
    dynamic = lower_dynamic(body).dynamic
    validate(dynamic)
    held = sum(isinstance(node, (Branch, Repeat, While)) for node in walk(dynamic.nodes))
    assert held == (0 if kind == "box" else BLOCKS)


def test_expressions() -> None:
    circuit = QuantumCircuit(1, 1)
    value = expr.lift(circuit.clbits[0])
    for _ in range(400):  # Qiskit's own limit is below 1,000
        value = expr.logic_not(expr.logic_or(value, circuit.clbits[0]))
    circuit.if_test(value, QuantumCircuit(1), [0], [])
    validate(lower_dynamic(circuit).dynamic)


def test_what_qiskit_cannot_copy_is_refused() -> None:
    circuit = nested_definitions(RXGate(0.3), 2000)
    for run in (
        lambda: FusedEstimator().run([(circuit, "Z")]).result(),
        lambda: FusedSimulator().run(circuit).result(),
        lambda: DifferentiableCircuit(circuit, ["Z"]),
    ):
        with pytest.raises(InvalidInputError, match="nested too deeply"):
            run()
