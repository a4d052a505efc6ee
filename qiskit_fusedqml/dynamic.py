"""Programs that measure: a list of nodes, some of which hold further nodes.

A `DynamicProgram` is what a whole circuit means; a straight-line `Program` is one of its segments. What is run so far
is one segment followed by measurements, see `DynamicProgram.straight_line`; the grammar names resets and branches so
that circuits with them have a home that does not need to move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .errors import InvalidInputError, UnsupportedInstructionError
from .program import Program, validate as validate_program


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight-line program on all qubits."""

    program: Program


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure a qubit in the Z basis and write the outcome to a classical bit."""

    qubit: int
    clbit: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Return a qubit to |0>."""

    qubit: int


@dataclass(frozen=True, slots=True)
class Save:
    """Keep a result (``kind``: ``"statevector"``, ``"probabilities"``, ...) of some qubits under a label."""

    kind: str
    label: str
    qubits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """Run one list of nodes where ``(clbits & mask) == value``, the other one elsewhere.

    Attributes:
        mask: Mask of the classical bits compared.
        value: The bits they must have.
        then: The nodes run if they do.
        otherwise: The nodes run if they do not.
    """

    mask: int
    value: int
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


Node: TypeAlias = Segment | Measure | Reset | Save | Branch


@dataclass(frozen=True, slots=True)
class DynamicProgram:
    """A tree of nodes, run in order.

    Attributes:
        num_qubits: Number of qubits n.
        num_clbits: Number of classical bits, over all registers.
        nodes: The nodes.
    """

    num_qubits: int
    num_clbits: int
    nodes: tuple[Node, ...]

    def straight_line(self) -> Program:
        """The one segment of a program that otherwise only measures, after it.

        Raises:
            UnsupportedInstructionError: If there is more to it.
        """
        segment, *rest = self.nodes
        strange = [node for node in rest if not isinstance(node, Measure)]
        if not isinstance(segment, Segment) or strange:
            node = strange[0] if strange else segment
            raise UnsupportedInstructionError(
                f"A {type(node).__name__} node cannot be run: one straight-line segment with measurements at its end "
                "is supported."
            )
        return segment.program

    def terminal_measurements(self) -> tuple[tuple[int, int], ...]:
        """Pairs (qubit, clbit) by ascending clbit; where a clbit is written more than once, the last one counts.

        Raises:
            UnsupportedInstructionError: If the program is not one segment followed by measurements.
        """
        self.straight_line()
        written = {node.clbit: node.qubit for node in self.nodes if isinstance(node, Measure)}
        return tuple((written[clbit], clbit) for clbit in sorted(written))


def validate(dynamic: DynamicProgram) -> None:
    """Check the grammar: every segment on its own, every qubit and classical bit in range.

    Raises:
        InvalidInputError: At the first violation.
    """
    for node in _all_nodes(dynamic.nodes):
        match node:
            case Segment(program):
                validate_program(program)
                if program.num_qubits != dynamic.num_qubits:
                    raise InvalidInputError(
                        f"A segment has {program.num_qubits} qubits; {dynamic.num_qubits} are expected."
                    )
            case Branch(mask, value):
                if not 0 <= mask < 1 << dynamic.num_clbits or value & ~mask:
                    raise InvalidInputError(
                        f"A branch compares mask {mask:#b} with {value:#b}; {dynamic.num_clbits} classical bits exist, "
                        "and the value's bits must lie in the mask."
                    )
            case Measure(qubit, clbit):
                _check_range("qubit", (qubit,), dynamic.num_qubits)
                _check_range("classical bit", (clbit,), dynamic.num_clbits)
            case Reset(qubit):
                _check_range("qubit", (qubit,), dynamic.num_qubits)
            case Save(qubits=qubits):
                _check_range("qubit", qubits, dynamic.num_qubits)


def _all_nodes(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, Branch):
            yield from _all_nodes(node.then)
            yield from _all_nodes(node.otherwise)


def _check_range(what: str, indices: tuple[int, ...], count: int) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise InvalidInputError(f"A node names {what} {index}; there are {count}.")
