"""CuPy as the device uses it: memory, launches, graphs, streams. This is the only module that imports CuPy.

The tests have another class with the methods of `Runtime`; it runs the same kernels on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import DeviceUnavailableError, OutOfMemoryError
from ...memory import format_bytes
from .sources import OPTIONS, source

Buffer = Any
"""A one-dimensional array in device memory; ``buffer[start:]`` is a view."""

Argument = Any
"""A `Buffer`, a NumPy scalar, or None for a null pointer."""

ORDINARY_SHARED_BYTES = 48 << 10
"""Shared memory that a kernel may have without asking for it."""

CUDA_PLACES = (2, 13)
"""DLPack's numbers of memory on a CUDA device, and of memory managed by CUDA."""

PER_THREAD_STREAM = 2
"""The pointer by which every thread calls its own default stream."""

_kernels: dict[tuple[int, str], tuple[Any, int]] = {}
"""CuPy's functions by device and name, and the shared memory that their blocks may have."""

_lock = threading.Lock()


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

    @classmethod
    def of(cls, attributes: dict[str, int]) -> Limits:
        """Those of a device with the attributes that CuPy reports."""
        ratio = attributes.get("SingleToDoublePrecisionPerfRatio", 0)
        return cls(
            shared_bytes=attributes.get("MaxSharedMemoryPerBlockOptin") or ORDINARY_SHARED_BYTES,
            multiprocessors=attributes.get("MultiProcessorCount") or cls.multiprocessors,
            cache_bytes=attributes.get("L2CacheSize") or cls.cache_bytes,
            double_rate=1.0 / ratio if ratio else cls.double_rate,
        )


class Runtime:
    """Works on the device and the stream that are current in CuPy at each call.

    Everything that one thread asks for is ordered as on one stream.

    Attributes:
        limits: The device.

    Raises:
        DeviceUnavailableError: If CuPy is not installed or finds no GPU it can use.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError:
            raise DeviceUnavailableError(
                "device='GPU' needs CuPy, which is not installed: install qiskit-fusedqml[cuda13] or "
                "qiskit-fusedqml[cuda12], after the version of CUDA, or use device='CPU'."
            ) from None
        try:
            found = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceUnavailableError(
                f"device='GPU' is not available: CuPy finds no CUDA driver it can use ({error}). Use device='CPU'."
            ) from None
        if not found:
            raise DeviceUnavailableError("device='GPU' is not available: this machine has no GPU. Use device='CPU'.")
        self._cupy = cupy
        self._noting = threading.local()
        self.limits = Limits.of(cupy.cuda.Device().attributes)

    def empty(self, count: int, dtype: DTypeLike) -> Buffer:
        """A buffer without a value."""
        return self._allocated(count * np.dtype(dtype).itemsize, lambda: self._cupy.empty(count, dtype))

    def zeros(self, count: int) -> Buffer:
        """A buffer of zeros in double precision."""
        return self._allocated(8 * count, lambda: self._cupy.zeros(count))

    def upload(self, array: NDArray[Any]) -> Buffer:
        """A copy of a host array, flattened."""
        return self._allocated(array.nbytes, lambda: self._cupy.asarray(np.ravel(array)))

    def copy(self, buffer: Buffer) -> Buffer:
        """A copy on the device."""
        return self._allocated(buffer.nbytes, buffer.copy)

    def write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Copy a host array into a buffer of its type, from the beginning."""
        if array.size:
            buffer[: array.size].set(np.ravel(array))

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """A copy on the host; waits for the current stream."""
        return np.asarray(self._cupy.asnumpy(buffer))

    def is_on_device(self, array: object) -> bool:
        """Whether an array of the caller is CuPy's, or says by DLPack that it is on a CUDA device."""
        if isinstance(array, self._cupy.ndarray):
            return True
        place = getattr(array, "__dlpack_device__", None)
        return place is not None and int(place()[0]) in CUDA_PLACES

    def adopt(self, array: Any, dtype: DTypeLike) -> Buffer:
        """The caller's array in device memory as a buffer, without a copy where it is one of that type already."""
        return self._cupy.ascontiguousarray(self._cupy_array(array), dtype=dtype).ravel()

    def take(self, array: Any) -> Any:
        """A copy in double precision of the caller's array in device memory, in C order and of the same shape."""
        return self._cupy.array(self._cupy_array(array), dtype=np.float64, order="C")

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        """Launch a kernel by its name expression.

        The first launch of a kernel compiles it, unless CuPy (from 14.1 on) has it on disk.
        """
        function = self.kernel(kernel, shared_bytes)
        pointers = tuple(np.uintp(0) if argument is None else argument for argument in arguments)
        noted = getattr(self._noting, "launches", None)
        if noted is None:
            function(blocks, (threads,), pointers, shared_mem=shared_bytes)
        else:
            noted.append((function, blocks, threads, pointers, shared_bytes))

    def kernel(self, name: str, shared_bytes: int = 0) -> Any:
        """CuPy's function of a kernel, compiled or loaded, whose blocks may have so many bytes of shared memory."""
        key = (int(self._cupy.cuda.Device().id), name)
        with _lock:
            function, allowed = _kernels.get(key, (None, ORDINARY_SHARED_BYTES))
            if function is None:
                module = self._cupy.RawModule(code=source(), options=OPTIONS, name_expressions=(name,))
                function = module.get_function(name)
                # the driver loads a function when it is asked for something: here, and not while a graph is captured
                int(function.num_regs)
            if shared_bytes > allowed:
                function.max_dynamic_shared_size_bytes = shared_bytes
            _kernels[key] = function, max(shared_bytes, allowed)
        return function

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What launches again all that ``work`` launches, on the stream that is current then: a CUDA graph.

        ``work`` does nothing but launch; nothing is run yet. The launches are noted first and put on a stream of their
        own when all kernels have been loaded. The graph keeps their buffers alive.
        """
        launches: list[tuple[Any, tuple[int, int], int, tuple[Any, ...], int]] = []
        self._noting.launches = launches
        try:
            work()
        finally:
            self._noting.launches = None
        stream = self._cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                for function, blocks, threads, pointers, shared_bytes in launches:
                    function(blocks, (threads,), pointers, shared_mem=shared_bytes)
            finally:
                graph = stream.end_capture()

        def replay() -> None:
            assert launches is not None  # their buffers live as long as the graph
            graph.launch()

        return replay

    def stream(self) -> Hashable:
        """The current stream, and its device."""
        pointer = int(self._cupy.cuda.get_current_stream().ptr)
        thread = threading.get_ident() if pointer == PER_THREAD_STREAM else 0
        return int(self._cupy.cuda.Device().id), pointer, thread

    def synchronize(self) -> None:
        """Wait until all is done, so that what was uploaded can be used on any stream."""
        self._cupy.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        """Device memory that can still be had: what the driver has, and what CuPy's pool keeps unused."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())

    def _cupy_array(self, array: Any) -> Any:
        # DLPack makes the current stream wait for the stream that is writing the array
        return array if isinstance(array, self._cupy.ndarray) else self._cupy.from_dlpack(array)

    def _allocated(self, needed: int, allocate: Callable[[], Buffer]) -> Buffer:
        try:
            return allocate()
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise OutOfMemoryError(
                f"{format_bytes(needed)} do not fit in the GPU's memory, of which {format_bytes(self.free_bytes())} "
                "are free. Use fewer qubits, a smaller batch or max_memory_mb, or precision='single'."
            ) from None
