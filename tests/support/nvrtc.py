"""NVRTC through ctypes: compiles CUDA kernels on machines without a GPU and says what they need."""

from __future__ import annotations

import ctypes
import re
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """What ptxas reports of a kernel: registers of a thread, and bytes it stores to memory for want of them."""

    registers: int
    spilled: int


@cache
def find() -> ctypes.CDLL | None:
    """The library out of the wheel nvidia-cuda-nvrtc, or None."""
    for folder in {*sys.path, *site.getsitepackages()}:
        for library in sorted(Path(folder).glob("nvidia/cu*/lib/libnvrtc.so.*")):
            for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(library))
    return None


def compile_kernels(source: str, names: list[str], architecture: str, options: tuple[str, ...]) -> list[Kernel]:
    """Compile to machine code; the kernels in the order of their names.

    Raises:
        RuntimeError: With NVRTC's log, if the source does not compile.
    """
    with _compiled(source, names, (*options, f"-arch={architecture}", "--ptxas-options=-v")) as (nvrtc, program):
        return _reports(nvrtc, program, names)


def machine_code(source: str, name: str, architecture: str, options: tuple[str, ...]) -> bytes:
    """The machine code of a kernel.

    Raises:
        RuntimeError: With NVRTC's log, if the source does not compile.
    """
    with _compiled(source, [name], (*options, f"-arch={architecture}")) as (nvrtc, program):
        size = ctypes.c_size_t()
        _check(nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        found = ctypes.create_string_buffer(size.value)
        _check(nvrtc.nvrtcGetCUBIN(program, found))
        return found.raw


@contextmanager
def _compiled(source: str, names: list[str], options: tuple[str, ...]) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    nvrtc = find()
    program = ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None))
    for name in names:
        _check(nvrtc.nvrtcAddNameExpression(program, name.encode()))
    flags = [flag.encode() for flag in options]
    status = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    if status:
        raise RuntimeError(_log(nvrtc, program))
    yield nvrtc, program
    _check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))


def _reports(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, names: list[str]) -> list[Kernel]:
    log = _log(nvrtc, program)
    reports = dict(re.findall(r"Compiling entry function '(\w+)'.*?\n(.*?Used \d+ registers)", log, re.DOTALL))
    kernels = []
    for name in names:
        mangled = ctypes.c_char_p()
        _check(nvrtc.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(mangled)))
        report = reports[mangled.value.decode()]
        spilled = int(re.search(r"(\d+) bytes spill stores", report)[1])
        kernels.append(Kernel(int(re.search(r"Used (\d+) registers", report)[1]), spilled))
    return kernels


def _log(nvrtc: ctypes.CDLL, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc.nvrtcGetProgramLog(program, text))
    return text.value.decode()


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC returned {status}")
