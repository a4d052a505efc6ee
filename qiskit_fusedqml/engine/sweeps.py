"""Sweeps over the states of a batch: what `ProgramFunction` asks of them, and those that follow a plan.

A forward sweep goes from parameter values to final states, a backward sweep from these (kets) and bras to gradients.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray
from ..devices import CoefficientMap, Device, State
from ..devices.coefficients import CompiledCoefficientMap
from ..ir.angles import AngleMap
from ..ir.program import Program
from ..planner import Plan, fuse
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.segments import Segment, cut, num_places
from ..planner.tape import Block, Diag, Tape
from ..planner.words import sizes_of
from .parameter_map import BoundParameters, ParameterMap, members
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
        undone: Whether backward sweeps undo everything, so that ket and bra come to where the forward sweep began.
        start: The frame of the amplitudes that sweeps start from; None for the identity.
    """

    batched: ParameterSet
    wanted: ParameterSet
    batch: int
    keep_phase: bool = False
    populations: bool = False
    any_start: bool = False
    summed: bool = False
    undone: bool = False
    start: Frame | None = None


class Sweeps(Protocol):
    """Forward: theta -> psi(theta). Backward: (psi(theta), bra) -> 2 Re <bra| d psi / d theta>, theta the parameters.

    With ``bra = sum_k c_k O_k |psi>`` that is ``sum_k c_k d<psi| O_k |psi> / d theta``.

    Attributes:
        forward_states: Memory of the forward sweep, in states of the whole batch.
        kept_states: States that are kept for each sample because noise cannot be undone there.
        shared_bytes: Memory of the coefficients, overlaps and gradients that all samples share.
        tape: The tape that final states are made for (`Device.allocate`).
        frame: The frame of the final states.
        plans: The plans that are run.
        is_real: Whether all amplitudes of the kets are real, and take half of the memory.
    """

    forward_states: int
    kept_states: int = 0
    shared_bytes: int
    tape: Tape
    frame: Frame
    plans: tuple[Plan, ...]
    is_real: bool = False

    @property
    def num_places(self) -> int:
        """Number of places where a state may be kept; few calls ask."""
        ...

    @property
    def num_operations(self) -> int:
        """Number of operations that the backward sweep undoes."""
        ...

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
            share, and (B, V) of the batched parameters, or None where no gradient of theirs is wanted. On a device with
            a memory of its own, more columns may follow.

        Raises:
            InvalidInputError: If the derivative of an expression is not finite at the values.
        """
        ...


class Residuals(NamedTuple):
    """What the forward sweep leaves for the backward sweep.

    Attributes:
        bound: The coefficients.
        segments: The pieces of the tape that were run.
        checkpoints: The states that were kept, in this order; the last backward sweep uses them up.
    """

    bound: BoundParameters
    segments: tuple[Segment, ...]
    checkpoints: tuple[State, ...]


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
        batched_slots, wanted_slots = (angle_map.dependents(parameters) for parameters in (batched, wanted))
        chosen = (frozenset(slots.tolist()) for slots in (batched_slots, wanted_slots))
        self.plan = self._planned(program, cost_model, request, *chosen)
        tape = self.plan.tape
        self.tape = replace(tape, blocks=tuple(map(_undone, tape.blocks))) if request.undone else tape
        self.plans, self.frame = (self.plan,), tape.frame
        self.is_real = isinstance(tape, Tape) and tape.is_real  # not one on mixed states
        self.shared_bytes = 8 * (6 * angle_map.num_angles + 2 * self.tape.num_overlaps)
        self.map = ParameterMap(angle_map, batched, self._map(coefficient_map))
        self._segments: dict[int, tuple[Segment, ...]] = {}
        # whether overlaps are needed by sample: for a batched parameter's gradient, or through an angle that differs
        self.has_batched_gradients = len(wanted) > 0 and bool(
            members(wanted, batched, angle_map.num_parameters).any()
            or members(wanted_slots, batched_slots, angle_map.num_angles).any()
        )
        self._coefficient_bytes = 8 * (4 * len(self.map.batched_slots) + len(batched))

    def _planned(
        self,
        program: Program,
        cost_model: CostModel,
        request: PlanRequest,
        batched_slots: frozenset[int],
        wanted_slots: frozenset[int],
    ) -> Plan:
        return fuse(
            program,
            cost_model,
            batched_slots=batched_slots,
            wanted_slots=wanted_slots,
            batch=request.batch,
            keep_phase=request.keep_phase,
            populations=request.populations,
            any_start=request.any_start,
            start=request.start,
        )

    @property
    def num_places(self) -> int:
        """See `Sweeps`."""
        return self._num_places

    @property
    def num_operations(self) -> int:
        """See `Sweeps`."""
        return sum(size.operations - size.undo_from for size in sizes_of(self.tape))

    @cached_property
    def _num_places(self) -> int:
        return num_places(self.tape, self.plan.tables.pair_kinds)

    def _map(self, coefficient_map: type[CoefficientMap]) -> CoefficientMap:
        """The device's map over the plan's tables."""
        return coefficient_map(self.plan.tables)

    @override
    def sample_bytes(self, *, per_sample: bool) -> int:
        return self._coefficient_bytes + 8 * self.tape.num_overlaps * (
            1 if per_sample or self.has_batched_gradients else 0
        )

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
        entry_bytes = model.amplitude_bytes << self.is_real  # of phases, which are complex
        return entry_bytes * sum(entries) + 8 * widest * model.lanes * model.threads

    @override
    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[Residuals, State]:
        bound = self.map.bind_on(device, parameters) if parameters.on_device else self.map.bind(parameters)
        ket = device.allocate(self.tape, parameters.batch, initial_states)
        segments, kept = self._segments.get(checkpoints) or self._cut(checkpoints), []
        for segment in segments:
            if segment.kept:
                kept.append(device.copy(ket))
            device.forward(segment.tape, bound.bound.coefficients, ket)
        return Residuals(bound, segments, tuple(kept)), ket

    def backward(
        self, device: Device, residuals: Residuals, ket: State, bra: State, *, per_sample: bool, last: bool = True
    ) -> tuple[FloatArray, FloatArray | None]:
        """See `Sweeps.backward`. A state that was kept takes the place of the ket that was undone up to there."""
        coefficients, by_sample = residuals.bound.bound.coefficients, per_sample or self.has_batched_gradients
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
        return self.map.pullback(residuals.bound, overlaps, per_sample=per_sample)

    def _cut(self, checkpoints: int) -> tuple[Segment, ...]:
        # two threads may cut the same tape; the pieces of the first to finish are used by both
        pieces = self._segments.get(checkpoints) or cut(self.tape, self.plan.tables.pair_kinds, checkpoints)
        return self._segments.setdefault(checkpoints, pieces)


def _undone(block: Block) -> Block:
    return replace(block, undo_from=0)


class EncodedSweeps(Sweeps):
    """What sweeps of a program ``U(w) E(x)`` have in common that run U for all samples together.

    Args:
        encoder: E, without gradients.
        ansatz: U, of which no angle is batched.
    """

    def __init__(self, encoder: PlannedSweeps, ansatz: PlannedSweeps) -> None:
        self._encoder = encoder
        self._ansatz = ansatz
        self.tape, self.plans = ansatz.tape, (encoder.plan, ansatz.plan)

    @property
    @override
    def num_places(self) -> int:
        return self._ansatz.num_places

    @property
    @override
    def num_operations(self) -> int:
        return self._ansatz.num_operations

    @override
    def sample_bytes(self, *, per_sample: bool) -> int:
        return self._encoder.sample_bytes(per_sample=per_sample)

    @override
    def table_bytes(self, checkpoints: int) -> int:
        return self._ansatz.table_bytes(checkpoints)
