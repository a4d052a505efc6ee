"""Parameter values as callers give them: which differ from row to row, without repeating what all rows share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import FloatArray, IntArray, real_array
from ..errors import InvalidInputError

Take = Callable[[ArrayLike, str], FloatArray]


class ParameterSet:
    """Parameters by number, ascending, with a key by which equal sets are found again.

    Attributes:
        indices: The numbers.
    """

    def __init__(self, indices: IntArray) -> None:
        self.indices = indices

    @cached_property
    def key(self) -> bytes:
        """The same for equal sets."""
        return self.indices.tobytes()


@lru_cache(maxsize=64)
def first_parameters(count: int) -> ParameterSet:
    """Parameters 0 to count - 1, one object for each count."""
    return ParameterSet(np.arange(count, dtype=np.intp))


class ParameterBatch(NamedTuple):
    """B rows of P parameter values.

    Attributes:
        base: (P,) the values of the first row.
        varying: The parameters that differ from row to row.
        columns: (B, len(varying)) their values.
        by_row: Whether weights were given row by row.
        first: Number of the first row within the whole batch.
    """

    base: FloatArray
    varying: ParameterSet
    columns: FloatArray
    by_row: bool
    first: int = 0

    @property
    def batch(self) -> int:
        """Number of rows B."""
        return len(self.columns)

    @property
    def resident(self) -> bool:
        """Whether the values are in a device's memory."""
        return not isinstance(self.base, np.ndarray)

    def rows(self, start: int, stop: int) -> ParameterBatch:
        """Some of the rows; ``base`` keeps the shared values, and a varying column stays varying."""
        return self._replace(columns=self.columns[start:stop], first=self.first + start)


def parameter_batch(inputs: FloatArray | None, weights: FloatArray, states: int = 1) -> ParameterBatch:
    """Join inputs (B, n_in) or None and weights (n_w,) or (B, n_w) into rows.

    There are at least as many rows as ``states``, the number of initial states.
    Inputs vary when there is more than one row. Weight columns that are equal in every row are shared, but in a
    device's memory, where nobody looks.
    """
    by_row = weights.ndim == 2
    if not by_row and inputs is not None and len(inputs) > 1 and len(inputs) >= states:
        # the usual case, without the questions that follow
        return ParameterBatch(np.concatenate([inputs[0], weights]), first_parameters(inputs.shape[1]), inputs, False)
    num_inputs = 0 if inputs is None else inputs.shape[1]
    batch = max(states, 1 if inputs is None else len(inputs), len(weights) if by_row else 1)
    base = weights[0] if by_row else weights
    if inputs is not None and num_inputs:
        base = np.concatenate([inputs[0], base])
    parts: list[FloatArray] = []
    varying = first_parameters(num_inputs if batch > 1 else 0)
    if inputs is not None and batch > 1:
        parts.append(inputs if len(inputs) == batch else np.broadcast_to(inputs, (batch, num_inputs)))
    if by_row and batch > 1:
        differing = _differing_columns(weights)
        own = weights if len(differing) == weights.shape[1] else weights[:, differing]
        parts.append(own if len(own) == batch else np.broadcast_to(own, (batch, len(differing))))
        varying = ParameterSet(np.concatenate([varying.indices, num_inputs + differing]))
    several = np.concatenate(parts, axis=1) if len(parts) > 1 else np.empty((batch, 0))
    columns = parts[0] if len(parts) == 1 else several
    return ParameterBatch(base, varying, columns, by_row)


def _differing_columns(rows: Any) -> IntArray:
    """The columns whose entries are not all equal. Most show it in the last row already."""
    if not isinstance(rows, np.ndarray):
        return np.arange(rows.shape[1], dtype=np.intp)
    differ = rows[-1] != rows[0]
    open_columns = np.flatnonzero(~differ)
    if len(open_columns):
        differ[open_columns] = (rows[:, open_columns] != rows[0, open_columns]).any(axis=0)
    found: IntArray = np.flatnonzero(differ)
    return found


def checked_inputs(values: ArrayLike | None, width: int, take: Take = real_array) -> FloatArray:
    """Inputs as (B, width), copied.

    Raises:
        InvalidInputError: If they have another shape.
    """
    if values is None:
        raise InvalidInputError(f"x is None; an array of shape (B, {width}) is expected.")
    array = take(values, "x")  # a copy: the caller may change its own before the pullback
    if array.shape == (width,):
        array = array[None, :]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise InvalidInputError(f"x has shape {array.shape}; (B, {width}) with B >= 1 is expected.")
    return array


def checked_weights(values: ArrayLike | None, width: int, take: Take = real_array) -> FloatArray:
    """Weights as (width,) or, by row, (B, width), copied.

    Raises:
        InvalidInputError: If they have another shape.
    """
    array = take([] if values is None else values, "w")
    if array.ndim not in (1, 2) or array.shape[-1] != width or (width and not len(array)):
        raise InvalidInputError(
            f"w has shape {array.shape}; ({width},), or (B, {width}) for weights by row, is expected."
        )
    return array


def checked_parameters(
    x: ArrayLike | None,
    w: ArrayLike | None,
    num_inputs: int,
    num_weights: int,
    num_states: int,
    take: Take = real_array,
) -> ParameterBatch:
    """Inputs and weights as rows, for a program with so many initial states.

    ``take`` copies them to where they are needed.

    Raises:
        InvalidInputError: If they have wrong shapes or do not go together.
    """
    inputs = checked_inputs(x, num_inputs, take) if x is not None or num_inputs else None
    weights = checked_weights(w, num_weights, take)
    if inputs is not None and weights.ndim == 2 and len(inputs) != len(weights):
        raise InvalidInputError(f"x has {len(inputs)} rows and w has {len(weights)}; equal numbers are expected.")
    if num_states > 1:
        given = max(1 if inputs is None else len(inputs), len(weights) if weights.ndim == 2 else 1)
        if given not in (1, num_states):
            raise InvalidInputError(
                f"The program holds {num_states} initial states and {given} rows of parameters were given."
            )
    return parameter_batch(inputs, weights, num_states)


def parameter_indices(wanted: str | Sequence[int], num_inputs: int, total: int) -> IntArray:
    """The parameters, inputs first, that "weights", "inputs", "all" or a sequence of numbers means.

    Raises:
        InvalidInputError: For another word.
    """
    named = {"weights": (num_inputs, total), "inputs": (0, num_inputs), "all": (0, total)}
    if not isinstance(wanted, str):
        return np.array(wanted, dtype=np.intp)
    if wanted not in named:
        raise InvalidInputError(
            f"wrt is {wanted!r}; 'weights', 'inputs', 'all' or a sequence of parameters is expected."
        )
    return np.arange(*named[wanted], dtype=np.intp)
