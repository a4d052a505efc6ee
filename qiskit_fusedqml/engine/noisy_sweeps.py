"""Sweeps over trajectories of a program with noise: stretches without it by plans, and its matrices between them.

All states are those of one sample, one state a trajectory: angles are shared, the noise's matrices differ. The program
is cut where a gate touches a qubit with noise that it does not commute with; all other noise is applied with it, and
gates on other qubits come before. The stretches are planned one after the other, each from the frame that the last one
ended in. Networks of CX, X and SWAP change the frame and move no amplitude, so that noise before and after them makes
one tape.

The backward sweep undoes a stretch as `Device.backward` does. The matrices A of noise are not unitary: kets are undone
by their inverses, bras by their adjoints. Errors of the ket grow by that, in the mean over trajectories by what
`Mixture.log_growth` says. A ket is kept in the forward sweep wherever they would grow too much, or A has no inverse.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import or_
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray, IntArray
from ..devices import CoefficientMap, Device, State, _native
from ..errors import UnsupportedInstructionError
from ..ir.channels import Channel
from ..ir.program import Instruction, Program, Rotation, support
from ..ir.qubits import bits
from ..planner import fuse
from ..planner.frame import Frame, Functional, Vector
from ..planner.matrices import backwards, matrices_tape
from ..planner.pauli_vector.structure import composed, fixed, is_constant, key, one_qubit
from ..planner.tape import Tape
from .mixed_sweeps import KAPPA_LIMITS
from .prefixes import changes_frame
from .unravelling import Mixture, mixtures

LOOKAHEAD = 32
"""Instructions a qubit that may wait while others, on other qubits, are taken before them."""


class Factor(NamedTuple):
    """Where a matrix comes from: a mixture by its number, and which of its qubits."""

    mixture: int
    position: int


Stretch = tuple[Instruction, ...]
Noise = dict[int, list[Factor]]
"""For each qubit the factors, in order, that its matrix is the product of."""


class NoisyProgram:
    """A program as stretches of pure instructions with noise between them.

    Attributes:
        program: The program.
        mixtures: What its channels are, in order.
        parts: The stretches and the noise.

    Raises:
        UnsupportedInstructionError: For a channel that trajectories cannot be drawn from.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.mixtures: list[Mixture] = []
        self.parts: list[Stretch | Noise] = []
        self._known: dict[Hashable, list[Mixture]] = {}
        # channels that were not applied yet, and those of each qubit
        self._pending: list[Channel] = []
        self._own: dict[int, list[int]] = {}
        masks = [support(instruction) for instruction in program.instructions]
        self._later = list(accumulate(reversed(masks), or_))[::-1]
        remaining = list(enumerate(program.instructions))
        while remaining or not self.parts:
            for frames in (True, False):
                remaining = self._round(remaining, frames)

    def _round(self, remaining: list[tuple[int, Instruction]], frames: bool) -> list[tuple[int, Instruction]]:
        """Take what may come next, and the noise after it; return the rest, in order.

        Gates on other qubits than all that wait may come before these. With ``frames``, only what changes the frame is
        taken, through noise; else all that no noise is in the way of.
        """
        stretch: list[Instruction] = []
        left: list[tuple[int, Instruction]] = []
        blocked = 0
        for number, (position, instruction) in enumerate(remaining):
            if not self._later[position] & ~blocked or len(left) > LOOKAHEAD * self.program.num_qubits:
                left += remaining[number:]
                break
            mask = support(instruction)
            waits = bool(mask & blocked)
            if not waits and isinstance(instruction, Channel):
                self._add(instruction, position)
                continue
            is_free = all(self._passes(instruction, q) for q in bits(mask) if q in self._own)
            if waits or not (changes_frame(instruction) if frames else is_free):
                blocked |= mask
                left.append((position, instruction))
                continue
            if not is_free:
                self._end(stretch)
                stretch = []
            stretch.append(instruction)
        self._end(stretch)
        return left

    def _passes(self, instruction: Instruction, qubit: int) -> bool:
        """Whether an instruction commutes with what was put off on one of its qubits."""
        channels = [self._pending[number] for number in self._own[qubit]]
        if not isinstance(instruction, Rotation) or len(channels) > 1 or len(channels[0].qubits) > 1:
            return False
        x, z = instruction.x >> qubit & 1, instruction.z >> qubit & 1
        axis = (1 if z else 0) if x else 2
        known = one_qubit(channels[0])
        return axis in (known.axes if support(instruction) == 1 << qubit else known.letters)

    def _add(self, channel: Channel, position: int) -> None:
        """Put a channel off; of one qubit, it joins one of the same kind before it."""
        try:
            if len(channel.qubits) > 1 or not is_constant(channel):
                self._mixtures(channel)
        except UnsupportedInstructionError as error:
            raise UnsupportedInstructionError(f"Instruction {position} (Channel): {error.args[0]}") from None
        if len(channel.qubits) == 1 and channel.qubits[0] in self._own:
            last = self._own[channel.qubits[0]][-1]
            if len(self._pending[last].qubits) == 1:
                self._pending[last] = composed(self._pending[last], channel)
                return
        for qubit in channel.qubits:
            self._own.setdefault(qubit, []).append(len(self._pending))
        self._pending.append(channel)

    def _end(self, stretch: list[Instruction]) -> None:
        noise: Noise = {}
        for channel in self._pending:
            for mixture in self._mixtures(channel):
                self.mixtures.append(mixture)
                for position, qubit in enumerate(mixture.qubits):
                    noise.setdefault(qubit, []).append(Factor(len(self.mixtures) - 1, position))
        if stretch or not self.parts:
            self.parts.append(tuple(stretch))
        if noise:
            self.parts.append(noise)
        self._pending, self._own = [], {}

    def _mixtures(self, channel: Channel) -> list[Mixture]:
        """As `mixtures`, made once for equal channels."""
        placed = fixed(channel)
        found = self._known.get(key(placed))
        if found is None:
            found = self._known[key(placed)] = mixtures(placed)
        return [m._replace(qubits=tuple(channel.qubits[q] for q in m.qubits)) for m in found]


@dataclass(frozen=True, eq=False)
class StretchStep:
    """A stretch that is planned.

    Attributes:
        tape: Its tape; all of it is undone unless it is the first one with gradients.
        slots: The program's angles that it depends on, in the order of its own.
        coefficient_map: From these to the coefficients of the tape.
    """

    tape: Tape
    slots: IntArray
    coefficient_map: CoefficientMap


@dataclass(frozen=True, eq=False)
class NoiseStep:
    """Matrices between two stretches.

    Attributes:
        tape: One matrix after the other.
        undo: The same in reverse order; None where the backward sweep does not get.
        factors: For each matrix its factors.
        kept: Whether the ket before it is kept instead of undone.
    """

    tape: Tape
    undo: Tape | None
    factors: tuple[list[Factor], ...]
    kept: bool


class Drawn(NamedTuple):
    """Coefficients of the T matrices of a `NoiseStep`: forward, and for undoing kets and bras where that is needed."""

    matrices: Any
    inverses: Any = None
    adjoints: Any = None


class Forward(NamedTuple):
    """What a forward sweep leaves: bound coefficients of the stretches, states that were kept, final states."""

    bound: list[Any]
    kept: list[State]
    ket: State

    def copied(self, device: Device) -> Forward:
        """The same for another backward sweep, which uses its states up."""
        return Forward(self.bound, [device.copy(state) for state in self.kept], device.copy(self.ket))


class NoisySweeps:
    """Forward and backward sweeps over T trajectories of one sample.

    Args:
        noisy: The program.
        device: Where it runs, and whose cost model the stretches are planned with.
        rows: Trajectories at a time, for the choice of lanes and tiles.
        any_start: Whether amplitudes that the program does not hold may be the start.

    Attributes:
        frame: The frame of the final states.
        num_kept: States that are kept in the forward sweep.
    """

    def __init__(self, noisy: NoisyProgram, device: Device, rows: int, *, any_start: bool = False) -> None:
        self._device, self._noisy = device, noisy
        planner = _Planner(noisy, device, rows, any_start)
        self.steps, self.frame = planner.steps, planner.frame
        self.num_kept = sum(step.kept for step in self.steps if isinstance(step, NoiseStep))
        with_gradients = (k for k, step in enumerate(self.steps) if step.tape.num_overlaps)
        self._first = next(with_gradients, len(self.steps))

    def drawn(self, choices: NDArray[np.integer], *, undone: bool) -> list[Drawn]:
        """The matrices that choices (T, number of mixtures) mean, of every `NoiseStep`."""
        return [self._drawn(step, choices, undone) for step in self.steps if isinstance(step, NoiseStep)]

    def forward(
        self, angles: FloatArray, drawn: Sequence[Drawn], rows: int, start: NDArray[Any] | None, *, undone: bool
    ) -> Forward:
        """The forward sweep of so many trajectories.

        Args:
            angles: (A,) of the program.
            drawn: The matrices.
            rows: Number of trajectories T.
            start: Amplitudes (2**n,), or None for ``|0...0>``.
            undone: Whether a backward sweep follows.
        """
        ket = self._device.allocate(self.steps[0].tape, rows, start)
        left, bound, kept = iter(drawn), [], []
        for step in self.steps:
            if isinstance(step, StretchStep):
                own = step.coefficient_map.bind(angles[step.slots], np.empty((1, 0)))
                assert own is not None  # the angles are finite
                self._device.forward(step.tape, own.coefficients, ket)
                bound.append(own)
                continue
            if step.kept and undone:
                kept.append(self._device.copy(ket))
            self._device.forward(step.tape, next(left).matrices, ket)
        return Forward(bound, kept, ket)

    def backward(self, forward: Forward, drawn: Sequence[Drawn], bra: State, num_angles: int) -> FloatArray:
        """Gradients (A,) summed over the trajectories; all states are used up."""
        bound, kept, ket = forward
        bound, kept, left = list(bound), list(kept), list(drawn)
        gradient = np.zeros(num_angles)
        for step in reversed(self.steps[self._first :]):
            if isinstance(step, StretchStep):
                own = bound.pop()
                overlaps = self._device.backward(step.tape, own.coefficients, ket, bra, per_sample=False)
                gradient[step.slots] += step.coefficient_map.pullback(own, overlaps)[0]
                continue
            noise = left.pop()
            assert step.undo is not None
            self._device.forward(step.undo, noise.adjoints, bra)
            if step.kept:
                ket = kept.pop()
            else:
                self._device.forward(step.undo, noise.inverses, ket)
        return gradient

    def _drawn(self, step: NoiseStep, choices: NDArray[np.integer], undone: bool) -> Drawn:
        matrices = np.empty((len(step.factors), len(choices), 2, 2), np.complex128)
        for matrix, factors in zip(matrices, step.factors, strict=True):
            chosen = [self._noisy.mixtures[m].matrices[position][choices[:, m]] for m, position in factors]
            matrix[...] = chosen[0]
            for factor in chosen[1:]:
                matrix[...] = factor @ matrix
        if step.undo is None or not undone:
            return Drawn(_coefficients(matrices))
        inverses = None if step.kept else _coefficients(np.linalg.inv(matrices))
        return Drawn(_coefficients(matrices), inverses, _coefficients(matrices.conj().swapaxes(-1, -2)))


def _coefficients(matrices: ComplexArray) -> Any:
    """Coefficients of batched matrices (m, T, 2, 2) alone."""
    none = np.empty((0, 2)), np.empty((0, 2, matrices.shape[1])), np.empty((0, 2, 2), np.complex128)
    batched = np.ascontiguousarray(matrices.transpose(0, 2, 3, 1), np.complex128)
    return _native.Coefficients(*none, batched, np.empty(0), np.empty((0, matrices.shape[1])), np.empty(0))


class _Planner:
    """Makes the steps of `NoisySweeps`.

    Attributes:
        steps: The steps.
        frame: The frame that the last one ended in.
    """

    def __init__(self, noisy: NoisyProgram, device: Device, rows: int, any_start: bool) -> None:
        self._noisy, self._device, self._any_start = noisy, device, any_start
        model, n = device.cost_model, noisy.program.num_qubits
        # trajectories fill the lanes: no qubit is spread over them, and the layout of states is that of every tape
        self._batch = max(rows, model.lanes)
        self._tile_limit = model.tile_limit(n, 0, self._batch)
        self._limit, self._growth = KAPPA_LIMITS[model.amplitude_bytes], 0.0
        self.steps: list[StretchStep | NoiseStep] = []
        self.frame = Frame.identity(n)
        # matrices for the next tape: their virtual qubits and factors
        virtual: list[tuple[Vector, Functional]] = []
        factors: list[list[Factor]] = []
        for part in noisy.parts:
            if isinstance(part, dict):
                virtual += [(self.frame.columns[q], self.frame.duals[q]) for q in part]
                factors += part.values()
                continue
            step = self._planned(part)
            # else it has only changed the frame
            if any(block.operations for block in step.tape.blocks) or not self.steps:
                self._end(virtual, factors)
                virtual, factors = [], []
                self.steps.append(step)
        self._end(virtual, factors)

    def _planned(self, instructions: Stretch) -> StretchStep:
        program, begins = self._noisy.program, not self.steps
        slots = sorted({i.slot for i in instructions if isinstance(i, Rotation) and i.slot >= 0})
        place = {-1: -1} | {slot: k for k, slot in enumerate(slots)}
        own = tuple(i._replace(slot=place[i.slot]) if isinstance(i, Rotation) else i for i in instructions)
        plan = fuse(
            Program(program.num_qubits, len(slots), own, program.initial_state if begins else None),
            self._device.cost_model,
            wanted_slots=frozenset(range(len(slots))),
            batch=self._batch,
            keep_phase=False,
            any_start=self._any_start,
            start=None if begins else self.frame,
        )
        tape, is_first = plan.tape, not any(step.tape.num_overlaps for step in self.steps)
        self.frame = tape.frame
        if not is_first:
            tape = replace(tape, blocks=tuple(replace(block, undo_from=0) for block in tape.blocks))
        return StretchStep(tape, np.array(slots, np.intp), self._device.coefficient_map(plan.tables))

    def _end(self, virtual: list[tuple[Vector, Functional]], factors: list[list[Factor]]) -> None:
        """Add the tape of some matrices."""
        if not virtual:
            return
        tape = matrices_tape(virtual, self.frame, self._tile_limit)
        undone, kept = any(step.tape.num_overlaps for step in self.steps), False
        if undone:
            numbers = {factor.mixture for own in factors for factor in own}
            self._growth += sum(self._noisy.mixtures[number].log_growth for number in numbers)
            kept = self._growth > self._limit
        if kept:
            self._growth = 0.0
        self.steps.append(NoiseStep(tape, backwards(tape) if undone else None, tuple(factors), kept))
