"""Programs that measure: a list of nodes, some of which hold further nodes.

A `DynamicProgram` is what a whole circuit means; a straight-line `Program` is one of its segments.
`qiskit_fusedqml.simulation` runs all of it; values and gradients are defined for one segment followed by
measurements, see `DynamicProgram.straight_line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, UnsupportedInstructionError
from .classical import Bits, Expression, Target, Variable, fold, leaves
from .program import Program, validate as validate_program

SAVE_KINDS = (
    "statevector",
    "statevector_dict",
    "expval",
    "expval_var",
    "probabilities",
    "probabilities_dict",
    "amplitudes",
    "amplitudes_sq",
    "density_matrix",
)
SAVE_SUBTYPES = ("single", "c_single", "list", "c_list", "average", "c_average", "accum", "c_accum")


@dataclass(frozen=True, slots=True)
class Segment:
    """A straight-line program on all qubits.

    Attributes:
        program: The program.
        slots: For each of the program's angles its place among the angles of the whole dynamic program.
    """

    program: Program
    slots: tuple[int, ...] = ()


NEVER = (0.0, 0.0)
"""Measurements that are read without error."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure a qubit in the Z basis and write the outcome to a classical bit.

    Attributes:
        qubit: The qubit.
        clbit: The bit.
        flips: The probabilities that the bit is 1 where the outcome is 0, and 0 where it is 1.
    """

    qubit: int
    clbit: int
    flips: tuple[float, float] = NEVER


@dataclass(frozen=True, slots=True)
class Reset:
    """Return a qubit to ``|0>``."""

    qubit: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepare:
    """Reset some qubits and put them into a state.

    Attributes:
        qubits: The k qubits; bit j of an amplitude's index is the j-th of them.
        amplitudes: Shape (2**k,), of norm 1; or a density matrix (2**k, 2**k), where states are mixed.
    """

    qubits: tuple[int, ...]
    amplitudes: NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Save:
    """Keep a result of the present states under a label.

    Attributes:
        kind: One of `SAVE_KINDS`.
        label: The label.
        qubits: The qubits it is about, the first one lowest in an index.
        subtype: One of `SAVE_SUBTYPES`, as on Aer: the last shot's value, one value per shot, or the average; with
            the prefix ``c_`` apart for each value of the classical bits.
        argument: For "expval" and "expval_var" the observable, for "amplitudes" and "amplitudes_sq" the indices.
    """

    kind: str
    label: str
    qubits: tuple[int, ...]
    subtype: str = "single"
    argument: Any = None


@dataclass(frozen=True, slots=True)
class Assign:
    """Write the value of an expression to classical bits or a variable."""

    target: Target
    value: Expression


@dataclass(frozen=True, slots=True)
class Branch:
    """Run one list of nodes where a condition holds, the other one elsewhere."""

    condition: Expression
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeat:
    """Run lists of nodes one after the other: the rounds of a loop, which `Break` and `Continue` cut short.

    Attributes:
        rounds: The nodes of each round.
        counter: A variable that is set before each round.
        values: Its values, one a round.
    """

    rounds: tuple[tuple[Node, ...], ...]
    counter: Variable | None = None
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class While:
    """Run nodes again and again as long as a condition holds."""

    condition: Expression
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Break:
    """Leave the innermost loop."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Go on with the next round of the innermost loop."""


Node: TypeAlias = Segment | Measure | Reset | Prepare | Save | Assign | Branch | Repeat | While | Break | Continue

_HOLDERS = frozenset({Branch, Repeat, While})
"""Nodes that hold others."""


@dataclass(frozen=True, slots=True)
class DynamicProgram:
    """A tree of nodes, run in order.

    Attributes:
        num_qubits: Number of qubits n.
        num_clbits: Number of classical bits, over all registers.
        nodes: The nodes.
        variables: The variables, numbered from 0.
    """

    num_qubits: int
    num_clbits: int
    nodes: tuple[Node, ...]
    variables: tuple[Variable, ...] = ()

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
                f"The program holds a {type(node).__name__} node; values and gradients are defined for one "
                "straight-line segment with measurements at its end."
            )
        return segment.program


def final_writes(measurements: Sequence[Measure]) -> tuple[tuple[int, int], ...]:
    """Pairs (qubit, clbit) by ascending clbit; where a clbit is written more than once, the last one counts."""
    written = {node.clbit: node.qubit for node in measurements}
    return tuple((written[clbit], clbit) for clbit in sorted(written))


def children(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The lists of nodes that a node holds."""
    match node:
        case Branch():
            return (node.then, node.otherwise)
        case Repeat():
            # most loops repeat the very same nodes
            return tuple({id(nodes): nodes for nodes in node.rounds}.values())
        case While():
            return (node.body,)
    return ()


def are_flat(nodes: Iterable[Node]) -> bool:
    """Whether no node holds others, as in most circuits."""
    return _HOLDERS.isdisjoint(map(type, nodes))


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """All nodes, those held by others included; parents first."""
    return iter(nodes) if are_flat(nodes) else _walk(nodes)


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    work = [iter(nodes)]
    while work:
        node = next(work[-1], None)
        if node is None:
            work.pop()
        else:
            yield node
            work += [iter(inner) for inner in reversed(children(node))]


def rebuilt(nodes: Sequence[Node], write: Callable[[list[Node]], Iterable[Node]]) -> tuple[Node, ...]:
    """``write`` applied to every list of nodes, those held by others first; without recursion, as `walk`."""
    if are_flat(nodes):
        return tuple(write([*nodes]))

    def parts(held: Sequence[Node]) -> list[Sequence[Node]]:
        return [inner for node in held for inner in children(node)]

    def combine(held: Sequence[Node], results: list[tuple[Node, ...]]) -> tuple[Node, ...]:
        written = {id(inner): result for inner, result in zip(parts(held), results, strict=True)}
        return tuple(write([_holding(node, written) for node in held]))

    return fold(nodes, parts, combine)


def _holding(node: Node, written: Mapping[int, tuple[Node, ...]]) -> Node:
    """A node with other lists of nodes in place of its own, which are known by their identities."""
    match node:
        case Branch():
            return replace(node, then=written[id(node.then)], otherwise=written[id(node.otherwise)])
        case Repeat():
            return replace(node, rounds=tuple(written[id(nodes)] for nodes in node.rounds))
        case While():
            return replace(node, body=written[id(node.body)])
    return node


def validate(dynamic: DynamicProgram) -> None:
    """Check the grammar: every segment on its own, every qubit, classical bit and variable in range.

    Raises:
        InvalidInputError: At the first violation.
    """
    for node in walk(dynamic.nodes):
        match node:
            case Segment():
                _check_segment(node, dynamic)
            case Measure(qubit, clbit):
                _check_range("qubit", (qubit,), dynamic.num_qubits)
                _check_range("classical bit", (clbit,), dynamic.num_clbits)
            case Reset(qubit):
                _check_range("qubit", (qubit,), dynamic.num_qubits)
            case Prepare(qubits, amplitudes):
                _check_range("qubit", qubits, dynamic.num_qubits)
                if amplitudes.shape not in ((2 ** len(qubits),), (2 ** len(qubits),) * 2):
                    raise InvalidInputError(f"{len(qubits)} qubits are prepared by {amplitudes.shape} amplitudes.")
            case Save():
                _check_save(node, dynamic)
            case Assign(target, value):
                _check_expression(target, dynamic)
                _check_expression(value, dynamic)
            case Branch(condition) | While(condition):
                _check_expression(condition, dynamic)
            case Repeat(counter=Variable() as counter):
                _check_expression(counter, dynamic)


def _check_segment(segment: Segment, dynamic: DynamicProgram) -> None:
    validate_program(segment.program)
    if segment.program.num_qubits != dynamic.num_qubits:
        raise InvalidInputError(
            f"A segment has {segment.program.num_qubits} qubits; {dynamic.num_qubits} are expected."
        )


def _check_save(save: Save, dynamic: DynamicProgram) -> None:
    _check_range("qubit", save.qubits, dynamic.num_qubits)
    for what, value, allowed in (("kind", save.kind, SAVE_KINDS), ("subtype", save.subtype, SAVE_SUBTYPES)):
        if value not in allowed:
            raise InvalidInputError(f"A save has the {what} {value!r}; one of {', '.join(allowed)} is expected.")


def _check_expression(expression: Expression, dynamic: DynamicProgram) -> None:
    for leaf in leaves(expression):
        match leaf:
            case Bits(clbits):
                _check_range("classical bit", clbits, dynamic.num_clbits)
            case Variable(index):
                _check_range("variable", (index,), len(dynamic.variables))


def _check_range(what: str, indices: tuple[int, ...], count: int) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise InvalidInputError(f"A node names {what} {index}; there are {count}.")
