"""Runs dynamic programs, as flat code: branches and loops become jumps.

    Branch      jump to other unless condition; then...; jump to end; other: otherwise...; end:
    While       head: jump to leave unless condition; body...; again: jump to head; leave:
    Repeat      first round; start: body...; again: next round, if any, from start; leave:

``Break`` jumps to ``leave`` and ``Continue`` to ``again``. Only the last instruction of a loop leads back. If therefore
the trajectories with the least address always go first, those that have parted meet again where their branches end, and
all that are in a loop begin each round together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from ..ir.classical import Constant, Expression, Memory, Variable, evaluate
from ..ir.dynamic import (
    NEVER,
    Assign,
    Branch,
    Break,
    Continue,
    Measure,
    Node,
    Prepare,
    Repeat,
    Reset,
    Save,
    Segment,
    While,
)
from .kraus import Noise, disturbed
from .saving import Recorder
from .states import States
from .trajectories import Draws, TooManyTrajectoriesError, Trajectories, measure, misread

STATES_AT_WORK = 8
"""States that exist at a time for each trajectory: on the device, as amplitudes, in the parts of a branch, joined."""

STATES_OF_ONE = 4
"""The same where there is only one trajectory, so that branches need not be joined."""

STATES_WAITING = 2
"""The same for each trajectory that waits: on the device and as amplitudes."""


_JUMPS = frozenset({Branch, Break, Continue, Repeat, While})
"""Nodes that become jumps."""


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

Instruction: TypeAlias = Segment | Noise | Prepare | Assign | Together | Jump | Round
Code: TypeAlias = tuple[Instruction, ...]
_Item: TypeAlias = Node | Instruction | Label

Parts: TypeAlias = Iterable[tuple[int, Trajectories | None]]
"""Pairs (address, trajectories that go on there)."""


@dataclass(frozen=True, slots=True)
class _Loop:
    """Where `Break` and `Continue` lead."""

    leave: Label = field(default_factory=Label)
    again: Label = field(default_factory=Label)


def flatten(nodes: Sequence[Node]) -> Code:
    """The code of some nodes; a jump outside of loops leads to its end."""
    if _JUMPS.isdisjoint(map(type, nodes)):  # as of most programs
        return tuple(_grouped(nodes))  # type: ignore[arg-type]
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


class Interpreter:
    """Runs code for some shots; at most ``max_states`` states may exist.

    ``run_segment`` gives the states of trajectories after a segment.
    """

    def __init__(
        self, run_segment: Callable[[Segment, Trajectories], States], draws: Draws, recorder: Recorder, max_states: int
    ) -> None:
        self._run_segment = run_segment
        self._draws = draws
        self._recorder = recorder
        self._max_states = max_states
        self._most = 0
        self._rounds: dict[Label, int] = {}

    def run(self, code: Code, trajectories: Trajectories) -> Iterator[Trajectories]:
        """The trajectories at the end of the code, in parts as they come there; or TooManyTrajectoriesError."""
        waiting: dict[int, list[Trajectories]] = {}
        num_waiting = 0
        arriving: Parts = [(0, trajectories)]
        del trajectories  # as all states that are not needed any more
        while True:
            for address, part in arriving:
                if part is not None and address == len(code):
                    yield part
                elif part is not None:
                    num_waiting += part.count
                    waiting.setdefault(address, []).append(part)
            if not waiting:
                return
            address = min(waiting)
            here = Trajectories.concatenate(waiting.pop(address))
            num_waiting -= here.count
            most = (self._max_states - STATES_WAITING * num_waiting) // STATES_AT_WORK
            self._most = max(most, 1) if num_waiting == 0 else most
            if here.count > self._most:
                raise TooManyTrajectoriesError
            arriving = self._step(code[address], address, here)

    def _step(self, instruction: Instruction, address: int, trajectories: Trajectories) -> Parts:
        """Run one instruction."""
        following, memory = address + 1, trajectories.memory
        match instruction:
            case Segment():
                return [(following, trajectories.in_states(self._run_segment(instruction, trajectories)))]
            case Noise():
                return [(following, disturbed(trajectories, instruction, self._draws, self._most))]
            case Prepare(qubits, amplitudes):
                clean, _ = measure(trajectories, qubits, self._draws, self._most, reset=True)
                return [(following, clean.in_states(clean.states.prepared(qubits, amplitudes)))]
            case Assign(target, value):
                return [(following, replace(trajectories, memory=memory.assign(target, evaluate(value, memory))))]
            case Jump(to, unless):
                if unless is None:
                    return [(to.address, trajectories)]
                holds = evaluate(unless, memory)
                return [(following, trajectories.take(holds)), (to.address, trajectories.take(~holds))]
            case Round():
                return [self._round(instruction, following, trajectories)]
            case (Save(), *_):
                self._save(instruction, trajectories)  # type: ignore[arg-type]
                return [(following, trajectories)]
            case _:
                return [(following, self._measured(instruction, trajectories))]  # type: ignore[arg-type]

    def _measured(self, nodes: Sequence[Measure | Reset], trajectories: Trajectories) -> Trajectories:
        """Measurements, or resets, at once."""
        qubits = sorted({node.qubit for node in nodes})
        reset = isinstance(nodes[0], Reset)
        trajectories, outcomes = measure(trajectories, qubits, self._draws, self._most, reset=reset)
        clbits = trajectories.memory.clbits.copy()
        for node in nodes:
            if isinstance(node, Measure):
                clbits[:, node.clbit] = outcomes >> qubits.index(node.qubit) & 1
        trajectories = replace(trajectories, memory=Memory(clbits, trajectories.memory.variables))
        for node in nodes:
            if isinstance(node, Measure) and node.flips != NEVER:
                trajectories = misread(trajectories, node.clbit, node.flips, self._draws, self._most)
        return trajectories

    def _save(self, saves: Sequence[Save], trajectories: Trajectories) -> None:
        # all expectation values by one call of the device
        sums = [observable for save in saves if save.kind in ("expval", "expval_var") for observable in save.argument]
        if sums:
            trajectories.states.expectation(list(dict.fromkeys(sums)))
        for save in saves:
            self._recorder.record(save, trajectories)

    def _round(self, loop: Round, following: int, trajectories: Trajectories) -> tuple[int, Trajectories]:
        position = 0 if loop.is_first else self._rounds[loop.start] + 1
        if position == loop.times:
            return following, trajectories
        self._rounds[loop.start] = position
        if loop.counter is not None:
            value = evaluate(Constant(loop.values[position], loop.counter.width), trajectories.memory)
            trajectories = replace(trajectories, memory=trajectories.memory.assign(loop.counter, value))
        return loop.start.address, trajectories
