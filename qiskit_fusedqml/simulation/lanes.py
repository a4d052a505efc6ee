"""Lanes and the shots they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..ir.classical import Memory
from .sampling import outcomes_of_shots
from .states import Indices, States

CERTAIN = 1e-12
"""An outcome whose probability falls short of 1 by no more than this changes nothing."""


class TooManyLanesError(Exception):
    """More states would have to be held than fit into memory; fewer shots at a time are needed."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """L trajectories and the shots they stand for.

    Attributes:
        states: The states.
        memory: The classical values.
        rows: (L,) the row of parameter values each belongs to.
        lane_of_shot: (S,) the lane each shot is in; every lane has one.
        shots: (S,) the number of each shot within its row.
    """

    states: States
    memory: Memory
    rows: Indices
    lane_of_shot: Indices
    shots: Indices

    @property
    def count(self) -> int:
        """Number of lanes L."""
        return len(self.rows)

    def with_shots(self, shots: int) -> Lanes:
        """Lanes of which each stands for one row, now each with so many shots."""
        lanes = np.repeat(np.arange(self.count), shots)
        return replace(self, lane_of_shot=lanes, shots=np.tile(np.arange(shots), self.count))

    def for_rows(self, of_row: Indices) -> Lanes:
        """One lane for each of some rows, from lanes of which each stands for one distinct row."""
        fresh = np.arange(len(of_row))
        if np.array_equal(of_row, np.arange(self.count)):
            return self
        return Lanes(self.states.take(of_row), self.memory.take(of_row), fresh, fresh, np.zeros_like(fresh))

    def take(self, chosen: NDArray[np.bool_]) -> Lanes | None:
        """Some of the lanes, or None for none of them."""
        if chosen.all():
            return self
        if not chosen.any():
            return None
        kept = np.flatnonzero(chosen)
        number = np.cumsum(chosen) - 1
        shots = chosen[self.lane_of_shot]
        return Lanes(
            self.states.take(kept),
            self.memory.take(kept),
            self.rows[kept],
            number[self.lane_of_shot[shots]],
            self.shots[shots],
        )


def join(parts: Sequence[Lanes | None]) -> Lanes | None:
    """The lanes of several parts, or None if there are none."""
    some = [part for part in parts if part is not None]
    if len(some) < 2:
        return some[0] if some else None
    offsets = np.cumsum([0, *(part.count for part in some[:-1])])
    return Lanes(
        States.concatenate([part.states for part in some]),
        Memory.concatenate([part.memory for part in some]),
        np.concatenate([part.rows for part in some]),
        np.concatenate([part.lane_of_shot + offset for part, offset in zip(some, offsets, strict=True)]),
        np.concatenate([part.shots for part in some]),
    )


@dataclass(frozen=True, slots=True)
class Draws:
    """Where the randomness of the shots comes from: a generator for each row, so that rows do not depend on another.

    Attributes:
        generators: One a row.
        shots: Number of shots of a row.
    """

    generators: Sequence[np.random.Generator]
    shots: int

    def uniform(self, lanes: Lanes) -> NDArray[np.float64]:
        """A number in [0, 1) for every shot of the lanes."""
        present, position = np.unique(lanes.rows, return_inverse=True)
        table = np.stack([self.generators[row].random(self.shots) for row in present])
        return np.asarray(table[position[lanes.lane_of_shot], lanes.shots])


def measure(lanes: Lanes, qubits: Sequence[int], draws: Draws, max_lanes: int, *, reset: bool) -> tuple[Lanes, Indices]:
    """Measure qubits together, splitting the lanes by what their shots find.

    Args:
        lanes: The lanes.
        qubits: The qubits.
        draws: The randomness.
        max_lanes: How many lanes there may be.
        reset: Whether the qubits are then returned to |0>.

    Returns:
        The new lanes, and the outcome (L,) of each; bit j is ``qubits[j]``.

    Raises:
        TooManyLanesError: If there would be more lanes.
    """
    probabilities = lanes.states.probabilities(qubits)
    size = probabilities.shape[1]
    likely = probabilities.argmax(axis=1)
    chance = np.take_along_axis(probabilities, likely[:, None], axis=1)[:, 0]
    if (chance >= (1 - CERTAIN) * probabilities.sum(axis=1)).all():  # no number is drawn where none is needed
        if reset and likely.any():
            everything = np.arange(lanes.count)
            lanes = replace(lanes, states=lanes.states.projected(everything, qubits, likely, chance, reset=True))
        return lanes, likely
    found = outcomes_of_shots(probabilities, lanes.lane_of_shot, draws.uniform(lanes))
    pairs, lane_of_shot = np.unique(lanes.lane_of_shot * size + found, return_inverse=True)
    if len(pairs) > max_lanes:
        raise TooManyLanesError
    parents, outcomes = np.divmod(pairs, size)
    states = lanes.states.projected(parents, qubits, outcomes, probabilities[parents, outcomes], reset=reset)
    return Lanes(states, lanes.memory.take(parents), lanes.rows[parents], lane_of_shot, lanes.shots), outcomes
