"""Shots: outcomes drawn from probabilities, and the classical bits that they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir.classical import WIDEST_FIXED
from ..ir.measurement import Measurement

Indices: TypeAlias = NDArray[np.intp]

CHUNK = 1 << 22
"""Shots drawn at a time; bounds the memory that drawing takes."""

SORTED = 32
"""Numbers are sorted where so many times more are possible; else those that are present are marked, which is faster."""

BLOCK = 1 << 10
"""Outcomes summed up at a time where there are far more of them than shots."""


@dataclass(frozen=True)
class Shots:
    """What was drawn for one parameter set.

    Attributes:
        outcomes: The distinct outcomes, ascending.
        counts: How often each was drawn.
        sequence: For each shot the position of its outcome in ``outcomes``, if asked for.
    """

    outcomes: NDArray[Any]
    counts: NDArray[np.int64]
    sequence: NDArray[np.integer] | None


class ShotTable:
    """The classical bits of so many shots of each of several parameter sets, filled in parts."""

    def __init__(self, num_sets: int, shots: int) -> None:
        self._values: list[NDArray[Any]] = [np.empty(0, dtype=np.int64)]
        self._place = np.empty((num_sets, shots), dtype=np.int32)
        self._count = 0

    def fill(self, values: NDArray[Any], of_shot: Indices, parameter_sets: Indices, shots: Indices) -> None:
        """Set S shots: the places of their bits in values (D,), their parameter sets, and their numbers there."""
        self._place[parameter_sets, shots] = of_shot + self._count
        self._values.append(values)
        self._count += len(values)

    def drawn(self) -> list[Shots]:
        """The shots of every parameter set."""
        distinct, number = np.unique(np.concatenate(self._values), return_inverse=True)
        number = _places(len(distinct))[number]
        return [_numbered(distinct, number[row]) for row in self._place]


def draw(
    probabilities: NDArray[np.float64], shots: int, rng: np.random.Generator, *, keep: bool, overwrite: bool = False
) -> Shots:
    """Draw outcomes by their probabilities, which are normalised here; one of probability 0 is never drawn.

    With ``keep`` there is a sequence, which does not change the counts of a seed. With ``overwrite`` the probabilities
    are overwritten, which saves memory of their size.
    """
    # a multinomial draw costs a step per outcome, inverting the cumulative distribution a search per shot
    if shots < len(probabilities):
        drawn, counts = _run_lengths(_inverted(probabilities, shots, rng, overwrite=overwrite))
    else:
        possible = np.flatnonzero(probabilities)
        weights = probabilities[possible].astype(np.float64)
        totals = rng.multinomial(shots, weights / weights.sum())
        is_there = totals > 0
        drawn, counts = possible[is_there], totals[is_there]
    sequence = rng.permutation(np.repeat(_places(len(drawn)), counts)) if keep else None
    return Shots(drawn, counts, sequence)


def counted(outcomes: NDArray[Any], *, keep: bool) -> Shots:
    """Shots that have been drawn one by one, in the order of the sequence."""
    shots = _numbered(*np.unique(outcomes, return_inverse=True))
    return shots if keep else replace(shots, sequence=None)


def misread_counts(shots: Shots, measurement: Measurement, rng: np.random.Generator, *, keep: bool) -> Shots:
    """Shots of equal states as they are read, at random; with ``keep`` in a random order, for the same counts."""
    values, totals = shots.outcomes, shots.counts
    for each in measurement.readout:
        values, totals = each.counts_drawn(values, totals, rng)
    sequence = rng.permutation(np.repeat(_places(len(values)), totals)) if keep else None
    return Shots(values, totals, sequence)


def _numbered(distinct: NDArray[Any], numbers: NDArray[np.integer]) -> Shots:
    """Shots whose outcomes are given by their places among ascending ones, not all of which need occur."""
    totals = np.bincount(numbers, minlength=len(distinct))
    present = np.flatnonzero(totals)
    places = _places(len(distinct))
    places[present] = _places(len(present))
    return Shots(distinct[present], totals[present], places[numbers])


def _places(count: int) -> NDArray[Any]:
    """0, 1, ... in the smallest type that holds them."""
    return np.arange(count, dtype=np.min_scalar_type(count))


def _run_lengths(outcomes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct outcomes, ascending, and how often each is there; `_inverted` has sorted them if they are few."""
    if len(outcomes) > CHUNK:
        outcomes = np.sort(outcomes)
    starts = np.flatnonzero(np.diff(outcomes, prepend=-1))
    return outcomes[starts], np.diff(starts, append=len(outcomes))


def _inverted(
    probabilities: NDArray[np.float64], shots: int, rng: np.random.Generator, *, overwrite: bool
) -> NDArray[np.int64]:
    """The outcome of every shot, sorted in chunks."""
    if shots * BLOCK < len(probabilities) and not len(probabilities) % BLOCK:
        return _inverted_in_blocks(probabilities.reshape(-1, BLOCK), np.sort(rng.random(shots)))
    cumulative = np.cumsum(probabilities, dtype=np.float64, out=probabilities if overwrite else None)
    found = []
    for start in range(0, shots, CHUNK):
        points = np.sort(rng.random(min(CHUNK, shots - start)))  # neighbouring searches then read neighbouring memory
        found.append(np.searchsorted(cumulative, points * cumulative[-1], side="right"))
    outcomes = np.concatenate(found)
    if (outcomes == len(cumulative)).any():  # a point that was rounded up to the total
        outcomes = np.minimum(outcomes, np.searchsorted(cumulative, cumulative[-1]))  # the last possible outcome
    return outcomes


def _inverted_in_blocks(blocks: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same for few shots of many outcomes: only the blocks that are hit are summed up entry by entry."""
    cumulative = np.cumsum(blocks.sum(axis=1, dtype=np.float64))
    keys = points * cumulative[-1]
    hit = np.searchsorted(cumulative, keys, side="right")
    hit = np.minimum(hit, np.flatnonzero(np.diff(cumulative, prepend=0.0))[-1])
    rows = blocks[hit].astype(np.float64)
    rest = keys - (cumulative[hit] - blocks[hit].sum(axis=1, dtype=np.float64))
    inside = (np.cumsum(rows, axis=1) <= rest[:, None]).sum(axis=1)
    # what is left of a key may be rounded past either end of its block
    possible = rows > 0
    first, last = possible.argmax(axis=1), BLOCK - 1 - possible[:, ::-1].argmax(axis=1)
    return np.asarray(hit * BLOCK + np.clip(inside, first, last), dtype=np.int64)


def outcomes_of_shots(probabilities: NDArray[np.float64], of_shot: Indices, uniform: NDArray[np.float64]) -> Indices:
    """An outcome for every shot: the first at which the running sum of probabilities exceeds its number.

    Each depends on its own distribution and number only, to the bit.

    Args:
        probabilities: (T, 2**k) distributions, not negative; normalised here.
        of_shot: (S,) the distribution each shot is drawn from.
        uniform: (S,) numbers in [0, 1).
    """
    size = probabilities.shape[1]
    cumulative = np.cumsum(probabilities, axis=1)
    points = uniform * cumulative[of_shot, -1]
    outcomes = np.zeros(len(of_shot), dtype=np.intp)
    step = size // 2
    while step:  # bisection, of all shots at once
        ahead = outcomes + step
        outcomes = np.where(cumulative[of_shot, ahead - 1] <= points, ahead, outcomes)
        step //= 2
    last = size - 1 - np.argmax(probabilities[:, ::-1] > 0, axis=1)  # a point may be rounded up to the total
    return np.asarray(np.minimum(outcomes, last[of_shot]))


def present_numbers(numbers: Indices, limit: int) -> tuple[Indices, Indices]:
    """The distinct numbers below a limit, ascending, and the place of each number among them."""
    if len(numbers) * SORTED < limit:
        distinct, places = np.unique(numbers, return_inverse=True)
        return distinct, places
    present = np.zeros(limit, dtype=bool)
    present[numbers] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[numbers]


def written(outcomes: NDArray[np.int64], sources: Sequence[tuple[int, int]], before: Any) -> NDArray[Any]:
    """The classical bits after each outcome (D,) as integers, bit 0 lowest; before they were one integer or (D,).

    Sources are pairs (bit of the outcome, classical bit that it is written to).
    """
    width = max((clbit for _, clbit in sources), default=0)
    is_wide = width >= WIDEST_FIXED or np.asarray(before).dtype == object
    kind = np.dtype(object if is_wide else np.int64)  # Python's integers have no width
    values = np.broadcast_to(np.asarray(before).astype(kind), len(outcomes)).copy()
    for bit, clbit in sources:
        values &= ~(1 << clbit)
        values |= (outcomes >> bit & 1).astype(kind) << clbit
    return values
