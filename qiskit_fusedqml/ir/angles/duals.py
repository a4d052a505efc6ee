"""Dual numbers: second derivatives of formulas from the table of first ones.

A `Dual` is an array of values with their derivatives along one direction. NumPy's functions act on it by the rules of
`formulas`, so that reverse accumulation, run on duals, gives derivatives of derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import FloatArray
from .formulas import (
    BINARY,
    FUNCTIONS,
    NEGATIVE,
    Formula,
)

_RULES = {operator.function: operator for operator in (*BINARY.values(), *FUNCTIONS.values(), NEGATIVE)}


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """Values and their derivatives along a direction, of one shape."""

    __slots__ = ("tangent", "value")

    def __init__(self, value: FloatArray, tangent: FloatArray) -> None:
        self.value = value
        self.tangent = tangent

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.value.shape

    def __array_ufunc__(self, function: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        values = [_value(argument) for argument in arguments]
        result = function(*values)
        rule = _RULES.get(function)
        if rule is None:  # comparisons
            return result
        tangent = np.zeros(np.shape(result))
        for argument, derivative in zip(arguments, rule.derivatives, strict=True):
            if isinstance(argument, Dual):
                tangent = tangent + derivative(*values, result) * argument.tangent
        return Dual(result, tangent)

    def __array_function__(self, function: Any, _types: Any, arguments: Any, options: Any) -> Any:
        values = function(*map(_value, arguments), **options)
        if function is np.where:
            condition, *branches = arguments
            return Dual(values, np.where(condition, *map(_tangent, branches)))
        return values  # zeros_like and ones_like


def directional_partials(
    formula: Formula, variables: Sequence[FloatArray], directions: Sequence[FloatArray]
) -> list[FloatArray]:
    """The derivative along a direction of every one of a formula's partial derivatives, elementwise."""
    duals: Any = [Dual(value, direction) for value, direction in zip(variables, directions, strict=True)]
    with np.errstate(all="ignore"):
        return [_tangent(partial) for partial in formula.accumulate(duals)]


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Dual) else argument


def _tangent(argument: Any) -> Any:
    return argument.tangent if isinstance(argument, Dual) else np.zeros(np.shape(argument))
