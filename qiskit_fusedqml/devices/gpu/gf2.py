"""Linear algebra over GF(2) on integers as bit vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...planner.gf2 import parity


class Span:
    """The span of vectors added one by one; knows how each of its elements is made of them."""

    def __init__(self, vectors: Iterable[int] = ()) -> None:
        self._reduced: dict[int, tuple[int, int]] = {}  # by highest bit: vector and the vectors added that sum to it
        self.dimension = 0
        for vector in vectors:
            self.add(vector)

    def add(self, vector: int) -> bool:
        """Add a vector; False, and nothing happens, if it is in the span already."""
        rest, mask = self._reduce(vector)
        if not rest:
            return False
        self._reduced[rest.bit_length()] = (rest, mask ^ 1 << self.dimension)
        self.dimension += 1
        return True

    def __contains__(self, vector: int) -> bool:
        return not self._reduce(vector)[0]

    def coordinates(self, vector: int) -> int:
        """Mask of the added vectors (by number) that sum to a vector of the span."""
        rest, mask = self._reduce(vector)
        assert not rest
        return mask

    def _reduce(self, vector: int) -> tuple[int, int]:
        mask = 0
        while vector:
            found = self._reduced.get(vector.bit_length())
            if found is None:
                break
            vector ^= found[0]
            mask ^= found[1]
        return vector, mask


def echelon(vectors: Iterable[int]) -> tuple[int, ...]:
    """The basis of a span in which each vector has its highest bit to itself, ascending."""
    basis: list[int] = []
    for given in vectors:
        vector = given
        for other in basis:
            vector = min(vector, vector ^ other)
        if vector:
            pivot = 1 << vector.bit_length() - 1
            basis = [other ^ vector if other & pivot else other for other in basis] + [vector]
    return tuple(sorted(basis))


def pull(functional: int, vectors: Sequence[int]) -> int:
    """The functional on the vectors' coefficients: bit k is its value at ``vectors[k]``."""
    result = 0
    for k, vector in enumerate(vectors):
        result |= parity(functional & vector) << k
    return result


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
