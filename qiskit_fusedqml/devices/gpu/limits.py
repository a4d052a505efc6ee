"""A GPU in numbers, on which the size of blocks and tiles depends."""

from __future__ import annotations

from dataclasses import dataclass

from .constants import BLOCK_THREADS

ORDINARY_SHARED_BYTES = 48 << 10
"""Shared memory that a kernel may have without asking for it."""

LARGE_TILE_BYTES = (64 << 10) + (9 << 10)
"""Shared memory of a tile of the largest blocks, with room for sums of overlaps."""


@dataclass(frozen=True)
class Limits:
    """A device in numbers.

    Attributes:
        shared_bytes: Shared memory of one block, opted in.
        multiprocessors: Blocks that run at once if each has one to itself.
        shared_bytes_of_all: Shared memory of all blocks of a multiprocessor together.
        cache_bytes: Second-level cache.
        fma_per_byte: Multiply-adds in single precision the device does while it moves one byte to or from slow memory.
        double_rate: Share of that speed in double precision.
    """

    shared_bytes: int = 99 << 10
    multiprocessors: int = 64
    shared_bytes_of_all: int = 100 << 10
    cache_bytes: int = 40 << 20
    fma_per_byte: float = 10.0
    double_rate: float = 0.5

    @classmethod
    def of(cls, attributes: dict[str, int]) -> Limits:
        """Those of a device with the attributes that CuPy reports."""
        ratio = attributes.get("SingleToDoublePrecisionPerfRatio", 0)
        shared_bytes = attributes.get("MaxSharedMemoryPerBlockOptin") or ORDINARY_SHARED_BYTES
        return cls(
            shared_bytes=shared_bytes,
            multiprocessors=attributes.get("MultiProcessorCount") or cls.multiprocessors,
            shared_bytes_of_all=attributes.get("MaxSharedMemoryPerMultiprocessor") or shared_bytes,
            cache_bytes=attributes.get("L2CacheSize") or cls.cache_bytes,
            double_rate=1.0 / ratio if ratio else cls.double_rate,
        )

    @property
    def block_threads(self) -> int:
        """Threads of the largest blocks: it decides the largest tiles, and the registers that kernels are given.

        A multiprocessor has 65,536 registers, a tile needs 128 bytes of shared memory for each thread.
        """
        return BLOCK_THREADS[self.shared_bytes >= LARGE_TILE_BYTES]
