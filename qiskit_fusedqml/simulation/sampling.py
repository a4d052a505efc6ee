"""Shots: outcomes drawn from probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.classical import WIDEST_FIXED

CHUNK = 1 << 22
"""Shots drawn at a time; bounds the memory that drawing takes."""

BLOCK = 1 << 10
"""Outcomes summed up at a time where there are far more of them than shots."""


@dataclass(frozen=True)
class Shots:
    """What was drawn.

    Attributes:
        outcomes: The distinct outcomes, ascending.
        counts: How often each was drawn.
        sequence: For each shot the position of its outcome in ``outcomes``, if asked for.
    """

    outcomes: NDArray[np.int64]
    counts: NDArray[np.int64]
    sequence: NDArray[np.int64] | None


def draw(probabilities: NDArray[np.float64], shots: int, rng: np.random.Generator, *, keep: bool) -> Shots:
    """Draw outcomes; an outcome of probability 0 is never drawn.

    The counts of a seed do not depend on ``keep``.

    Args:
        probabilities: Shape (number of outcomes,), not negative; normalised here.
        shots: Number of shots.
        rng: Where randomness comes from.
        keep: Whether the sequence is wanted.
    """
    # a multinomial draw costs a step per outcome, inverting the cumulative distribution a search per shot
    if shots < len(probabilities):
        drawn, counts = _run_lengths(_inverted(probabilities, shots, rng))
    else:
        possible = np.flatnonzero(probabilities)
        weights = probabilities[possible].astype(np.float64)
        totals = rng.multinomial(shots, weights / weights.sum())
        drawn, counts = possible[totals > 0], totals[totals > 0]
    sequence = rng.permutation(np.repeat(np.arange(len(drawn)), counts)) if keep else None
    return Shots(drawn, counts, sequence)


def counted(outcomes: NDArray[np.int64], *, keep: bool) -> Shots:
    """Shots that have been drawn one by one, in the order of the sequence."""
    distinct, sequence, counts = np.unique(outcomes, return_inverse=True, return_counts=True)
    return Shots(distinct, counts, sequence if keep else None)


def _run_lengths(outcomes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct outcomes, ascending, and how often each is there; `_inverted` has sorted them if they are few."""
    if len(outcomes) > CHUNK:
        outcomes = np.sort(outcomes)
    starts = np.flatnonzero(np.diff(outcomes, prepend=-1))
    return outcomes[starts], np.diff(starts, append=len(outcomes))


def _inverted(probabilities: NDArray[np.float64], shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The outcome of every shot, sorted in chunks."""
    if shots * BLOCK < len(probabilities) and not len(probabilities) % BLOCK:
        return _inverted_in_blocks(probabilities.reshape(-1, BLOCK), np.sort(rng.random(shots)))
    cumulative = np.cumsum(probabilities, dtype=np.float64)
    found = []
    for start in range(0, shots, CHUNK):
        points = np.sort(rng.random(min(CHUNK, shots - start)))  # neighbouring searches then read neighbouring memory
        found.append(np.searchsorted(cumulative, points * cumulative[-1], side="right"))
    outcomes = np.concatenate(found)
    if (outcomes == len(cumulative)).any():  # a point that was rounded up to the total
        outcomes = np.minimum(outcomes, np.flatnonzero(probabilities)[-1])
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


def outcomes_of_shots(
    probabilities: NDArray[np.float64], lane_of_shot: NDArray[np.intp], uniform: NDArray[np.float64]
) -> NDArray[np.intp]:
    """An outcome for every shot, each by inverting the cumulative distribution of its own lane.

    Args:
        probabilities: (L, K), not negative; normalised here.
        lane_of_shot: (S,) the distribution each shot is drawn from.
        uniform: (S,) numbers in [0, 1).
    """
    num_lanes, size = probabilities.shape
    totals = probabilities.sum(axis=1)
    if size == 2:
        return np.asarray(uniform * totals[lane_of_shot] >= probabilities[lane_of_shot, 0], dtype=np.intp)
    found = np.empty(len(lane_of_shot), dtype=np.intp)
    step = max(1, CHUNK // size)
    for start in range(0, num_lanes, step):
        part = probabilities[start : start + step]
        # one search for all lanes: lane l's cumulative distribution lies between l and l + 1
        numbers = np.arange(len(part))
        cumulative = (np.cumsum(part, axis=1) / totals[start : start + step, None] + numbers[:, None]).reshape(-1)
        last = size - 1 - np.argmax(part[:, ::-1] > 0, axis=1)
        inside = (lane_of_shot >= start) & (lane_of_shot < start + step)
        lanes = lane_of_shot[inside] - start
        places = np.searchsorted(cumulative, lanes + uniform[inside], side="right") - lanes * size
        found[inside] = np.minimum(places, last[lanes])
    return found


def written(
    outcomes: NDArray[np.int64], sources: Sequence[tuple[int, int]], before: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The classical bits after each outcome as integers, bit 0 lowest.

    Args:
        outcomes: (D,) outcomes of the measured qubits.
        sources: Pairs (bit of the outcome, classical bit it is written to).
        before: (D,) the classical bits before; 0 if not given.
    """
    if before is None and all(bit == clbit for bit, clbit in sources):
        return outcomes
    width = max((clbit for _, clbit in sources), default=0)
    wide = width >= WIDEST_FIXED or (before is not None and before.dtype == object)
    kind = np.dtype(object if wide else np.int64)  # Python's integers have no width
    values = np.zeros(len(outcomes), dtype=kind) if before is None else before.astype(kind)
    for bit, clbit in sources:
        values &= ~(1 << clbit)
        values |= (outcomes >> bit & 1).astype(kind) << clbit
    return values
