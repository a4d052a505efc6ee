"""Dynamic programs: the grammar's checks, and what is run so far."""

from __future__ import annotations

import pytest

from qiskit_fusedqml.dynamic import Branch, DynamicProgram, Measure, Node, Reset, Save, Segment, validate
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.program import Program, Rotation

PROGRAM = Program(2, 0, (Rotation(1, 0, theta=0.3),))


def test_measurements_at_the_end() -> None:
    dynamic = DynamicProgram(2, 3, (Segment(PROGRAM), Measure(1, 2), Measure(0, 0), Measure(0, 2)))
    validate(dynamic)
    assert dynamic.straight_line() is PROGRAM
    assert dynamic.terminal_measurements() == ((0, 0), (0, 2))
    assert DynamicProgram(2, 3, (Segment(PROGRAM),)).terminal_measurements() == ()


@pytest.mark.parametrize(
    "nodes",
    [
        (Segment(PROGRAM), Reset(0)),
        (Segment(PROGRAM), Measure(0, 0), Segment(PROGRAM)),
        (Segment(PROGRAM), Branch(1, 1, (Reset(0),))),
        (Segment(PROGRAM), Save("statevector", "state", (0, 1))),
        (Measure(0, 0),),
    ],
)
def test_anything_more_is_refused(nodes: tuple[Node, ...]) -> None:
    dynamic = DynamicProgram(2, 1, nodes)
    validate(dynamic)
    for method in (dynamic.straight_line, dynamic.terminal_measurements):
        with pytest.raises(UnsupportedInstructionError, match="cannot be run"):
            method()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Measure(2, 0), "qubit 2; there are 2"),
        (Measure(0, 3), "classical bit 3; there are 3"),
        (Reset(-1), "qubit -1"),
        (Save("statevector", "state", (0, 2)), "qubit 2"),
        (Branch(8, 0, ()), "3 classical bits"),
        (Branch(1, 2, ()), "bits must lie in the mask"),
        (Branch(1, 1, (), (Branch(1, 0, (Reset(5),)),)), "qubit 5"),
        (Segment(Program(3, 0, ())), "3 qubits; 2 are expected"),
        (Segment(Program(2, 0, (Rotation(1, 0, slot=0),))), "Instruction 0"),
    ],
)
def test_the_grammar_is_checked(node: Node, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        validate(DynamicProgram(2, 3, (Segment(PROGRAM), node)))
