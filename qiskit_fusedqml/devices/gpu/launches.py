"""States on the device, launches of kernels, and sums of what they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import Geometry
from .constants import THREADS
from .runtime import Buffer, Runtime
from .sources import arguments, kernel_name

KEPT_CONSTANTS = 128
"""Small arrays kept on the device; the least recently used one goes first."""


@dataclass
class GPUState:
    """B states of n qubits: complex amplitudes [sample][physical index]."""

    num_qubits: int
    batch: int
    amplitudes: Buffer

    @property
    def count(self) -> int:
        """Number of amplitudes."""
        return self.batch << self.num_qubits


@dataclass(frozen=True)
class Partials:
    """Sums still to be added up: [slot][part], each ``segment`` of a slot's parts into one total."""

    buffer: Buffer
    slots: int
    parts: int
    segment: int


class Launcher:
    """Launches kernels, whose names and parameters are those of the sources.

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

    def reals(self, count: int) -> Buffer:
        """Room for so many numbers in double precision, one at least."""
        return self.runtime.empty(max(count, 1), np.float64)

    def zeros(self, count: int) -> Buffer:
        """So many zeros in double precision, one at least."""
        made = self.reals(count)
        self.each("set_zero", max(count, 1), [made, max(count, 1)])
        return made

    def complexes(self, count: int) -> Buffer:
        """Room for so many amplitudes.

        Raises:
            OutOfMemoryError: If the device has too little free memory.
        """
        return self.runtime.empty(count, self.complex)

    def launch(
        self,
        kernel: str,
        blocks: tuple[int, int],
        values: Sequence[Any],
        *,
        threads: int = THREADS,
        shared_bytes: int = 0,
        single: bool | None = None,
    ) -> None:
        """Launch a kernel other than a sweep, in the device's precision unless another one is given."""
        name = kernel_name(kernel, self.single if single is None else single)
        self.runtime.launch(name, blocks, threads, shared_bytes, arguments(kernel, values))

    def each(self, kernel: str, count: int, values: Sequence[Any]) -> None:
        """One thread for each of ``count`` numbers, if any."""
        if count:
            self.launch(kernel, (-(-count // THREADS), 1), values)

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
        blocks = -(-partials.slots * (partials.parts // segment) * team // THREADS)
        values = [partials.buffer, partials.slots, partials.parts, segment, places, width, onto, team, part, totals]
        single = self.single and real
        self.launch("add_segments", (blocks, 1), values, shared_bytes=8 * THREADS, single=single)

    def totals(self, partials: Partials) -> Buffer:
        """Sums [group][slot] of partial sums in double precision."""
        slots = partials.slots
        totals = self.runtime.empty(partials.parts // partials.segment * slots, np.float64)
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
