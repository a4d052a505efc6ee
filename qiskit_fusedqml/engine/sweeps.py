"""Sweeps over the states of a batch: what `ProgramFunction` asks of them, and those that follow a plan.

A forward sweep goes from parameter values to final states, a backward sweep from these (kets) and bras to gradients.
`PlannedSweeps` puts the linear part of the angle map before the plan's coefficient map, so that compiled code goes from
values to coefficients and from overlaps to gradients; only non-linear expressions are computed here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray, IntArray
from ..devices import Bound, BoundOnDevice, CoefficientMap, Device, State, has_memory
from ..devices.coefficients import CompiledCoefficientMap
from ..errors import InvalidInputError
from ..ir.angles import AngleMap
from ..ir.program import Program
from ..planner import Plan, fuse
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.segments import Segment, cut, num_places
from ..planner.tables import AngleTables, BindingTables, CSRRows, Expressions
from ..planner.tape import Diag, Tape
from .parameters import ParameterBatch, ParameterSet


class PlanRequest(NamedTuple):
    """What sweeps are for. Equal requests are equal keys.

    Attributes:
        batched: The parameters that differ from sample to sample.
        wanted: The parameters whose gradients are wanted.
        batch: Number of samples, for the choice of lanes and tiles.
        keep_phase: Whether the global phase matters.
        populations: Whether only the absolute values of the final amplitudes matter.
        any_start: Whether sweeps start from amplitudes that the program does not hold.
        summed: Whether sweeps over states that samples share will do, whose gradients are summed over the batch.
    """

    batched: ParameterSet
    wanted: ParameterSet
    batch: int
    keep_phase: bool = False
    populations: bool = False
    any_start: bool = False
    summed: bool = False


class Sweeps(Protocol):
    """Forward: theta -> psi(theta). Backward: (psi(theta), bra) -> 2 Re <bra| d psi / d theta>, theta the parameters.

    With ``bra = sum_k c_k O_k |psi>`` that is ``sum_k c_k d<psi| O_k |psi> / d theta``.

    Attributes:
        forward_states: Memory of the forward sweep, in states of the whole batch.
        shared_bytes: Memory of the coefficients, overlaps and gradients that all samples share.
        num_places: Number of places where a state may be kept.
        num_operations: Number of operations that the backward sweep undoes.
        tape: The tape that final states are made for (`Device.allocate`).
        frame: The frame of the final states.
    """

    forward_states: int
    shared_bytes: int
    num_places: int
    num_operations: int
    tape: Tape
    frame: Frame

    def sample_bytes(self, *, per_sample: bool) -> int:
        """Memory of a sample's own coefficients, overlaps and gradients where a backward sweep follows."""
        ...

    def table_bytes(self, checkpoints: int) -> int:
        """Memory of the tables of phases, and of the sums that each thread keeps lane by lane."""
        ...

    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[Any, State]:
        """The forward sweep.

        Args:
            device: Where it runs.
            parameters: The batch.
            initial_states: Amplitudes (2**n,) or (B, 2**n); None for ``|0...0>``.
            checkpoints: Number of states to keep, evenly spaced, for the backward sweep.

        Returns:
            The residuals, which the backward sweep needs, and the final states.

        Raises:
            InvalidInputError: If an angle is NaN or infinite; the message names the parameter or expression.
        """
        ...

    def backward(
        self, device: Device, residuals: Any, ket: State, bra: State, *, per_sample: bool, last: bool = True
    ) -> tuple[FloatArray, FloatArray | None]:
        """The backward sweep; ket and bra are used up.

        Args:
            device: Where it runs.
            residuals: Of the forward sweep.
            ket: Its final states.
            bra: States in the same frame.
            per_sample: Whether all gradients are wanted for each sample.
            last: Whether the residuals are needed no more.

        Returns:
            With ``per_sample``: gradients (B, P), and None. Otherwise the gradients (P,) of the values that all samples
            share, and (B, V) of the batched parameters, or None where no gradient of theirs is wanted.

        Raises:
            InvalidInputError: If the derivative of an expression is not finite at the values.
        """
        ...


class Residuals(NamedTuple):
    """What the forward sweep leaves for the backward sweep.

    Attributes:
        bound: The coefficients, on the host or where the device has its memory.
        shared: (P,) the values of the first sample.
        values: (B, P') those of the parameters that batched angles depend on, or None without expressions.
        segments: The pieces of the tape that were run.
        checkpoints: The states that were kept, in this order; the last backward sweep uses them up.
    """

    bound: Bound | BoundOnDevice
    shared: FloatArray
    values: FloatArray | None
    segments: tuple[Segment, ...] = ()
    checkpoints: tuple[State, ...] = ()


class PlannedSweeps(Sweeps):
    """`Sweeps` by the plan and the angle maps for one request.

    Cost model and coefficient map are the device's.
    """

    forward_states = 1

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        cost_model: CostModel,
        request: PlanRequest,
        coefficient_map: type[CoefficientMap] = CompiledCoefficientMap,
    ) -> None:
        batched, wanted = request.batched.indices, request.wanted.indices
        depends = angle_map.depends_on(batched)
        wanted_slots = frozenset(np.flatnonzero(angle_map.depends_on(wanted)).tolist())
        self.batched_slots: IntArray = np.flatnonzero(depends)
        self.shared_slots: IntArray = np.flatnonzero(~depends)
        self.shared_map = angle_map.select(self.shared_slots)
        self.batched_map, self.used = angle_map.select(self.batched_slots).compact()
        self.batched = batched
        # which of the used parameters are batched, and their columns among those
        is_batched = _members(self.used, batched, angle_map.num_parameters)
        self.used_batched: IntArray = np.flatnonzero(is_batched)
        self.used_shared: IntArray = np.flatnonzero(~is_batched)
        self.used_columns: IntArray = np.searchsorted(batched, self.used[self.used_batched])
        self.has_expressions = bool(self.shared_map.groups or self.batched_map.groups)
        self.plan = self._planned(program, cost_model, request, wanted_slots)
        self.tape, self.frame = self.plan.tape, self.plan.tape.frame
        self.num_places = self._num_places()
        self.num_operations = sum(len(block.operations) - block.undo_from for block in self.tape.blocks)
        self.shared_bytes = 8 * (6 * angle_map.num_angles + 2 * self.tape.num_overlaps)
        self.coefficient_map = self._from_features(self._map(coefficient_map))
        self._segments: dict[int, tuple[Segment, ...]] = {}
        # whether overlaps are needed by sample: for a batched parameter's gradient, or through an angle that differs
        self.has_batched_gradients = bool(
            _members(wanted, batched, angle_map.num_parameters).any()
            or not wanted_slots.isdisjoint(self.batched_slots.tolist())
        )

    def _planned(
        self, program: Program, cost_model: CostModel, request: PlanRequest, wanted_slots: frozenset[int]
    ) -> Plan:
        return fuse(
            program,
            cost_model,
            batched_slots=frozenset(self.batched_slots.tolist()),
            wanted_slots=wanted_slots,
            batch=request.batch,
            keep_phase=request.keep_phase,
            populations=request.populations,
            any_start=request.any_start,
        )

    def _num_places(self) -> int:
        return num_places(self.tape, self.plan.tables.pair_kinds)

    def _map(self, coefficient_map: type[CoefficientMap]) -> CoefficientMap:
        """The device's map over the plan's tables."""
        return coefficient_map(self.plan.tables)

    @override
    def sample_bytes(self, *, per_sample: bool) -> int:
        own = 8 * (4 * len(self.batched_slots) + len(self.batched))
        return own + 8 * self.tape.num_overlaps * (1 if per_sample or self.has_batched_gradients else 0)

    @override
    def table_bytes(self, checkpoints: int) -> int:
        model, segments = self.plan.cost_model, self._cut(checkpoints)
        entries = [
            1 << len(factor.basis)
            for block in self.tape.blocks
            for operation in block.operations
            if isinstance(operation, Diag)
            for factor in operation.factors
        ]
        widest = max(segment.tape.num_overlaps for segment in segments)
        return model.amplitude_bytes * sum(entries) + 8 * widest * model.lanes * model.threads

    @override
    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[Residuals, State]:
        bound = self._bind_on(device, parameters) if parameters.on_device else self.bind(parameters)
        ket = device.allocate(self.tape, parameters.batch, initial_states)
        segments, kept = self._segments.get(checkpoints) or self._cut(checkpoints), []
        for segment in segments:
            if segment.kept:
                kept.append(device.copy(ket))
            device.forward(segment.tape, bound.bound.coefficients, ket)
        return Residuals(bound.bound, bound.shared, bound.values, segments, tuple(kept)), ket

    def backward(
        self, device: Device, residuals: Residuals, ket: State, bra: State, *, per_sample: bool, last: bool = True
    ) -> tuple[FloatArray, FloatArray | None]:
        """See `Sweeps.backward`. A state that was kept takes the place of the ket that was undone up to there."""
        coefficients, by_sample = residuals.bound.coefficients, per_sample or self.has_batched_gradients
        parts: list[FloatArray] = []
        number = len(residuals.checkpoints)
        for segment in reversed(residuals.segments):
            if not segment.undone:
                break
            parts.append(device.backward(segment.tape, coefficients, ket, bra, per_sample=by_sample))
            if segment.kept:
                number -= 1
                ket = residuals.checkpoints[number] if last else device.copy(residuals.checkpoints[number])
        if not parts:  # nothing depends on what is wanted
            tape = residuals.segments[0].tape
            parts.append(device.backward(tape, coefficients, ket, bra, per_sample=by_sample))
        overlaps = parts[0] if len(parts) == 1 else np.concatenate(parts[::-1], axis=-1)
        return self.pullback(residuals, overlaps, per_sample=per_sample)

    def bind(self, parameters: ParameterBatch) -> Residuals:
        """The coefficients at some values; errors as of `Sweeps.forward`."""
        shared, samples, values = parameters.shared, parameters.samples, None
        if self.has_expressions:
            values = self._used_values(parameters)
            shared = self.shared_map.sources(shared)
            samples = np.concatenate([samples, self.batched_map.sources(values)[:, len(self.used) :]], axis=1)
        bound = self.coefficient_map.bind(shared, samples)
        if bound is None:
            raise self._not_finite(parameters)
        return Residuals(bound, parameters.shared, values)

    def _bind_on(self, device: Device, parameters: ParameterBatch) -> Residuals:
        """The coefficients where the values are."""
        assert has_memory(device)
        bound = device.bind(self.tables, parameters.shared, parameters.samples)
        return Residuals(bound, parameters.shared, None)

    def pullback(
        self, residuals: Residuals, overlaps: FloatArray, *, per_sample: bool
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradients as of `Sweeps.backward` from overlaps: (S,) summed over the batch, or (B, S)."""
        pull = getattr(residuals.bound, "pull", None)
        if pull is not None:  # on the device, where the values are
            return cast("tuple[FloatArray, FloatArray | None]", pull(overlaps, per_sample=per_sample))
        shared, batched = self.coefficient_map.pullback(residuals.bound, overlaps, per_sample=per_sample)
        if residuals.values is not None:
            shared = self.shared_map.pull_sources(residuals.shared, shared)
            if batched is not None:
                batched = self._pull_expressions(residuals.values, shared, batched)
        if per_sample and batched is not None:
            shared[:, self.batched] += batched
            return shared, None
        return shared, batched

    def _cut(self, checkpoints: int) -> tuple[Segment, ...]:
        # two threads may cut the same tape; the pieces of the first to finish are used by both
        pieces = self._segments.get(checkpoints) or cut(self.tape, self.plan.tables.pair_kinds, checkpoints)
        return self._segments.setdefault(checkpoints, pieces)

    def _from_features(self, coefficient_map: CoefficientMap) -> CoefficientMap:
        """The map over the features: of the shared map's, and in each sample the batched ones of the batched map's."""
        shared, batched, used = self.shared_map, self.batched_map, len(self.used)
        constants = np.zeros(len(self.shared_slots) + len(self.batched_slots))
        constants[self.shared_slots] = shared.constants
        column = np.full(batched.num_sources, -1, dtype=np.int64)
        column[self.used_batched] = self.used_columns
        column[used:] = len(self.batched) + np.arange(batched.num_sources - used)
        column = column[batched.columns]
        own = column >= 0
        slots, weights = batched.slots, batched.coefficients
        return coefficient_map.over(
            AngleTables(
                shared.num_sources,
                len(self.batched) + batched.num_sources - used,
                CSRRows.sorted(self.shared_slots[shared.slots], shared.columns, shared.coefficients, constants),
                CSRRows.sorted(slots[~own], self.used[batched.columns[~own]], weights[~own], batched.constants),
                CSRRows.sorted(slots[own], column[own], weights[own], np.zeros(batched.num_angles)),
            )
        )

    @cached_property
    def tables(self) -> BindingTables:
        """All from the parameters to the coefficients, for a device that computes these itself."""
        column = np.full(len(self.used), -1, dtype=np.int64)
        column[self.used_batched] = self.used_columns
        shared = np.where(column < 0, self.used, -1)
        assert self.coefficient_map.angles is not None
        return BindingTables(
            self.batched,
            self.shared_map.num_parameters,
            tuple(Expressions(g.formula, g.parameters, np.full_like(g.parameters, -1)) for g in self.shared_map.groups),
            tuple(Expressions(g.formula, shared[g.parameters], column[g.parameters]) for g in self.batched_map.groups),
            self.coefficient_map.angles,
            self.coefficient_map.tables,
        )

    def _used_values(self, parameters: ParameterBatch) -> FloatArray:
        values = np.empty((parameters.batch, len(self.used)))
        values[...] = parameters.shared[self.used]
        values[:, self.used_batched] = parameters.samples[:, self.used_columns]
        return values

    def _pull_expressions(self, values: FloatArray, shared: FloatArray, batched: FloatArray) -> FloatArray:
        """Add the batched expressions' part to the shared gradients; return the batched parameters' gradients."""
        features = np.zeros((len(batched), self.batched_map.num_sources))
        features[:, len(self.used) :] = batched[:, len(self.batched) :]
        pulled = self.batched_map.pull_sources(values, features)
        of_shared = pulled[:, self.used_shared]
        shared[..., self.used[self.used_shared]] += of_shared if shared.ndim == 2 else of_shared.sum(axis=0)
        result = batched[:, : len(self.batched)]
        result[:, self.used_columns] += pulled[:, self.used_batched]
        return result

    def _not_finite(self, parameters: ParameterBatch) -> InvalidInputError:
        try:
            self.shared_map.evaluate(parameters.shared)
            self.batched_map.evaluate(self._used_values(parameters))
        except InvalidInputError as error:
            return error
        return InvalidInputError("An angle overflows at the given values; finite angles are required.")


def _members(numbers: IntArray, among: IntArray, total: int) -> NDArray[np.bool_]:
    """Which of some numbers below ``total`` are among others."""
    table = np.zeros(total, dtype=bool)
    table[among] = True
    return cast("NDArray[np.bool_]", table[numbers])
