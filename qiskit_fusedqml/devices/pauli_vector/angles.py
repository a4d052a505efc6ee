"""Angles as affine functions of the values that the engine has, and back."""

from __future__ import annotations

from math import prod

import numpy as np

from ...arrays import FloatArray
from ...planner.tables import AngleTables, CSRRows


class AffineAngles:
    """Angles as affine functions of other values, see `AngleTables`."""

    def __init__(self, tables: AngleTables) -> None:
        self._shared = _Terms(tables.shared, tables.num_shared)
        self._from_shared = _Terms(tables.from_shared, tables.num_shared)
        self._from_batched = _Terms(tables.from_batched, tables.num_batched)

    def evaluate(self, shared: FloatArray, batched: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The angles (A,) and (B, A') at values (F,) and (B, F')."""
        own = np.repeat(self._from_shared.applied(shared)[None], len(batched), axis=0)
        own[:, self._from_batched.rows] += self._from_batched.terms(batched)
        return self._shared.applied(shared), own

    def pullback(
        self, by_angle: FloatArray, by_own: FloatArray | None, *, per_sample: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """The derivatives by the values, as of `CoefficientMap.pullback`."""
        by_shared = self._shared.transposed(by_angle)
        if by_own is None:
            return by_shared, None
        if self._from_shared.size:
            by_shared += self._from_shared.transposed(by_own if per_sample else by_own.sum(axis=0))
        return by_shared, self._from_batched.transposed(by_own)


class _Terms:
    """A sparse affine map; where each row has one term at most, as nearly always, it is a selection.

    Attributes:
        size: Number of terms.
        rows: The rows that have terms, each once.
    """

    def __init__(self, table: CSRRows, num_sources: int) -> None:
        self._constant, self._num_sources, self.size = table.constant, num_sources, len(table.index)
        counts = np.diff(table.start)
        self.rows = np.flatnonzero(counts)
        self._one_each = bool((counts <= 1).all())
        self._index, self._weight = table.index, table.weight
        self._distinct = len(np.unique(table.index)) == self.size
        self._matrix = table.sparse(num_sources)[self.rows]

    def terms(self, values: FloatArray) -> FloatArray:
        """The sums (..., rows) of the terms."""
        if self._one_each:
            return np.asarray(values[..., self._index] * self._weight)
        flat = values.reshape(prod(values.shape[:-1]), values.shape[-1])
        return np.asarray(self._matrix @ flat.T).T.reshape(*values.shape[:-1], len(self.rows))

    def applied(self, values: FloatArray) -> FloatArray:
        """The map at values (F,)."""
        result = self._constant.copy()
        result[self.rows] += self.terms(values)
        return result

    def transposed(self, vectors: FloatArray) -> FloatArray:
        """The transposed linear map of vectors (..., M), (..., F)."""
        if self._one_each and self._distinct:
            result = np.zeros((*vectors.shape[:-1], self._num_sources))
            result[..., self._index] = vectors[..., self.rows] * self._weight
            return result
        flat = vectors.reshape(prod(vectors.shape[:-1]), vectors.shape[-1])[:, self.rows]
        return np.ascontiguousarray((self._matrix.T @ flat.T).T).reshape(*vectors.shape[:-1], self._num_sources)
