"""AngleMap: parameter values -> the angles of a program, for a whole batch, and its pullback.

Every angle is a constant plus a sparse linear combination of *sources*: first the P parameters themselves, then the
values of G non-linear expressions of them (the products of a ZZFeatureMap, say), ::

    angles = constants + M sources(values),        M of shape (A, P + G),

and the pullback is the transposed Jacobian. In a step of training the linear part runs in compiled code
(`qiskit_fusedqml.engine.sweeps`), which leaves `AngleMap.sources` and `AngleMap.pull_sources` of circuits that have
non-linear expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray
from ..errors import InvalidInputError
from .expressions import Formula

if TYPE_CHECKING:  # imported where it is first needed, as it takes longer than all of this package
    from scipy.sparse import csr_array

Indices: TypeAlias = NDArray[np.intp]

_NO_INDICES, _NO_NUMBERS = np.empty(0, dtype=np.intp), np.empty(0)


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

    def gather(self, values: FloatArray) -> list[FloatArray]:
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
        slots: The angle each term of the combinations belongs to, (T,), ascending; every angle has a term.
        columns: The source of each term, (T,): a parameter below P, then the groups' members in order.
        coefficients: The coefficient of each term, (T,).
        groups: The non-linear expressions.
        names: The parameters' names, for messages; may be empty.
    """

    num_parameters: int
    constants: FloatArray
    slots: Indices
    columns: Indices
    coefficients: FloatArray
    groups: tuple[FormulaGroup, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _counts_up_to(self.slots, self.num_angles):
            raise InvalidInputError(
                "The terms' slots must ascend and name every angle: an angle without a term is a constant."
            )
        if self.columns.size and not 0 <= self.columns.min() <= self.columns.max() < self.num_sources:
            raise InvalidInputError(f"The terms' columns must lie in 0..{self.num_sources - 1}.")

    def structure(self) -> Hashable | None:
        """Equal for equal maps; None with non-linear expressions, whose equality is not decided."""
        if self.groups:
            return None
        arrays = (self.constants, self.slots, self.columns, self.coefficients)
        return self.num_parameters, self.names, *(array.tobytes() for array in arrays)

    @property
    def num_angles(self) -> int:
        """Number of angles A."""
        return len(self.constants)

    @property
    def num_sources(self) -> int:
        """Number P + G of sources, which are the parameters and the non-linear expressions."""
        return self.num_parameters + sum(len(group.labels) for group in self.groups)

    @cached_property
    def matrix(self) -> csr_array:
        """The coefficients M, (A, P + G)."""
        from scipy.sparse import csr_array

        parts = (self.coefficients, self.columns, self._slot_starts)
        return csr_array(parts, shape=(self.num_angles, self.num_sources))

    def evaluate(self, values: ArrayLike) -> FloatArray:
        """The angles.

        Args:
            values: Parameter values, (P,) or (B, P); any leading axes are allowed.

        Returns:
            The angles in radians, (A,) or (B, A).

        Raises:
            InvalidInputError: If the shape is wrong, or an angle is NaN or infinite.
        """
        sources = self.sources(self._checked(values))
        angles = _product(self.matrix, sources) + self.constants
        if not np.isfinite(angles).all():
            raise self._not_finite(angles, sources)
        return angles

    def pullback(self, values: ArrayLike, cotangents: ArrayLike) -> FloatArray:
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
        gradients = np.empty((*np.broadcast_shapes(array.shape[:-1], cotangents.shape[:-1]), self.num_sources))
        gradients[...] = _product(self.matrix.T, cotangents)
        return self.pull_sources(array, gradients)

    def tangent(self, values: FloatArray, direction: FloatArray) -> FloatArray:
        """The derivative of `evaluate` along a direction.

        Args:
            values: Parameter values (P,); without expressions, they and the direction may be in a device's memory.
            direction: The direction (P,) in which they move.

        Returns:
            What the angles change by, (A,).
        """
        columns = [direction]
        for group in self.groups:
            slopes = zip(group.formula.partials(group.gather(values)), group.gather(direction), strict=True)
            columns.append(np.add.reduce([slope * step for slope, step in slopes]))
        return _product(self.matrix, np.concatenate(columns))

    def wider(self, count: int) -> AngleMap:
        """The same map with parameters more, behind its own, on which nothing depends."""
        columns = self.columns + count * (self.columns >= self.num_parameters)
        return replace(self, num_parameters=self.num_parameters + count, columns=columns, names=())

    def sources(self, values: FloatArray) -> FloatArray:
        """The parameters followed by the values of the non-linear expressions, (..., P) -> (..., P + G)."""
        if not self.groups:
            return values
        columns = [group.formula.evaluate(group.gather(values)) for group in self.groups]
        return np.concatenate([values, *columns], axis=-1)

    def pull_sources(self, values: FloatArray, gradients: FloatArray) -> FloatArray:
        """Carry the derivatives with respect to the sources (..., P + G) over to the parameters (..., P).

        Raises:
            InvalidInputError: If the derivative of an expression is not finite at the values (..., P).
        """
        result = gradients[..., : self.num_parameters]
        self._add_from_expressions(result, gradients, lambda group: group.formula.partials(group.gather(values)))
        return result

    def curvature(self, values: FloatArray, direction: FloatArray, cotangents: FloatArray) -> FloatArray:
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
        result = np.zeros(self.num_parameters)

        def slopes(group: FormulaGroup) -> list[FloatArray]:
            return group.formula.directional_partials(group.gather(values), group.gather(direction))

        self._add_from_expressions(result, _product(self.matrix.T, cotangents), slopes)
        return result

    def select(self, slots: Sequence[int] | NDArray[np.integer]) -> AngleMap:
        """The map restricted to some slots: angle j of the result is angle ``slots[j]`` of this map."""
        chosen = np.asarray(slots, dtype=np.intp).reshape(-1)
        if not self.groups:
            if chosen.size == self.num_angles and (chosen == np.arange(self.num_angles)).all():
                return self
            if not chosen.size:
                return AngleMap(self.num_parameters, _NO_NUMBERS, _NO_INDICES, _NO_INDICES, _NO_NUMBERS, (), self.names)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < self.num_angles:
            raise InvalidInputError(f"Slots must lie in 0..{self.num_angles - 1}, got {chosen.min()}..{chosen.max()}.")
        starts = self._slot_starts[chosen]
        counts = self._slot_starts[chosen + 1] - starts
        # the terms of chosen[j] are starts[j], starts[j] + 1, ...
        terms = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
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
        if not self.num_angles and not self.groups:
            return AngleMap(0, self.constants, self.slots, self.columns, self.coefficients), _NO_INDICES
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

    def dependents(self, parameters: Indices) -> Indices:
        """The angles that depend on any of the given parameters, ascending."""
        return np.flatnonzero(self.depends_on(parameters)) if len(parameters) else _NO_INDICES

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

    def _checked(self, values: ArrayLike) -> FloatArray:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] != self.num_parameters:
            raise InvalidInputError(
                f"Parameter values have shape {array.shape}; ({self.num_parameters},) or (B, {self.num_parameters}) "
                "is expected: one value for each parameter of the circuit."
            )
        return array

    @cached_property
    def _slot_starts(self) -> Indices:
        """The first term of each angle, and the end of the last one."""
        return np.searchsorted(self.slots, np.arange(self.num_angles + 1))

    @cached_property
    def _members(self) -> tuple[tuple[tuple[Indices, Indices, Indices], ...], ...]:
        """For each group and variable: its members by parameter, where each parameter's begin, the parameters."""
        return tuple(tuple(map(_by_number, group.parameters)) for group in self.groups)

    def _add_from_expressions(
        self, result: FloatArray, gradients: FloatArray, slopes: Callable[[FormulaGroup], list[FloatArray]]
    ) -> None:
        """Add what gradients (..., P + G) of the expressions, times slopes (..., G) of each variable, give (..., P)."""
        first = self.num_parameters
        for group, members in zip(self.groups, self._members if self.groups else (), strict=True):
            outer = gradients[..., first : first + len(group.labels)]
            for (order, starts, parameters), slope in zip(members, slopes(group), strict=True):
                _check_finite(slope, group)
                result[..., parameters] += np.add.reduceat((outer * slope)[..., order], starts, axis=-1)
            first += len(group.labels)

    def _select_groups(self, columns: Indices) -> tuple[tuple[FormulaGroup, ...], Indices]:
        """The groups restricted to the columns in use, and the new number of every column."""
        used = np.zeros(self.num_sources, dtype=bool)
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

    def _not_finite(self, angles: FloatArray, sources: FloatArray) -> InvalidInputError:
        """The error that names what made an angle NaN or infinite."""
        bad_sources = np.argwhere(~np.isfinite(sources))
        if not len(bad_sources):
            slot = int(np.argwhere(~np.isfinite(angles))[0][-1])
            return InvalidInputError(f"Angle {slot} overflows at the given values; finite angles are required.")
        *sample, column = (int(index) for index in bad_sources[0])
        where = f" in row {sample[0]}" if sample else ""
        number = sources[tuple(bad_sources[0])]
        if column < self.num_parameters:
            name = self.names[column] if self.names else f"number {column}"
            return InvalidInputError(f"Parameter {name} is {number}{where}; finite values are required.")
        labels = [label for group in self.groups for label in group.labels]
        return InvalidInputError(
            f"The expression {labels[column - self.num_parameters]} is {number}{where} at the given values; "
            "angles must be finite."
        )


def _product(matrix: csr_array, vectors: Any) -> FloatArray:
    """A sparse matrix (M, N) on each of some vectors, (..., N) -> (..., M), which may be in a device's memory."""
    if not isinstance(vectors, np.ndarray):  # SciPy does not reach it: rows padded to the length of the longest one
        counts = np.diff(matrix.indptr)
        places = (
            np.repeat(np.arange(len(counts)), counts),
            np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts),
        )
        columns, weights = np.zeros((2, len(counts), max(counts, default=0)))
        columns[places], weights[places] = matrix.indices, matrix.data
        chosen = vectors[..., np.asarray(columns.astype(np.intp), like=vectors)]
        found: FloatArray = (chosen * np.asarray(weights, like=vectors)).sum(axis=-1)
        return found
    *leading, size = vectors.shape
    products = matrix @ vectors.reshape(prod(leading), size).T
    return np.ascontiguousarray(products.T).reshape(*leading, matrix.shape[0])


def _by_number(numbers: Indices) -> tuple[Indices, Indices, Indices]:
    """The positions of equal numbers together, where each number's begin, and the numbers."""
    order = np.argsort(numbers, kind="stable")
    present, starts = np.unique(numbers[order], return_index=True)
    return order, starts, present


def _check_finite(derivatives: FloatArray, group: FormulaGroup) -> None:
    if not np.isfinite(derivatives).all():
        label = group.labels[int(np.argwhere(~np.isfinite(derivatives))[0][-1])]
        raise InvalidInputError(f"The derivative of the expression {label} is not finite at the given values.")


def _counts_up_to(numbers: Indices, stop: int) -> bool:
    """Whether they ascend through 0, 1, ..., stop - 1; a number may be repeated."""
    if not numbers.size:
        return stop == 0
    steps = numbers[1:] - numbers[:-1]
    return bool(numbers[0] == 0 and numbers[-1] == stop - 1 and ((steps == 0) | (steps == 1)).all())
