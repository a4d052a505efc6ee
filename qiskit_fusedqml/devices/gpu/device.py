"""`GPUDevice`: the device protocol on the kernels, whatever launches them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...cost import CostModel
from ...errors import InvalidInputError
from ...observables import PauliSum
from ...plan import Frame, Tape
from .. import Coefficients
from .compiled import Geometry, compile_tape
from .launches import THREADS, GPUState, Launcher, LoadedSweep, Partials
from .layout import turns
from .observables import ObservableCache
from .runtime import Runtime, integer, long_integer
from .sequences import LoadedTape, Sequences, Workspace, load
from .sources import kernel_name

PARTIAL_BYTES = 256 << 20
"""Memory for partial overlaps; the batch is cut so that they fit."""

CACHE_SHARE = 0.6
"""Share of the second-level cache that the ket and the bra of the samples in turn may take."""

TABLE_QUBITS = 8
"""Tables of up to 256 entries stay in the first-level cache."""

OUTCOME_ROWS = 1024
"""Rows whose probabilities one thread adds up."""

CHUNK_ROWS = 4096
"""Rows of which one block takes an expectation value."""


class GPUDevice:
    """Runs tapes with the kernels of ``cuda_src``.

    Results come to the host as NumPy arrays. All sums have a fixed order: a call gives the same bits every time.

    Args:
        runtime: What allocates, copies and launches.
        precision: "double" or "single".
        geometry: Sizes of tiles; by default the largest that the device has room for.

    Raises:
        InvalidInputError: For another precision.
    """

    name = "GPU"

    def __init__(self, runtime: Runtime, precision: str = "double", geometry: Geometry | None = None) -> None:
        if precision not in {"double", "single"}:
            raise InvalidInputError(f"precision is {precision!r}; 'double' or 'single' is allowed.")
        self.precision = precision
        self.geometry = geometry or Geometry.of(runtime.limits, single=precision == "single")
        self.cost_model = cost_model(self.geometry)
        self._runtime = runtime
        self._launcher = Launcher(runtime, self.geometry)
        self._observables = ObservableCache(self._launcher)
        self._sequences = Sequences(self._launcher)
        self._tapes: WeakKeyDictionary[Tape, LoadedTape] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> GPUState:
        """See `Device.allocate`.

        Raises:
            InvalidInputError: For an empty batch or an initial state of the wrong shape.
            OutOfMemoryError: If the device has too little free memory.
        """
        if batch < 1:
            raise InvalidInputError(f"A batch of {batch} states was asked for; at least 1 is needed.")
        n, shape = tape.num_qubits, () if initial_state is None else initial_state.shape
        if initial_state is not None and shape not in {(2**n,), (batch, 2**n)}:
            raise InvalidInputError(f"The initial state has shape {shape}; ({2**n},) or ({batch}, {2**n}) is expected.")
        state = GPUState(n, batch, self._launcher.amplitudes(batch << n))
        source = None
        if initial_state is not None:
            source = self._runtime.upload(np.asarray(initial_state, dtype=self._launcher.complex))
        stride = 2**n if len(shape) == 2 else 0
        arguments = [state.amplitudes, source, long_integer(stride), integer(n), long_integer(state.count)]
        self._launcher.each("set_state", state.count, arguments)
        return state

    def copy(self, state: GPUState) -> GPUState:
        """See `Device.copy`."""
        self._launcher.check_memory(state.count)
        return GPUState(state.num_qubits, state.batch, self._runtime.copy(state.amplitudes))

    def forward(self, tape: Tape, coefficients: Coefficients, ket: GPUState) -> None:
        """See `Device.forward`.

        Raises:
            InvalidInputError: If the coefficients or the state do not fit the tape, or it cannot be run.
        """
        loaded = self._loaded(tape)
        with self._bound(loaded, coefficients, ket) as workspace:
            for samples in self._shares(loaded, ket, 1):
                self._sequences.forward(loaded, workspace, ket, samples)

    def backward(
        self, tape: Tape, coefficients: Coefficients, ket: GPUState, bra: GPUState, *, per_sample: bool
    ) -> NDArray[np.float64]:
        """See `Device.backward`.

        Raises:
            InvalidInputError: If the coefficients or the states do not fit the tape, or it cannot be run.
        """
        if (ket.num_qubits, ket.batch) != (bra.num_qubits, bra.batch):
            raise InvalidInputError("Ket and bra differ in shape.")
        loaded = self._loaded(tape)
        width = tape.num_overlaps
        totals = self._launcher.upload(np.zeros(width * (ket.batch if per_sample else 1)))
        with self._bound(loaded, coefficients, ket) as workspace:
            for samples in self._shares(loaded, ket, 2):
                self._sequences.backward(loaded, workspace, (ket, bra), samples, totals, per_sample=per_sample)
        result = self._runtime.download(totals)
        return result[: width * ket.batch].reshape(ket.batch, width) if per_sample else result[:width]

    def expectation(self, ket: GPUState, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        """See `Device.expectation`."""
        self._check_qubits(ket, frame.num_qubits, "frame")
        o = self._observables.get(frame, sums)
        chunks = max(1, 2**ket.num_qubits // CHUNK_ROWS)
        rows = ket.batch * chunks
        partials = self._runtime.empty(max(len(sums), 1) * rows, np.float64)
        arguments = [ket.amplitudes, integer(ket.num_qubits), o.terms, o.controls, o.coefficients, o.bounds]
        arguments += [integer(chunks), long_integer(rows), partials]
        name = kernel_name("expectation", self._launcher.single)
        if sums:
            self._runtime.launch(name, (rows, len(sums)), THREADS, 8 * THREADS, arguments)
        return self._launcher.totals(Partials(partials, len(sums), rows, chunks), ket.batch)

    def apply_observables(
        self, ket: GPUState, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> GPUState:
        """See `Device.apply_observables`."""
        self._check_qubits(ket, frame.num_qubits, "frame")
        if np.shape(cotangents) != (ket.batch, len(sums)):
            expected = (ket.batch, len(sums))
            raise InvalidInputError(f"Cotangents have shape {np.shape(cotangents)}; {expected} is expected.")
        o = self._observables.get(frame, sums)
        bra = GPUState(ket.num_qubits, ket.batch, self._launcher.amplitudes(ket.count))
        weights = self._launcher.upload(np.asarray(cotangents, dtype=np.float64))
        arguments = [ket.amplitudes, bra.amplitudes, integer(ket.num_qubits), long_integer(ket.count), o.terms_by_flip]
        arguments += [integer(o.num_terms), o.controls, o.coefficients_by_flip, weights, integer(len(sums))]
        self._launcher.each("apply_observables", ket.count, arguments)
        return bra

    def amplitudes(self, ket: GPUState, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        """See `Device.amplitudes`."""
        moved = self._launcher.move(ket, frame.columns, frame.offset, scatter=False)
        return self._runtime.download(moved).reshape(ket.batch, -1)

    def probabilities(self, ket: GPUState, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        """See `Device.probabilities`."""
        n, kept = ket.num_qubits, len(qubits)
        if len(set(qubits)) != kept or any(not 0 <= q < n for q in qubits):
            raise InvalidInputError(f"The qubits {tuple(qubits)} must be distinct and below {n}.")
        order = [*qubits, *(q for q in range(n) if q not in set(qubits))]
        columns = self._launcher.upload(np.array([frame.columns[q] for q in order], np.int32))
        chunk_bits = max(0, n - kept - OUTCOME_ROWS.bit_length() + 1)
        rows = ket.batch << chunk_bits
        partials = self._runtime.empty(rows << kept, np.float64)
        arguments = [ket.amplitudes, integer(n), columns, integer(frame.offset), integer(kept), integer(chunk_bits)]
        arguments += [long_integer(rows), long_integer(rows << kept), partials]
        self._launcher.each("probabilities", rows << kept, arguments)
        return self._launcher.totals(Partials(partials, 1 << kept, rows, 1 << chunk_bits), ket.batch)

    def memory_budget(self) -> int:
        """See `Device.memory_budget`: half of what is free now."""
        return self._runtime.free_bytes() // 2

    def state_bytes(self, num_qubits: int, batch: int) -> int:
        """See `Device.state_bytes`."""
        return self.geometry.amplitude_bytes * batch << num_qubits

    def _shares(self, loaded: LoadedTape, ket: GPUState, states: int) -> Iterator[tuple[int, int]]:
        """Samples in turn, (first, number): large states stay in the cache, partial sums in bounds."""
        sweeps = [step.sweep for step in loaded.steps if isinstance(step, LoadedSweep)]
        room = ket.batch
        if len(sweeps) < len(loaded.steps):  # relabellings move the whole batch
            yield 0, room
            return
        if len(sweeps) > 1:
            room = int(CACHE_SHARE * self._runtime.limits.cache_bytes / (states * self.state_bytes(ket.num_qubits, 1)))
        slots = max((len(sweep.slots) * sweep.tiles for sweep in sweeps), default=0)
        if states > 1 and slots:
            room = min(room, PARTIAL_BYTES // (slots * np.dtype(self._launcher.real).itemsize))
        room = min(max(room, 1), ket.batch)
        for first in range(0, ket.batch, room):
            yield first, min(room, ket.batch - first)

    @contextmanager
    def _bound(self, loaded: LoadedTape, coefficients: Coefficients, ket: GPUState) -> Iterator[Workspace]:
        """The coefficients on the device; nobody else writes there until the sweeps have been put on the stream."""
        compiled = loaded.compiled
        self._check_qubits(ket, compiled.num_qubits, "tape")
        compiled.numbers.check(coefficients, ket.batch)
        numbers = compiled.numbers.pack(coefficients, self._launcher.real)
        angles = self._launcher.upload(turns(coefficients.angles[: compiled.numbers.num_angles]))
        workspace = self._sequences.workspace(loaded, ket.batch, len(numbers))
        with workspace.lock:
            self._runtime.write(workspace.bound.numbers, numbers)
            self._launcher.fill_tables(workspace.bound.tables, compiled, loaded.tables, loaded.terms, angles)
            yield workspace

    def _loaded(self, tape: Tape) -> LoadedTape:
        with self._lock:
            loaded = self._tapes.get(tape)
        if loaded is None:
            loaded = load(self._launcher, compile_tape(tape, self.geometry))
            with self._lock:
                loaded = self._tapes.setdefault(tape, loaded)
        return loaded

    def _check_qubits(self, state: GPUState, expected: int, what: str) -> None:
        if state.num_qubits != expected:
            raise InvalidInputError(
                f"The state and the {what} differ in the number of qubits: {state.num_qubits} and {expected}."
            )


def cost_model(geometry: Geometry) -> CostModel:
    """The numbers that plans for a device are made with."""
    limits = geometry.limits
    return CostModel(
        tile_qubits=geometry.planned_tile,
        whole_qubits=geometry.resident_qubits,
        table_qubits=TABLE_QUBITS,
        amplitude_bytes=geometry.amplitude_bytes,
        byte_cost=limits.fma_per_byte * (1.0 if geometry.single else limits.double_rate),
    )
