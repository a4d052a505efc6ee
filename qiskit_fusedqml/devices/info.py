"""``python -m qiskit_fusedqml info``: what this machine offers and what would be used of it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from ..memory import format_bytes, physical_memory
from .calibration import cpu_facts, find
from .checks import PRECISIONS
from .cpu import instruction_set

_PACKAGES = (
    "qiskit-fusedqml",
    "qiskit",
    "numpy",
    "scipy",
    "qiskit-machine-learning",
    "qiskit-aer",
    "torch",
    "pennylane",
    "cupy-cuda12x",
    "cupy-cuda13x",
)
_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "neon", "asimd", "sve")
_CUDA_LIBRARIES = ("libcuda.so.1", "libcuda.so", "libcuda.dylib", "nvcuda.dll")


def describe() -> str:
    """The whole report, one fact a line. Imports neither CuPy nor torch."""
    isa, facts = instruction_set(), cpu_facts()
    present = (facts.get("flags") or facts.get("Features", "")).split()
    lines = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((package, _version(package)) for package in _PACKAGES),
        ("processor", f"{facts.get('model name') or platform.processor() or 'unknown'} ({platform.machine()})"),
        ("features", " ".join(feature for feature in _FEATURES if feature in present) or "unknown on this system"),
        ("instruction set", f"{isa}, chosen for the CPU device"),
        ("cost model", _cost_model(isa)),
        ("threads", _threads()),
        ("memory", "unknown on this system" if sys.platform == "win32" else format_bytes(physical_memory())),
        ("CUDA", cuda_state()),
    ]
    return "\n".join(f"{what:<24}{text}" for what, text in lines)


def cuda_state() -> str:
    """What the CUDA driver says, asked through its C interface."""
    for name in _CUDA_LIBRARIES:
        try:
            driver = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return "no CUDA: this machine has no driver"
    status = driver.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return f"no CUDA: there is a driver, but no device it can use (status {status})"
    return ", ".join(_device_name(driver, number) for number in range(count.value))


def _device_name(driver: ctypes.CDLL, number: int) -> str:
    text = ctypes.create_string_buffer(128)
    handle = ctypes.c_int()
    if driver.cuDeviceGet(ctypes.byref(handle), number) or driver.cuDeviceGetName(text, len(text), handle):
        return f"device {number}, which has no name"
    return text.value.decode(errors="replace")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cost_model(isa: str) -> str:
    tables = {precision: find(isa, precision)[1] for precision in PRECISIONS}
    if len(set(tables.values())) == 1:
        return tables["double"]
    return "; ".join(f"{precision}: {table}" for precision, table in tables.items())


def _threads() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cap = os.environ.get("OMP_NUM_THREADS")
    said = f"; OMP_NUM_THREADS is {cap}" if cap else ""
    return f"{usable} of {os.cpu_count()} cores are open to this process{said}"
