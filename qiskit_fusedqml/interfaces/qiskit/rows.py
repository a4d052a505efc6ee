"""Distinct rows of parameter values.

Networks and gradients repeat rows (once per observable, once per shifted pub); each distinct one is simulated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter

from ...errors import InvalidInputError


class RowSet:
    """An ordered set of rows of floats, compared by their bytes."""

    def __init__(self, width: int) -> None:
        """Start empty.

        Args:
            width: Number of values in a row.
        """
        self._width = width
        self._seen: dict[bytes, int] = {}
        self._parts: list[NDArray[np.float64]] = []
        self._sources: dict[int, tuple[Any, NDArray[np.intp]]] = {}

    @property
    def size(self) -> int:
        """Number of distinct rows."""
        return len(self._seen)

    def find(self, source: object) -> NDArray[np.intp] | None:
        """The positions found when ``source``, the very object, was added, or None."""
        found = self._sources.get(id(source))
        return None if found is None else found[1]

    def add(self, source: object, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        """Take rows in.

        Args:
            source: The object the rows come from, for `find`.
            rows: Shape (N, width).

        Returns:
            The position (N,) of each row among the distinct ones.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        known = len(self._seen)
        positions = np.array([self._seen.setdefault(key, len(self._seen)) for key in _keys(rows)], dtype=np.intp)
        fresh = positions >= known
        if fresh.all() and len(self._seen) - known == len(rows):
            self._parts.append(rows)
        elif fresh.any():
            _, first = np.unique(positions[fresh], return_index=True)
            self._parts.append(rows[np.flatnonzero(fresh)[first]])
        self._sources[id(source)] = (source, positions)
        return positions

    def array(self) -> NDArray[np.float64]:
        """The distinct rows, shape (size, width)."""
        if len(self._parts) == 1:
            return self._parts[0]
        return np.concatenate([np.empty((0, self._width)), *self._parts])


def _keys(rows: NDArray[np.float64]) -> list[bytes]:
    if rows.shape[1] == 0:
        return [b""] * len(rows)
    keys: list[bytes] = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel().tolist()
    return keys


def check_finite(values: NDArray[np.float64], parameters: Sequence[Parameter]) -> None:
    """Refuse NaN and infinite values.

    Args:
        values: Shape (..., number of parameters).
        parameters: What the last axis stands for.

    Raises:
        InvalidInputError: Naming the first such value, its parameter and its position.
    """
    if np.isfinite(values).all():
        return
    *position, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
    place = f" in row {tuple(position)}" if position else ""
    value = values[(*position, column)]
    raise InvalidInputError(
        f"Parameter {parameters[column].name!r} has the value {value}{place}; finite values are needed."
    )
