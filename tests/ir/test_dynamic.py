"""Dynamic programs: the grammar's checks, and measurements that are put off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.ir.classical import (
    BOOL,
    Apply,
    Bits,
    Constant,
    Variable,
)
from qiskit_fusedqml.ir.dynamic import (
    Assign,
    Branch,
    Break,
    DynamicProgram,
    Measure,
    Node,
    Prepare,
    Repeat,
    Reset,
    Save,
    Segment,
    While,
    final_writes,
    validate,
)
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.ir.simplify import simplify

PROGRAM = Program(2, 0, (Rotation(1, 0, theta=0.3),))
BIT = Bits((0,), BOOL)


def turn(qubit: int, slot: int = -1, num_qubits: int = 3) -> Segment:
    """A rotation of one qubit."""
    return Segment(Program(num_qubits, 0, (Rotation(1 << qubit, 0, slot=slot, theta=0.3 if slot < 0 else 0.0),)))


def test_measurements_at_the_end() -> None:
    dynamic = DynamicProgram(2, 3, (Segment(PROGRAM), Measure(1, 2), Measure(0, 0), Measure(0, 2)))
    validate(dynamic)
    assert dynamic.straight_line() is PROGRAM
    assert final_writes([Measure(1, 2), Measure(0, 0), Measure(0, 2)]) == ((0, 0), (0, 2))
    assert final_writes([]) == ()


@pytest.mark.parametrize(
    "nodes",
    [
        (Segment(PROGRAM), Reset(0)),
        (Segment(PROGRAM), Measure(0, 0), Segment(PROGRAM)),
        (Segment(PROGRAM), Branch(BIT, (Reset(0),))),
        (Segment(PROGRAM), Save("statevector", "state", (0, 1))),
        (Measure(0, 0),),
    ],
)
def test_values_are_defined_for_one_segment_only(nodes: tuple[Node, ...]) -> None:
    dynamic = DynamicProgram(2, 1, nodes)
    validate(dynamic)
    with pytest.raises(UnsupportedInstructionError, match="one straight-line segment"):
        dynamic.straight_line()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Measure(2, 0), "qubit 2; there are 2"),
        (Measure(0, 3), "classical bit 3; there are 3"),
        (Reset(-1), "qubit -1"),
        (Save("statevector", "state", (0, 2)), "qubit 2"),
        (Save("stabilizer", "state", (0,)), "kind 'stabilizer'"),
        (Save("statevector", "state", (0,), "all"), "subtype 'all'"),
        (Prepare((0, 1), np.ones(2) / np.sqrt(2) + 0j), "2 qubits are prepared"),
        (Branch(Bits((3,), BOOL), ()), "classical bit 3"),
        (Branch(BIT, (), (Branch(BIT, (Reset(5),)),)), "qubit 5"),
        (While(Apply("LESS", (Variable(1, 4), Constant(1, 4)), BOOL), ()), "variable 1"),
        (Repeat(((Reset(7),),)), "qubit 7"),
        (Assign(Variable(2, 4), Constant(1, 4)), "variable 2"),
        (Segment(Program(3, 0, ())), "3 qubits; 2 are expected"),
        (Segment(Program(2, 0, (Rotation(1, 0, slot=0),))), "Instruction 0"),
    ],
)
def test_the_grammar_is_checked(node: Node, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        validate(DynamicProgram(2, 3, (Segment(PROGRAM), node), (Variable(0, 4),)))


def kinds(nodes: tuple[Node, ...]) -> list[str]:
    return [type(node).__name__ for node in nodes]


def test_measurements_wait_for_what_needs_them() -> None:
    nodes = (turn(0), Measure(0, 0), turn(1), Measure(1, 1), turn(1), turn(2), Measure(2, 2))
    simple = simplify(nodes)
    # qubit 0 is not touched again; qubit 1 is
    assert simple[1:2] == (Measure(1, 1),)
    assert simple[3:] == (Measure(0, 0), Measure(2, 2))
    assert [len(node.program.instructions) for node in simple if isinstance(node, Segment)] == [2, 2]


@pytest.mark.parametrize(
    "node",
    [
        turn(0),
        Reset(0),
        Prepare((1, 0), np.eye(4)[0] + 0j),
        Assign(BIT, Constant(True, BOOL)),
        Assign(Variable(0, BOOL), BIT),
        Branch(BIT, (turn(1),)),
        Branch(Constant(True, BOOL), (Repeat(((turn(0),),)),)),
        While(BIT, ()),
        Save("statevector", "s", (0, 1, 2)),
        Break(),
        Segment(Program(3, 0, (), np.eye(8)[0] + 0j)),
    ],
)
def test_a_measurement_stays_before_what_depends_on_it(node: Node) -> None:
    assert simplify((Measure(0, 0), node))[0] == Measure(0, 0)


def test_the_last_of_several_writes_stays_the_last() -> None:
    simple = simplify((Measure(0, 0), Measure(1, 0), turn(1)))
    assert simple[:2] == (Measure(0, 0), Measure(1, 0))


def test_segments_have_angles_of_their_own() -> None:
    nodes = (turn(0, slot=2), Measure(0, 0), turn(0, slot=0), Branch(BIT, (turn(1, slot=1),)), turn(2, slot=2))
    first, _, second, branch, last = simplify(nodes)
    assert isinstance(branch, Branch)
    for node, slots in ((first, (2,)), (second, (0,)), (branch.then[0], (1,)), (last, (2,))):
        assert isinstance(node, Segment)
        assert node.slots == slots
        assert node.program.num_angles == 1
        assert node.program.instructions[0].slot == 0  # type: ignore[union-attr]


def test_rounds_that_repeat_stay_one() -> None:
    body: tuple[Node, ...] = (turn(0), Measure(0, 0))
    (repeat,) = simplify((Repeat((body,) * 5),))
    assert isinstance(repeat, Repeat)
    assert len({id(nodes) for nodes in repeat.rounds}) == 1


def test_cuts_stay_where_they_were() -> None:
    first, second = (Segment(replace(turn(q).program, cuts=(0, 1))) for q in (0, 1))
    (joined,) = simplify((first, Measure(2, 0), second, turn(1)))[:1]
    assert isinstance(joined, Segment)
    assert (len(joined.program.instructions), joined.program.cuts) == (3, (0, 1, 1, 2))
