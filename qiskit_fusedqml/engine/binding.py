"""Binding: the plan for a pattern of varying and wanted parameters, and the way back from overlaps.

A `Binding` puts the linear part of the angle map before the plan's recipe, so that compiled code goes from values to
coefficients and from overlaps to gradients; only non-linear expressions are computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, IntArray, real_array
from ..devices import (
    Bound,
    BoundOnDevice,
    CoefficientMap,
    Device,
    State,
    _native,
    has_memory,
)
from ..devices.coefficients import CompiledCoefficientMap
from ..errors import InvalidInputError
from ..ir.angles import AngleMap
from ..ir.observables import PauliSum
from ..ir.program import Program
from ..planner import Plan, fuse
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.segments import Segment, cut, num_places
from ..planner.tables import (
    AngleTables,
    BindingTables,
    CSRRows,
    Expressions,
)
from ..planner.tape import Diag
from .parameters import ParameterBatch


class BoundBatch(NamedTuple):
    """Coefficients of one batch and, where there are expressions, the values they came from.

    Attributes:
        bound: The coefficients, on the host or where the device has its memory.
        base: (P,) the values of the first row.
        values: (B, P') those of the parameters that batched angles depend on, or None without expressions.
        segments: The pieces of the tape that were run.
        kept: The states that were kept on the way, in this order; the last sweep back uses them up.
    """

    bound: Bound | BoundOnDevice
    base: FloatArray
    values: FloatArray | None
    segments: tuple[Segment, ...] = ()
    kept: tuple[State, ...] = ()


class Binding:
    """The plan and the angle maps for one pattern of varying and wanted parameters.

    Args:
        program: The program.
        angle_map: Its angles.
        cost_model: The device's numbers.
        varying: Indices of the parameters that differ from row to row.
        wanted: Indices of the parameters whose gradients are wanted.
        batch: Number of rows, for the planner's choice of lanes and tiles.
        keep_phase: Whether the global phase matters.
        populations: Whether only the absolute values of the final amplitudes matter.
        any_start: Whether the sweeps start from amplitudes that the program does not hold.
        coefficient_map: The device's.
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
        populations: bool = False,
        any_start: bool = False,
        coefficient_map: type[CoefficientMap] = CompiledCoefficientMap,
    ) -> None:
        batched = angle_map.depends_on(varying)
        wanted_slots = frozenset(np.flatnonzero(angle_map.depends_on(wanted)).tolist())
        self.batched_slots: IntArray = np.flatnonzero(batched)
        self.shared_slots: IntArray = np.flatnonzero(~batched)
        self.shared_map = angle_map.select(self.shared_slots)
        self.batched_map, self.used = angle_map.select(self.batched_slots).compact()
        self.varying = varying
        # which of the used parameters vary, and their columns among the varying ones
        varies = _members(self.used, varying, angle_map.num_parameters)
        self.used_varying: IntArray = np.flatnonzero(varies)
        self.used_shared: IntArray = np.flatnonzero(~varies)
        self.used_columns: IntArray = np.searchsorted(varying, self.used[self.used_varying])
        self.has_expressions = bool(self.shared_map.groups or self.batched_map.groups)
        self.plan: Plan = fuse(
            program,
            cost_model,
            batched_slots=frozenset(self.batched_slots.tolist()),
            wanted_slots=wanted_slots,
            batch=batch,
            keep_phase=keep_phase,
            populations=populations,
            any_start=any_start,
        )
        self.recipe = self._from_features(coefficient_map(self.plan.tables))
        self._segments: dict[int, tuple[Segment, ...]] = {}
        # whether overlaps are needed by sample: for a varying parameter's gradient, or through an angle that differs
        self.has_batched_gradients = bool(
            _members(wanted, varying, angle_map.num_parameters).any()
            or not wanted_slots.isdisjoint(self.batched_slots.tolist())
        )

    states = 1
    """Memory of the way forward, in states of the whole batch."""

    @property
    def frame(self) -> Frame:
        """The frame of the final states."""
        return self.plan.tape.frame

    @cached_property
    def places(self) -> int:
        """Number of places where a state may be kept."""
        return num_places(self.plan.tape, self.plan.tables.pair_kinds)

    @cached_property
    def operations(self) -> int:
        """Number of operations that the sweep back undoes."""
        return sum(len(block.operations) - block.undo_from for block in self.plan.tape.blocks)

    @cached_property
    def shared_bytes(self) -> int:
        """Memory of the coefficients, overlaps and gradients that all samples share."""
        angles = len(self.shared_slots) + len(self.batched_slots)
        return 8 * (6 * angles + 2 * self.plan.tape.num_overlaps)

    def row_bytes(self, *, by_row: bool) -> int:
        """Memory of a sample's own coefficients, overlaps and gradients where there is a way back."""
        own = 8 * (4 * len(self.batched_slots) + len(self.varying))
        return own + 8 * self.plan.tape.num_overlaps * (1 if by_row or self.has_batched_gradients else 0)

    def table_bytes(self, checkpoints: int) -> int:
        """Memory of the tables of phases, and of the sums that each thread keeps lane by lane."""
        model, segments = self.plan.cost_model, self._cut(checkpoints)
        entries = [
            1 << len(factor.basis)
            for block in self.plan.tape.blocks
            for operation in block.operations
            if isinstance(operation, Diag)
            for factor in operation.factors
        ]
        widest = max(segment.tape.num_overlaps for segment in segments)
        return model.amplitude_bytes * sum(entries) + 8 * widest * model.lanes * model.threads

    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_state: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[BoundBatch, State]:
        """The sweep forward.

        Args:
            device: Where it runs.
            parameters: The batch.
            initial_state: The first states; None for |0...0>.
            checkpoints: Number of states to keep on the way, evenly spaced.

        Returns:
            What the way back needs, and the final states.
        """
        bound = self._bind_on(device, parameters) if parameters.resident else self.bind(parameters)
        ket = device.allocate(self.plan.tape, parameters.batch, initial_state)
        return self.apply(device, bound, ket, checkpoints), ket

    def backward(
        self,
        device: Device,
        bound: BoundBatch,
        ket: State,
        observables: Sequence[PauliSum],
        cotangents: FloatArray,
        *,
        per_row: bool,
        last: bool = True,
    ) -> tuple[FloatArray, FloatArray | None]:
        """The sweep back: parameter gradients as of `pullback`; the ket is used up."""
        bra = device.apply_observables(ket, self.plan.tape.frame, observables, cotangents)
        per_sample = per_row or self.has_batched_gradients
        return self.pullback(bound, self.undo(device, bound, ket, bra, per_sample, last=last), per_row=per_row)

    def apply(self, device: Device, bound: BoundBatch, ket: State, checkpoints: int = 0) -> BoundBatch:
        """Apply the tape to the ket; returns ``bound`` with what was kept on the way."""
        segments = self._cut(checkpoints)
        kept: list[State] = []
        for segment in segments:
            if segment.kept:
                kept.append(device.copy(ket))
            device.forward(segment.tape, bound.bound.coefficients, ket)
        return BoundBatch(bound.bound, bound.base, bound.values, segments, tuple(kept))

    def undo(
        self, device: Device, bound: BoundBatch, ket: State, bra: State, per_sample: bool, *, last: bool = True
    ) -> FloatArray:
        """The overlaps, (S,) or (B, S), from a sweep back over ket and bra, which are used up.

        A ket that was kept takes the place of the one that was undone up to there.

        Args:
            device: Where it runs.
            bound: What `apply` gave.
            ket: The final states.
            bra: The bras.
            per_sample: Whether overlaps are wanted by sample.
            last: Whether the states that were kept are needed no more.
        """
        parts: list[FloatArray] = []
        number = len(bound.kept)
        for segment in reversed(bound.segments):
            if not segment.undone:
                break
            coefficients = bound.bound.coefficients
            parts.append(device.backward(segment.tape, coefficients, ket, bra, per_sample=per_sample))
            if segment.kept:
                number -= 1
                ket = bound.kept[number] if last else device.copy(bound.kept[number])
        if not parts:  # nothing depends on what is wanted
            return device.backward(bound.segments[0].tape, bound.bound.coefficients, ket, bra, per_sample=per_sample)
        return parts[0] if len(parts) == 1 else np.concatenate(parts[::-1], axis=-1)

    def _cut(self, checkpoints: int) -> tuple[Segment, ...]:
        # two threads may cut the same tape; the pieces of the first to finish are used by both
        found = self._segments.get(checkpoints)
        return found or self._segments.setdefault(
            checkpoints, cut(self.plan.tape, self.plan.tables.pair_kinds, checkpoints)
        )

    def bind(self, parameters: ParameterBatch) -> BoundBatch:
        """The coefficients at some values.

        Raises:
            InvalidInputError: If an angle is NaN or infinite; the message names the parameter or expression.
        """
        base, rows, values = parameters.base, parameters.columns, None
        if self.has_expressions:
            values = self._used_values(parameters)
            base = self.shared_map.features(base)
            rows = np.concatenate([rows, self.batched_map.features(values)[:, len(self.used) :]], axis=1)
        bound = self.recipe.bind(base, rows)
        if bound is None:
            raise self._not_finite(parameters)
        return BoundBatch(bound, parameters.base, values)

    def _bind_on(self, device: Device, parameters: ParameterBatch) -> BoundBatch:
        """The coefficients where the values are."""
        assert has_memory(device)
        return BoundBatch(device.bind(self.tables, parameters.base, parameters.columns), parameters.base, None)

    def pullback(
        self, bound: BoundBatch, overlaps: FloatArray, *, per_row: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """Parameter gradients from overlaps.

        Args:
            bound: What `bind` gave.
            overlaps: (S,) summed over the batch, or (B, S).
            per_row: Whether all gradients are wanted row by row; overlaps are (B, S) then.

        Returns:
            With ``per_row``: gradients (B, P), and None. Otherwise the gradients (P,) of the values that all rows
            share, and (B, V) of the varying parameters, or None for overlaps summed over the batch.

        Raises:
            InvalidInputError: If the derivative of an expression is not finite at the values.
        """
        pull = getattr(bound.bound, "pull", None)
        if pull is not None:  # on the device, where the values are
            return cast("tuple[FloatArray, FloatArray | None]", pull(overlaps, per_sample=per_row))
        base, rows = self.recipe.pullback(bound.bound, overlaps, per_sample=per_row)
        if bound.values is not None:
            base = self.shared_map.pull_features(bound.base, base)
            if rows is not None:
                rows = self._pull_expressions(bound.values, base, rows)
        if per_row and rows is not None:
            base[:, self.varying] += rows
            return base, None
        return base, rows

    def _from_features(self, recipe: CoefficientMap) -> CoefficientMap:
        """The recipe over the features: of the shared map's, and in each row the varying ones of the batched map's."""
        shared, batched, used = self.shared_map, self.batched_map, len(self.used)
        constants = np.zeros(len(self.shared_slots) + len(self.batched_slots))
        constants[self.shared_slots] = shared.constants
        column = np.full(batched.num_features, -1, dtype=np.int64)
        column[self.used_varying] = self.used_columns
        column[used:] = len(self.varying) + np.arange(batched.num_features - used)
        column = column[batched.columns]
        of_row = column >= 0
        slots, weights = batched.slots, batched.coefficients
        return recipe.over(
            AngleTables(
                shared.num_features,
                len(self.varying) + batched.num_features - used,
                CSRRows.sorted(self.shared_slots[shared.slots], shared.columns, shared.coefficients, constants),
                CSRRows.sorted(
                    slots[~of_row], self.used[batched.columns[~of_row]], weights[~of_row], batched.constants
                ),
                CSRRows.sorted(slots[of_row], column[of_row], weights[of_row], np.zeros(batched.num_angles)),
            )
        )

    @cached_property
    def tables(self) -> BindingTables:
        """All the way from the parameters to the coefficients, for a device that goes it by itself."""
        column = np.full(len(self.used), -1, dtype=np.int64)
        column[self.used_varying] = self.used_columns
        shared = np.where(column < 0, self.used, -1)
        assert self.recipe.angles is not None
        return BindingTables(
            self.varying,
            self.shared_map.num_parameters,
            tuple(Expressions(g.formula, g.parameters, np.full_like(g.parameters, -1)) for g in self.shared_map.groups),
            tuple(Expressions(g.formula, shared[g.parameters], column[g.parameters]) for g in self.batched_map.groups),
            self.recipe.angles,
            self.recipe.tables,
        )

    def _used_values(self, parameters: ParameterBatch) -> FloatArray:
        values = np.empty((parameters.batch, len(self.used)))
        values[...] = parameters.base[self.used]
        values[:, self.used_varying] = parameters.columns[:, self.used_columns]
        return values

    def _pull_expressions(self, values: FloatArray, base: FloatArray, rows: FloatArray) -> FloatArray:
        """Add the batched expressions' share to the base's gradients; return the varying parameters' gradients."""
        features = np.zeros((len(rows), self.batched_map.num_features))
        features[:, len(self.used) :] = rows[:, len(self.varying) :]
        pulled = self.batched_map.pull_features(values, features)
        of_shared = pulled[:, self.used_shared]
        base[..., self.used[self.used_shared]] += of_shared if base.ndim == 2 else of_shared.sum(axis=0)
        result = rows[:, : len(self.varying)]
        result[:, self.used_columns] += pulled[:, self.used_varying]
        return result

    def _not_finite(self, parameters: ParameterBatch) -> InvalidInputError:
        try:
            self.shared_map.evaluate(parameters.base)
            self.batched_map.evaluate(self._used_values(parameters))
        except InvalidInputError as error:
            return error
        return InvalidInputError("An angle overflows at the given values; finite angles are required.")


def _members(numbers: IntArray, among: IntArray, total: int) -> NDArray[np.bool_]:
    """Which of some numbers below ``total`` are among others."""
    table = np.zeros(total, dtype=bool)
    table[among] = True
    return cast("NDArray[np.bool_]", table[numbers])


def checked_cotangents(values: ArrayLike, shape: tuple[int, int]) -> FloatArray:
    """Cotangents of the values (samples, observables).

    Raises:
        InvalidInputError: If they have another shape or are not finite.
    """
    array = real_array(values, "cotangents", copy=False)
    if array.shape != shape:
        raise InvalidInputError(f"Cotangents have shape {array.shape}; {shape} (samples, observables) is expected.")
    if not _native.all_finite(array):
        raise InvalidInputError(
            "Cotangents hold NaN or infinite numbers; the loss has diverged before the backward sweep."
        )
    return array
