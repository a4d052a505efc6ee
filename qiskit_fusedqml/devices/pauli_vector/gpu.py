"""The CUDA device for Pauli vectors: tiles in shared memory, one block of threads each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...arrays import FloatArray, Int64Array
from ...errors import InvalidInputError
from ...planner.pauli_vector.tape import PauliTape
from ..checks import check_options, empty_batch
from ..gpu.compiled import Geometry
from ..gpu.constants import THREADS
from ..gpu.launches import Launcher, Partials
from ..gpu.pauli_tapes import MAX_QUBITS, LoadedPauliTape, PauliGeometry, PauliOnDevice
from ..gpu.runtime import Buffer, Runtime, on_own_device
from . import PauliCoefficients, PauliDevice, PauliObservables
from .compiled import CompiledPauliCoefficientMap

X_BITS = 0x15555555
"""The bits x of all qubits."""

CHUNK_ENTRIES = 4096
"""Entries of which one block takes an inner product."""


class GPUPauliDevice(PauliDevice):
    """Runs tapes with the kernels of ``cuda_src``; vectors stay in the GPU's memory.

    Coefficients are made on the host, and results come there. All sums have a fixed order: a call gives the same bits
    every time. It is tested on the CPU and has not been timed on a GPU.

    Args:
        runtime: What allocates, copies and launches.
        precision: "double" or "single".
        geometry: Sizes of tiles; by default the largest that the device has room for.

    Raises:
        InvalidInputError: For another precision.
    """

    name = "GPU"
    coefficient_map = CompiledPauliCoefficientMap

    def __init__(self, runtime: Runtime, precision: str = "double", geometry: PauliGeometry | None = None) -> None:
        check_options(precision)
        single = precision == "single"
        self.precision = precision
        self.geometry = geometry or PauliGeometry.of(runtime.limits, single)
        self.tile_bits = self.geometry.planned_tile
        self.runtime = runtime
        self._launcher = Launcher(runtime, Geometry.of(runtime.limits, single))
        self._tapes: WeakKeyDictionary[PauliTape, LoadedPauliTape] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @override
    @on_own_device
    def allocate(self, num_qubits: int, batch: int, vectors: FloatArray | None = None) -> PauliOnDevice:
        state = self._new_state(num_qubits, batch)
        source, stride = None, 0
        if vectors is not None:
            size = 4**num_qubits
            if vectors.shape not in ((size,), (batch, size)):
                raise InvalidInputError(
                    f"The vectors have shape {vectors.shape}; ({size},) or ({batch}, {size}) is expected."
                )
            source = self.runtime.upload(np.asarray(vectors, dtype=self._launcher.real))
            stride = size if vectors.ndim == 2 else 0
        self._set(state, source, stride, value=1)
        return state

    @override
    @on_own_device
    def copy(self, state: PauliOnDevice) -> PauliOnDevice:
        return state._replace(entries=self.runtime.copy(state.entries))

    @override
    @on_own_device
    def vectors(self, state: PauliOnDevice) -> FloatArray:
        return self.runtime.download(state.entries).astype(np.float64).reshape(state.batch, -1)

    @override
    @on_own_device
    def forward(self, tape: PauliTape, coefficients: PauliCoefficients, ket: PauliOnDevice) -> None:
        self._loaded(tape, ket).apply(coefficients, ket, transposed=False)

    @override
    @on_own_device
    def backward(
        self,
        tape: PauliTape,
        coefficients: PauliCoefficients,
        ket: PauliOnDevice,
        bra: PauliOnDevice,
        *,
        per_sample: bool,
    ) -> FloatArray:
        return self._measured(tape, coefficients, ket, bra, joint=False, per_sample=per_sample)

    @override
    @on_own_device
    def backward_bra(self, tape: PauliTape, coefficients: PauliCoefficients, bra: PauliOnDevice) -> None:
        self._loaded(tape, bra).apply(coefficients, bra, transposed=True)

    @override
    @on_own_device
    def joint(
        self,
        tape: PauliTape,
        coefficients: PauliCoefficients,
        ket: PauliOnDevice,
        bra: PauliOnDevice,
        *,
        per_sample: bool,
    ) -> FloatArray:
        return self._measured(tape, coefficients, ket, bra, joint=True, per_sample=per_sample)

    @override
    @on_own_device
    def expectation(self, ket: PauliOnDevice, observables: PauliObservables) -> FloatArray:
        starts, rows, weights = observables
        count = len(starts) - 1
        values = self._launcher.reals(ket.batch * count)
        entries = [self._integers(starts), self._integers(rows), self._reals(weights)]
        total = ket.batch * count
        self._launcher.each("pauli_values", total, [ket.entries, 2 * ket.num_qubits, *entries, count, total, values])
        return self.runtime.download(values)[:total].reshape(ket.batch, count)

    @override
    @on_own_device
    def bra(
        self, num_qubits: int, batch: int, observables: PauliObservables, cotangents: FloatArray | None
    ) -> PauliOnDevice:
        starts, rows, weights = observables
        count = len(starts) - 1
        shape = (batch, count) if cotangents is None else cotangents.shape
        if shape != (batch, count) or (cotangents is None and batch != count):
            raise InvalidInputError(
                f"Cotangents of shape {shape} were given for {batch} samples and {count} observables; "
                f"{(batch, count)} is expected, or none for as many samples as observables."
            )
        state = self._new_state(num_qubits, batch)
        self._set(state, None, 0, value=0)
        order = np.argsort(rows, kind="stable")  # entries of a row side by side: they are added in a fixed order
        occurring, first = np.unique(rows[order], return_index=True)
        owners = np.repeat(np.arange(count), np.diff(starts))[order]
        entries = [self._integers(occurring), self._integers([*first, len(rows)]), self._integers(owners)]
        entries += [self._reals(weights[order]), None if cotangents is None else self._reals(cotangents)]
        total = batch * len(occurring)
        values = [state.entries, 2 * num_qubits, *entries, count, len(occurring), total]
        self._launcher.each("pauli_bra", total, values)
        return state

    @override
    @on_own_device
    def products(self, bras: PauliOnDevice, kets: PauliOnDevice) -> FloatArray:
        self._check_qubits(bras, kets.num_qubits, "other state")
        chunks = max(1, 4**kets.num_qubits // CHUNK_ENTRIES)
        parts = kets.batch * chunks
        partials = self._launcher.reals(bras.batch * parts)
        values = [bras.entries, kets.entries, 2 * kets.num_qubits, chunks, partials]
        self._launcher.launch("pauli_products", (parts, bras.batch), values, shared_bytes=8 * THREADS)
        totals = self._launcher.totals(Partials(partials, bras.batch, parts, chunks))
        return self.runtime.download(totals).reshape(kets.batch, bras.batch)

    @override
    @on_own_device
    def combine(self, kets: PauliOnDevice, weights: FloatArray) -> PauliOnDevice:
        count, bits = weights.shape[1], 2 * kets.num_qubits
        made = self._new_state(kets.num_qubits, count)
        total = count << bits
        values = [kets.entries, made.entries, bits, kets.batch, self._reals(weights), count, total]
        self._launcher.each("pauli_combine", total, values)
        return made

    @override
    @on_own_device
    def rows(self, state: PauliOnDevice, rows: Int64Array) -> FloatArray:
        total = state.batch * len(rows)
        entries = self._launcher.reals(total)
        values = [state.entries, 2 * state.num_qubits, self._integers(rows), len(rows), total, entries]
        self._launcher.each("pauli_rows", total, values)
        return self.runtime.download(entries)[:total].reshape(state.batch, len(rows))

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        return self.geometry.real_bytes * batch << 2 * num_qubits

    @override
    @on_own_device
    def memory_budget(self) -> int:
        return self.runtime.free_bytes() // 2

    def _measured(
        self,
        tape: PauliTape,
        coefficients: PauliCoefficients,
        ket: PauliOnDevice,
        bra: PauliOnDevice,
        *,
        joint: bool,
        per_sample: bool,
    ) -> FloatArray:
        if ket[:2] != bra[:2]:
            raise InvalidInputError("Ket and bra differ in shape.")
        totals = self._loaded(tape, ket).measure(coefficients, ket, bra, joint=joint, per_sample=per_sample)
        width = tape.num_overlaps
        result = self.runtime.download(totals)[: width * (ket.batch if per_sample else 1)]
        return result.reshape(ket.batch, width) if per_sample else result

    def _new_state(self, num_qubits: int, batch: int) -> PauliOnDevice:
        self.runtime.refuse_capture()
        if batch < 1:
            raise empty_batch(batch)
        if num_qubits > MAX_QUBITS:
            raise InvalidInputError(
                f"Pauli vectors of {num_qubits} qubits were asked for; on the GPU {MAX_QUBITS} at most are possible."
            )
        entries = self.runtime.empty(batch << 2 * num_qubits, self._launcher.real)
        return PauliOnDevice(num_qubits, batch, entries)

    def _set(self, state: PauliOnDevice, source: Buffer | None, stride: int, *, value: int) -> None:
        total = state.batch << 2 * state.num_qubits
        values = [state.entries, source, stride, 2 * state.num_qubits, X_BITS, value, total]
        self._launcher.each("pauli_set", total, values)

    def _integers(self, numbers: NDArray[np.integer] | Sequence[int]) -> Buffer:
        return self._launcher.upload(np.asarray(numbers, dtype=np.int32))

    def _reals(self, numbers: FloatArray) -> Buffer:
        return self._launcher.upload(np.asarray(numbers, dtype=np.float64))

    def _loaded(self, tape: PauliTape, state: PauliOnDevice) -> LoadedPauliTape:
        self._check_qubits(state, tape.num_qubits, "tape")
        with self._lock:
            found = self._tapes.get(tape)
        if found is None:
            found = LoadedPauliTape(self._launcher, self.geometry, tape)
            with self._lock:
                found = self._tapes.setdefault(tape, found)
        return found

    def _check_qubits(self, state: PauliOnDevice, expected: int, what: str) -> None:
        if state.num_qubits != expected:
            raise InvalidInputError(
                f"The state and the {what} differ in the number of qubits: {state.num_qubits} and {expected}."
            )
