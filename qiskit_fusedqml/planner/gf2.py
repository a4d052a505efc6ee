"""Linear algebra over GF(2): a vector is an integer, its coordinates are the bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


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


def pull(functional: int, vectors: Sequence[int]) -> int:
    """The functional on the vectors' coefficients: bit k is its value at ``vectors[k]``."""
    return sum(parity(functional & vector) << k for k, vector in enumerate(vectors))


def walsh(values: NDArray[np.inexact]) -> NDArray[np.inexact]:
    """The Fourier transform over GF(2), ``sum_i (-1)**|z & i| values[..., i]`` for every z."""
    size = values.shape[-1]
    for j in range(size.bit_length() - 1):
        pairs = values.reshape(*values.shape[:-1], -1, 2, 1 << j)
        values = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], axis=-2)
        values = values.reshape(*values.shape[:-3], size)
    return values


class Span:
    """The span of vectors added one by one; knows how each of its elements is a sum of them."""

    __slots__ = ("_pivots", "dimension")

    def __init__(self, vectors: Iterable[int] = ()) -> None:
        # by highest bit: a vector with that bit, and the mask of the vectors added that sum to it
        self._pivots: dict[int, tuple[int, int]] = {}
        self.dimension = 0
        for vector in vectors:
            self.add(vector)

    def add(self, vector: int) -> bool:
        """Add a vector; False, and nothing happens, if it is in the span already."""
        rest, mask = self._reduced(vector)
        if not rest:
            return False
        self._pivots[rest.bit_length()] = rest, mask | 1 << self.dimension
        self.dimension += 1
        return True

    def __contains__(self, vector: int) -> bool:
        return not self._reduced(vector)[0]

    def coordinates(self, vector: int) -> int | None:
        """Mask of the added vectors (by number) that sum to a vector; None outside the span."""
        rest, mask = self._reduced(vector)
        return None if rest else mask

    def fits(self, vectors: Sequence[int], limit: int) -> bool:
        """Whether the dimension stays within a limit if the vectors are added."""
        if self.dimension + len(vectors) <= limit:
            return True
        grown = Span()
        grown._pivots, grown.dimension = self._pivots.copy(), self.dimension
        for vector in vectors:
            grown.add(vector)
        return grown.dimension <= limit

    def basis(self) -> tuple[int, ...]:
        """The reduced echelon basis: each vector has its highest bit to itself; ascending."""
        reduced: list[int] = []
        for vector, _ in sorted(self._pivots.values()):
            for other in reduced:
                vector ^= other if vector >> other.bit_length() - 1 & 1 else 0
            reduced.append(vector)
        return tuple(reduced)

    def _reduced(self, vector: int) -> tuple[int, int]:
        """What is left of a vector modulo the span, and the mask of the vectors taken away."""
        mask = 0
        pivots = self._pivots
        while vector:
            pivot = pivots.get(vector.bit_length())
            if pivot is None:
                break
            vector ^= pivot[0]
            mask ^= pivot[1]
        return vector, mask


def echelon(vectors: Iterable[int]) -> tuple[int, ...]:
    """The reduced echelon basis of a span, see `Span.basis`."""
    return Span(vectors).basis()


def intersection(first: Iterable[int], second: Iterable[int], dimension: int) -> list[int]:
    """A basis of what two spans of ``dimension``-bit vectors have in common, by Zassenhaus' algorithm."""
    rows = Span([*(vector << dimension | vector for vector in first), *(vector << dimension for vector in second)])
    return [row for row in rows.basis() if not row >> dimension]


def annihilator(vectors: Iterable[int], dimension: int) -> list[int]:
    """A basis of the functionals of ``dimension`` bits that are 0 on all of the vectors."""
    basis = echelon(vectors)
    pivots = sum(1 << vector.bit_length() - 1 for vector in basis)
    found = []
    for q in (q for q in range(dimension) if not pivots >> q & 1):
        ones = (1 << vector.bit_length() - 1 for vector in basis if vector >> q & 1)
        found.append(sum(ones, start=1 << q))
    return found


def duals(functionals: Sequence[int], dimension: int) -> list[int]:
    """The vectors with ``parity(functionals[i] & found[j]) == (i == j)`` for a basis of the functionals."""
    span = Span(functionals)
    masks = [span.coordinates(1 << q) for q in range(dimension)]  # bit q of an index as a sum of the functionals
    assert None not in masks
    return [sum(1 << q for q, mask in enumerate(masks) if mask and mask >> j & 1) for j in range(len(functionals))]


def common_complement(first: Sequence[int], second: Sequence[int], dimension: int) -> list[int]:
    """Vectors that together with ``first``, and together with ``second`` just as well, are a basis of all.

    Both are independent and equal in number. Each step finds a vector outside two proper subspaces; two of them never
    fill a space.
    """
    spans = Span(first), Span(second)
    found: list[int] = []
    while len(first) + len(found) < dimension:
        outside = [next(1 << k for k in range(dimension) if 1 << k not in span) for span in spans]
        choices = (outside[0], outside[1], outside[0] ^ outside[1])
        vector = next(v for v in choices if all(v not in span for span in spans))
        for span in spans:
            span.add(vector)
        found.append(vector)
    return found
