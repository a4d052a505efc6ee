"""Sparse affine maps on NumPy arrays: rows ``constant + sum weight * source``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

FloatArray = NDArray[np.float64]


class Affine:
    """``y = constant + A x`` over the last axis, with A sparse.

    When every row has at most one source, as for nearly all circuits, evaluation is one gather.

    Args:
        rows: One (constant, [(source, weight), ...]) a row; a source may occur several times.
        num_sources: Length of x.
    """

    def __init__(self, rows: Iterable[tuple[float, Sequence[tuple[int, float]]]], num_sources: int) -> None:
        entries = list(rows)
        self.num_sources = num_sources
        self.constant: FloatArray = np.array([constant for constant, _ in entries], dtype=np.float64)
        self.single = all(len(sources) <= 1 for _, sources in entries)
        counts = np.array([len(sources) for _, sources in entries], dtype=np.intp)
        self.index = np.array([source for _, sources in entries for source, _ in sources], dtype=np.intp)
        self.weight = np.array([weight for _, sources in entries for _, weight in sources], dtype=np.float64)
        self.row = np.repeat(np.arange(len(entries)), counts)
        self.complete = self.single and len(self.row) == len(entries)
        shape = (len(entries), num_sources)
        self.matrix = None if self.single else csr_array((self.weight, (self.row, self.index)), shape=shape)

    def __len__(self) -> int:
        return len(self.constant)

    def evaluate(self, x: FloatArray) -> FloatArray:
        """y of shape (..., rows) for x of shape (..., num_sources)."""
        if self.complete:
            return x[..., self.index] * self.weight + self.constant
        y = np.empty((*x.shape[:-1], len(self)))
        y[...] = self.constant
        if self.matrix is None:
            y[..., self.row] += x[..., self.index] * self.weight
        else:
            y += (self.matrix @ x.reshape(-1, self.num_sources).T).T.reshape(y.shape)
        return y

    def pullback(self, dy: FloatArray) -> FloatArray:
        """``A^T dy`` of shape (..., num_sources) for dy of shape (..., rows)."""
        if self.matrix is not None:
            flat = self.matrix.T @ dy.reshape(-1, len(self)).T
            return np.ascontiguousarray(flat.T).reshape(*dy.shape[:-1], self.num_sources)
        if dy.ndim == 1:
            return np.bincount(self.index, self.weight * dy[self.row], self.num_sources)
        dx = np.zeros((*dy.shape[:-1], self.num_sources))
        np.add.at(dx.T, self.index, (dy[..., self.row] * self.weight).T)
        return dx
