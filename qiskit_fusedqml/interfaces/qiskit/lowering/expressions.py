"""Reads Qiskit's parameters and parameter expressions into an `AngleMap`.

The parameters of an expression are replaced by placeholders and its text is compiled; expressions that then read the
same share one formula. An affine one becomes terms on the parameters, any other one a feature.

Qiskit's texts are not always faithful (``x/(-(b*c))`` reads ``x/-b*c``), so each expression is compared with its
formula at a point before it is accepted. Its ``gradient`` is not used: it lacks functions, and may not come to an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import isfinite, pi, remainder
from typing import Any, TypeAlias

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.exceptions import QiskitError

from ....errors import InvalidInputError
from ....ir.angles import AngleMap, FormulaGroup
from ....ir.expressions import Formula, check_depth, parse, shortened

Terms: TypeAlias = tuple[tuple[int, float], ...]
"""(feature, coefficient) pairs; feature P + k is the k-th non-linear expression met."""

STRUCTURAL = 1e-9
"""Angles that close to a multiple of pi/2 are not lifted."""

_NO_ANGLES = np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)
"""Constants, slots, columns and coefficients where there are none."""

_PROBES = ((0.6, 0.2), (-0.6, -0.2), (6.0, 2.0), (-6.0, -2.0))
"""(scale, shift) of the points where expressions are compared with their formulas: functions have their domains."""


class AngleTable:
    """Collects the angles of a program, one slot for every parametrised rotation.

    Attributes:
        parameters: The circuit's parameters in the order of the values.
        constants: The values of the parameters that `lifted` made, if it may; they come after the circuit's.
    """

    def __init__(self, parameters: Sequence[Parameter], *, lifts: bool = False) -> None:
        self.parameters = tuple(parameters)
        self.constants: list[float] = []
        self._lifts = lifts
        self._index = {parameter: position for position, parameter in enumerate(self.parameters)}
        self._forms: dict[tuple[str, complex | None], tuple[float, Terms]] = {}
        # by form: the formula and, unless it is affine, the parameters, text and feature of each expression met
        self._groups: dict[str, tuple[Formula, list[tuple[tuple[int, ...], str, int]]]] = {}
        self._num_features = len(self.parameters)
        self._assigned: dict[Parameter, float] = {}
        self._constants: list[float] = []
        self._terms: list[tuple[int, int, float]] = []  # (slot, feature, coefficient)

    def angle(
        self, coefficients: Sequence[float], constant: float, params: Sequence[Any], *, lifts: bool = False
    ) -> tuple[int, float]:
        """The slot of an angle, a linear combination of a gate's parameters plus a constant, and 0.

        -1 and the angle if it is a constant; with ``lifts`` it is `lifted`.
        """
        slot = len(self._constants)
        if len(coefficients) == 1:  # nearly every angle of nearly every circuit
            param = params[0]
            if type(param) is float and isfinite(param):
                theta = constant + coefficients[0] * param
                return self.lifted(theta) if lifts else (-1, theta)
            position = self._index.get(param) if isinstance(param, Parameter) else None
            if position is not None:
                self._terms.append((slot, position, coefficients[0]))
                self._constants.append(constant)
                return slot, 0.0
        merged: dict[int, float] = {}
        for coefficient, param in zip(coefficients, params, strict=False):
            if coefficient:
                offset, terms = self.form(param)
                constant += coefficient * offset
                for column, factor in terms:
                    merged[column] = merged.get(column, 0.0) + coefficient * factor
        added = [(slot, column, factor) for column, factor in merged.items() if factor]
        if not added:
            return self.lifted(constant) if lifts else (-1, constant)
        self._terms += added
        self._constants.append(constant)
        return slot, 0.0

    @contextmanager
    def assigned(self, parameter: Any, value: float) -> Iterator[None]:
        """Read the index of a loop, if it is a parameter, as a value for a while."""
        outer = self._assigned
        self._assigned = {**outer, parameter: value} if isinstance(parameter, Parameter) else outer
        yield
        self._assigned = outer

    @property
    def num_angles(self) -> int:
        """Number of angles added so far."""
        return len(self._constants)

    def invert(self, first: int) -> None:
        """Negate the angles from slot ``first`` on, and number them the other way round."""
        ends = first + len(self._constants) - 1
        self._constants[first:] = [-constant for constant in reversed(self._constants[first:])]
        start = len(self._terms)
        while start and self._terms[start - 1][0] >= first:
            start -= 1
        self._terms[start:] = [
            (ends - slot, feature, -coefficient) for slot, feature, coefficient in reversed(self._terms[start:])
        ]

    def lifted(self, theta: float) -> tuple[int, float]:
        """The slot of a constant angle as the value of one more parameter, and 0; or -1 and the angle, if not lifted.

        Multiples of pi/2 stay part of the structure: they make Clifford and T gates, and plans make use of flips.
        """
        if not self._lifts or abs(remainder(theta, pi / 2)) < STRUCTURAL:
            return -1, theta
        slot = len(self._constants)
        self._terms.append((slot, -1 - len(self.constants), 1.0))
        self._constants.append(0.0)
        self.constants.append(theta)
        return slot, 0.0

    def form(self, param: Any) -> tuple[float, Terms]:
        """A gate's parameter as a constant and terms on the features."""
        if not isinstance(param, ParameterExpression):
            return _real(param), ()
        position = self._index.get(param) if isinstance(param, Parameter) else None
        if position is not None:
            return 0.0, ((position, 1.0),)
        if self._assigned:
            values = {each: self._assigned[each] for each in param.parameters if each in self._assigned}
            param = param.bind(values) if values else param
        used = sorted(param.parameters, key=self._position)
        if not used:
            return _real(param), ()
        text = str(param)
        check_depth(text)  # before it is given values, which takes longer
        key = (text, self._value(param, used, *_PROBES[0]))
        known = self._forms.get(key)
        if known is None:
            known = self._forms[key] = self._read(param, used, text)
        return known

    def angle_map(self) -> AngleMap:
        """The map of all angles added so far."""
        names = (*(parameter.name for parameter in self.parameters), *("a constant",) * len(self.constants))
        if not (self._terms or self._groups):
            return AngleMap(len(names), *_NO_ANGLES, (), names)
        order: list[int] = []
        groups = []
        for formula, members in self._groups.values():
            if members:
                positions, labels, places = zip(*members, strict=True)
                groups.append(FormulaGroup(formula, np.array(positions, dtype=np.intp).T, labels))
                order.extend(places)
        own, lifted = len(self.parameters), len(self.constants)
        slots, columns, coefficients = zip(*self._terms, strict=True) if self._terms else ((), (), ())
        features = np.array(columns, dtype=np.intp)
        if order or lifted:
            # features are numbered as they were met; the map wants each group's side by side, after lifted constants
            number = np.arange(self._num_features + lifted)
            number[np.array(order, dtype=np.intp)] = own + lifted + np.arange(len(order))
            number[self._num_features :] = own + lifted - 1 - np.arange(lifted)  # column -1 - k is constant k
            features = number[features]
        return AngleMap(
            own + lifted,
            np.array(self._constants, dtype=np.float64),
            np.array(slots, dtype=np.intp),
            features,
            np.array(coefficients, dtype=np.float64),
            tuple(groups),
            names,
        )

    def _read(self, expression: ParameterExpression, used: list[Parameter], text: str) -> tuple[float, Terms]:
        form = str(expression.subs({parameter: _placeholder(k) for k, parameter in enumerate(used)}))
        if form not in self._groups:
            self._groups[form] = parse(form, [_placeholder(k).name for k in range(len(used))], label=text), []
        formula, members = self._groups[form]
        if not self._agrees(expression, used, formula):
            raise InvalidInputError(
                f"the expression {shortened(text)} cannot be read, because its text is not faithful; write minus "
                "signs in front of fractions, not in denominators"
            )
        positions = tuple(self._position(parameter) for parameter in used)
        if formula.is_affine:
            offset, slopes = formula.affine_parts
            return _real(offset), tuple((p, _real(slope)) for p, slope in zip(positions, slopes, strict=True) if slope)
        feature = self._num_features
        self._num_features += 1
        members.append((positions, shortened(text), feature))
        return 0.0, ((feature, 1.0),)

    def _agrees(self, expression: ParameterExpression, used: list[Parameter], formula: Formula) -> bool:
        """Whether a formula has the expression's value at the first probe where that is a real number."""
        for scale, shift in _PROBES:
            expected = self._value(expression, used, scale, shift)
            if expected is not None and expected.imag == 0.0:
                value = float(formula.evaluate([np.array(scale * self._probe(p) + shift) for p in used]))
                return abs(value - expected.real) <= 1e-9 * max(1.0, abs(expected.real))
        return "/-" not in formula.label  # the one known fault of the texts

    def _value(
        self, expression: ParameterExpression, used: list[Parameter], scale: float, shift: float
    ) -> complex | None:
        """The expression at a probe, None where it is not finite."""
        try:
            value = complex(expression.bind({p: scale * self._probe(p) + shift for p in used}))
        except (ArithmeticError, RuntimeError, QiskitError):  # poles and NaN, by version
            return None
        return value if isfinite(value.real) and isfinite(value.imag) else None

    def _probe(self, parameter: Parameter) -> float:
        """A number in (0, 1), different for every parameter."""
        return (self._position(parameter) + 1) * 0.6180339887498949 % 1.0

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
    """The order of the parameter values: ``wanted``, checked to hold the circuit's parameters once each."""
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
