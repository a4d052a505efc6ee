"""Reads Qiskit's parameters and parameter expressions into an `AngleMap`.

An expression whose partial derivatives are all numbers is affine and becomes terms on the parameters. Any other one
becomes a feature: its parameters are replaced by placeholders, and expressions that then read the same share one
compiled formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

from ..angles import AngleMap, Formula, FormulaGroup, parse
from ..errors import InvalidInputError

Terms: TypeAlias = tuple[tuple[int, float], ...]
"""(feature, coefficient) pairs; feature P + k is the k-th non-linear expression met."""


@dataclass(slots=True)
class _Group:
    """The non-linear expressions of one form, as they are met."""

    formula: Formula
    parameters: list[tuple[int, ...]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    features: list[int] = field(default_factory=list)


class AngleTable:
    """Collects the angles of a program, one slot for every parametrised rotation.

    Attributes:
        parameters: The circuit's parameters in the order of the values.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = tuple(parameters)
        self._index = {parameter: position for position, parameter in enumerate(self.parameters)}
        self._forms: dict[str, tuple[float, Terms]] = {}
        self._groups: dict[str, _Group] = {}
        self._num_features = len(self.parameters)
        self._constants: list[float] = []
        self._slots: list[int] = []
        self._columns: list[int] = []
        self._coefficients: list[float] = []

    def add(self, coefficients: Sequence[float], constant: float, params: Sequence[Any]) -> tuple[int, float]:
        """An angle: a linear combination of a gate's parameters plus a constant.

        Returns:
            The angle's slot and 0, or -1 and the angle if it is a constant.
        """
        slot = len(self._constants)
        if len(coefficients) == 1 and isinstance(params[0], Parameter) and params[0] in self._index:
            # nearly every angle of nearly every circuit
            self._slots.append(slot)
            self._columns.append(self._index[params[0]])
            self._coefficients.append(coefficients[0])
            self._constants.append(constant)
            return slot, 0.0
        merged: dict[int, float] = {}
        for coefficient, param in zip(coefficients, params, strict=False):
            if coefficient:
                offset, terms = self.form(param)
                constant += coefficient * offset
                for column, factor in terms:
                    merged[column] = merged.get(column, 0.0) + coefficient * factor
        for column, factor in merged.items():
            if factor:
                self._slots.append(slot)
                self._columns.append(column)
                self._coefficients.append(factor)
        if not self._slots or self._slots[-1] != slot:
            return -1, constant
        self._constants.append(constant)
        return slot, 0.0

    def form(self, param: Any) -> tuple[float, Terms]:
        """A gate's parameter as a constant and terms on the features."""
        if not isinstance(param, ParameterExpression):
            return _real(param), ()
        position = self._index.get(param) if isinstance(param, Parameter) else None
        if position is not None:
            return 0.0, ((position, 1.0),)
        text = str(param)
        known = self._forms.get(text)
        if known is None:
            known = self._forms[text] = self._read(param, text)
        return known

    def angle_map(self) -> AngleMap:
        """The map of all angles added so far."""
        order: list[int] = []
        groups = []
        for group in self._groups.values():
            indices = np.array(group.parameters, dtype=np.intp).T
            groups.append(FormulaGroup(group.formula, indices, tuple(group.labels)))
            order.extend(group.features)
        # features are numbered as they were met; the map wants each group's side by side
        number = np.arange(self._num_features)
        number[np.array(order, dtype=np.intp)] = len(self.parameters) + np.arange(len(order))
        return AngleMap(
            len(self.parameters),
            np.array(self._constants, dtype=np.float64),
            np.array(self._slots, dtype=np.intp),
            number[np.array(self._columns, dtype=np.intp)],
            np.array(self._coefficients, dtype=np.float64),
            tuple(groups),
            tuple(parameter.name for parameter in self.parameters),
        )

    def _read(self, expression: ParameterExpression, text: str) -> tuple[float, Terms]:
        used = sorted(expression.parameters, key=self._position)
        slopes = _slopes(expression, used)
        if slopes is not None:
            offset = _real(expression.bind(dict.fromkeys(used, 0.0)) if used else expression)
            return offset, tuple((self._position(p), slope) for p, slope in zip(used, slopes, strict=True) if slope)
        form = str(expression.subs({parameter: _placeholder(k) for k, parameter in enumerate(used)}))
        group = self._groups.get(form)
        if group is None:
            formula = parse(form, [_placeholder(k).name for k in range(len(used))], label=text)
            group = self._groups[form] = _Group(formula)
        feature = self._num_features
        self._num_features += 1
        group.parameters.append(tuple(self._position(parameter) for parameter in used))
        group.labels.append(text)
        group.features.append(feature)
        return 0.0, ((feature, 1.0),)

    def _position(self, parameter: Parameter) -> int:
        try:
            return self._index[parameter]
        except KeyError:
            raise InvalidInputError(
                f"Parameter {parameter.name} occurs in the circuit but not among the parameters given "
                f"({_names(self.parameters)}); list every parameter of the circuit."
            ) from None


def order_parameters(
    circuit_parameters: Sequence[Parameter], wanted: Sequence[Parameter] | None
) -> tuple[Parameter, ...]:
    """The order of the parameter values: ``wanted``, checked to hold the circuit's parameters once each.

    Raises:
        InvalidInputError: If a parameter is missing, unknown to the circuit, or listed twice.
    """
    if wanted is None:
        return tuple(circuit_parameters)
    ordered = tuple(wanted)
    strange = [item for item in ordered if not isinstance(item, Parameter)]
    if strange:
        raise InvalidInputError(f"Parameters must be qiskit.circuit.Parameter objects, got {strange[0]!r}.")
    given, present = set(ordered), set(circuit_parameters)
    if len(given) < len(ordered):
        twice = [parameter for parameter in given if ordered.count(parameter) > 1]
        raise InvalidInputError(f"Parameters listed more than once: {_names(twice)}.")
    if given - present:
        raise InvalidInputError(
            f"Parameters not in the circuit: {_names(given - present)}. The circuit has {_names(circuit_parameters)}."
        )
    if present - given:
        raise InvalidInputError(f"Parameters of the circuit that are listed nowhere: {_names(present - given)}.")
    return ordered


def _slopes(expression: ParameterExpression, parameters: Sequence[Parameter]) -> list[float] | None:
    """The derivative for each parameter if all are numbers, so that the expression is affine; otherwise None."""
    slopes = []
    for parameter in parameters:
        try:
            slope = expression.gradient(parameter)
        except RuntimeError:  # functions that Qiskit cannot differentiate (sign)
            return None
        if isinstance(slope, ParameterExpression):
            if slope.parameters:
                return None
            slope = slope.numeric()
        slopes.append(_real(slope))
    return slopes


def _real(number: Any) -> float:
    """A gate's parameter as a float."""
    if type(number) is float and isfinite(number):
        return number
    if isinstance(number, ParameterExpression):
        number = number.numeric()
    if isinstance(number, complex | np.complexfloating):
        if number.imag:
            raise InvalidInputError(f"The angle {number} is complex; angles are real.")
        number = number.real
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise InvalidInputError(f"The gate parameter {number!r} is not a real number.") from None
    if not isfinite(value):
        raise InvalidInputError(f"The angle {value} is not finite.")
    return value


@cache
def _placeholder(position: int) -> Parameter:
    return Parameter(f"v{position}")


def _names(parameters: Any) -> str:
    names = sorted(parameter.name for parameter in parameters)
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"
