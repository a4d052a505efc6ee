"""A stand-in for CuPy: as much of its interface as the package and its GPU benchmark use, on the emulated kernels.

It is stricter than CuPy where that is forgiving, slow or blind: arrays do not become NumPy arrays by themselves, those
whose numbers do not lie in a row are no arguments of kernels, nor are those of another device than the current one, and
while a stream is captured no memory is asked for, no kernel is loaded, and nothing is copied or waited for. All work is
queued (`support.emulation.streams`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
from support.emulation.runtime import Library, buffers_of, library
from support.emulation.signatures import check
from support.emulation.streams import CUDARuntimeError, Event, Graph, Machine, Memory, Stream, elapsed_time

ORDINARY_SHARED = 48 << 10
ATTRIBUTES = {
    "MaxSharedMemoryPerBlockOptin": 227 << 10,
    "MaxSharedMemoryPerMultiprocessor": 228 << 10,
    "MultiProcessorCount": 132,
    "L2CacheSize": 50 << 20,
    "SingleToDoublePrecisionPerfRatio": 2,
}

_emulation = threading.Lock()
"""The emulation runs one kernel at a time."""

_current: list[Machine] = [Machine(1)]
_pointers = count(1 << 20)


def machine() -> Machine:
    """What the newest stand-in works on."""
    return _current[0]


class OutOfMemoryError(MemoryError):
    """What CuPy's pools raise."""


class CompileException(Exception):  # noqa: N818 (CuPy's name)
    """What CuPy raises where NVRTC finds an error."""


class Array:
    """An array in device memory.

    Attributes:
        host: Its numbers, once the work that makes them has been done.
        memory: Where they are.
    """

    __array_priority__ = 100

    def __init__(self, host: np.ndarray, memory: Memory) -> None:
        self.host, self.memory = host, memory

    dtype = property(lambda self: self.host.dtype)
    shape = property(lambda self: self.host.shape)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    data = property(lambda self: SimpleNamespace(ptr=self.host.ctypes.data))
    flags = property(lambda self: self.host.flags)
    device = property(lambda self: SimpleNamespace(id=self.memory.device))
    T = property(lambda self: Array(self.host.T, self.memory))

    def __len__(self) -> int:
        return len(self.host)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` explicitly.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Array:
        assert method == "__call__"
        return computed(ufunc, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Array:
        if "device" in kwargs:  # as NumPy passes on for ones(..., like=...)
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument 'device'")
        if function is np.asarray:
            return asarray(*args, **kwargs)
        return computed(function, args, kwargs)

    def __getitem__(self, index: Any) -> Array:
        if _arrays(index):
            return computed(
                lambda host, *places: host[places], (self, *(index if isinstance(index, tuple) else (index,)))
            )
        found = self.host[index]
        if isinstance(found, np.ndarray) and (not found.size or np.may_share_memory(found, self.host)):
            return Array(found, self.memory)
        return computed(lambda host: host[index], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        on_current_device(self, value)
        target, given, places = self.host, _host(value), _host(index)
        queued(lambda: target.__setitem__(places, given))

    def __matmul__(self, other: Array) -> Array:
        return computed(np.matmul, (self, other))

    def __mul__(self, other: Any) -> Array:
        return computed(np.multiply, (self, other))

    def __add__(self, other: Any) -> Array:
        return computed(np.add, (self, other))

    def sum(self, axis: int | None = None) -> Array:
        return computed(np.sum, (self,), {"axis": axis})

    def reshape(self, *shape: Any) -> Array:
        found = self.host.reshape(*shape)
        if np.may_share_memory(found, self.host):
            return Array(found, self.memory)
        return computed(lambda host: host.reshape(*shape), (self,))

    def ravel(self) -> Array:
        return self.reshape(-1)

    def copy(self) -> Array:
        return computed(np.array, (self,))

    def astype(self, dtype: Any, copy: bool = True) -> Array:
        return self if self.dtype == dtype and not copy else computed(lambda host: host.astype(dtype), (self,))

    def get(self) -> np.ndarray:
        return asnumpy(self)

    def set(self, array: np.ndarray) -> None:
        machine().stream.refuse_while_captured()
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (self.dtype, self.shape)
        assert self.host.flags.c_contiguous
        uploads.append(array.size)
        given, target = np.array(array), self.host
        machine().stream.put(lambda: np.copyto(target, given))

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.memory.device


class Tensor:
    """Another library's array in device memory, reached through DLPack only."""

    def __init__(self, host: np.ndarray, device: int = 0) -> None:
        self.host, self.device = host, device

    shape = property(lambda self: self.host.shape)

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor(self.host[index], self.device)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, **_: Any) -> np.ndarray:
        return self.host


def _host(value: Any) -> Any:
    if isinstance(value, Array):
        return value.host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return type(value)(map(_host, value)) if isinstance(value, list | tuple) else value


def _arrays(value: Any) -> list[Array]:
    if isinstance(value, list | tuple):
        return [array for each in value for array in _arrays(each)]
    return [value] if isinstance(value, Array) else []


def on_current_device(*values: Any) -> None:
    """Refuse arrays of another device, as CuPy does where it cannot reach them."""
    for array in _arrays(values):
        if array.memory.device != machine().device:
            raise ValueError(
                f"Array device must be same as the current device: array device = {array.memory.device} while "
                f"current = {machine().device}"
            )


def queued(run: Callable[[], None]) -> None:
    """Put work of kernels, or of copies within the device, on the current stream."""
    machine().stream.do(run)


def computed(function: Callable[..., Any], args: Any, options: Any = None) -> Array:
    """An array that a function of NumPy makes of others, once its turn has come."""
    on_current_device(args)
    hosts, options = _host(tuple(args)), options or {}
    with np.errstate(all="ignore"):
        kind = np.asarray(function(*_like(hosts), **options))
    result = allocated(kind.shape, kind.dtype)
    target = result.host
    queued(lambda: np.copyto(target, function(*hosts, **options)))
    return result


def _like(value: Any) -> Any:
    """Numbers of the same shapes and types; what is there is not known yet."""
    if isinstance(value, list | tuple):
        return type(value)(map(_like, value))
    if isinstance(value, np.ndarray):
        return np.zeros_like(value) if value.dtype.kind == "i" else np.ones_like(value)  # these may be indices
    return value


def allocated(shape: Any, dtype: Any = float) -> Array:
    """Memory without numbers."""
    machine().stream.refuse_while_captured()
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size > machine().free:
        raise OutOfMemoryError(f"Out of memory allocating {size} bytes")
    memory = Memory(machine(), size)
    return Array(memory.root.view(dtype).reshape(shape), memory)


class RawKernel:
    """A kernel that runs on the CPU."""

    def __init__(self, module: ModuleType, kernels: Library, name: str) -> None:
        self.module, self.kernels, self.name, self.device = module, kernels, name, machine().device
        self.max_dynamic_shared_size_bytes = ORDINARY_SHARED
        self.preferred_shared_memory_carveout = -1
        self.loaded = False

    @property
    def num_regs(self) -> int:
        machine().stream.refuse_while_captured()
        self.loaded = True
        return 32

    local_size_bytes = property(lambda self: 0 * self.num_regs)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], **kwargs: int) -> None:
        shared = kwargs.pop("shared_mem", 0)
        assert not kwargs
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        stream = machine().stream
        assert self.loaded or stream.captured is None
        self.loaded = True
        if self.device != machine().device:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: the function was loaded on another device")
        assert all(isinstance(a, Array | np.int32 | np.int64 | np.uint64 | np.ndarray) for a in args)
        assert all(a.size == 1 and a.dtype.names for a in args if isinstance(a, np.ndarray))
        assert all(a.host.flags.c_contiguous for a in buffers_of(args) if isinstance(a, Array))
        check(self.name, args)
        on_current_device(buffers_of(args))
        assert shared <= self.max_dynamic_shared_size_bytes <= ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
        assert 0 < block[0] <= 1024
        assert len(block) == 1
        x, y = grid
        assert 0 < x < 2**31
        assert 0 < y < 2**16
        # as in CUDA, what is launched does not keep its buffers
        arguments = [a.host if isinstance(a, Array) else a.copy() for a in args]  # structures are taken by value

        def run() -> None:
            with _emulation:
                self.kernels.run(self.name, (x, y, block[0]), shared, arguments)

        self.module.launched.append((self.name, grid, block[0], shared))
        self.module.streams.append((stream.device_id, stream.ptr))
        stream.do(run)


downloads: list[int] = []
uploads: list[int] = []
"""Numbers in each copy to the host so far, and from it."""


def asnumpy(array: Array, stream: None = None) -> np.ndarray:
    assert isinstance(array, Array)
    own = machine().stream
    own.refuse_while_captured()
    downloads.append(array.size)
    machine().wait(own.queue.last)
    return np.array(array.host)


def finished(array: Array) -> np.ndarray:
    """The numbers of an array once all work is done, as another library sees them."""
    machine().finish()
    return array.host


def asarray(array: Any, dtype: Any = None) -> Array:
    if isinstance(array, Array):
        return array
    uploads.append(np.size(array))
    given = np.array(array, dtype)
    result = allocated(given.shape, given.dtype)
    target = result.host
    machine().stream.put(lambda: np.copyto(target, given))
    return result


def filled(value: float) -> Any:
    def make_filled(shape: Any, dtype: Any = float) -> Array:
        result = allocated(shape, dtype)
        target = result.host
        queued(lambda: target.fill(value))
        return result

    return make_filled


def from_dlpack(array: Any) -> Array:
    kind, device = array.__dlpack_device__()
    assert kind == 2
    with machine().on_device(device):
        memory = Memory(machine(), 0)
    return Array(array.__dlpack__(), memory)


def make_array(array: Any, dtype: Any = None, *, order: str = "K") -> Array:
    assert isinstance(array, Array)
    return computed(lambda host: np.array(host, dtype, order=order), (array,))


def contiguous(array: Array, dtype: Any = None) -> Array:
    on_current_device(array)
    if array.host.flags.c_contiguous and (dtype is None or array.dtype == dtype):
        return array
    return computed(lambda host: np.ascontiguousarray(host, dtype), (array,))


def copyto(target: Array, given: Array) -> None:
    on_current_device(target, given)
    ours, theirs = target.host, given.host
    queued(lambda: np.copyto(ours, theirs))


class Device:
    """CuPy's devices."""

    attributes = ATTRIBUTES
    compute_capability = "90"

    def __init__(self, number: int | None = None) -> None:
        self.id = machine().device if number is None else number
        if not 0 <= self.id < machine().devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._entered: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        self._entered.append(machine().on_device(self.id))
        self._entered[-1].__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.pop().__exit__(*error)

    def synchronize(self) -> None:
        machine().finish()


def make_stream(*, null: bool = False, non_blocking: bool = False) -> Stream:
    pointer = 0 if null else next(_pointers)
    return Stream(machine(), machine().device, pointer, null=null, blocking=not non_blocking)


def from_external(other: Any) -> Stream:
    version, pointer = other.__cuda_stream__()
    assert version == 0
    return Stream(machine(), machine().device, pointer, null=pointer == 0)


def make(devices: int = 1, free: int = 8 << 30, seed: int = 0) -> ModuleType:
    """The module.

    Args:
        devices: Number of GPUs; -1 for a driver that does not answer.
        free: Bytes of free memory the driver reports; the pool has 2 MiB more.
        seed: Of the order in which streams do their work.
    """
    _current[0] = Machine(max(devices, 1), seed, free)
    cupy: Any = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.launched, cupy.streams, cupy.compiled = [], [], []
    cupy.ndarray, cupy.RawKernel = Array, RawKernel
    cupy.asnumpy = asnumpy
    for name in ("int32", "int64", "float32", "float64", "complex64", "complex128"):
        setattr(cupy, name, getattr(np, name))

    def num_devices() -> int:
        if devices < 0:
            raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return devices

    def raw_module(code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> SimpleNamespace:
        machine().stream.refuse_while_captured()
        assert options == ("-std=c++17",)
        kernels = library()
        assert set(name_expressions) <= set(kernels.names)
        assert all(name.partition("<")[0].removeprefix("fusedqml::") in code for name in name_expressions)
        cupy.compiled += name_expressions
        return SimpleNamespace(get_function=lambda name: RawKernel(cupy, kernels, name))

    cupy.array = make_array
    cupy.empty, cupy.asarray, cupy.zeros, cupy.ones = allocated, asarray, filled(0), filled(1)
    cupy.ascontiguousarray, cupy.copyto = contiguous, copyto
    cupy.RawModule, cupy.from_dlpack = raw_module, from_dlpack
    pool = SimpleNamespace(free_bytes=lambda: 2 << 20, free_all_blocks=lambda: None)
    cupy.get_default_memory_pool = lambda: pool
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=num_devices,
        streamIsCapturing=lambda pointer: (machine().device, pointer) in machine().captures,
        memGetInfo=lambda: (free, 80 << 30),
        getDeviceProperties=lambda number: {"name": b"none: emulated on the CPU", "multiProcessorCount": 132},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    make_stream.from_external = from_external
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        compiler=SimpleNamespace(CompileException=CompileException),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=Device,
        Stream=make_stream,
        Event=lambda: Event(machine()),
        Graph=Graph,
        get_current_stream=lambda: machine().stream,
        get_elapsed_time=elapsed_time,
    )
    return cupy


def install() -> ModuleType:
    """Put the stand-in where ``import cupy`` finds it, for good."""
    cupy = make()
    sys.modules["cupy"] = cupy
    return cupy
