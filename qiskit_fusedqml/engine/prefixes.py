"""Sweeps over states that agree up to a place in the program and differ after it.

With ``U = V_s W_s``, W_s the instructions before the place s, states ``V_s(theta_t) W_s |0>`` with angles theta_t of
their own share ``|s> = W_s |0>``: it is kept for some places, and every t starts from it. Backward, with the bras b_t::

    sum_t <b_t| d(V_s(theta_t) W_s) |0>
        = sum_t <b_t| dV_s(theta_t) |s> + <sum_t V_s(theta_t)^dagger b_t| dW_s |0>,

so that the rest is one sweep for all of them: that of the common state, whose bra takes theirs in where they part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import pi, remainder
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray, IntArray
from ..devices import Device, State
from ..ir.angles import AngleMap
from ..ir.program import Diagonal, Instruction, Program, Rotation, support
from ..ir.qubits import bits
from ..planner.frame import Frame
from .memory import BRA, KET, KET_COPY_BRA_AMPLITUDES
from .options import EngineOptions
from .parameters import NO_PARAMETERS, ParameterBatch, ParameterSet, first_parameters, parameter_batch
from .passes import Passes
from .pauli_frames import EPSILON
from .sweeps import PlannedSweeps, Sweeps

CHUNK_BYTES = 1 << 23
"""Bytes of the states that go through the program at a time, about: a cache's."""

MOST_PLACES = 6
"""Places in a program where states may start, each with a plan of its own."""

SMALLEST_WORK = 2e7
"""Amplitudes times rotations from which on it pays to start in several places."""

Start = NDArray[np.complex128] | None
"""Amplitudes (2**n,), or (B, 2**n), or None for ``|0...0>``."""


class PassRun(NamedTuple):
    """A forward sweep: whose, with what, and what it left."""

    part: Part
    parameters: ParameterBatch
    sweeps: Sweeps
    residuals: Any
    ket: State


class Part:
    """Some instructions of a program in a row, with slots of their own.

    Args:
        program: The program, whose slots are numbered in the order of its rotations.
        place: The instructions.
        wanted: The slots whose gradients are wanted, ascending.
        options: Where and how it runs.

    Attributes:
        slots: The program's slots that it takes.
        passes: Its passes.
        wanted: Those of its own slots whose gradients are wanted.
        frame: The frame of the states that it starts from.
    """

    def __init__(self, program: Program, place: slice, wanted: IntArray, options: EngineOptions) -> None:
        before = sum(isinstance(i, Rotation) and i.slot >= 0 for i in program.instructions[: place.start])
        own = program.instructions[place]
        count = sum(isinstance(i, Rotation) and i.slot >= 0 for i in own)
        moved = tuple(i._replace(slot=i.slot - before) if isinstance(i, Rotation) and i.slot >= 0 else i for i in own)
        self.slots = slice(before, before + count)
        self.wanted = ParameterSet(wanted[(wanted >= before) & (wanted < before + count)] - before)
        self.start = program.initial_state if place.start == 0 else None
        numbers = np.arange(count)
        angle_map = AngleMap(count, np.zeros(count), numbers, numbers, np.ones(count))
        self.passes = Passes(Program(program.num_qubits, count, moved, self.start), angle_map, options)
        # amplitudes that are given are put where they do not crowd one set of a cache
        self.frame = Frame.folded(program.num_qubits, 0, self.passes.device.cost_model.fold_bits)

    def batch(self, angles: FloatArray, start: Start, *, differ: bool) -> ParameterBatch:
        """States with the program's angles (N, R), from given amplitudes; ``differ`` if all angles do."""
        own = np.ascontiguousarray(angles[:, self.slots])
        if start is not None:
            ordered = np.empty_like(start)
            ordered[..., self.frame.indices()] = start
            start = ordered
        if not differ:
            return parameter_batch(None, own, start)
        return ParameterBatch(own[0], first_parameters(own.shape[1]), own, len(own), True, start)

    def sweeps(
        self, parameters: ParameterBatch, *, backward: bool, keep_phase: bool, populations: bool
    ) -> PlannedSweeps:
        """The sweeps; ``backward`` if one back follows the one forward."""
        wanted = self.wanted if backward else NO_PARAMETERS
        request = self.passes.request(parameters, wanted, keep_phase=keep_phase, populations=populations)
        return self.passes.plans.planned(request._replace(undone=backward, start=self.frame))

    def run(self, parameters: ParameterBatch, *, backward: bool, keep_phase: bool, populations: bool) -> PassRun:
        """The forward sweep."""
        sweeps = self.sweeps(parameters, backward=backward, keep_phase=keep_phase, populations=populations)
        states = KET_COPY_BRA_AMPLITUDES if backward else 0
        return PassRun(self, parameters, sweeps, *self.passes.forward(sweeps, parameters, states))


class Prefixes:
    """A program, and places in it from which states with angles of their own may start.

    Args:
        program: The program, whose slots are numbered in the order of its rotations.
        places: Positions of instructions, ascending, the first one 0.
        wanted: The slots whose gradients are wanted, ascending.
        options: Where and how it runs.
        populations: Whether only the absolute values of the final amplitudes matter.

    Attributes:
        device: The device.
        memory: The memory budget.
        suffixes: The program from each of the places on.
    """

    def __init__(
        self, program: Program, places: Sequence[int], wanted: IntArray, options: EngineOptions, *, populations: bool
    ) -> None:
        end, self._populations = len(program.instructions), populations
        ends = (*places[1:], end)
        self.suffixes = [Part(program, slice(place, end), wanted, options) for place in places]
        self._sections = [
            Part(program, slice(*between), wanted, options) for between in zip(places[:-1], ends, strict=False)
        ] + self.suffixes[-1:]
        passes = self.suffixes[0].passes
        self.device: Device = passes.device
        self.memory = passes.memory
        self._frame = self.suffixes[0].frame
        self._first_slots = np.array([part.slots.start for part in self.suffixes])

    @classmethod
    def of(
        cls, program: Program, first: IntArray, wanted: IntArray, options: EngineOptions, *, populations: bool
    ) -> Prefixes:
        """With places that suit states whose first angles to differ are given, ascending; one for small states."""
        instructions = program.instructions
        own = (k for k, i in enumerate(instructions) if isinstance(i, Rotation) and i.slot >= 0)
        positions = np.array(list(own), np.intp)
        is_large = len(first) * len(positions) * 2.0**program.num_qubits > SMALLEST_WORK
        places = chosen_places(program, positions[first], MOST_PLACES if is_large else 1)
        made = cls(program, places, wanted, options, populations=populations)
        if len(places) > 1 and not made.memory.fits(1, made.needed(backward=True)):
            return cls(program, [0], wanted, options, populations=populations)
        return made

    def whole(self, rows: int, *, backward: bool) -> PlannedSweeps:
        """Sweeps over the whole program for so many states with angles of their own."""
        part = self.suffixes[0]
        parameters = part.batch(np.zeros((rows, part.slots.stop)), part.start, differ=True)
        return part.sweeps(parameters, backward=backward, keep_phase=False, populations=self._populations)

    def needed(self, *, backward: bool) -> int:
        """States that each takes: those of a sweep, and with several places those that are kept there."""
        count = len(self.suffixes)
        return KET + BRA * backward + (count + 2 if count > 1 else 0)

    def pieces(self, first: IntArray, batch: int = 1) -> Iterator[tuple[int, slice]]:
        """States in pieces, and the place from which each piece starts, by the first angles to differ, ascending.

        Each of them is ``batch`` states.
        """
        numbers = np.searchsorted(self._first_slots, first, side="right") - 1
        model, total, begin = self.device.cost_model, len(numbers), 0
        group = model.lanes * model.threads
        fit = self.memory.samples(max(total * batch, 1), self.needed(backward=True))
        most = max(min(fit, max(CHUNK_BYTES // self.memory.state_bytes(1), group)) // batch, 1)
        while begin < total:
            same = int(np.searchsorted(numbers, numbers[begin], side="right")) - begin
            filled = -(-same * batch // group) * group // batch  # lanes that would be empty take later ones
            step = min(max(filled, 1), most, total - begin)
            yield int(numbers[begin]), slice(begin, begin + step)
            begin += step

    def common(self, angles: FloatArray, start: Start, *, backward: bool) -> tuple[list[Start], PassRun]:
        """The states (B, 2**n) at all places, for angles (B, R), and the last sweep to the end."""
        starts = [start]
        *first, last = self._sections
        for section in first:
            run = section.run(
                section.batch(angles, starts[-1], differ=False), backward=backward, keep_phase=True, populations=False
            )
            found = np.asarray(self.device.amplitudes(run.ket, run.sweeps.frame), np.complex128)
            starts.append(found if len(angles) > 1 else found[0])
        parameters = last.batch(angles, starts[-1], differ=False)
        return starts, last.run(parameters, backward=backward, keep_phase=False, populations=self._populations)

    def parted(self, number: int, angles: FloatArray, start: Start, *, backward: bool) -> PassRun:
        """The sweep from place ``number`` to the end for angles (T, B, R), from the state or the B states there."""
        rows, batch, count = angles.shape
        if start is not None and start.ndim == 2:
            start = np.tile(start, (rows, 1))
        return self.parted_by_row(number, angles.reshape(rows * batch, count), start, backward=backward)

    def parted_by_row(self, number: int, angles: FloatArray, start: Start, *, backward: bool = False) -> PassRun:
        """The same for angles (N, R), from one state or from (N, 2**n)."""
        part = self.suffixes[number]
        parameters = part.batch(angles, start, differ=True)
        return part.run(parameters, backward=backward, keep_phase=False, populations=self._populations)

    def undone(
        self, run: PassRun, bra: State, *, last: bool, is_wanted: bool
    ) -> tuple[FloatArray, ComplexArray | None]:
        """Gradients (N, R') of a part's slots by state, and if wanted the bras (N, 2**n) at its beginning.

        The ket is used up if this is the last backward sweep from it.
        """
        forward = run.residuals, run.ket if last else self.device.copy(run.ket)
        gradients, _ = run.part.passes.backward(run.sweeps, run.parameters, forward, bra, per_sample=True, last=last)
        return gradients, self.device.amplitudes(bra, self._frame) if is_wanted else None

    def common_undone(
        self, starts: Sequence[Start], angles: FloatArray, run: PassRun, bra: State, bras: Sequence[ComplexArray | None]
    ) -> FloatArray:
        """Gradients (B, R) of the common states' sweep, whose bra takes in ``bras[s]`` (B, 2**n) at place s."""
        result = np.zeros_like(angles)
        for number in reversed(range(len(self._sections))):
            part = self._sections[number]
            gradients, amplitudes = self.undone(run, bra, last=True, is_wanted=number > 0)
            result[:, part.slots] = gradients
            if amplitudes is not None:
                own = bras[number]
                amplitudes = amplitudes if own is None else amplitudes + own
                part = self._sections[number - 1]
                parameters = part.batch(angles, starts[number - 1], differ=False)
                run = part.run(parameters, backward=True, keep_phase=True, populations=False)
                bra = part.passes.state(run.sweeps, amplitudes)
        return result


def open_sequences(program: Program) -> list[int]:
    """For each position the qubits on which gates of one qubit meet there, which a cut would keep apart."""
    n, count = program.num_qubits, len(program.instructions)
    masks = [support(instruction) for instruction in program.instructions]
    change = np.zeros(count + 1, np.intp)
    last = [-1] * n
    for position, mask in enumerate(masks):
        for q in bits(mask):
            if mask == 1 << q and last[q] >= 0 and masks[last[q]] == mask:
                change[last[q] + 1] += 1
                change[position + 1] -= 1
            last[q] = position
    return [int(number) for number in np.cumsum(change)]


def chosen_places(program: Program, first: IntArray, count: int) -> list[int]:
    """Places to start from, the first one 0, for as equal numbers of states as there may be.

    Args:
        program: The program.
        first: The first instruction in which each of the states differs, ascending.
        count: Most places.
    """
    meeting, near = open_sequences(program), 4 * program.num_qubits
    places = {0}
    for number in range(1, count) if len(first) else ():
        wanted = int(first[len(first) * number // count])
        before = range(wanted, max(wanted - near, -1), -1)
        places.add(min(before, key=meeting.__getitem__))
    return sorted(places)


def irrelevant(program: Program) -> IntArray:
    """Slots of rotations that change no absolute value of the final amplitudes, ascending.

    They are diagonal, and what follows on their qubits is diagonal or moves amplitudes, as networks of CX do.
    """
    free = (1 << program.num_qubits) - 1
    found = []
    for instruction in reversed(program.instructions):
        mask = support(instruction)
        is_diagonal = isinstance(instruction, Diagonal) or (isinstance(instruction, Rotation) and not instruction.x)
        if mask & ~free or not (is_diagonal or changes_frame(instruction)):
            free &= ~mask
        elif isinstance(instruction, Rotation) and instruction.slot >= 0:
            found.append(instruction.slot)
    return np.array(found[::-1], np.intp)


def changes_frame(instruction: Instruction) -> bool:
    """Whether it is of the kind that networks of CX, X and SWAP are made of, which move amplitudes only."""
    if not isinstance(instruction, Rotation) or instruction.slot >= 0 or instruction.ctrl_mask.bit_count() > 1:
        return False
    is_phase = not instruction.x and not instruction.z
    return is_phase or bool(instruction.x and abs(abs(remainder(instruction.theta, 2 * pi)) - pi) < EPSILON)
