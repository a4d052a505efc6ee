"""The map from parameter values to angles.

Every angle is a constant plus a sparse linear combination of *features*: first the P parameters themselves, then the
values of non-linear expressions of them (the products of a ZZFeatureMap, say),

    angles[s] = constants[s] + sum_t coefficients[t] * features[columns[t]]       over the terms t with slots[t] == s.

The pullback is the transposed Jacobian. Both are array operations over the batch. In a step of training the linear part
runs in compiled code (`qiskit_fusedqml.engine.binding`), which leaves `features` and `pull_features` of circuits that
have non-linear expressions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInputError
from .duals import directional_partials
from .formulas import Formula

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class FormulaGroup:
    """G expressions of one form in different parameters, evaluated together.

    Attributes:
        formula: The form, in k variables.
        parameters: Indices (k, G) of the parameters that take the variables' places.
        labels: The G expressions as the user wrote them, for messages.
    """

    formula: Formula
    parameters: Indices
    labels: tuple[str, ...]

    @cached_property
    def orders(self) -> tuple[tuple[Indices, Indices, Indices], ...]:
        """The members by parameter, for each variable (order, where each parameter starts, the parameters present)."""
        return tuple(_by_value(row) for row in self.parameters)

    def gather(self, values: Floats) -> list[Floats]:
        """The variables, k arrays (..., G)."""
        return [values[..., row] for row in self.parameters]

    def select(self, members: Indices) -> FormulaGroup:
        """The group restricted to some of its members."""
        return FormulaGroup(self.formula, self.parameters[:, members], tuple(self.labels[m] for m in members))


@dataclass(frozen=True, eq=False)
class AngleMap:
    """Parameter values (P,) or (B, P) -> angles (A,) or (B, A).

    Attributes:
        num_parameters: Number of parameters P.
        constants: The constant part of each angle, (A,).
        slots: The angle each term belongs to, (T,), ascending; every angle has a term.
        columns: The feature of each term, (T,): a parameter below P, then the groups' members in order.
        coefficients: The coefficient of each term, (T,).
        groups: The non-linear features.
        names: The parameters' names, for messages; may be empty.
    """

    num_parameters: int
    constants: Floats
    slots: Indices
    columns: Indices
    coefficients: Floats
    groups: tuple[FormulaGroup, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _counts_up_to(self.slots, self.num_angles):
            raise InvalidInputError(
                "The terms' slots must ascend and name every angle: an angle without a term is a constant."
            )
        if self.columns.size and not 0 <= self.columns.min() <= self.columns.max() < self.num_features:
            raise InvalidInputError(f"The terms' columns must lie in 0..{self.num_features - 1}.")

    def structure(self) -> Hashable | None:
        """Equal for equal maps; None with non-linear features, whose equality is not decided."""
        if self.groups:
            return None
        arrays = (self.constants, self.slots, self.columns, self.coefficients)
        return self.num_parameters, self.names, *(array.tobytes() for array in arrays)

    @property
    def num_angles(self) -> int:
        """Number of angles A."""
        return len(self.constants)

    @property
    def num_features(self) -> int:
        """Number of features, which are the parameters and the non-linear expressions."""
        return self.num_parameters + sum(len(group.labels) for group in self.groups)

    def evaluate(self, values: ArrayLike) -> Floats:
        """The angles.

        Args:
            values: Parameter values, (P,) or (B, P); any leading axes are allowed.

        Returns:
            The angles in radians, (A,) or (B, A).

        Raises:
            InvalidInputError: If the shape is wrong, or an angle is NaN or infinite.
        """
        features = self.features(self._checked(values))
        angles = _sums(features[..., self.columns] * self.coefficients, self._slot_starts) + self.constants
        if not np.isfinite(angles).all():
            raise self._not_finite(angles, features)
        return angles

    def pullback(self, values: ArrayLike, cotangents: ArrayLike) -> Floats:
        """The transposed Jacobian at some values, applied.

        Args:
            values: Parameter values, (P,) or (B, P).
            cotangents: Derivatives with respect to the angles, (..., A); leading axes broadcast with the values'.

        Returns:
            Derivatives with respect to the parameters, (..., P).

        Raises:
            InvalidInputError: If a shape is wrong, or the derivative of an expression is not finite there.
        """
        array = self._checked(values)
        cotangents = np.asarray(cotangents, dtype=np.float64)
        if cotangents.ndim == 0 or cotangents.shape[-1] != self.num_angles:
            raise InvalidInputError(f"Cotangents have shape {cotangents.shape}; (..., {self.num_angles}) is expected.")
        order, starts, present = self._by_column
        gradients = np.zeros((*np.broadcast_shapes(array.shape[:-1], cotangents.shape[:-1]), self.num_features))
        gradients[..., present] = _sums(cotangents[..., self.slots[order]] * self.coefficients[order], starts)
        return self.pull_features(array, gradients)

    def features(self, values: Floats) -> Floats:
        """The parameters followed by the values of the non-linear expressions, (..., P) -> (..., P + G)."""
        if not self.groups:
            return values
        columns = [group.formula.evaluate(group.gather(values)) for group in self.groups]
        return np.concatenate([values, *columns], axis=-1)

    def pull_features(self, values: Floats, gradients: Floats) -> Floats:
        """Carry the derivatives with respect to the features (..., P + G) over to the parameters (..., P).

        Raises:
            InvalidInputError: If the derivative of an expression is not finite at the values (..., P).
        """
        result = gradients[..., : self.num_parameters]
        first = self.num_parameters
        for group in self.groups:
            stop = first + len(group.labels)
            outer = gradients[..., first:stop]
            for by_value, partial in zip(group.orders, group.formula.partials(group.gather(values)), strict=True):
                _check_finite(partial, group)
                order, starts, present = by_value
                result[..., present] += _sums((outer * partial)[..., order], starts)
            first = stop
        return result

    def curvature(self, values: Floats, direction: Floats, cotangents: Floats) -> Floats:
        """The derivative of `pullback` along a direction: 0 where all angles are affine.

        Args:
            values: Parameter values (P,).
            direction: The direction (P,) in which they move.
            cotangents: (A,).

        Returns:
            Second derivatives (P,) of ``sum cotangents * angles`` along the direction.

        Raises:
            InvalidInputError: If a derivative is not finite there.
        """
        features = np.zeros(self.num_features)
        np.add.at(features, self.columns, self.coefficients * cotangents[self.slots])
        result = np.zeros(self.num_parameters)
        first = self.num_parameters
        for group in self.groups:
            outer = features[first : first + len(group.labels)]
            slopes = directional_partials(group.formula, group.gather(values), group.gather(direction))
            for indices, slope in zip(group.parameters, slopes, strict=True):
                _check_finite(slope, group)
                np.add.at(result, indices, outer * slope)
            first += len(group.labels)
        return result

    def select(self, slots: Sequence[int] | NDArray[np.integer]) -> AngleMap:
        """The map restricted to some slots: angle j of the result is angle ``slots[j]`` of this map."""
        chosen = np.asarray(slots, dtype=np.intp).reshape(-1)
        if not self.num_angles and not self.groups and not chosen.size:
            return self  # most circuits that are only sampled have no parameters
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.num_angles:
            raise InvalidInputError(f"Slots must lie in 0..{self.num_angles - 1}, got {chosen.min()}..{chosen.max()}.")
        counts = self._term_counts[chosen]
        # the terms of chosen[j] are first[chosen[j]], first[chosen[j]] + 1, ...
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        terms = np.repeat(self._slot_starts[chosen], counts) + within if chosen.size else np.empty(0, dtype=np.intp)
        groups, renumbered = self._select_groups(self.columns[terms])
        return AngleMap(
            self.num_parameters,
            self.constants[chosen],
            np.repeat(np.arange(len(chosen)), counts),
            renumbered[self.columns[terms]],
            self.coefficients[terms],
            groups,
            self.names,
        )

    def compact(self) -> tuple[AngleMap, Indices]:
        """The map in terms of only those parameters it depends on, and their indices here."""
        used = np.unique(self.dependence[1])
        number = np.zeros(self.num_parameters, dtype=np.intp)
        number[used] = np.arange(len(used))
        linear = self.columns < self.num_parameters
        columns = self.columns - (self.num_parameters - len(used))
        columns[linear] = number[self.columns[linear]]
        groups = tuple(FormulaGroup(g.formula, number[g.parameters], g.labels) for g in self.groups)
        names = tuple(self.names[index] for index in used) if self.names else ()
        return AngleMap(len(used), self.constants, self.slots, columns, self.coefficients, groups, names), used

    @cached_property
    def dependence(self) -> tuple[Indices, Indices]:
        """Pairs (slots, parameters), each once. Angle ``slots[k]`` depends on parameter ``parameters[k]``."""
        if not self.num_angles:
            nothing = np.empty(0, dtype=np.intp)
            return nothing, nothing
        first = self.num_parameters
        linear = self.columns < first
        slots, parameters = [self.slots[linear]], [self.columns[linear]]
        for group in self.groups:
            inside = (self.columns >= first) & (self.columns < first + len(group.labels))
            for row in group.parameters:
                slots.append(self.slots[inside])
                parameters.append(row[self.columns[inside] - first])
            first += len(group.labels)
        pairs = np.unique(np.concatenate(slots) * self.num_parameters + np.concatenate(parameters))
        return np.divmod(pairs, self.num_parameters)

    def depends_on(self, parameters: Sequence[int] | NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which angles depend on any of the given parameters, (A,)."""
        result = np.zeros(self.num_angles, dtype=bool)
        if not len(parameters):
            return result
        wanted = np.zeros(self.num_parameters, dtype=bool)
        wanted[np.asarray(parameters, dtype=np.intp)] = True
        slots, columns = self.dependence
        result[slots[wanted[columns]]] = True
        return result

    def _checked(self, values: ArrayLike) -> Floats:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] != self.num_parameters:
            raise InvalidInputError(
                f"Parameter values have shape {array.shape}; ({self.num_parameters},) or (B, {self.num_parameters}) "
                "is expected: one value for each parameter of the circuit."
            )
        return array

    def _select_groups(self, columns: Indices) -> tuple[tuple[FormulaGroup, ...], Indices]:
        """The groups restricted to the columns in use, and the new number of every column."""
        used = np.zeros(self.num_features, dtype=bool)
        used[: self.num_parameters] = True
        used[columns] = True
        groups = []
        first = self.num_parameters
        for group in self.groups:
            members = np.flatnonzero(used[first : first + len(group.labels)])
            if len(members):
                groups.append(group.select(members))
            first += len(group.labels)
        return tuple(groups), np.cumsum(used) - 1

    def _not_finite(self, angles: Floats, features: Floats) -> InvalidInputError:
        """The error that names what made an angle NaN or infinite."""
        bad_features = np.argwhere(~np.isfinite(features))
        if not len(bad_features):
            slot = int(np.argwhere(~np.isfinite(angles))[0][-1])
            return InvalidInputError(f"Angle {slot} overflows at the given values; finite angles are required.")
        *sample, column = (int(index) for index in bad_features[0])
        where = f" in row {sample[0]}" if sample else ""
        number = features[tuple(bad_features[0])]
        if column < self.num_parameters:
            name = self.names[column] if self.names else f"number {column}"
            return InvalidInputError(f"Parameter {name} is {number}{where}; finite values are required.")
        labels = [label for group in self.groups for label in group.labels]
        return InvalidInputError(
            f"The expression {labels[column - self.num_parameters]} is {number}{where} at the given values; "
            "angles must be finite."
        )

    @cached_property
    def _term_counts(self) -> Indices:
        return np.bincount(self.slots, minlength=self.num_angles)

    @cached_property
    def _slot_starts(self) -> Indices:
        return np.cumsum(self._term_counts) - self._term_counts

    @cached_property
    def _by_column(self) -> tuple[Indices, Indices, Indices]:
        """The terms ordered by feature, where each feature starts, and the features present."""
        return _by_value(self.columns)


def _check_finite(derivatives: Floats, group: FormulaGroup) -> None:
    if not np.isfinite(derivatives).all():
        label = group.labels[int(np.argwhere(~np.isfinite(derivatives))[0][-1])]
        raise InvalidInputError(f"The derivative of the expression {label} is not finite at the given values.")


def _by_value(numbers: Indices) -> tuple[Indices, Indices, Indices]:
    """A stable order by value, where in it each value starts, and the values present."""
    order = np.argsort(numbers, kind="stable")
    present, starts = np.unique(numbers[order], return_index=True)
    return order, starts, present


def _counts_up_to(numbers: Indices, stop: int) -> bool:
    """Whether they ascend through 0, 1, ..., stop - 1; a number may be repeated."""
    if not numbers.size:
        return stop == 0
    steps = np.diff(numbers, prepend=-1, append=stop)
    return bool(steps[0] == steps[-1] == 1 and steps.min() >= 0 and steps.max() <= 1)


def _sums(terms: Floats, starts: Indices) -> Floats:
    """Sums of consecutive terms along the last axis, one for each start."""
    if not len(starts):
        return np.zeros((*terms.shape[:-1], 0))
    return np.add.reduceat(terms, starts, axis=-1)
