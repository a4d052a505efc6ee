"""CuPy as the device uses it: memory, launches, graphs, streams. This is the only module that imports CuPy.

The tests have another class with the methods of `Runtime`; it runs the same kernels on the CPU.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import DeviceUnavailableError, InvalidInputError, OutOfMemoryError, SimulationError
from ...memory import format_bytes
from .graphs import PER_THREAD_STREAM, Launch, LaunchGraph, TooManyLaunchesError, is_captured
from .limits import ORDINARY_SHARED_BYTES, Limits
from .sources import OPTIONS, compiled_with, source

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

Buffer = Any
"""A one-dimensional array in device memory; ``buffer[start:]`` is a view."""

Argument = Any
"""A `Buffer`, a `Structure`, a NumPy scalar, or None for a null pointer."""

RecordedMemory = dict[object, Any]
"""What recordings keep for one another, by its owner."""

OF_DEVICE, MANAGED = 2, 13
"""DLPack's numbers of memory on a CUDA device, and of memory managed by CUDA, which every device reaches."""

PATIENCE = 1.0
"""Seconds after which one is told that kernels are being compiled."""

_kernels: dict[tuple[int, str], tuple[Any, int]] = {}
"""CuPy's functions by device and name, and the shared memory that their blocks may have."""

_lock = threading.Lock()

_told: set[str] = set()
"""What has been said in this process already."""


class Structure(NDArray[np.void]):
    """A structure that a kernel takes by value: one NumPy record.

    Attributes:
        members: What it was made of, by name: buffers, None for a null pointer, and integers. Copies have none.
    """

    members: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, dtype: np.dtype[np.void], members: Mapping[str, Any], address: Callable[[Buffer], int]) -> Structure:
        """One of that type; ``address`` is that of a buffer."""
        values = (members[name] for name in dtype.names or ())
        record = tuple(v if isinstance(v, int) else 0 if v is None else address(v) for v in values)
        made = np.array([record], dtype).view(cls)
        made.members = members
        return made


class _OnDevice(Protocol):
    """What has a runtime."""

    @property
    def runtime(self) -> Runtime: ...


On = TypeVar("On", bound=_OnDevice)


def on_own_device(method: Callable[Concatenate[On, P], Result]) -> Callable[Concatenate[On, P], Result]:
    """A public method that runs on the device of its object, whichever is current."""

    @wraps(method)
    def call(self: On, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with self.runtime.current():
            return method(self, *args, **kwargs)

    return call


class _ExternalStream:
    """Another library's stream, by the protocol of CUDA streams."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class Runtime:
    """Works on the device that was current in CuPy when it was made, and on the stream that is current there.

    Everything that one thread asks for is ordered as on one stream. Methods are called while the device is `current`.

    Attributes:
        device: Number of the device.
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
        device = cupy.cuda.Device()
        self.device = int(device.id)
        self.limits = Limits.of(device.attributes)

    def current(self, stream: int | None = None) -> AbstractContextManager[Any]:
        """Make the device CuPy's current one, and another library's stream, if one is given, its current stream.

        Args:
            stream: The address of the stream.
        """
        device: AbstractContextManager[Any] = self._cupy.cuda.Device(self.device)
        return device if stream is None else self._following(device, stream)

    @contextmanager
    def _following(self, device: AbstractContextManager[Any], stream: int) -> Iterator[None]:
        with device, self._cupy.cuda.Stream.from_external(_ExternalStream(stream)):
            yield

    def empty(self, count: int, dtype: DTypeLike) -> Buffer:
        """A buffer without a value."""
        return self._allocated(count * np.dtype(dtype).itemsize, lambda: self._cupy.empty(count, dtype))

    def upload(self, array: NDArray[Any]) -> Buffer:
        """A copy of a host array, flattened."""
        return self._allocated(array.nbytes, lambda: self._cupy.asarray(np.ravel(array)))

    def structure(self, dtype: np.dtype[np.void], members: Mapping[str, Any]) -> Structure:
        """A structure of buffers, None for null pointers, and integers, by name."""
        return Structure.of(dtype, members, lambda buffer: int(buffer.data.ptr))

    def copy(self, buffer: Buffer) -> Buffer:
        """A copy on the device."""
        return self._allocated(buffer.nbytes, buffer.copy)

    def write(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Copy a host array into a buffer of its type, from the beginning.

        Of more than 64 KiB, the driver may wait until the copy is done: the memory is the caller's own. Coefficients
        that come this way are those of values on the host, where results are waited for in any case.
        """
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
        return place is not None and int(place()[0]) in (OF_DEVICE, MANAGED)

    def adopt(self, array: Any, dtype: DTypeLike, name: str = "The array") -> Buffer:
        """The caller's array in device memory as a buffer, without a copy where it is one of that type already."""
        own, kind = self._cupy_array(array, name), np.dtype(dtype)
        with self._compiling():
            needed = own.size * kind.itemsize
            return self._allocated(needed, lambda: self._cupy.ascontiguousarray(own, dtype=kind).ravel())

    def take(self, array: Any, name: str = "The array") -> Any:
        """A copy in double precision of the caller's array in device memory, in C order and of the same shape.

        Raises:
            InvalidInputError: If it is in another device's memory, its numbers are not real, or CuPy does not take it.
            OutOfMemoryError: If the device has too little free memory.
        """
        own = self._cupy_array(array, name)
        with self._compiling():
            return self._allocated(8 * own.size, lambda: self._cupy.array(own, dtype=np.float64, order="C"))

    def numbers(self, array: Any, name: str) -> Buffer:
        """The caller's array, on the host or the device, as a buffer of either precision; without a copy if it is one.

        Raises:
            InvalidInputError: As of `take`.
        """
        if not self.is_on_device(array):
            self.refuse_capture()
            return self.upload(array)
        own = self._cupy_array(array, name)
        if own.dtype.char not in "fd" or not own.flags.c_contiguous:
            self.refuse_capture()
            return self.adopt(own, np.float64)
        return own.ravel()

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        """Launch a kernel by its name expression.

        The first launch of a kernel compiles it, unless CuPy (from 14.1 on) has it on disk.

        Raises:
            DeviceUnavailableError: If it cannot be compiled.
        """
        function = self.kernel(kernel, shared_bytes)
        pointers = tuple([np.uintp(0) if argument is None else argument for argument in arguments])
        noted = getattr(self._noting, "launches", None)
        if noted is None:
            function(blocks, (threads,), pointers, shared_mem=shared_bytes)
        else:
            noted.append((function, blocks, threads, pointers, shared_bytes))
            if self._noting.most is not None and len(noted) > self._noting.most:
                raise TooManyLaunchesError

    def kernel(self, name: str, shared_bytes: int = 0) -> Any:
        """CuPy's function of a kernel, compiled or loaded, whose blocks may have so many bytes of shared memory."""
        key = (self.device, name)
        with _lock:
            if key not in _kernels:
                for each, function in self._compiled(name).items():
                    _kernels[self.device, each] = function, ORDINARY_SHARED_BYTES
            function, allowed = _kernels[key]
            if shared_bytes > allowed:
                function.max_dynamic_shared_size_bytes = shared_bytes
                # two blocks of a multiprocessor where they fit; the rest stays a cache
                share = -(-200 * shared_bytes // self.limits.shared_bytes_of_all)
                function.preferred_shared_memory_carveout = min(share, 100)
                _kernels[key] = function, shared_bytes
        return function

    def _compiled(self, name: str) -> dict[str, Any]:
        """CuPy's functions of a kernel and of all that are compiled with it."""
        parts, names = compiled_with(name)
        with _telling_after(PATIENCE), self._compiling():
            text = source(parts, self.limits.block_threads)
            module = self._cupy.RawModule(code=text, options=OPTIONS, name_expressions=names)
            functions = {each: module.get_function(each) for each in names}
            for function in functions.values():
                # the driver loads a function when it is asked for something: here, and not while a graph is captured
                int(function.num_regs)
        return functions

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """Where kernels, ours or CuPy's, may be compiled: what is missing then is named."""
        try:
            yield
        except (self._cupy.cuda.compiler.CompileException, ImportError, OSError, RuntimeError) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
            raise DeviceUnavailableError(
                f"A CUDA kernel could not be compiled ({type(error).__name__}: {reason[:300]}). NVRTC and CUDA's "
                "headers, of the version that CuPy was built for, are needed: install qiskit-fusedqml[cuda13] or "
                "qiskit-fusedqml[cuda12], which bring them as packages, or set CUDA_PATH to a CUDA toolkit; or use "
                "device='CPU'."
            ) from error

    def record(
        self, work: Callable[[], Result], kept: RecordedMemory | None = None, most: int | None = None
    ) -> tuple[Result, LaunchGraph]:
        """What ``work`` returns, and its launches, which are noted instead of made.

        All else it asks for is done at once: buffers are there and kernels loaded before anything is captured.
        Arithmetic of CuPy's own would be done at once, too, and never again: there must be none.

        Args:
            work: Launches kernels.
            kept: What recordings keep for one another; see `recorded`.
            most: Launches that are not too many.

        Raises:
            TooManyLaunchesError: If there are more.
        """
        launches: list[Launch] = []
        self._noting.launches, self._noting.kept, self._noting.most = launches, kept, most
        try:
            result = work()
        finally:
            self._noting.launches = self._noting.kept = None
        return result, LaunchGraph(self._cupy, launches)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What launches again all that ``work`` launches, on the stream that is current then; nothing is run yet."""
        return self.record(work)[1].launch

    @property
    def recorded(self) -> RecordedMemory | None:
        """What the recording under way in this thread keeps for others: there is one with a memory, or None."""
        return getattr(self._noting, "kept", None)

    @property
    def is_captured(self) -> bool:
        """Whether somebody captures the current stream as a CUDA graph, as ``torch.cuda.graph`` does."""
        return is_captured(self._cupy)

    def refuse_capture(self) -> None:
        """Raise `SimulationError` while the current stream is captured: a replay would work in memory that is freed."""
        if self.is_captured:
            raise SimulationError(
                "The current CUDA stream is being captured (by torch.cuda.graph or CuPy), where only values and their "
                "gradients can be asked for, of arrays in the GPU's memory, after two such steps with arrays of the "
                "same shapes. Ask outside of the capture."
            )

    def stream(self) -> Hashable:
        """The current stream, and its device."""
        pointer = int(self._cupy.cuda.get_current_stream().ptr)
        thread = threading.get_ident() if pointer == PER_THREAD_STREAM else 0
        return self.device, pointer, thread

    def synchronize(self) -> None:
        """Wait until all is done, so that what was uploaded can be used on any stream."""
        self._cupy.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        """Device memory that can still be had: what the driver has, and what CuPy's pool keeps unused."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self._cupy.get_default_memory_pool().free_bytes())

    def _cupy_array(self, array: Any, name: str) -> Any:
        is_own = isinstance(array, self._cupy.ndarray)
        kind, device = (OF_DEVICE, array.device.id) if is_own else array.__dlpack_device__()
        if kind == OF_DEVICE and int(device) != self.device:
            raise InvalidInputError(
                f"{name} is in the memory of CUDA device {int(device)}; all else is on device {self.device}. Move it "
                "there, or make what computes with it while its device is CuPy's current one: "
                f"with cupy.cuda.Device({int(device)}): ..."
            )
        try:  # DLPack makes the current stream wait for the stream that is writing the array
            found = array if is_own else self._cupy.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{name}, a {type(array).__name__}, cannot be taken by DLPack ({type(error).__name__}: {error}). Real "
                "numbers of one of NumPy's types are expected, of which no gradient is recorded (x.detach().double())."
            ) from error
        if found.dtype.kind not in "fiub":
            raise InvalidInputError(f"{name} is of type {found.dtype}; real numbers are expected.")
        return found

    def _allocated(self, needed: int, allocate: Callable[[], Buffer]) -> Buffer:
        try:
            return allocate()
        except self._cupy.cuda.memory.OutOfMemoryError:
            raise OutOfMemoryError(
                f"{format_bytes(needed)} do not fit in the GPU's memory, of which {format_bytes(self.free_bytes())} "
                "are free. Use fewer qubits, a smaller batch or max_memory_mb, or precision='single'."
            ) from None


@contextmanager
def _telling_after(seconds: float) -> Iterator[None]:
    """Say once that kernels are being compiled, if that takes so long."""
    timer = threading.Timer(seconds, _tell_of_compilation)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell_of_compilation() -> None:
    if "compilation" not in _told:
        _told.add("compilation")
        logger.warning(
            "CUDA kernels are being compiled for this GPU, which takes seconds for each of some ten. CuPy keeps them "
            "on disk: later processes find them there."
        )
