"""Runs flat code: trajectories that have parted wait for each other where their ways meet again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..ir.classical import Constant, Memory, evaluate
from ..ir.dynamic import Assign, Measure, Prepare, Reset, Save, Segment
from .code import Code, Instruction, Jump, Label, Round
from .saving import Recorder
from .states import States
from .trajectories import Draws, TooManyTrajectoriesError, Trajectories, measure

STATES_AT_WORK = 8
"""States that exist at a time for each trajectory: on the device, as amplitudes, in the parts of a branch, joined."""

STATES_OF_ONE = 4
"""The same where there is only one trajectory, so that branches need not be joined."""

STATES_WAITING = 2
"""The same for each trajectory that waits: on the device and as amplitudes."""

Parts = Iterable[tuple[int, Trajectories | None]]
"""Pairs (address, trajectories that go on there)."""


class Interpreter:
    """Runs code for some shots.

    Args:
        run_segment: From a segment and trajectories to their states after it.
        draws: The randomness of the shots.
        recorder: Keeps what is saved.
        max_states: How many states may exist.
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
        """The trajectories at the end of the code, in parts as they come there.

        Raises:
            TooManyTrajectoriesError: If more states would exist than may.
        """
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
                return [(following, replace(trajectories, states=self._run_segment(instruction, trajectories)))]
            case Prepare(qubits, amplitudes):
                clean, _ = measure(trajectories, qubits, self._draws, self._most, reset=True)
                return [(following, replace(clean, states=clean.states.prepared(qubits, amplitudes)))]
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
        return replace(trajectories, memory=Memory(clbits, trajectories.memory.variables))

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
