"""Binding: which parameters differ from sample to sample, the plan for that case, and the way back from overlaps.

A `ParameterBatch` holds B rows of parameter values without repeating what all rows share. A `Binding` is made once
for a pattern of varying and wanted parameters; it joins the angle map to a plan's recipe in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .angles import AngleMap
from .coefficients import Bound
from .cost import CostModel
from .fusion import Plan, fuse
from .program import Program

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ParameterBatch:
    """B rows of P parameter values.

    Attributes:
        base: (P,) the values of the first row.
        varying: Indices of the columns that differ from row to row.
        columns: (B, len(varying)) those columns.
        first: Number of the first row within the whole batch.
    """

    base: FloatArray
    varying: IntArray
    columns: FloatArray
    first: int = 0

    @property
    def batch(self) -> int:
        """Number of rows B."""
        return len(self.columns)

    def rows(self, start: int, stop: int) -> ParameterBatch:
        """Some of the rows; ``base`` keeps the shared values, and a varying column stays varying."""
        return ParameterBatch(self.base, self.varying, self.columns[start:stop], self.first + start)


@dataclass(frozen=True, eq=False)
class BoundBatch:
    """Coefficients of one batch and the values they came from."""

    bound: Bound
    base: FloatArray
    values: FloatArray


class Binding:
    """The plan and the angle maps for one pattern of varying and wanted parameters.

    Args:
        program: The program.
        angle_map: Its angles.
        cost_model: The device's numbers.
        varying: Indices of the parameters that differ from row to row.
        wanted: Indices of the parameters whose gradients are wanted.
        batch: Number of rows, for the planner's choice of lanes.
        keep_phase: Whether the global phase matters.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        cost_model: CostModel,
        *,
        varying: IntArray,
        wanted: IntArray,
        batch: int,
        keep_phase: bool,
    ) -> None:
        batched = angle_map.depends_on(varying)
        wanted_slots = frozenset(np.flatnonzero(angle_map.depends_on(wanted)).tolist())
        self.batched_slots: IntArray = np.flatnonzero(batched)
        self.shared_slots: IntArray = np.flatnonzero(~batched)
        self.num_angles = angle_map.num_angles
        self.shared_map = angle_map.select(self.shared_slots)
        self.batched_map, self.used = angle_map.select(self.batched_slots).compact()
        # which of the used parameters vary, and their columns among the varying ones
        self.used_varying: IntArray = np.flatnonzero(np.isin(self.used, varying))
        self.used_columns: IntArray = np.searchsorted(varying, self.used[self.used_varying])
        self.plan: Plan = fuse(
            program,
            cost_model,
            batched_slots=frozenset(self.batched_slots.tolist()),
            wanted_slots=wanted_slots,
            batch=batch,
            keep_phase=keep_phase,
        )
        self.has_batched_gradients = bool(wanted_slots & set(self.batched_slots.tolist()))

    def bind(self, parameters: ParameterBatch) -> BoundBatch:
        """The coefficients at some values."""
        shared = np.zeros(self.num_angles)
        shared[self.shared_slots] = self.shared_map.evaluate(parameters.base)
        values = np.empty((parameters.batch, len(self.used)))
        values[...] = parameters.base[self.used]
        values[:, self.used_varying] = parameters.columns[:, self.used_columns]
        batched = self.batched_map.evaluate(values)
        return BoundBatch(self.plan.recipe.bind(shared, batched), parameters.base, values)

    def pullback(self, bound: BoundBatch, overlaps: FloatArray) -> FloatArray:
        """Parameter gradients (..., P) from overlaps: (S,) summed over the batch, or (B, S) by row."""
        d_shared, d_batched = self.plan.recipe.pullback(bound.bound, overlaps)
        result = self.shared_map.pullback(bound.base, d_shared[..., self.shared_slots])
        if overlaps.ndim == 2 and len(self.used):
            result[:, self.used] += self.batched_map.pullback(bound.values, d_batched)
        return result


def parameter_batch(inputs: FloatArray | None, weights: FloatArray, states: int = 1) -> ParameterBatch:
    """Join inputs (B, n_in) or None and weights (n_w,) or (B, n_w) into rows.

    There are at least as many rows as ``states``, the number of initial states.
    Inputs vary when there is more than one row. Weight columns that are equal in every row are shared.
    """
    blocks: Sequence[FloatArray] = [block for block in (inputs, weights) if block is not None and block.ndim == 2]
    batch = max([states, *(len(block) for block in blocks)])
    num_inputs = 0 if inputs is None else inputs.shape[1]
    first_weights = weights[0] if weights.ndim == 2 else weights
    base = first_weights if inputs is None or not num_inputs else np.concatenate([inputs[0], first_weights])
    parts: list[FloatArray] = []
    varying: list[IntArray] = []
    if batch > 1 and inputs is not None:
        parts.append(np.broadcast_to(inputs, (batch, num_inputs)))
        varying.append(np.arange(num_inputs))
    if batch > 1 and weights.ndim == 2:
        differing = np.flatnonzero((weights != weights[0]).any(axis=0))
        parts.append(np.broadcast_to(weights[:, differing], (batch, len(differing))))
        varying.append(num_inputs + differing)
    columns = np.concatenate(parts, axis=1) if parts else np.zeros((batch, 0))
    return ParameterBatch(np.array(base, dtype=np.float64), _joined(varying), columns)


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate(parts).astype(np.intp) if parts else np.zeros(0, np.intp)
