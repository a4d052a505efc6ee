"""Runs the CUDA kernels on the CPU: compiles the very same text with a C++ compiler and launches it block by block."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from support.emulation.signatures import check

from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.runtime import Structure
from qiskit_fusedqml.devices.gpu.sources import kernel_names, source

HERE = Path(__file__).parent
FLAGS = ("-std=c++20", "-O1", "-fPIC", "-w", "-fno-strict-aliasing", f"-I{HERE}")
GUARD = 128


def groups() -> list[list[str]]:
    """Name expressions of all kernels, in groups that are compiled side by side."""
    names = kernel_names()
    precisions = [[name for name in names if real in name] for real in ("<float", "<double")]
    rest = [name for name in names if not any(name in group for group in precisions)]
    halves = [
        [name for name in group if (re.search(r"\(int\)\d, \(bool\)1, ", name) is not None) == warp]
        for group in precisions
        for warp in (False, True)
    ]
    return [halves[0] + rest, *halves[1:]]


class Library:
    """Compiled kernels, callable by their name expressions.

    Args:
        text: The kernels' source.
        names: Name expressions, in groups that are compiled side by side.
        flags: Further flags of the compiler.
    """

    def __init__(self, text: str, names: list[list[str]], flags: tuple[str, ...] = ()) -> None:
        self.names = {name: f"run_{i}_{k}" for i, group in enumerate(names) for k, name in enumerate(group)}
        parts = [_unit(text, group, i) for i, group in enumerate(names)]
        self._library = ctypes.CDLL(str(build(parts, ("-shared", *flags))))
        self._library.emulation_complaint.restype = ctypes.c_char_p

    def seed(self, value: int) -> None:
        self._library.emulation_seed(ctypes.c_uint64(value))

    def run(self, name: str, sizes: tuple[int, int, int], shared_bytes: int, arguments: list[object]) -> None:
        check(name, arguments)
        values = [_value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        getattr(self._library, self.names[name])((ctypes.c_uint * 3)(*sizes), ctypes.c_size_t(shared_bytes), pointers)
        complaint = self._library.emulation_complaint().decode()
        if complaint:
            raise RuntimeError(f"{name}: {complaint}")


def _unit(text: str, names: list[str], number: int) -> str:
    """A translation unit: CUDA's words, the kernels, and a way to call them."""
    entries = "".join(
        f'extern "C" void run_{number}_{k}(const unsigned* sizes, size_t shared_bytes, void** arguments) '
        f"{{ emulation::run(&{name}, sizes, shared_bytes, arguments); }}\n"
        for k, name in enumerate(names)
    )
    return f'#include "cuda_words.h"\n{text}\n{entries}'


def build(parts: list[str], flags: tuple[str, ...]) -> Path:
    """Compile and link, or find what an earlier call or another process has built from the same text."""
    shim = (HERE / "blocks.cpp").read_text()
    options = tuple(flag for flag in flags if flag != "-shared")
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda part: _compiled(part, options), [shim, *parts]))
    command = [*flags, *map(str, objects), "-pthread"]
    return _made(" ".join(command), command)


def _compiled(text: str, flags: tuple[str, ...]) -> Path:
    """The object file of a translation unit."""
    words = (HERE / "cuda_words.h").read_text()
    unit = _folder() / f"{_hash(text)}.cpp"
    if not unit.exists():  # another process may be compiling it
        unfinished = unit.with_suffix(f".{os.getpid()}")
        unfinished.write_text(text)
        unfinished.rename(unit)
    command = [*FLAGS, *flags, "-c", str(unit)]
    return _made(words + text + " ".join(command), command)


def _made(identity: str, command: list[str]) -> Path:
    """What the compiler makes of a command, unless it has been made before."""
    compiler = os.environ.get("CXX", "g++")
    target = _folder() / _hash(compiler + identity)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            _check([compiler, *command, "-o", str(unfinished)])
            unfinished.rename(target)
    return target


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"fusedqml-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check(command: list[str]) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{answer.stderr[:4000]}")


def _value(argument: object) -> ctypes._SimpleCData:
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, Structure):
        return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return np.ctypeslib.as_ctypes_type(np.asarray(argument).dtype)(argument)


def buffers_of(arguments: Iterable[Any]) -> list[Any]:
    """The buffers among arguments, and among the members of structures."""
    members = [each.members.values() if isinstance(each, Structure) else (each,) for each in arguments]
    return [each for group in members for each in group if each is not None and not isinstance(each, int | np.number)]


def words_of(argument: object) -> list[int | np.ndarray | None]:
    """What a kernel is given as 8-byte words: numbers, and instead of their addresses buffers, or None."""
    if argument is None or (isinstance(argument, np.ndarray) and not isinstance(argument, Structure)):
        return [argument]
    if not isinstance(argument, Structure):
        return [int(argument) & 2**64 - 1]
    words: list[int | np.ndarray | None] = list(map(int, np.frombuffer(argument.tobytes(), np.uint64)))
    for name, (kind, offset) in argument.dtype.fields.items():
        if kind == np.uint64:
            words[offset // 8] = argument.members[name]
    return words


class Recorder:
    """Notes launches for `replay`; `EmulatedRuntime.launch` calls it before it runs them."""

    def __init__(self) -> None:
        self.roots: list[np.ndarray] = []
        self.contents: list[bytes] = []
        self.launches: list[tuple[str, list[int]]] = []

    def note(self, name: str, sizes: tuple[int, int, int], shared_bytes: int, arguments: list[object]) -> None:
        words = [*sizes, shared_bytes, len(arguments)]
        for argument in arguments:
            parts = words_of(argument)
            words.append(len(parts))
            for part in parts:
                words += self._word(part)
        self.launches.append((name, words))

    def _word(self, word: int | np.ndarray | None) -> tuple[int, int, int]:
        if word is None:
            return 2, 0, 0
        if isinstance(word, int):
            return 0, word, 0
        root = word.base
        if not any(root is known for known in self.roots):
            self.roots.append(root)
            self.contents.append(root[GUARD:-GUARD].tobytes())
        number = next(k for k, known in enumerate(self.roots) if known is root)
        return 1, number, word.ctypes.data - root.ctypes.data - GUARD

    def file(self, names: list[str]) -> bytes:
        """What the program reads; ``names`` are its entries."""
        parts = [struct.pack("<Q", len(self.contents))]
        for content in self.contents:
            parts += (struct.pack("<Q", len(content)), content)
        parts.append(struct.pack("<Q", len(self.launches)))
        for name, words in self.launches:
            parts.append(struct.pack(f"<{1 + len(words)}Q", names.index(name), *words))
        return b"".join(parts)


def replay_program(text: str, names: list[str], flags: tuple[str, ...]) -> Path:
    """The program that runs recorded launches again."""
    table = ", ".join(f"run_0_{k}" for k in range(len(names)))
    entries = f"typedef void Entry(const unsigned*, size_t, void**);\nextern Entry* const entries[] = {{{table}}};\n"
    main = (HERE / "replay.cpp").read_text()
    return build([_unit(text, names, 0) + entries, main], ("-DEMULATION_THREADS", "-g1", *flags))


@cache
def library() -> Library:
    """All kernels as they are."""
    return Library(source(), groups())


class EmulatedRuntime:
    """`qiskit_fusedqml.devices.gpu.runtime.Runtime`, on the CPU. Buffers are arrays between two guards.

    Args:
        kernels: The compiled kernels.
        seed: Draws the schedule of every launch; 0 for the plain one.
        limits: The device that is emulated.
        recorder: Notes the launches.
    """

    def __init__(
        self,
        kernels: Library | None = None,
        seed: int = 0,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.recorder = recorder
        self.limits = limits or Limits(shared_bytes=227 << 10, multiprocessors=2)
        self.kernels = kernels or library()
        self.seed = seed
        self.captured: list[tuple] | None = None
        self.device = 0
        self.replays = 0
        self.launches: list[tuple[str, tuple[int, int], int, int]] = []

    def current(self, stream=None):
        return nullcontext()

    def empty(self, count, dtype):
        assert self.captured is None, "memory is asked for while launches are captured"
        size = count * np.dtype(dtype).itemsize
        room = np.full(size + 2 * GUARD, 0xFF, np.uint8)  # NaN, and the guards
        return room[GUARD : GUARD + size].view(dtype)

    def upload(self, array):
        flat = np.ravel(array)
        buffer = self.empty(flat.size, flat.dtype)
        buffer[:] = flat
        return buffer

    def write(self, buffer, array):
        assert self.captured is None, "a copy from the host while launches are captured"
        assert buffer.dtype == array.dtype
        buffer[: len(array)] = array

    def structure(self, dtype, members):
        return Structure.of(dtype, members, lambda buffer: buffer.ctypes.data)

    def download(self, buffer):
        assert self.captured is None, "a copy to the host while launches are captured"
        return np.array(buffer)

    def is_on_device(self, array):
        return False

    def take(self, array, name="The array"):
        raise NotImplementedError("nobody has arrays in this memory")

    def copy(self, buffer):
        return self.upload(buffer)

    def capture(self, work):
        assert self.captured is None
        launches = self.captured = []
        work()
        self.captured = None

        def replay():
            self.replays += 1
            for launch in launches:
                self.launch(*launch)

        return replay

    recorded = None

    def refuse_capture(self):
        """Nobody captures a stream here."""

    def stream(self):
        return 0

    def synchronize(self):
        """Every launch has ended when it returns."""

    def free_bytes(self):
        return 8 << 30

    def launch(self, kernel, blocks, threads, shared_bytes, arguments):
        assert all(isinstance(a, (np.ndarray, np.int32, np.int64, type(None))) for a in arguments)
        assert 0 < blocks[0] < 2**31
        assert 0 < blocks[1] < 2**16
        assert shared_bytes <= self.limits.shared_bytes
        if self.captured is not None:
            self.captured.append((kernel, blocks, threads, shared_bytes, arguments))
            return
        self.launches.append((kernel, blocks, threads, shared_bytes))
        if self.recorder:
            self.recorder.note(kernel, (*blocks, threads), shared_bytes, list(arguments))
        self.kernels.seed(self.seed)
        self.kernels.run(kernel, (*blocks, threads), shared_bytes, list(arguments))
        for buffer in buffers_of(arguments):
            root = buffer.base
            if not ((root[:GUARD] == 0xFF).all() and (root[-GUARD:] == 0xFF).all()):
                raise RuntimeError(f"{kernel}: a write beyond a buffer")
