"""Trajectories: their states, their classical values and the shots they stand for; measuring, parting, joining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..devices import Device
from ..ir.classical import Memory
from ..ir.dynamic import DynamicProgram
from .sampling import Indices, outcomes_of_shots, present_numbers
from .states import States, start_states

CERTAIN = 1e-12
"""An outcome whose probability falls short of 1 by no more than this changes nothing."""


class TooManyTrajectoriesError(Exception):
    """More states would have to be held than fit into memory; fewer shots at a time are needed."""


@dataclass(frozen=True, slots=True)
class Trajectories:
    """T trajectories, each a state and classical values, and the S shots they stand for.

    Attributes:
        states: The states.
        memory: The classical values.
        parameter_sets: (T,) the parameter set of each trajectory.
        decisions: (T,) the number of its measurements and resets so far.
        of_shot: (S,) the trajectory of each shot; every trajectory has one.
        shots: (S,) the number of each shot within its parameter set.
    """

    states: States
    memory: Memory
    parameter_sets: Indices
    decisions: Indices
    of_shot: Indices
    shots: Indices

    @classmethod
    def start(cls, program: DynamicProgram, device: Device, count: int) -> Trajectories:
        """One trajectory for each of so many parameter sets, each standing for one shot."""
        each = np.arange(count)
        memory = Memory.zeros(count, program.num_clbits, program.variables)
        zeros = np.zeros_like(each)
        return cls(start_states(device, program.num_qubits, count), memory, each, zeros, each, zeros)

    @property
    def count(self) -> int:
        """Number of trajectories T."""
        return len(self.parameter_sets)

    def in_states(self, states: States) -> Trajectories:
        """The same trajectories in other states."""
        return Trajectories(states, self.memory, self.parameter_sets, self.decisions, self.of_shot, self.shots)

    def spread(self, chosen: Indices, shots: range) -> Trajectories:
        """One trajectory with some shots for each chosen parameter set, which may be chosen more than once.

        There must be one trajectory for each parameter set.
        """
        each = np.arange(len(chosen))
        numbers = np.tile(np.arange(shots.start, shots.stop), len(each))
        spread = self.of_parents(self.states.take(chosen), chosen, np.repeat(each, len(shots)), numbers)
        return replace(spread, parameter_sets=each, decisions=np.zeros_like(each))

    def take(self, chosen: NDArray[np.bool_]) -> Trajectories | None:
        """Some of the trajectories with their shots, or None for none of them."""
        if chosen.all():
            return self
        if not chosen.any():
            return None
        kept, number = np.flatnonzero(chosen), np.cumsum(chosen) - 1
        inside = chosen[self.of_shot]
        return self.of_parents(self.states.take(kept), kept, number[self.of_shot[inside]], self.shots[inside])

    def of_shots(self, chosen: NDArray[np.bool_]) -> Trajectories:
        """The trajectories of some shots, of which there are any."""
        if chosen.all():
            return self
        parents, of_shot = present_numbers(self.of_shot[chosen], self.count)
        return self.of_parents(self.states.take(parents), parents, of_shot, self.shots[chosen])

    def of_parents(self, states: States, parents: Indices, of_shot: Indices, shots: Indices) -> Trajectories:
        """Trajectories with states and shots of their own, and everything else of their parents."""
        own = (self.memory.take(parents), self.parameter_sets[parents], self.decisions[parents])
        return Trajectories(states, *own, of_shot, shots)

    @staticmethod
    def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
        """The trajectories of one or more parts in order."""
        first, *others = parts
        if not others:
            return first
        offsets = np.cumsum([0, *(part.count for part in parts[:-1])])
        return Trajectories(
            first.states.joined([part.states for part in others]),
            Memory.concatenate([part.memory for part in parts]),
            np.concatenate([part.parameter_sets for part in parts]),
            np.concatenate([part.decisions for part in parts]),
            np.concatenate([part.of_shot + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.shots for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers that depend on parameter set, shot and decision only, whatever is run together.

    Number s of decision d of a parameter set with the key (a, b) is number s of
    ``numpy.random.Generator(numpy.random.Philox(key=[a, b], counter=[0, 0, d, 0])).random()``
    (J. K. Salmon et al., SC 2011: every block of four numbers is a function of key and counter).

    Attributes:
        keys: (R, 2) the key of each parameter set.
        shots: The numbers of the shots.
    """

    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty((0, 2), dtype=np.uint64))
    shots: range = range(0)

    def uniform(self, trajectories: Trajectories) -> NDArray[np.float64]:
        """A number in [0, 1) for every shot of the trajectories."""
        num_decisions = int(trajectories.decisions.max()) + 1
        streams, stream = np.unique(
            trajectories.parameter_sets * num_decisions + trajectories.decisions, return_inverse=True
        )
        places = trajectories.shots - self.shots.start
        if len(streams) == 1:
            return self.numbers(*divmod(int(streams[0]), num_decisions))[places]
        stream_of_shot = stream[trajectories.of_shot]
        order = np.argsort(stream_of_shot, kind="stable")
        ends = np.cumsum(np.bincount(stream_of_shot, minlength=len(streams)))
        result = np.empty(len(order))
        for number, chosen in zip(streams.tolist(), np.split(order, ends[:-1]), strict=True):
            result[chosen] = self.numbers(*divmod(number, num_decisions))[places[chosen]]
        return result

    def numbers(self, parameter_set: int, decision: int) -> NDArray[np.float64]:
        """The numbers of all shots for one decision."""
        block, skipped = divmod(self.shots.start, 4)
        philox = np.random.Philox(key=self.keys[parameter_set], counter=[block, 0, decision, 0])
        return np.random.Generator(philox).random(skipped + len(self.shots))[skipped:]


def measure(
    trajectories: Trajectories, qubits: Sequence[int], draws: Draws, most: int, *, reset: bool
) -> tuple[Trajectories, Indices]:
    """Measure qubits together; shots of one trajectory with different outcomes part.

    With ``reset`` the qubits are then returned to |0>.

    Returns:
        The new trajectories, and the outcome (T,) of each; bit j is ``qubits[j]``.

    Raises:
        TooManyTrajectoriesError: If there would be more than ``most``.
    """
    states = trajectories.states
    if reset and states.is_mixed:  # nothing random
        zero = np.eye(1, 2 ** len(qubits), dtype=np.complex128)[0]
        return replace(trajectories, states=states.prepared(qubits, zero)), np.zeros(trajectories.count, np.intp)
    probabilities = states.probabilities(qubits)
    size = probabilities.shape[1]
    likely = probabilities.argmax(axis=1)
    chance = np.take_along_axis(probabilities, likely[:, None], axis=1)[:, 0]
    if (chance >= (1 - CERTAIN) * probabilities.sum(axis=1)).all():  # no number is drawn where none is needed
        if reset and likely.any():
            each = np.arange(trajectories.count)
            states = states.projected(each, qubits, likely, chance, reset=True)
        return replace(trajectories, states=states, decisions=trajectories.decisions + 1), likely
    drawn = outcomes_of_shots(probabilities, trajectories.of_shot, draws.uniform(trajectories))
    pairs, of_shot = present_numbers(trajectories.of_shot * size + drawn, probabilities.size)
    if len(pairs) > most:
        raise TooManyTrajectoriesError
    parents, outcomes = np.divmod(pairs, size)
    states = states.projected(parents, qubits, outcomes, probabilities[parents, outcomes], reset=reset)
    parted = trajectories.of_parents(states, parents, of_shot, trajectories.shots)
    return replace(parted, decisions=parted.decisions + 1), outcomes


def misread(
    trajectories: Trajectories, clbit: int, flips: tuple[float, float], draws: Draws, most: int
) -> Trajectories:
    """Misread a classical bit; shots of one trajectory that read different values part.

    ``flips`` are the probabilities that 0 is read as 1 and 1 as 0.

    Raises:
        TooManyTrajectoriesError: If there would be more than ``most``.
    """
    bits = trajectories.memory.clbits[:, clbit].astype(np.intp)
    chances = np.array(flips)[bits][trajectories.of_shot]
    flipped = draws.uniform(trajectories) < chances
    pairs, of_shot = present_numbers(2 * trajectories.of_shot + flipped, 2 * trajectories.count)
    if len(pairs) > most:
        raise TooManyTrajectoriesError
    parents, turned = np.divmod(pairs, 2)
    parted = trajectories.of_parents(trajectories.states.take(parents), parents, of_shot, trajectories.shots)
    clbits = parted.memory.clbits.copy()
    clbits[:, clbit] = bits[parents] ^ turned
    memory = Memory(clbits, parted.memory.variables)
    return replace(parted, memory=memory, decisions=parted.decisions + 1)
