"""``python -m qiskit_fusedqml info``: what this machine has, what would be used of it, how to get what is missing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, version

from ..memory import format_bytes, physical_memory
from .calibration import cpu_facts, find
from .checks import PRECISIONS
from .cpu import instruction_set

_PACKAGES = ("qiskit-fusedqml", "qiskit", "numpy", "scipy")

_EXTRAS = {
    "qiskit-machine-learning": "ml",
    "qiskit-aer": "aer",
    "torch": "torch",
    "pennylane": "pennylane",
    "matplotlib": "demo",
    "mpi4py": "mpi",
}
"""Optional packages -> the extras that bring them."""

_OF_CUDA = {
    "CuPy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "CUDA compiler (NVRTC)": ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"),
}
"""What the GPU device needs -> the packages that can bring it."""

_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "neon", "asimd", "sve")
_CUDA_LIBRARIES = ("libcuda.so.1", "libcuda.so", "libcuda.dylib", "nvcuda.dll")


def describe() -> str:
    """The whole report, one fact a line. Imports neither CuPy nor torch."""
    isa, facts = instruction_set(), cpu_facts()
    present = (facts.get("flags") or facts.get("Features", "")).split()
    lines = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((package, _version(package) or "not installed") for package in _PACKAGES),
        *((package, _version(package) or _missing(extra)) for package, extra in _EXTRAS.items()),
        ("MPI", _mpiexec() or f"no mpiexec in PATH; load a cluster's module, or {_install('mpi')} for MPICH"),
        ("processor", f"{facts.get('model name') or platform.processor() or 'unknown'} ({platform.machine()})"),
        ("features", " ".join(feature for feature in _FEATURES if feature in present) or "unknown on this system"),
        ("instruction set", f"{isa}, chosen for the CPU device"),
        ("cost model", _cost_model(isa)),
        ("threads", _threads()),
        ("memory", format_bytes(physical_memory())),
        ("CUDA", cuda_state()),
        *((what, _any_version(packages)) for what, packages in _OF_CUDA.items()),
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
        return "no CUDA: this machine has no driver; for an NVIDIA GPU, install NVIDIA's"
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _install(extra: str) -> str:
    return f'pip install "qiskit-fusedqml[{extra}]"'


def _missing(extra: str) -> str:
    return f"not installed: {_install(extra)}"


def _mpiexec() -> str | None:
    scripts = sysconfig.get_path("scripts")  # where that extra puts it; not in PATH unless the environment is active
    return shutil.which("mpiexec", path=os.pathsep.join([os.environ.get("PATH", ""), scripts]))


def _any_version(packages: tuple[str, ...]) -> str:
    found = (f"{package} {number}" for package in packages if (number := _version(package)))
    return next(found, f"{_missing('cuda13')}, or [cuda12] for a driver of CUDA 12")


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
