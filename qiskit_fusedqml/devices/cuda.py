"""The CUDA device: `gpu.device.GPUDevice` on CuPy. This is the only module that imports CuPy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import override

from ..errors import DeviceUnavailableError, OutOfMemoryError
from ..memory import format_bytes
from .gpu.device import GPUDevice
from .gpu.runtime import Argument, Buffer, Limits, Runtime
from .gpu.sources import OPTIONS, source

ORDINARY_SHARED_BYTES = 48 << 10
"""Shared memory that a kernel may have without asking for it."""

CUDA_PLACES = (2, 13)
"""DLPack's numbers of memory on a CUDA device, and of memory managed by CUDA."""

PER_THREAD_STREAM = 2
"""The pointer by which every thread calls its own default stream."""

_kernels: dict[tuple[int, str], _Kernel] = {}
_lock = threading.Lock()


class _Kernel:
    """A kernel on one device, and the shared memory it has been given.

    Args:
        function: What CuPy makes of its name.

    Attributes:
        function: The same.
        needs: Registers of a thread, and bytes it keeps in memory for want of them.
    """

    def __init__(self, function: Any) -> None:
        self.function = function
        # the driver loads a function when it is asked for something: here, and not while a graph is captured
        self.needs = int(function.num_regs), int(function.local_size_bytes)
        self._shared_bytes = ORDINARY_SHARED_BYTES

    def allow(self, shared_bytes: int) -> None:
        """Let blocks have so many bytes of shared memory."""
        if shared_bytes > self._shared_bytes:
            self.function.max_dynamic_shared_size_bytes = self._shared_bytes = shared_bytes


class CupyRuntime(Runtime):
    """Works on the device and the stream that are current in CuPy at each call.

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
        self.limits = _limits(cupy.cuda.Device().attributes)

    @override
    def empty(self, count: int, dtype: DTypeLike) -> Buffer:
        try:
            return self._cupy.empty(count, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise self._out_of_memory(count * np.dtype(dtype).itemsize) from None

    @override
    def zeros(self, count: int) -> Buffer:
        try:
            return self._cupy.zeros(count)
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise self._out_of_memory(8 * count) from None

    @override
    def upload(self, array: NDArray[Any]) -> Buffer:
        try:
            return self._cupy.asarray(np.ravel(array))
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise self._out_of_memory(array.nbytes) from None

    @override
    def write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        if array.size:
            buffer[: array.size].set(np.ravel(array))

    @override
    def download(self, buffer: Buffer) -> NDArray[Any]:
        # waits for the current stream
        return np.asarray(self._cupy.asnumpy(buffer))

    @override
    def is_on_device(self, array: object) -> bool:
        # CuPy's arrays, and whatever says by DLPack that it is on a CUDA device
        if isinstance(array, self._cupy.ndarray):
            return True
        place = getattr(array, "__dlpack_device__", None)
        return place is not None and int(place()[0]) in CUDA_PLACES

    @override
    def adopt(self, array: Any, dtype: DTypeLike) -> Buffer:
        # DLPack makes the current stream wait for the stream that is writing the array
        return self._cupy.ascontiguousarray(self._own(array), dtype=dtype).ravel()

    @override
    def take(self, array: Any) -> Any:
        return self._cupy.array(self._own(array), dtype=np.float64, order="C")

    @override
    def copy(self, buffer: Buffer) -> Buffer:
        try:
            return buffer.copy()
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise self._out_of_memory(buffer.nbytes) from None

    @override
    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        # the first launch of a kernel compiles it, unless CuPy (from 14.1 on) has it on disk
        found = self._kernel(kernel, shared_bytes)
        pointers = tuple(np.uintp(0) if argument is None else argument for argument in arguments)
        noted = getattr(self._noting, "launches", None)
        if noted is None:
            found.function(blocks, (threads,), pointers, shared_mem=shared_bytes)
        else:
            noted.append((found.function, blocks, threads, pointers, shared_bytes))

    def prepare(self, kernel: str) -> None:
        """Compile a kernel, or load it from disk, before it is launched."""
        self._kernel(kernel, ORDINARY_SHARED_BYTES)

    def needs(self, kernel: str) -> tuple[int, int]:
        """Registers of a thread, and bytes it keeps in memory for want of them, on this device."""
        return self._kernel(kernel, ORDINARY_SHARED_BYTES).needs

    @override
    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # as a CUDA graph; the launches are noted first and put on a stream of their own then, when all kernels have
        # been loaded
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

    @override
    def stream(self) -> Hashable:
        pointer = int(self._cupy.cuda.get_current_stream().ptr)
        thread = threading.get_ident() if pointer == PER_THREAD_STREAM else 0
        return int(self._cupy.cuda.Device().id), pointer, thread

    @override
    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    @override
    def free_bytes(self) -> int:
        # what the driver has, and what CuPy's pool keeps unused
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())

    def _own(self, array: Any) -> Any:
        return array if isinstance(array, self._cupy.ndarray) else self._cupy.from_dlpack(array)

    def _kernel(self, name: str, shared_bytes: int) -> _Kernel:
        key = (int(self._cupy.cuda.Device().id), name)
        with _lock:
            kernel = _kernels.get(key)
            if kernel is None:
                module = self._cupy.RawModule(code=source(), options=OPTIONS, name_expressions=(name,))
                kernel = _kernels[key] = _Kernel(module.get_function(name))
            kernel.allow(shared_bytes)
        return kernel

    def _out_of_memory(self, needed: int) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"{format_bytes(needed)} do not fit in the GPU's memory, of which {format_bytes(self.free_bytes())} are "
            "free. Use fewer qubits, a smaller batch or max_memory_mb, or precision='single'."
        )


class CUDADevice(GPUDevice):
    """Runs tapes on the current CUDA device.

    Args:
        precision: "double" or "single".

    Raises:
        InvalidInputError: For another precision.
        DeviceUnavailableError: If CuPy is not installed or finds no GPU it can use.
    """

    def __init__(self, precision: str = "double") -> None:
        super().__init__(CupyRuntime(), precision)


def _limits(attributes: dict[str, int]) -> Limits:
    """The device's numbers, from the attributes that CuPy reports."""
    usual = Limits()
    ratio = attributes.get("SingleToDoublePrecisionPerfRatio", 0)
    return Limits(
        shared_bytes=attributes.get("MaxSharedMemoryPerBlockOptin") or ORDINARY_SHARED_BYTES,
        multiprocessors=attributes.get("MultiProcessorCount") or usual.multiprocessors,
        cache_bytes=attributes.get("L2CacheSize") or usual.cache_bytes,
        double_rate=1.0 / ratio if ratio else usual.double_rate,
    )
