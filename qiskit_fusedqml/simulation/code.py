"""Dynamic programs as flat code: branches and loops become jumps.

    Branch      jump to other unless condition; then...; jump to end; other: otherwise...; end:
    While       head: jump to leave unless condition; body...; again: jump to head; leave:
    Repeat      first round; start: body...; again: next round, if any, from start; leave:

``Break`` jumps to ``leave`` and ``Continue`` to ``again``. Only the last instruction of a loop leads back. If therefore
the trajectories with the least address always go first, those that have parted meet again where their branches end, and
all that are in a loop begin each round together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

from ..ir.classical import Expression, Variable
from ..ir.dynamic import Assign, Branch, Break, Continue, Measure, Node, Prepare, Repeat, Reset, Save, Segment, While


@dataclass(slots=True, eq=False)
class Label:
    """The address of an instruction, known once the code is written."""

    address: int = -1


@dataclass(frozen=True, slots=True)
class Jump:
    """Go to a label, with a condition only where it does not hold."""

    to: Label
    unless: Expression | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """Begin the first or the next round of a loop; after the last one go on.

    Attributes:
        start: Where rounds start.
        times: Number of rounds.
        counter: A variable that is set before each round.
        values: Its values, one a round.
        is_first: Whether this is the first round.
    """

    start: Label
    times: int
    counter: Variable | None
    values: tuple[int, ...]
    is_first: bool


Together: TypeAlias = tuple[Measure | Reset | Save, ...]
"""Nodes of one kind with nothing between them, carried out at once."""

Instruction: TypeAlias = Segment | Prepare | Assign | Together | Jump | Round
Code: TypeAlias = tuple[Instruction, ...]
_Item: TypeAlias = Node | Instruction | Label


@dataclass(frozen=True, slots=True)
class _Loop:
    """Where `Break` and `Continue` lead."""

    leave: Label = field(default_factory=Label)
    again: Label = field(default_factory=Label)


def flatten(nodes: Sequence[Node]) -> Code:
    """The code of some nodes; a jump outside of loops leads to its end."""
    code: list[Instruction] = []
    work: list[tuple[_Item, _Loop]] = []  # a stack, as programs may be nested deeper than Python's calls

    def push(items: Iterable[_Item], loop: _Loop) -> None:
        work.extend((item, loop) for item in reversed(list(items)))

    whole = _Loop()
    push([*_grouped(nodes), whole.again, whole.leave], whole)
    while work:
        item, loop = work.pop()
        match item:
            case Label():
                item.address = len(code)
            case Branch(condition, then, otherwise):
                other, end = Label(), Label()
                push([Jump(other, condition), *_grouped(then), Jump(end), other, *_grouped(otherwise), end], loop)
            case While(condition, body):
                head, inner = Label(), _Loop()
                back = (inner.again, Jump(head), inner.leave)
                push([head, Jump(inner.leave, condition), *_grouped(body), *back], inner)
            case Repeat():
                leave = Label()
                push([leave], loop)
                for body, times, values in reversed(_equal_rounds(item)):
                    start, inner = Label(), _Loop(leave)
                    first, following = (
                        Round(start, times, item.counter, values, is_first=is_first) for is_first in (True, False)
                    )
                    push([first, start, *_grouped(body), inner.again, following], inner)
            case Break():
                code.append(Jump(loop.leave))
            case Continue():
                code.append(Jump(loop.again))
            case _:
                code.append(item)  # type: ignore[arg-type]
    return tuple(code)


def _equal_rounds(loop: Repeat) -> list[tuple[tuple[Node, ...], int, tuple[int, ...]]]:
    """Successive rounds of a loop with the same nodes: the nodes, the number of rounds and the counter's values."""
    runs, first = [], 0
    for _, equal in groupby(loop.rounds, id):
        body, *more = equal
        times = 1 + len(more)
        runs.append((body, times, loop.values[first : first + times]))
        first += times
    return runs


def _grouped(nodes: Sequence[Node]) -> Iterator[_Item]:
    """The nodes, with successive measurements, resets and saves together."""
    for kind, group in groupby(nodes, type):
        if kind in (Measure, Reset, Save):
            yield tuple(group)  # type: ignore[arg-type]
        else:
            yield from group
