"""What the GPU device asks of whatever allocates, copies and launches: CuPy on a GPU, an emulation in the tests."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Buffer = Any
"""A one-dimensional array in device memory; ``buffer[start:]`` is a view."""

Argument = Any
"""A `Buffer`, a NumPy scalar, or None for a null pointer."""


@dataclass(frozen=True)
class Limits:
    """A device in numbers.

    Attributes:
        shared_bytes: Shared memory of one block, opted in.
        multiprocessors: Blocks that run at once if each has one to itself.
        cache_bytes: Second-level cache.
        fma_per_byte: Multiply-adds in single precision the device does while it moves one byte to or from slow memory.
        double_rate: Share of that speed in double precision.
    """

    shared_bytes: int = 99 << 10
    multiprocessors: int = 64
    cache_bytes: int = 40 << 20
    fma_per_byte: float = 10.0
    double_rate: float = 0.5


class Runtime(Protocol):
    """Everything that one thread asks for is ordered as on one stream."""

    limits: Limits

    def empty(self, count: int, dtype: DTypeLike) -> Buffer:
        """A buffer without a value."""
        ...

    def zeros(self, count: int) -> Buffer:
        """A buffer of zeros in double precision."""
        ...

    def upload(self, array: NDArray[Any]) -> Buffer:
        """A copy of a host array, flattened."""
        ...

    def write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Copy a host array into a buffer of its type, from the beginning."""
        ...

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """A copy on the host."""
        ...

    def is_on_device(self, array: object) -> bool:
        """Whether an array of the caller is in device memory."""
        ...

    def adopt(self, array: Any, dtype: DTypeLike) -> Buffer:
        """The caller's array in device memory as a buffer, without a copy where it is one of that type already."""
        ...

    def take(self, array: Any) -> Any:
        """A copy in double precision of the caller's array in device memory, in C order and of the same shape."""
        ...

    def copy(self, buffer: Buffer) -> Buffer:
        """A copy on the device."""
        ...

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        """Launch a kernel by its name expression."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What launches again all that ``work`` launches, on the stream that is current then.

        ``work`` does nothing but launch; nothing is run yet. The caller keeps the buffers alive.
        """
        ...

    def stream(self) -> Hashable:
        """The current stream, and its device."""
        ...

    def synchronize(self) -> None:
        """Wait until all is done, so that what was uploaded can be used on any stream."""
        ...

    def free_bytes(self) -> int:
        """Device memory that can still be had."""
        ...


def integer(value: int) -> np.int32:
    """A kernel's int."""
    return np.int32(value)


def long_integer(value: int) -> np.int64:
    """A kernel's long long."""
    return np.int64(value)
