"""A stand-in for CuPy: as much of its interface as the package and its GPU benchmark use, on the emulated kernels.

It is stricter than CuPy where that is forgiving, slow or blind: arrays do not become NumPy arrays by themselves, those
whose numbers do not lie in a row are no arguments of kernels, and while a stream is captured no memory is asked for, no
kernel is loaded, and nothing is copied or waited for.
"""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
from support.emulation.runtime import Library, library

from qiskit_fusedqml.devices.gpu.sources import source

ORDINARY_SHARED = 48 << 10
ATTRIBUTES = {
    "MaxSharedMemoryPerBlockOptin": 227 << 10,
    "MultiProcessorCount": 132,
    "L2CacheSize": 50 << 20,
    "SingleToDoublePrecisionPerfRatio": 2,
}


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of the CUDA runtime."""


class OutOfMemoryError(MemoryError):
    """What CuPy's pools raise."""


class Array:
    """An array in device memory."""

    __array_priority__ = 100

    def __init__(self, host: np.ndarray) -> None:
        self.host = host

    dtype = property(lambda self: self.host.dtype)
    shape = property(lambda self: self.host.shape)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    T = property(lambda self: Array(self.host.T))

    def __len__(self) -> int:
        return len(self.host)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` explicitly.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Array:
        assert method == "__call__"
        return Array(ufunc(*map(_host, inputs), **options))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Array:
        return Array(function(*_hosts(args), **kwargs))

    def __getitem__(self, index: Any) -> Array:
        return Array(self.host[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[index] = _host(value)

    def __matmul__(self, other: Array) -> Array:
        return Array(self.host @ _host(other))

    def __mul__(self, other: Any) -> Array:
        return Array(self.host * _host(other))

    def __add__(self, other: Any) -> Array:
        return Array(self.host + _host(other))

    def reshape(self, *shape: Any) -> Array:
        return Array(self.host.reshape(*shape))

    def ravel(self) -> Array:
        return Array(self.host.ravel())

    def copy(self) -> Array:
        return _new(self.host)

    def astype(self, dtype: Any, copy: bool = True) -> Array:
        return Array(self.host.astype(dtype, copy=copy))

    def get(self) -> np.ndarray:
        return asnumpy(self)

    def set(self, array: np.ndarray) -> None:
        _refuse_while_captured()
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (self.dtype, self.shape)
        assert self.host.flags.c_contiguous
        uploads.append(array.size)
        self.host[...] = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class Tensor:
    """Another library's array in device memory, reached through DLPack only."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = host

    shape = property(lambda self: self.host.shape)

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor(self.host[index])

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> np.ndarray:
        return self.host


def _host(value: Any) -> Any:
    if isinstance(value, Array):
        return value.host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value


def _hosts(values: Any) -> Any:
    return type(values)(_hosts(v) if isinstance(v, list | tuple) else _host(v) for v in values)


def _new(host: np.ndarray) -> Array:
    """A copy whose memory is fenced as the emulation's."""
    return Array(np.array(host, order="C"))


class _Streams(threading.local):
    """The streams that are current in a thread."""

    def __init__(self) -> None:
        self.stack: list[Stream] = [Stream.null]


class Stream:
    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = 0 if null else id(self)
        self.launches: list[Any] | None = None
        self.waited = 0

    def __enter__(self) -> Self:
        _streams.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert _streams.stack.pop() is self

    def synchronize(self) -> None:
        assert self.launches is None
        self.waited += 1

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.launches is None
        self.launches = []

    def end_capture(self) -> Graph:
        assert self.launches is not None
        graph, self.launches = Graph(self.launches), None
        return graph


Stream.null = Stream(null=True)
_streams = _Streams()


def get_current_stream() -> Stream:
    return _streams.stack[-1]


def _refuse_while_captured() -> None:
    if get_current_stream().launches is not None:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


class Graph:
    def __init__(self, launches: list[Any]) -> None:
        self.launches = launches
        self.count = 0

    def launch(self, stream: Stream | None = None) -> None:
        assert (stream or get_current_stream()).launches is None
        self.count += 1
        for launch in self.launches:
            launch()


class Event:
    def __init__(self) -> None:
        self.time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        assert self.time is not None


def get_elapsed_time(start: Event, stop: Event) -> float:
    assert start.time is not None
    assert stop.time is not None
    return 1e3 * (stop.time - start.time)


class RawKernel:
    """A kernel that runs on the CPU."""

    def __init__(self, module: ModuleType, kernels: Library, name: str) -> None:
        self.module, self.kernels, self.name = module, kernels, name
        self.max_dynamic_shared_size_bytes = ORDINARY_SHARED
        self.loaded = False

    @property
    def num_regs(self) -> int:
        _refuse_while_captured()
        self.loaded = True
        return 32

    local_size_bytes = property(lambda self: 0 * self.num_regs)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], **kwargs: int) -> None:
        shared = kwargs.pop("shared_mem", 0)
        assert not kwargs
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        assert self.loaded or get_current_stream().launches is None
        self.loaded = True
        assert all(isinstance(a, Array | np.int32 | np.int64 | np.uint64) for a in args)
        assert all(a.host.flags.c_contiguous for a in args if isinstance(a, Array))
        assert shared <= self.max_dynamic_shared_size_bytes <= ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
        assert 0 < block[0] <= 1024
        assert len(block) == 1
        x, y = grid
        assert 0 < x < 2**31
        assert 0 < y < 2**16

        def run() -> None:
            arguments = [a.host if isinstance(a, Array) else a for a in args]
            self.kernels.run(self.name, (x, y, block[0]), shared, arguments)

        self.module.launched.append((self.name, grid, block[0], shared))
        captured = get_current_stream().launches
        run() if captured is None else captured.append(run)


downloads: list[int] = []
uploads: list[int] = []
"""Numbers in each copy to the host so far, and from it."""


def asnumpy(array: Array, stream: None = None) -> np.ndarray:
    assert isinstance(array, Array)
    _refuse_while_captured()
    downloads.append(array.size)
    return np.array(array.host)


def asarray(array: Any, dtype: Any = None) -> Array:
    _refuse_while_captured()
    if isinstance(array, Array):
        return array
    uploads.append(np.size(array))
    return _new(np.asarray(array, dtype))


def filled(value: float) -> Any:
    def make_filled(shape: Any, dtype: Any = float) -> Array:
        _refuse_while_captured()
        return Array(np.full(shape, value, dtype))

    return make_filled


def from_dlpack(array: Any) -> Array:
    assert array.__dlpack_device__()[0] == 2
    return Array(array.__dlpack__())


def make_array(array: Any, dtype: Any = None, *, order: str = "K") -> Array:
    _refuse_while_captured()
    assert isinstance(array, Array)
    return Array(np.array(array.host, dtype, order=order))


def make(devices: int = 1, free: int = 8 << 30) -> ModuleType:
    """The module.

    Args:
        devices: Number of GPUs; -1 for a driver that does not answer.
        free: Bytes of free memory the driver reports; the pool has 2 MiB more.
    """
    cupy: Any = ModuleType("cupy")
    cupy.__version__ = "14.0.0"
    cupy.launched, cupy.compiled = [], []
    cupy.ndarray, cupy.RawKernel = Array, RawKernel
    cupy.asnumpy = asnumpy
    for name in ("int32", "int64", "float32", "float64", "complex64", "complex128"):
        setattr(cupy, name, getattr(np, name))

    def count() -> int:
        if devices < 0:
            raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return devices

    def empty(shape: Any, dtype: Any = float) -> Array:
        _refuse_while_captured()
        array = np.empty(shape, dtype)
        if array.nbytes > free:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes} bytes")
        array.view(np.uint8)[...] = 0xFF  # NaN: reading what nobody wrote shows
        return Array(array)

    def raw_module(*, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> Any:
        _refuse_while_captured()
        assert code == source()
        assert options == ("-std=c++17",)
        kernels = library()
        assert set(name_expressions) <= set(kernels.names)
        cupy.compiled += name_expressions
        return SimpleNamespace(get_function=lambda name: RawKernel(cupy, kernels, name))

    cupy.array = make_array
    cupy.empty, cupy.asarray, cupy.zeros, cupy.ones = empty, asarray, filled(0), filled(1)
    cupy.ascontiguousarray = lambda a, dtype=None: Array(np.ascontiguousarray(a.host, dtype))
    cupy.copyto = lambda target, given: np.copyto(target.host, given.host)
    cupy.RawModule, cupy.from_dlpack = raw_module, from_dlpack
    pool = SimpleNamespace(free_bytes=lambda: 2 << 20, free_all_blocks=lambda: None)
    cupy.get_default_memory_pool = lambda: pool
    device = SimpleNamespace(id=0, attributes=ATTRIBUTES, compute_capability="90")
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=count,
        memGetInfo=lambda: (free, 80 << 30),
        getDeviceProperties=lambda number: {"name": b"none: emulated on the CPU", "multiProcessorCount": 132},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=lambda: device,
        Stream=Stream,
        Event=Event,
        Graph=Graph,
        get_current_stream=get_current_stream,
        get_elapsed_time=get_elapsed_time,
    )
    return cupy


def install() -> ModuleType:
    """Put the stand-in where ``import cupy`` finds it, for good."""
    cupy = make()
    sys.modules["cupy"] = cupy
    return cupy
