"""The launches that the device is made of: sizes, arguments, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from .compiled import CompiledTape, Geometry, Sweep
from .runtime import (
    Argument,
    Buffer,
    Runtime,
    integer,
    long_integer,
)
from .sources import kernel_name, sweep_name

THREADS = 256
"""Threads of a block of the kernels that are not sweeps."""

KEPT_CONSTANTS = 128
"""Small arrays kept on the device; the least recently used one goes first."""

WARP_THREADS = 128
"""Most threads of a block whose warps work alone; `warp_block` in the kernels."""


@dataclass
class GPUState:
    """B states of n qubits: complex amplitudes [sample][row]."""

    num_qubits: int
    batch: int
    amplitudes: Buffer

    @property
    def count(self) -> int:
        """Number of amplitudes."""
        return self.batch << self.num_qubits


@dataclass(frozen=True, eq=False)
class LoadedSweep:
    """A sweep and its arrays on the device."""

    sweep: Sweep
    words: Buffer
    forward: Buffer
    backward: Buffer


@dataclass(frozen=True)
class Bound:
    """The numbers of one call on the device, and how many of them all samples share."""

    numbers: Buffer
    num_shared: int
    tables: Buffer


@dataclass(frozen=True)
class Call:
    """What a sequence of sweeps works on.

    Attributes:
        bound: The numbers.
        batch: Samples of the whole batch.
        first: First sample of those in turn.
        count: Their number.
        ket: The states, and in backward sweeps the bra; both None where ``part`` says where they are.
        bra: The same.
        part: On the device: where the states are, and which sample is first (`set_part` in the kernels).
    """

    bound: Bound
    batch: int
    first: int
    count: int
    ket: GPUState | None
    bra: GPUState | None
    part: Buffer | None = None


@dataclass(frozen=True)
class Partials:
    """Sums still to be added up: [slot][row], each ``segment`` of a slot's rows into one total."""

    buffer: Buffer
    slots: int
    rows: int
    segment: int


class Launcher:
    """Knows how each kernel is launched.

    Args:
        runtime: What allocates, copies and launches.
        geometry: Sizes of tiles, and the precision.
    """

    def __init__(self, runtime: Runtime, geometry: Geometry) -> None:
        self.runtime = runtime
        self.geometry = geometry
        self.single = geometry.single
        self.real = np.float32 if self.single else np.float64
        self.complex = np.complex64 if self.single else np.complex128
        self.constant = lru_cache(maxsize=KEPT_CONSTANTS)(partial(_constant, runtime))

    def upload(self, array: NDArray[np.generic]) -> Buffer:
        """A host array on the device; an empty one becomes one zero, for a buffer without length has no address."""
        return _upload(self.runtime, array)

    def amplitudes(self, count: int) -> Buffer:
        """Room for amplitudes.

        Raises:
            OutOfMemoryError: If the device has too little free memory.
        """
        return self.runtime.empty(count, self.complex)

    def each(self, kernel: str, count: int, arguments: Sequence[Argument]) -> None:
        """One thread for each of ``count`` numbers, by a kernel that depends on the precision."""
        self.threads(kernel_name(kernel, self.single), count, arguments)

    def threads(self, name: str, count: int, arguments: Sequence[Argument]) -> None:
        """So many threads, if any."""
        if count:
            self.runtime.launch(name, (-(-count // THREADS), 1), THREADS, 0, arguments)

    def relabel(self, state: GPUState, columns: Sequence[int], offset: int) -> Buffer:
        """Amplitudes in another order: new[k] = old[row(k)]."""
        target = self.amplitudes(state.count)
        rows = self.constant(tuple(columns))
        arguments = [state.amplitudes, target, rows, integer(offset), integer(state.num_qubits)]
        self.each("relabel", state.count, [*arguments, long_integer(state.count)])
        return target

    def fill_tables(
        self, tables: Buffer, compiled: CompiledTape, records: Buffer, terms: Buffer, angles: Buffer
    ) -> None:
        """The tables of a tape's shared diagonals."""
        count, most = len(compiled.numbers.tables) // 5, 2**15
        for first in range(0, count, most):
            blocks = (1, min(most, count - first))
            arguments = [records[5 * first :], terms, angles, tables]
            self.runtime.launch(kernel_name("fill_tables", self.single), blocks, THREADS, 0, arguments)

    def sweep(self, loaded: LoadedSweep, call: Call, partials: Buffer | None) -> None:
        """Launch a sweep: forward, or with room for partial overlaps backward."""
        sweep, undo = loaded.sweep, partials is not None
        shape = sweep.shape
        order, records = (loaded.backward, sweep.backward) if undo else (loaded.forward, sweep.forward)
        load_rows, store_rows = (sweep.last_rows, sweep.stop_rows) if undo else (sweep.first_rows, sweep.last_rows)
        blocks, threads, shared, second = launch_size(self.geometry, sweep, call.count, undo=undo)
        ket, bra = (None if state is None else state.amplitudes for state in (call.ket, call.bra))
        arguments = [loaded.words, order, integer(len(records)), integer(load_rows), integer(store_rows)]
        arguments += [integer(shape.num_qubits), integer(shape.dimension), integer(call.batch), integer(call.first)]
        arguments += [integer(call.count), call.part, ket, bra, call.bound.numbers]
        arguments += [integer(call.bound.num_shared), call.bound.tables, partials]
        arguments += [integer(sweep.capacity), integer(second)]
        measured = sweep.measured and undo and not sweep.warp
        name = sweep_name(self.single, shape.register_qubits, sweep.warp, undo, measured)
        self.runtime.launch(name, (blocks, 1), threads, shared, arguments)

    def set_part(self, part: Buffer, ket: GPUState, bra: GPUState | None, totals: Buffer | None, first: int) -> None:
        """Say where the states of the sweeps that follow are, where their overlaps are summed, and the first sample."""
        arguments = [part, ket.amplitudes, None if bra is None else bra.amplitudes, totals, long_integer(first)]
        self.runtime.launch(kernel_name("set_part", self.single), (1, 1), 1, 0, arguments)

    def add(
        self,
        partials: Partials,
        places: Buffer,
        width: int,
        totals: Buffer | None,
        *,
        real: bool,
        onto: bool,
        part: Buffer | None = None,
    ) -> None:
        """totals[group * width + places[slot]] = (or, with ``onto``, +=) the sum of each segment of partial sums.

        ``real``: they are in the device's precision; else in double precision. A ``part`` says where the totals are.
        """
        segment = partials.segment
        team = 1 if segment < 32 else 32 if segment < 1024 else THREADS
        blocks = -(-partials.slots * (partials.rows // segment) * team // THREADS)
        arguments = [partials.buffer, integer(partials.slots), long_integer(partials.rows), long_integer(segment)]
        arguments += [places, integer(width), integer(onto), integer(team), part, totals]
        name = kernel_name("add_segments", self.single and real)
        self.runtime.launch(name, (blocks, 1), THREADS, 8 * THREADS, arguments)

    def totals(self, partials: Partials) -> Buffer:
        """Sums [group][slot] of partial sums in double precision."""
        slots = partials.slots
        totals = self.runtime.empty(partials.rows // partials.segment * slots, np.float64)
        if slots:
            self.add(partials, self.constant(range(slots)), slots, totals, real=False, onto=False)
        return totals


def _upload(runtime: Runtime, array: NDArray[np.generic]) -> Buffer:
    return runtime.upload(array if array.size else np.zeros(1, array.dtype))


def _constant(runtime: Runtime, numbers: tuple[int, ...] | range) -> Buffer:
    """Integers that are kept on the device for the next time."""
    made = _upload(runtime, np.array(numbers, dtype=np.int32))
    runtime.synchronize()  # it is read from any stream from now on
    return made


def launch_size(geometry: Geometry, sweep: Sweep, samples: int, *, undo: bool) -> tuple[int, int, int, int]:
    """Size of a sweep's launch.

    Returns:
        Blocks, threads of a block, its bytes of shared memory, and the distance of a second tile in them (0: none).
    """
    t, w = sweep.shape.dimension, sweep.shape.register_qubits
    amplitude = geometry.amplitude_bytes
    if sweep.warp:
        # a small batch is spread over the multiprocessors before it fills their blocks
        warps = -(-(samples << t - w) // 32)
        threads = 32 * min(-(-warps // geometry.limits.multiprocessors), WARP_THREADS // 32)
        groups = threads >> t - w
        return -(-samples // groups), threads, groups * amplitude << t, 0
    threads = 1 << t - w
    warps = -(-threads // 32)
    sums = warps * (sweep.capacity + 1) * amplitude // 2 if undo else 0
    # two blocks share the memory of a multiprocessor where their registers fit
    room = geometry.limits.shared_bytes // (2 if threads <= THREADS else 1)
    double = undo and (2 * amplitude << t) + sums <= room
    return samples * sweep.tiles, threads, (amplitude << t) * (1 + double) + sums, (1 << t) * double
