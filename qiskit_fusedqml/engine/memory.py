"""The memory budget of a program: how many samples at a time, and how many states on the way.

A forward and backward sweep holds two states, the ket and the bra, whatever the depth: the sweep back undoes the gates
instead of reading states that were saved. Checkpoints are states saved nevertheless, at evenly spaced places of the
way forward. Where the sweep back comes by, the saved state replaces the undone one, so that the rounding errors of
undoing do not add up over the whole depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..devices import Device
from ..errors import InvalidInputError, OutOfMemoryError
from ..memory import format_bytes
from ..planner.segments import LONGEST
from .binding import Binding
from .columns import Columns
from .parameters import ParameterBatch

MAX_SIZES = 16
"""Answers of `MemoryBudget.rows` that are kept."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What one call for values and gradients takes, in bytes; ``print`` shows it.

    Attributes:
        batch: Samples of the call.
        rows: Samples at a time.
        num_checkpoints: States kept on the way, for each sample.
        states: The ket, the bra and what else the sweeps hold for every sample.
        checkpoints: The states kept on the way.
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

    def __str__(self) -> str:
        parts = (
            ("states", self.states),
            (f"{self.num_checkpoints} checkpoints", self.checkpoints),
            ("tables", self.tables),
            ("outputs", self.outputs),
        )
        sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts)
        return f"{format_bytes(self.total)} for {self.batch} samples, {self.rows} at a time: {sizes}"


class MemoryBudget:
    """Cuts batches so that they fit, and says how many states are kept on the way.

    Args:
        device: The device, whose memory counts.
        num_qubits: Number of qubits n.
        checkpoint: None, "auto" or the number of states kept on the way.
        max_memory_mb: Memory in MiB; None for what the device says (`Device.memory_budget`).

    Raises:
        InvalidInputError: For another checkpoint or a budget that is not positive.
    """

    def __init__(
        self, device: Device, num_qubits: int, *, checkpoint: str | int | None, max_memory_mb: float | None
    ) -> None:
        number = isinstance(checkpoint, int) and not isinstance(checkpoint, bool)
        if not (checkpoint is None or checkpoint == "auto" or (number and int(checkpoint) >= 0)):
            raise InvalidInputError(
                f"checkpoint is {checkpoint!r}; None, 'auto' or a number of states (0 or more) is expected."
            )
        self._device = device
        self._num_qubits = num_qubits
        self._checkpoint = checkpoint
        # what `rows` said: a step of a small circuit takes microseconds
        self._rows: dict[tuple[object, ...], int] = {}
        self.bytes = device.memory_budget() if max_memory_mb is None else int(max_memory_mb * 2**20)
        if self.bytes <= 0:
            raise InvalidInputError(f"max_memory_mb is {max_memory_mb}; a positive number of MiB is expected.")

    def checkpoints(self, sweeps: Binding | Columns, rows: int, states: int) -> int:
        """Number of states kept on the way of ``rows`` samples that need ``states`` states each besides.

        The rule of "auto": none in double precision; in single precision one after every `LONGEST` operations of the
        tape, as far as they fit the budget without cutting the batch further.
        """
        if not self._checkpoint:
            return 0
        if self._checkpoint != "auto":
            return min(int(self._checkpoint), sweeps.places)
        if self._device.cost_model.amplitude_bytes > 8:
            return 0
        room = self.bytes // self._device.state_bytes(self._num_qubits, rows) - states
        return max(min((sweeps.operations - 1) // LONGEST, sweeps.places, room), 0)

    def fits(self, rows: int, states: int, row_bytes: int = 0) -> bool:
        """Whether ``states`` states of so many samples, and ``row_bytes`` for each of these, fit."""
        return states * self._device.state_bytes(self._num_qubits, rows) + row_bytes * rows <= self.bytes

    def rows(self, batch: int, states: int, sweeps: Binding | Columns | None = None, *, by_row: bool = False) -> int:
        """How many samples of a batch fit at once.

        Args:
            batch: The batch.
            states: States that every sample needs at once.
            sweeps: The sweeps if there is a way back, for what else they need.
            by_row: Whether gradients are wanted row by row.

        Raises:
            OutOfMemoryError: If not even the states of one sample fit.
        """
        key = (batch, states, sweeps, by_row)
        found = self._rows.get(key)
        if found is None:
            found = self._largest(batch, states, sweeps, by_row=by_row)
            if len(self._rows) >= MAX_SIZES:
                self._rows = {}
            self._rows[key] = found
        return found

    def _largest(self, batch: int, states: int, sweeps: Binding | Columns | None, *, by_row: bool) -> int:
        kept = row_bytes = 0
        if sweeps is not None:
            row_bytes = sweeps.row_bytes(by_row=by_row)
            if self._checkpoint and self._checkpoint != "auto":
                kept = min(int(self._checkpoint), sweeps.places)
        rows = batch
        while rows > 1 and not self.fits(rows, states + kept, row_bytes):
            rows = (rows + 1) // 2
        if rows == 1 and not self.fits(1, states + kept):
            raise self._too_little(states, kept)
        return rows

    def chunks(
        self, parameters: ParameterBatch, states: int, sweeps: Binding | Columns | None = None
    ) -> Iterator[ParameterBatch]:
        """The batch in pieces that fit; arguments as of `rows`."""
        size = self.rows(parameters.batch, states, sweeps, by_row=parameters.by_row)
        if size == parameters.batch:
            yield parameters
            return
        for start in range(0, parameters.batch, size):
            yield parameters.rows(start, min(start + size, parameters.batch))

    def estimate(self, sweeps: Binding | Columns, batch: int, num_observables: int, *, by_row: bool) -> MemoryEstimate:
        """What values and gradients of a batch take."""
        states = sweeps.states + 1
        rows = self.rows(batch, states, sweeps, by_row=by_row)
        kept = self.checkpoints(sweeps, rows, states)
        state = self._device.state_bytes(self._num_qubits, rows)
        outputs = rows * sweeps.row_bytes(by_row=by_row) + sweeps.shared_bytes + 8 * batch * num_observables
        return MemoryEstimate(batch, rows, kept, states * state, kept * state, sweeps.table_bytes(kept), outputs)

    def check_output(self, needed: int, what: str) -> None:
        """Refuse a result that does not fit."""
        if needed > self.bytes:
            raise OutOfMemoryError(f"The {what} need {format_bytes(needed)}; {format_bytes(self.bytes)} are allowed.")

    def _too_little(self, states: int, kept: int) -> OutOfMemoryError:
        needed = (states + kept) * self._device.state_bytes(self._num_qubits, 1)
        fewer = f", {kept} of them checkpoints," if kept else ""
        advice = ", fewer checkpoints" if kept else ""
        return OutOfMemoryError(
            f"{states + kept} state(s) of {self._num_qubits} qubits{fewer} need {format_bytes(needed)}; "
            f"{format_bytes(self.bytes)} are allowed. Raise max_memory_mb if the machine has more, or use "
            f"precision='single'{advice}."
        )
