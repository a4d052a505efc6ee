"""`GPUDevice`: the device protocol on the kernels, whatever launches them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from functools import cached_property, partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...arrays import real_array
from ...errors import InvalidInputError, warn_slow_path
from ...ir.observables import PauliSum
from ...planner.cost import CostModel
from ...planner.frame import Frame
from ...planner.tables import BindingTables
from ...planner.tape import Tape
from .. import SamplingDevice
from ..checks import check_initial_state, check_options, check_qubits, empty_batch
from ..coefficients import CompiledCoefficientMap
from ..observables import ObservableCache
from ..own_memory import DeviceWithMemory, Window
from .coefficients import BoundValues, LoadedMap
from .compiled import Geometry
from .constants import STAGED_TERMS, THREAD_ROWS, THREADS
from .graphs import TooManyLaunchesError
from .launches import GPUState, Launcher, Partials
from .observables import load_observables
from .operations import TABLE_QUBITS
from .parts import GPUParts
from .recordings import GPURecording
from .runtime import Buffer, RecordedMemory, Runtime, on_own_device
from .sequences import AnyCoefficients, LoadedTape

Planned = TypeVar("Planned", Tape, BindingTables)
Loaded = TypeVar("Loaded")

OUTCOME_AMPLITUDES = 1024
"""Amplitudes whose probabilities one thread adds up."""

OUTCOMES_BITS = 8
"""Outcomes among which a shot is sought one by one, as a power of two."""

SLOW_DOUBLE = 1 / 16
"""Share of its speed that a GPU has left in double precision from which on that is said."""

TERM_BYTES = STAGED_TERMS * (8 + 4 * 4)
"""Shared memory for terms of observables and their weights."""


class GPUDevice(GPUParts, DeviceWithMemory, SamplingDevice):
    """Runs tapes with the kernels of ``cuda_src``.

    Results come to the host as NumPy arrays, unless `on_device` is asked for them. All sums have a fixed order: a call
    gives the same bits every time.

    Args:
        runtime: What allocates, copies and launches.
        precision: "double" or "single".
        geometry: Sizes of tiles; by default the largest that the device has room for.

    Raises:
        InvalidInputError: For another precision.
    """

    name = "GPU"
    coefficient_map = CompiledCoefficientMap

    def __init__(self, runtime: Runtime, precision: str = "double", geometry: Geometry | None = None) -> None:
        check_options(precision)
        self.precision = precision
        if precision == "double" and runtime.limits.double_rate <= SLOW_DOUBLE:
            warn_slow_path(
                f"This GPU does 1/{round(1 / runtime.limits.double_rate)} of its arithmetic in double precision, the "
                "default: circuits may take more than ten times as long as with precision='single'."
            )
        self.geometry = geometry or Geometry.of(runtime.limits, single=precision == "single")
        self.cost_model = cost_model(self.geometry)
        self.results_stay = False
        self.runtime = runtime
        self._launcher = Launcher(runtime, self.geometry)
        self._observables = ObservableCache(partial(load_observables, self._launcher))
        self._tapes: defaultdict[Geometry, WeakKeyDictionary[Tape, LoadedTape]] = defaultdict(WeakKeyDictionary)
        self._maps: WeakKeyDictionary[BindingTables, LoadedMap] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @override
    @on_own_device
    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> GPUState:
        self.runtime.refuse_capture()
        if batch < 1:
            raise empty_batch(batch)
        n, source, stride = tape.num_qubits, None, 0
        if initial_state is not None:
            check_initial_state(initial_state, n, batch)
        state = GPUState(n, batch, self._launcher.complexes(batch << n))
        if initial_state is not None:
            source = self.runtime.upload(np.asarray(initial_state, dtype=self._launcher.complex))
            stride = 2**n if initial_state.ndim == 2 else 0
        self._launcher.each("set_state", state.count, [state.amplitudes, source, stride, n, state.count])
        return state

    @override
    @on_own_device
    def copy(self, state: GPUState) -> GPUState:
        return GPUState(state.num_qubits, state.batch, self.runtime.copy(state.amplitudes))

    @override
    @on_own_device
    def forward(self, tape: Tape, coefficients: AnyCoefficients, ket: GPUState) -> None:
        self._loaded(tape, ket).run(coefficients, (ket,))

    @override
    @on_own_device
    def backward(
        self, tape: Tape, coefficients: AnyCoefficients, ket: GPUState, bra: GPUState, *, per_sample: bool
    ) -> NDArray[np.float64]:
        if (ket.num_qubits, ket.batch) != (bra.num_qubits, bra.batch):
            raise InvalidInputError("Ket and bra differ in shape.")
        width = tape.num_overlaps
        totals = self._launcher.zeros(width * (ket.batch if per_sample else 1))
        self._loaded(tape, ket).run(coefficients, (ket, bra), totals, per_sample=per_sample)
        result: NDArray[np.float64] = totals if self.results_stay else self.runtime.download(totals)
        return result[: width * ket.batch].reshape(ket.batch, width) if per_sample else result[:width]

    @override
    @on_own_device
    def bind(self, tables: BindingTables, shared: Any, batched: Any) -> BoundValues:
        loaded = self._on_device(self._maps, tables, lambda: LoadedMap(self._launcher, tables))
        columns = batched.ravel() if loaded.counts.columns else None
        return BoundValues(self._launcher, loaded, shared.ravel(), columns, len(batched))

    @override
    @on_own_device
    def expectation(self, ket: GPUState, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        self._check_qubits(ket, frame.num_qubits, "frame")
        terms, _ = self._observables.form(frame, sums)
        chunks, threads = _chunks(ket.num_qubits)
        parts = ket.batch * chunks
        partials = self._launcher.reals(len(sums) * parts)
        values = [ket.amplitudes, ket.num_qubits, terms.words, terms.controls, terms.coefficients, terms.bounds]
        if sums:
            blocks, values = (parts, len(sums)), [*values, chunks, parts, partials]
            self._launcher.launch("expectation", blocks, values, threads=threads, shared_bytes=8 * threads + TERM_BYTES)
        return self._result(self._launcher.totals(Partials(partials, len(sums), parts, chunks)), ket.batch)

    @override
    @on_own_device
    def apply_observables(
        self, ket: GPUState, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> GPUState:
        self._check_qubits(ket, frame.num_qubits, "frame")
        if tuple(cotangents.shape) != (ket.batch, len(sums)):
            expected = (ket.batch, len(sums))
            raise InvalidInputError(f"Cotangents have shape {tuple(cotangents.shape)}; {expected} is expected.")
        _, terms = self._observables.form(frame, sums)
        bra = GPUState(ket.num_qubits, ket.batch, self._launcher.complexes(ket.count))
        if self.is_on_device(cotangents):
            weights = self.runtime.adopt(cotangents, np.float64, "The array of cotangents")
        else:
            weights = self._launcher.upload(np.asarray(cotangents, dtype=np.float64))
        chunks, threads = _chunks(ket.num_qubits)
        values = [ket.amplitudes, bra.amplitudes, ket.num_qubits, terms.words, terms.num_terms, terms.controls]
        values += [terms.coefficients, weights, len(sums), chunks]
        blocks = (ket.batch * chunks, 1)
        self._launcher.launch("apply_observables", blocks, values, threads=threads, shared_bytes=TERM_BYTES)
        return bra

    @override
    @on_own_device
    def amplitudes(self, ket: GPUState, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        moved, columns = self._launcher.complexes(ket.count), self._launcher.constant(tuple(frame.columns))
        values = [ket.amplitudes, moved, columns, frame.offset, ket.num_qubits, ket.count]
        self._launcher.each("relabel", ket.count, values)
        return self._result(moved, ket.batch)

    @override
    @on_own_device
    def probabilities(self, ket: GPUState, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        return self._result(self._weights(ket, frame, qubits), ket.batch)

    @override
    @on_own_device
    def sample(
        self,
        ket: GPUState,
        frame: Frame,
        qubits: Sequence[int],
        shots: int,
        keys: NDArray[np.uint64],
        states: NDArray[np.integer] | None = None,
    ) -> NDArray[np.int64]:
        drawn = np.arange(ket.batch, dtype=np.int32) if states is None else np.asarray(states, dtype=np.int32)
        if shots < 1 or keys.shape != (len(drawn), 2) or not np.all((drawn >= 0) & (drawn < ket.batch)):
            raise InvalidInputError(
                f"{shots} shots, keys of shape {keys.shape} and {len(drawn)} rows of {ket.batch} states were given; at "
                "least one shot, keys (rows, 2) and rows that name states are expected."
            )
        weights, kept = self._weights(ket, frame, qubits), len(qubits)
        chunk_bits = min(kept, OUTCOMES_BITS)
        chunks = 1 << kept - chunk_bits
        sums = self._launcher.totals(Partials(weights, 1, ket.batch << kept, 1 << chunk_bits))
        self._launcher.launch("running_sums", (ket.batch, 1), [sums, chunks], shared_bytes=8 * THREADS)
        outcomes = self.runtime.empty(len(drawn) * shots, np.int64)
        threads = len(drawn) * -(-shots // 4)
        numbers = self._launcher.upload(np.ascontiguousarray(keys, dtype=np.uint64))
        values = [weights, sums, chunk_bits, chunks, self._launcher.upload(drawn), numbers, shots, threads, outcomes]
        self._launcher.each("draw_outcomes", threads, values)
        return self._result(outcomes, len(drawn))

    @cached_property
    @override
    def on_device(self) -> GPUDevice:
        # results are arrays of the runtime's library (CuPy); other libraries take them over through DLPack
        twin = copy(self)
        twin.results_stay = True
        return twin

    @override
    def current(self, stream: int | None = None) -> AbstractContextManager[Any]:
        return self.runtime.current(stream)

    @override
    def stream(self) -> Hashable:
        return self.runtime.stream()

    @property
    @override
    def is_captured(self) -> bool:
        return self.runtime.is_captured

    @override
    @on_own_device
    def record(
        self,
        work: Callable[[], Sequence[Window]],
        inputs: Sequence[Window],
        dtype: np.dtype[Any],
        kept: RecordedMemory,
        most: int | None = None,
    ) -> GPURecording | None:
        try:
            return GPURecording(self._launcher, work, inputs, dtype, kept, most)
        except TooManyLaunchesError:
            return None

    @override
    def is_on_device(self, array: object) -> bool:
        return self.runtime.is_on_device(array)

    @override
    @on_own_device
    def to_host(self, array: Any) -> NDArray[np.float64]:
        self.runtime.refuse_capture()
        flat = self.runtime.download(self.runtime.adopt(array, np.float64))
        return flat.reshape(tuple(array.shape))

    @override
    @on_own_device
    def take(self, array: Any, name: str) -> Any:
        self.runtime.refuse_capture()
        return self.runtime.take(array, name) if self.is_on_device(array) else self.from_host(real_array(array, name))

    @override
    @on_own_device
    def from_host(self, array: NDArray[Any]) -> Any:
        return self.runtime.upload(array).reshape(array.shape)

    @override
    @on_own_device
    def memory_budget(self) -> int:
        # of what is free now: CuPy and others use the device, too
        return self.runtime.free_bytes() // 2

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        return self.geometry.amplitude_bytes * batch << num_qubits

    def _weights(self, ket: GPUState, frame: Frame, qubits: Sequence[int]) -> Buffer:
        """Probabilities [sample][outcome] on the device."""
        n, kept = ket.num_qubits, len(qubits)
        check_qubits(qubits, n)
        order = [*qubits, *(q for q in range(n) if q not in set(qubits))]
        columns = self._launcher.constant(tuple(frame.columns[q] for q in order))
        chunk_bits = max(0, n - kept - OUTCOME_AMPLITUDES.bit_length() + 1)
        parts = ket.batch << chunk_bits
        partials = self.runtime.empty(parts << kept, np.float64)
        values = [ket.amplitudes, n, columns, frame.offset, kept, chunk_bits, parts, parts << kept, partials]
        self._launcher.each("probabilities", parts << kept, values)
        return self._launcher.totals(Partials(partials, 1 << kept, parts, 1 << chunk_bits))

    def _result(self, buffer: Buffer, samples: int) -> NDArray[Any]:
        """A result by sample, where the caller wants it."""
        if self.results_stay:
            kept: NDArray[Any] = buffer.reshape(samples, len(buffer) // samples)
            return kept
        return self.runtime.download(buffer).reshape(samples, -1 if len(buffer) else 0)

    def _loaded(self, tape: Tape, ket: GPUState) -> LoadedTape:
        geometry = self.geometry.for_batch(tape.num_qubits, ket.batch)
        with self._lock:
            tapes = self._tapes[geometry]
        loaded = self._on_device(tapes, tape, lambda: LoadedTape(self._launcher, tape, geometry))
        self._check_qubits(ket, tape.num_qubits, "tape")
        return loaded

    def _on_device(
        self, kept: WeakKeyDictionary[Planned, Loaded], planned: Planned, load: Callable[[], Loaded]
    ) -> Loaded:
        """A tape or tables on the device, as long as they live; threads may load the same ones at once."""
        with self._lock:
            found = kept.get(planned)
        if found is None:
            found = load()
            with self._lock:
                found = kept.setdefault(planned, found)
        return found

    def _check_qubits(self, state: GPUState, expected: int, what: str) -> None:
        if state.num_qubits != expected:
            raise InvalidInputError(
                f"The state and the {what} differ in the number of qubits: {state.num_qubits} and {expected}."
            )


def _chunks(num_qubits: int) -> tuple[int, int]:
    """Parts of a state in which observables are measured or applied, and the threads of each part's block."""
    size = 1 << num_qubits
    return max(1, size // (THREADS * THREAD_ROWS)), min(max(size, 32), THREADS)


def cost_model(geometry: Geometry) -> CostModel:
    """The numbers that plans for a device are made with."""
    limits = geometry.limits
    return CostModel(
        tile_qubits=geometry.planned_tile,
        whole_qubits=geometry.whole_qubits,
        table_qubits=TABLE_QUBITS,
        amplitude_bytes=geometry.amplitude_bytes,
        byte_cost=limits.fma_per_byte * (1.0 if geometry.single else limits.double_rate),
    )
