"""Shots: outcomes drawn from probabilities, and their names in a Qiskit result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22
"""Shots drawn at a time; bounds the memory that drawing takes."""


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
    possible = np.flatnonzero(probabilities)
    weights = probabilities[possible].astype(np.float64)
    # a multinomial draw costs a step per outcome, inverting the cumulative distribution a search per shot
    totals = (
        rng.multinomial(shots, weights / weights.sum()) if len(weights) <= shots else _inverted(weights, shots, rng)
    )
    drawn = np.flatnonzero(totals)
    counts = totals[drawn]
    sequence = rng.permutation(np.repeat(np.arange(len(drawn)), counts)) if keep else None
    return Shots(possible[drawn], counts, sequence)


def _inverted(weights: NDArray[np.float64], shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    cumulative = np.cumsum(weights)
    totals = np.zeros(len(weights), dtype=np.int64)
    for start in range(0, shots, CHUNK):
        points = np.sort(rng.random(min(CHUNK, shots - start)))  # neighbouring searches then read neighbouring memory
        found = np.searchsorted(cumulative, points * cumulative[-1], side="right")
        totals += np.bincount(np.minimum(found, len(weights) - 1), minlength=len(weights))
    return totals


def hex_names(outcomes: NDArray[np.int64], sources: Sequence[tuple[int, int]], num_clbits: int) -> list[str]:
    """The classical bits after each outcome, as hexadecimal numbers with classical bit 0 lowest.

    Args:
        outcomes: Outcomes of the measured qubits.
        sources: Pairs (bit of the outcome, classical bit it is written to).
        num_clbits: Number of classical bits.
    """
    if all(bit == clbit for bit, clbit in sources):
        values: Any = outcomes
    else:
        kind = np.int64 if num_clbits < 63 else object  # Python's integers have no width
        values = np.zeros(len(outcomes), dtype=kind)
        for bit, clbit in sources:
            values |= (outcomes >> bit & 1).astype(kind) << clbit
    return [hex(value) for value in values.tolist()]
