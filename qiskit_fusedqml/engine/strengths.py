"""Strengths of noise that differ from sample to sample, as in extrapolation to zero noise.

Channels are shared by all samples of a sweep. A batch of several strengths is therefore evaluated in one piece for each
of them, and put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, IntArray, real_array
from ..errors import FusedQMLError
from ..ir.angles import AngleMap
from ..ir.channels import Channel
from ..ir.program import Program
from ..ir.slots import slots_of
from .trajectories import CALLED_BEFORE


class Strengths:
    """The parameters that channels depend on.

    Args:
        parameters: Their numbers, inputs first.
        num_inputs: Number of inputs.
    """

    def __init__(self, parameters: IntArray, num_inputs: int) -> None:
        self._inputs = parameters[parameters < num_inputs]
        self._weights = parameters[parameters >= num_inputs] - num_inputs

    @classmethod
    def of(cls, program: Program, angle_map: AngleMap, num_inputs: int) -> Strengths | None:
        """Those of a program; None if no channel depends on parameters."""
        used = [slot for each in program.instructions if isinstance(each, Channel) for slot in slots_of(each)]
        slots, parameters = angle_map.dependence
        found = np.unique(parameters[np.isin(slots, used)])
        return cls(found, num_inputs) if len(found) else None

    def pieces(self, x: ArrayLike | None, w: ArrayLike | None) -> list[IntArray] | None:
        """The samples of each strength, or None where all have the same.

        Inputs differ from sample to sample by definition: where strengths are inputs, each sample is alone.
        """
        given = []
        for values, columns, name in ((x, self._inputs, "x"), (w, self._weights, "w")):
            array = None if values is None else real_array(values, name, copy=False)
            if (
                len(columns)
                and array is not None
                and array.ndim == 2
                and len(array) > 1
                and max(columns) < array.shape[1]
            ):
                given.append(array[:, columns])
        if not given or len({len(each) for each in given}) > 1:
            return None  # or a mistake, which is for others to find
        if len(self._inputs) and x is not None and len(given[0]) > 1:
            return [np.array([sample]) for sample in range(len(given[0]))]
        _, piece_of = np.unique(np.concatenate(given, axis=1), axis=0, return_inverse=True)
        piece_of = piece_of.reshape(-1)
        count = int(piece_of.max()) + 1
        return None if count == 1 else [np.flatnonzero(piece_of == k) for k in range(count)]


def _part(values: ArrayLike | None, chosen: IntArray) -> Any:
    """The samples chosen; what all share stays."""
    array = None if values is None else np.asarray(values)
    return values if array is None or array.ndim < 2 or len(array) == 1 else array[chosen]


def by_piece(
    function: Callable[..., NDArray[Any]],
    pieces: list[IntArray],
    x: ArrayLike | None,
    w: ArrayLike | None,
    **given: ArrayLike | None,
) -> NDArray[Any]:
    """An array-valued function of x, w and what else is given, sample by sample or for all of them."""
    return _joined(_of_pieces(function, pieces, x, w, given), pieces)


def vjp_by_piece(
    vjp: Callable[..., Any],
    pieces: list[IntArray],
    x: ArrayLike | None,
    w: ArrayLike | None,
    **given: ArrayLike | None,
) -> tuple[NDArray[np.floating], Callable[[ArrayLike], tuple[NDArray[Any] | None, NDArray[Any]]]]:
    """Values and pullback as of `ProgramFunction.vjp`."""
    found = _of_pieces(vjp, pieces, x, w, given)
    pullbacks = [pullback for _, pullback in found]

    def pullback(cotangents: ArrayLike) -> tuple[NDArray[Any] | None, NDArray[Any]]:
        if not pullbacks:
            raise FusedQMLError(CALLED_BEFORE)
        own = np.asarray(cotangents)
        parts = [pull(own[chosen]) for pull, chosen in zip(pullbacks, pieces, strict=True)]
        pullbacks.clear()
        dx = None if parts[0][0] is None else _joined([dx for dx, _ in parts], pieces)
        if parts[0][1].ndim == 1:  # inputs are the strengths, and weights are shared
            return dx, np.sum([dw for _, dw in parts], axis=0)
        return dx, _joined([dw for _, dw in parts], pieces)

    return _joined([values for values, _ in found], pieces), pullback


def _of_pieces(
    function: Callable[..., Any],
    pieces: list[IntArray],
    x: ArrayLike | None,
    w: ArrayLike | None,
    given: Mapping[str, ArrayLike | None],
) -> list[Any]:
    return [
        function(_part(x, chosen), _part(w, chosen), **{name: _part(values, chosen) for name, values in given.items()})
        for chosen in pieces
    ]


def _joined(parts: list[NDArray[Any]], pieces: list[IntArray]) -> NDArray[Any]:
    order = np.argsort(np.concatenate(pieces), kind="stable")
    result: FloatArray = np.concatenate(parts)[order]
    return result
