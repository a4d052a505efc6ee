"""From parameter values to the coefficients of a plan, and from its overlaps to gradients of the parameters.

The linear part of the angle map is put before the plan's coefficient map, so that compiled code goes from values to
coefficients and from overlaps to gradients; only non-linear expressions are computed here.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray
from ..devices import Bound, CoefficientMap, Device
from ..devices.own_memory import BoundOnDevice, has_memory
from ..errors import InvalidInputError
from ..ir.angles import AngleMap
from ..planner.tables import NO_ROWS, AngleTables, BindingTables, CSRRows, Expressions
from .parameters import ParameterBatch

NONE: IntArray = np.empty(0, dtype=np.intp)
NO_ANGLES = AngleMap(0, np.empty(0), NONE, NONE, np.empty(0))


class BoundParameters(NamedTuple):
    """Coefficients at some values, and what their pullback needs.

    Attributes:
        bound: The coefficients, on the host or where the device has its memory.
        shared: (P,) the values of the first sample.
        values: (B, P') those of the parameters that batched angles depend on, or None without expressions.
    """

    bound: Bound | BoundOnDevice
    shared: FloatArray
    values: FloatArray | None


class ParameterMap:
    """An angle map followed by a coefficient map, for parameters of which some are batched.

    Args:
        angle_map: From parameters to angles.
        batched: The parameters (V,) that differ from sample to sample.
        coefficient_map: From angles to coefficients.

    Attributes:
        batched_slots: The angles that differ from sample to sample.
        coefficient_map: From values and expressions to coefficients.
    """

    def __init__(self, angle_map: AngleMap, batched: IntArray, coefficient_map: CoefficientMap) -> None:
        self.batched_slots: IntArray = angle_map.dependents(batched)
        self._batched, self._shared_slots = batched, others(self.batched_slots, angle_map.num_angles)
        self._shared_map, self._batched_map, self._used = angle_map, NO_ANGLES, NONE
        if len(self.batched_slots):
            self._shared_map = angle_map.select(self._shared_slots)
            self._batched_map, self._used = angle_map.select(self.batched_slots).compact()
        # which of the used parameters are batched, and their columns among those
        self._used_batched = self._used_shared = self._used_columns = NONE
        if len(self._used):
            is_batched = members(self._used, batched, angle_map.num_parameters)
            self._used_batched, self._used_shared = is_batched.nonzero()[0], (~is_batched).nonzero()[0]
            self._used_columns = batched.searchsorted(self._used[self._used_batched])
        self.has_expressions = bool(self._shared_map.groups or self._batched_map.groups)
        self.coefficient_map = self._from_features(coefficient_map)

    def bind(self, parameters: ParameterBatch) -> BoundParameters:
        """The coefficients at some values.

        Raises:
            InvalidInputError: If an angle is NaN or infinite; the message names the parameter or expression.
        """
        shared, samples, values = parameters.shared, parameters.samples, None
        if self.has_expressions:
            values = self._used_values(parameters)
            shared = self._shared_map.sources(shared)
            samples = np.concatenate([samples, self._batched_map.sources(values)[:, len(self._used) :]], axis=1)
        bound = self.coefficient_map.bind(shared, samples)
        if bound is None:
            raise self._not_finite(parameters)
        return BoundParameters(bound, parameters.shared, values)

    def bind_on(self, device: Device, parameters: ParameterBatch) -> BoundParameters:
        """The coefficients where the values are."""
        assert has_memory(device)
        return BoundParameters(device.bind(self.tables, parameters.shared, parameters.samples), parameters.shared, None)

    def pullback(
        self, bound: BoundParameters, overlaps: FloatArray, *, per_sample: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradients as of `Sweeps.backward` from overlaps: (S,) summed over the batch, or (B, S)."""
        pull = getattr(bound.bound, "pull", None)
        if pull is not None:  # on the device, where the values are
            return cast("tuple[FloatArray, FloatArray | None]", pull(overlaps, per_sample=per_sample))
        shared, batched = self.coefficient_map.pullback(bound.bound, overlaps, per_sample=per_sample)
        if bound.values is not None:
            shared = self._shared_map.pull_sources(bound.shared, shared)
            if batched is not None:
                batched = self._pull_expressions(bound.values, shared, batched)
        if per_sample and batched is not None:
            shared[:, self._batched] += batched
            return shared, None
        return shared, batched

    @cached_property
    def tables(self) -> BindingTables:
        """All from the parameters to the coefficients, for a device that computes these itself."""
        column = np.full(len(self._used), -1, dtype=np.int64)
        column[self._used_batched] = self._used_columns
        shared = np.where(column < 0, self._used, -1)
        assert self.coefficient_map.angles is not None
        return BindingTables(
            self._batched,
            self._shared_map.num_parameters,
            tuple(
                Expressions(g.formula, g.parameters, np.full_like(g.parameters, -1)) for g in self._shared_map.groups
            ),
            tuple(Expressions(g.formula, shared[g.parameters], column[g.parameters]) for g in self._batched_map.groups),
            self.coefficient_map.angles,
            self.coefficient_map.tables,
        )

    def _from_features(self, coefficient_map: CoefficientMap) -> CoefficientMap:
        """The map over the features: of the shared map's, and in each sample the batched ones of the batched map's."""
        shared, batched, used = self._shared_map, self._batched_map, len(self._used)
        if not batched.num_angles:
            rows = CSRRows.sorted(shared.slots, shared.columns, shared.coefficients, shared.constants)
            return coefficient_map.over(AngleTables(shared.num_sources, len(self._batched), rows, NO_ROWS, NO_ROWS))
        constants = np.zeros(len(self._shared_slots) + len(self.batched_slots))
        constants[self._shared_slots] = shared.constants
        rows = CSRRows.sorted(self._shared_slots[shared.slots], shared.columns, shared.coefficients, constants)
        column = np.full(batched.num_sources, -1, dtype=np.int64)
        column[self._used_batched] = self._used_columns
        column[used:] = len(self._batched) + np.arange(batched.num_sources - used)
        column = column[batched.columns]
        is_batched = column >= 0
        slots, weights = batched.slots, batched.coefficients
        shared_columns = self._used[batched.columns[~is_batched]]
        return coefficient_map.over(
            AngleTables(
                shared.num_sources,
                len(self._batched) + batched.num_sources - used,
                rows,
                CSRRows.sorted(slots[~is_batched], shared_columns, weights[~is_batched], batched.constants),
                CSRRows.sorted(
                    slots[is_batched], column[is_batched], weights[is_batched], np.zeros(batched.num_angles)
                ),
            )
        )

    def _used_values(self, parameters: ParameterBatch) -> FloatArray:
        values = np.empty((parameters.batch, len(self._used)))
        values[...] = parameters.shared[self._used]
        values[:, self._used_batched] = parameters.samples[:, self._used_columns]
        return values

    def _pull_expressions(self, values: FloatArray, shared: FloatArray, batched: FloatArray) -> FloatArray:
        """Add the batched expressions' part to the shared gradients; return the batched parameters' gradients."""
        features = np.zeros((len(batched), self._batched_map.num_sources))
        features[:, len(self._used) :] = batched[:, len(self._batched) :]
        pulled = self._batched_map.pull_sources(values, features)
        of_shared = pulled[:, self._used_shared]
        shared[..., self._used[self._used_shared]] += of_shared if shared.ndim == 2 else of_shared.sum(axis=0)
        result = batched[:, : len(self._batched)]
        result[:, self._used_columns] += pulled[:, self._used_batched]
        return result

    def _not_finite(self, parameters: ParameterBatch) -> InvalidInputError:
        try:
            self._shared_map.evaluate(parameters.shared)
            self._batched_map.evaluate(self._used_values(parameters))
        except InvalidInputError as error:
            return error
        return InvalidInputError("An angle overflows at the given values; finite angles are required.")


def others(numbers: IntArray, total: int) -> IntArray:
    """The numbers below ``total`` that are not among these."""
    if not len(numbers):
        return np.arange(total)
    table = np.ones(total, dtype=bool)
    table[numbers] = False
    return table.nonzero()[0]


def members(numbers: IntArray, among: IntArray, total: int) -> NDArray[np.bool_]:
    """Which of some numbers below ``total`` are among others."""
    table = np.zeros(total, dtype=bool)
    table[among] = True
    return cast("NDArray[np.bool_]", table[numbers])
