"""Sweeps over mixed states: a program with noise on the Pauli vectors of a batch.

The backward sweep undoes noise, too. A state is kept in the forward sweep only where undoing would amplify rounding
errors (`qiskit_fusedqml.planner.pauli_vector.segments`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray
from ..devices import CoefficientMap, Device, State
from ..devices.pauli_vector.channels import StrengthError
from ..devices.pauli_vector.coefficients import LARGEST_KAPPA
from ..devices.pauli_vector.collapsed import CollapsedBra, CollapsedKet
from ..devices.pauli_vector.device import MixedStateDevice
from ..errors import InvalidInputError
from ..ir.angles import AngleMap
from ..ir.program import Program
from ..planner.cost import CostModel
from ..planner.pauli_vector import PauliPlan, fuse_channels
from ..planner.pauli_vector.segments import PauliSegment, cut
from ..planner.pauli_vector.tape import Affine, PauliFrame
from .basis_columns import encoding_and_rest
from .parameter_map import BoundParameters
from .parameters import NO_PARAMETERS, ParameterBatch
from .sweeps import EncodedSweeps, PlannedSweeps, PlanRequest, Residuals

KAPPA_LIMITS = {8: 1.0, 16: 6.0}
"""log10 of what errors may grow by between two states that are kept, by `CostModel.amplitude_bytes`."""


class MixedSweeps(PlannedSweeps):
    """`PlannedSweeps` of a program with channels.

    Args:
        program: The program.
        angle_map: Its angles.
        cost_model: The device's numbers.
        request: What the sweeps are for.
        coefficient_map: The device's.
        start: The frame of the vectors that it starts from; None for the identity.
    """

    plan: PauliPlan  # type: ignore[assignment]
    tape: Any

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        cost_model: CostModel,
        request: PlanRequest,
        coefficient_map: type[CoefficientMap],
        start: PauliFrame | None = None,
    ) -> None:
        self._angle_map, self._state_bytes = angle_map, cost_model.amplitude_bytes // 2
        self._start, self._limit = start, KAPPA_LIMITS[cost_model.amplitude_bytes]
        self._cuts: dict[tuple[int, bytes], tuple[PauliSegment, ...]] = {}
        super().__init__(program, angle_map, cost_model, request, coefficient_map)
        self._whole = (PauliSegment(self.tape),)
        # where they are constant
        self._log_kappas: FloatArray | None = self.map.coefficient_map.log_kappas  # type: ignore[attr-defined]
        # a channel's parameter, which all samples share, may be wanted in a sequence with angles that differ
        self.has_batched_gradients |= any(
            isinstance(operation, Affine) and operation.batched and operation.overlap >= 0
            for block in self.tape.blocks
            for operation in block.operations
        )

    def bind(self, parameters: ParameterBatch) -> BoundParameters:
        """The coefficients at some values; strengths that are not possible are refused by their parameters' names."""
        try:
            return self.map.bind(parameters)
        except StrengthError as error:
            raise self.named(error) from None

    def named(self, error: StrengthError) -> InvalidInputError:
        """The error that names the parameters."""
        slots, numbers = self._angle_map.dependence
        own = np.unique(numbers[np.isin(slots, error.slots)])
        names = ", ".join(self._angle_map.names[k] if self._angle_map.names else f"number {k}" for k in own)
        return InvalidInputError(f"The parameters {names} are not possible: {error.problem}.")

    @override
    def _planned(  # type: ignore[override]
        self,
        program: Program,
        cost_model: CostModel,
        request: PlanRequest,
        batched_slots: frozenset[int],
        wanted_slots: frozenset[int],
    ) -> PauliPlan:
        return fuse_channels(
            program,
            tile_bits=cost_model.tile_qubits,
            batched_slots=batched_slots,
            wanted_slots=wanted_slots,
            frame=self._start,
        )

    @property
    @override
    def num_operations(self) -> int:
        return sum(len(block.operations) - block.undo_from for block in self.tape.blocks)

    @cached_property
    @override
    def _num_places(self) -> int:
        operations: int = sum(len(block.operations) for block in self.tape.blocks)
        return max(operations - 1, 0)

    @override
    def _map(self, coefficient_map: Any) -> CoefficientMap:
        made: CoefficientMap = coefficient_map(self.plan.tables, self.tape)
        return made

    @override
    def table_bytes(self, checkpoints: int) -> int:
        size: int = 8 * self.tape.num_overlaps
        return size

    @property
    @override
    def kept_states(self) -> int:  # type: ignore[override]
        return 0 if self._log_kappas is None else sum(segment.kept for segment in self.segments(None))

    @override
    def sample_bytes(self, *, per_sample: bool) -> int:
        """With the states that are kept because of the noise, where its strengths are constant."""
        states: int = self.kept_states * self._state_bytes << 2 * self.tape.num_qubits
        return super().sample_bytes(per_sample=per_sample) + states

    @override
    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[Residuals, State]:
        bound = self.bind(parameters)
        ket = device.allocate(self.tape, parameters.batch, initial_states)
        segments, kept = self.segments(bound.bound, checkpoints), []
        for segment in segments:
            if segment.kept:
                kept.append(device.copy(ket))
            tape: Any = segment.tape
            device.forward(tape, bound.bound.coefficients, ket)
        return Residuals(bound, segments, tuple(kept)), ket  # type: ignore[arg-type]

    @override
    def backward(
        self, device: Device, residuals: Residuals, ket: State, bra: State, *, per_sample: bool, last: bool = True
    ) -> tuple[FloatArray, FloatArray | None]:
        by_sample = per_sample or self.has_batched_gradients
        parts: list[FloatArray] = []
        kept = list(residuals.checkpoints)
        segments: Any = residuals.segments
        for segment in reversed(segments):
            before = None
            if segment.kept:
                before = kept.pop() if last else device.copy(kept.pop())
            ket = before if segment.held else ket
            coefficients = residuals.bound.bound.coefficients
            parts.append(device.backward(segment.tape, coefficients, ket, bra, per_sample=by_sample))
            ket = ket if before is None else before
        overlaps = parts[0] if len(parts) == 1 else np.concatenate(parts[::-1], axis=-1)
        try:
            return self.map.pullback(residuals.bound, overlaps, per_sample=per_sample)
        except StrengthError as error:
            raise self.named(error) from None

    def segments(self, bound: Any, checkpoints: int = 0) -> tuple[PauliSegment, ...]:
        """The tape in pieces, as the kappas of its operations ask for; with checkpoints, also evenly.

        ``bound`` is needed where kappas are not constant.
        """
        if not self.tape.num_overlaps:
            return self._whole
        log_kappas, key = self._log_kappas, b""
        if log_kappas is None:
            log_kappas = bound.log_kappas
            key = log_kappas.tobytes()
        found = self._cuts.get((checkpoints, key))
        if found is None:
            largest = float(np.log10(LARGEST_KAPPA))
            found = cut(self.tape, log_kappas, checkpoints, limit=self._limit, largest=largest)
            if len(self._cuts) > MAX_CUTS:
                self._cuts = {}
            self._cuts[checkpoints, key] = found
        return found


MAX_CUTS = 16
"""Ways to cut a tape that are kept: kappas change where parameters of channels do."""


class CollapsedResiduals(NamedTuple):
    """What the forward sweep leaves: the ansatz's coefficients, and the ket that is still to go through it."""

    ansatz: BoundParameters
    ket: CollapsedKet


class CollapsedSweeps(EncodedSweeps):
    """`Sweeps` of a program ``U(w) E(x)`` with one state for all samples (`CollapsedKet`).

    Args:
        encoder: E, without gradients.
        ansatz: U, of which no angle is batched.
    """

    forward_states = 1
    _encoder: MixedSweeps
    _ansatz: MixedSweeps

    def __init__(self, encoder: MixedSweeps, ansatz: MixedSweeps) -> None:
        super().__init__(encoder, ansatz)
        self.frame, self.shared_bytes = ansatz.frame, ansatz.shared_bytes

    @override
    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[CollapsedResiduals, State]:
        assert isinstance(device, MixedStateDevice)
        _, kets = self._encoder.forward(device, parameters, initial_states)
        shared = ParameterBatch(parameters.shared, NO_PARAMETERS, np.empty((1, 0)), 1)
        bound = self._ansatz.bind(shared)
        segments = self._ansatz.segments(bound.bound, checkpoints)
        ket = CollapsedKet(kets, self.tape.num_qubits, segments, bound.bound.coefficients)
        return CollapsedResiduals(bound, ket), ket

    @override
    def backward(
        self,
        device: Device,
        residuals: CollapsedResiduals,
        ket: State,
        bra: State,
        *,
        per_sample: bool,
        last: bool = True,
    ) -> tuple[FloatArray, FloatArray | None]:
        """See `Sweeps.backward`; ``per_sample`` must be false."""
        assert isinstance(device, MixedStateDevice)
        assert isinstance(bra, CollapsedBra)
        assert not per_sample
        parts = residuals.ket.joint(device.inner, bra)
        overlaps = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        try:
            return self._ansatz.map.pullback(residuals.ansatz, overlaps, per_sample=False)
        except StrengthError as error:
            raise self._ansatz.named(error) from None


def find_collapsed(
    program: Program, angle_map: AngleMap, device: MixedStateDevice, request: PlanRequest
) -> CollapsedSweeps | None:
    """The sweeps with one state for all samples, or None where samples differ after the first wanted parameter."""
    parts = encoding_and_rest(program, angle_map, request)
    if parts is None:
        return None
    (encoder, encoder_map), (ansatz, ansatz_map) = parts
    of_encoder = request._replace(wanted=NO_PARAMETERS)
    of_ansatz = request._replace(batched=NO_PARAMETERS)
    first = MixedSweeps(encoder, encoder_map, device.cost_model, of_encoder, device.coefficient_map)
    start = first.tape.frame
    return CollapsedSweeps(
        first, MixedSweeps(ansatz, ansatz_map, device.cost_model, of_ansatz, device.coefficient_map, start)
    )
