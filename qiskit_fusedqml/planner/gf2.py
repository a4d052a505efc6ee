"""Vectors over GF(2) as integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def bits(mask: int) -> Iterator[int]:
    """Positions of the set bits, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def parity(mask: int) -> int:
    """Number of set bits modulo 2."""
    return mask.bit_count() & 1


def combination(vectors: Sequence[int], mask: int) -> int:
    """XOR of the vectors whose positions are set in the mask."""
    result = 0
    while mask:  # nearly always one bit, for which a generator takes too long
        low = mask & -mask
        result ^= vectors[low.bit_length() - 1]
        mask ^= low
    return result
