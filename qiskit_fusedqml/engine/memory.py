"""The memory budget of a program: how many samples at a time, and how many states are kept in the forward sweep.

A forward and backward sweep holds two states, the ket and the bra, whatever the depth: the backward sweep undoes the
gates instead of reading states that were saved. Checkpoints are states saved nevertheless, at evenly spaced places.
When the backward sweep gets there, the saved state replaces the undone one, so that the rounding errors of undoing do
not add up over the whole depth.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..devices import Device
from ..devices.pauli_vector.device import MixedStateDevice
from ..errors import OutOfMemoryError
from ..memory import format_bytes
from ..planner.report import counted, table
from ..planner.segments import LONGEST
from .options import EngineOptions
from .parameters import ParameterBatch
from .sweeps import Sweeps

KET = 1
"""States that probabilities take: the final one."""

BRA = 1
"""States that values and their gradients take beside those of the forward sweep."""

KET_AND_AMPLITUDES = 2
"""States that amplitudes take: the final one, and its copy on the host."""

KET_COPY_BRA = 3
"""States that a Jacobian takes: each observable has its own copy of the ket, and its bra."""

KET_COPY_BRA_AMPLITUDES = 4
"""States that derivatives by other bras take, which are given as amplitudes on the host."""

MAX_SIZES = 64
"""Answers of `MemoryBudget.samples` that are kept; they keep their sweeps, with their plans, from being freed."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What one call for values and gradients takes, in bytes; ``print`` shows it.

    Attributes:
        batch: Samples of the call.
        rows: Samples at a time.
        num_checkpoints: States kept for each sample.
        states: The ket, the bra and what else the sweeps hold for every sample.
        checkpoints: The states kept.
        tables: What the device derives from the coefficients: tables of phases, sums of its threads.
        outputs: Coefficients, overlaps, values and gradients.
    """

    batch: int
    rows: int
    num_checkpoints: int
    states: int
    checkpoints: int
    tables: int
    outputs: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.states + self.checkpoints + self.tables + self.outputs

    @property
    def title(self) -> str:
        """All of it, and for how many samples."""
        return f"{format_bytes(self.total)} for {counted(self.batch, 'sample')}, {self.rows} at a time"

    def parts(self) -> list[tuple[str, str]]:
        """Names and sizes."""
        parts = {
            "states": self.states,
            counted(self.num_checkpoints, "checkpoint"): self.checkpoints,
            "tables": self.tables,
            "outputs": self.outputs,
        }
        return [(name, format_bytes(size)) for name, size in parts.items()]

    def __str__(self) -> str:
        return f"{self.title}: {', '.join(f'{name} {size}' for name, size in self.parts())}"

    def _repr_html_(self) -> str:
        return table(f"Memory: {self.title}", self.parts())


class MemoryBudget:
    """Cuts batches so that they fit, and says how many states are kept as checkpoints.

    The memory is that of a device, for states of ``num_qubits`` qubits.
    """

    def __init__(self, device: Device, num_qubits: int, options: EngineOptions) -> None:
        self._device = device
        self._num_qubits = num_qubits
        self._checkpoint = options.checkpoint
        # the latest answers of `samples`: a step of a small circuit takes microseconds
        self._sizes: dict[tuple[object, ...], int] = {}
        self.bytes = options.budget(device)

    def checkpoints(self, sweeps: Sweeps, batch: int, states: int) -> int:
        """Number of states kept for each of ``batch`` samples, which need ``states`` states each besides.

        The rule of "auto": none in double precision; in single precision one after every `LONGEST` operations of the
        tape, as far as they fit the budget without cutting the batch further.
        """
        if not self._checkpoint:
            return 0
        if self._checkpoint != "auto":
            return min(int(self._checkpoint), sweeps.num_places)
        if self._device.cost_model.amplitude_bytes > 8:
            return 0
        room = self.bytes // self.state_bytes(batch, is_real=sweeps.is_real) - states
        return max(min((sweeps.num_operations - 1) // LONGEST, sweeps.num_places, room), 0)

    def fits(self, batch: int, states: int, sample_bytes: int = 0, *, is_real: bool = False) -> bool:
        """Whether ``states`` states of so many samples, and ``sample_bytes`` for each of these, fit."""
        return states * self.state_bytes(batch, is_real=is_real) + sample_bytes * batch <= self.bytes

    def state_bytes(self, batch: int, *, is_real: bool = False) -> int:
        """Bytes that one state of so many samples takes; real states take half."""
        return self._device.state_bytes(self._num_qubits, batch) >> is_real

    def fits_shared(self, batch: int, states: int, count: int) -> bool:
        """Whether ``states`` states for each of ``count`` observables, which all samples share, fit beside the kets.

        The kets are those of as many samples at a time as fit with ``states`` states for each sample.
        """
        return self.fits(self.samples(batch, states) + states * count, 1)

    def samples(
        self,
        batch: int,
        states: int,
        sweeps: Sweeps | None = None,
        *,
        per_sample: bool = False,
        is_real: bool = False,
    ) -> int:
        """How many samples of a batch fit at once.

        Args:
            batch: The batch.
            states: States that every sample needs at once.
            sweeps: The sweeps if a backward one follows, for what else they need.
            per_sample: Whether gradients are wanted for each sample.
            is_real: Whether states are real, as those of real sweeps are.

        Raises:
            OutOfMemoryError: If not even the states of one sample fit.
        """
        key = (batch, states, sweeps, per_sample, is_real)
        found = self._sizes.get(key)
        if found is None:
            real = is_real if sweeps is None else sweeps.is_real
            found = self._largest(batch, states, sweeps, per_sample=per_sample, is_real=real)
            if len(self._sizes) >= MAX_SIZES:
                self._sizes = {}
            self._sizes[key] = found
        return found

    def _largest(self, batch: int, states: int, sweeps: Sweeps | None, *, per_sample: bool, is_real: bool) -> int:
        kept = sample_bytes = 0
        if sweeps is not None:
            sample_bytes = sweeps.sample_bytes(per_sample=per_sample)
            if self._checkpoint and self._checkpoint != "auto":
                kept = min(int(self._checkpoint), sweeps.num_places)
        size = batch
        while size > 1 and not self.fits(size, states + kept, sample_bytes, is_real=is_real):
            size = (size + 1) // 2
        held = 0 if sweeps is None else sweeps.kept_states
        if size == 1 and not self.fits(1, states + held + kept, is_real=is_real):
            raise self._too_little(states + held, kept, is_real=is_real)
        return size

    def chunks(
        self, parameters: ParameterBatch, states: int, sweeps: Sweeps | None = None, *, is_real: bool = False
    ) -> list[ParameterBatch]:
        """The batch in pieces that fit; arguments as of `samples`."""
        batch = parameters.batch
        known = self._sizes.get((batch, states, sweeps, parameters.per_sample, is_real))  # as in all but the first step
        size = known or self.samples(batch, states, sweeps, per_sample=parameters.per_sample, is_real=is_real)
        if size == batch:
            return [parameters]
        return [parameters.part(start, min(start + size, batch)) for start in range(0, batch, size)]

    def estimate(self, sweeps: Sweeps, batch: int, num_observables: int) -> MemoryEstimate:
        """What values and gradients of a batch with shared weights take."""
        states = sweeps.forward_states + BRA
        size = self.samples(batch, states, sweeps)
        kept = self.checkpoints(sweeps, size, states)
        state = self.state_bytes(size, is_real=sweeps.is_real)
        outputs = size * sweeps.sample_bytes(per_sample=False) + sweeps.shared_bytes + 8 * batch * num_observables
        return MemoryEstimate(batch, size, kept, states * state, kept * state, sweeps.table_bytes(kept), outputs)

    def check_output(self, needed: int, what: str) -> None:
        """Refuse a result that does not fit."""
        if needed > self.bytes:
            raise OutOfMemoryError(f"The {what} need {format_bytes(needed)}; {format_bytes(self.bytes)} are allowed.")

    def _too_little(self, states: int, kept: int, *, is_real: bool) -> OutOfMemoryError:
        needed = (states + kept) * self.state_bytes(1, is_real=is_real)
        fewer = f", {kept} of them checkpoints," if kept else ""
        advice = ", fewer checkpoints" if kept else ""
        what = "state(s)"
        if isinstance(self._device, MixedStateDevice):
            what, advice = "mixed state(s)", advice + ", or trajectories=N for values estimated from pure states"
        return OutOfMemoryError(
            f"{states + kept} {what} of {self._num_qubits} qubits{fewer} need {format_bytes(needed)}; "
            f"{format_bytes(self.bytes)} are allowed. Raise max_memory_mb if the machine has more, or use "
            f"precision='single'{advice}."
        )
