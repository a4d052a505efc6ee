"""The text of the kernels, and what it says about them: names, instances, parameters.

Kernels that depend on the precision are templates; each is compiled by itself when it is first launched. All others are
in a text of their own and compiled together, for NVRTC compiles what is no template whether it is asked for or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .constants import BLOCK_THREADS, declarations

FOLDER = Path(__file__).parent.parent / "cuda_src"

TEMPLATES = (
    *("base", "tile", "turns", "diagonal", "dense", "sweep", "tables", "readout"),
    *("pauli_operations", "pauli_sweep", "pauli_readout"),
)
"""The files of the kernels that are templates, in the order in which they build on one another."""

PLAIN = ("base", "binding", "sampling", "coefficients", "formulas", "recordings")
"""Those of all other kernels."""

PARTS = (*TEMPLATES, *PLAIN[1:])
"""All files; they make one text, too."""

OPTIONS = ("-std=c++17",)
"""What NVRTC is told besides the architecture."""

_KERNEL = re.compile(
    r"(?:template <(?P<template>[^>]*)>\s+)?__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?"
    r"(?P<name>\w+)\((?P<parameters>[^)]*)\)"
)


@cache
def source(parts: tuple[str, ...] = PARTS, block_threads: int = BLOCK_THREADS[-1]) -> str:
    """Kernels as one text; errors name the file they are in.

    Args:
        parts: Their files.
        block_threads: Threads of the largest blocks (`Limits.block_threads`).
    """
    text = "".join(f'#line 1 "{part}.cuh"\n{(FOLDER / f"{part}.cuh").read_text()}' for part in parts)
    return f'#line 1 "constants.py"\n{declarations(block_threads)}{text}'


@cache
def compiled_with(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that a kernel is compiled from, and the kernels that are compiled with it, itself included."""
    if "<" in name:
        return TEMPLATES, (name,)
    return PLAIN, tuple(other for other in kernel_names() if "<" not in other)


@cache
def _declared() -> dict[str, tuple[str, tuple[type[np.integer] | None, ...]]]:
    """Template parameters of each kernel, and the types of its parameters: None for pointers and structures."""
    found: dict[str, tuple[str, tuple[type[np.integer] | None, ...]]] = {}
    for kernel in _KERNEL.finditer(source()):
        types = tuple(_integer(parameter) for parameter in kernel["parameters"].split(","))
        found[kernel["name"]] = kernel["template"] or "", types
    return found


def _integer(parameter: str) -> type[np.integer] | None:
    """The type of an integer parameter; None for pointers and structures."""
    if "*" in parameter:
        return None
    return np.int64 if "long long" in parameter else np.int32 if "int" in parameter.split() else None


def arguments(kernel: str, values: Sequence[Any]) -> list[Any]:
    """What is passed to a kernel: buffers, structures, None for a null pointer, integers in its types."""
    types = _declared()[kernel][1]
    return [value if scalar is None else scalar(value) for scalar, value in zip(types, values, strict=True)]


@cache
def kernel_name(kernel: str, single: bool) -> str:
    """Name expression of a kernel other than a sweep: there are two of those that depend on the precision."""
    template, _ = _declared()[kernel]
    return f"fusedqml::{kernel}<{_real(single)}>" if template else f"fusedqml::{kernel}"


@cache
def sweep_name(single: bool, register_qubits: int, warp: bool, undo: bool, measured: bool = False) -> str:
    """Name expression of a sweep; ``measured``: overlaps of matrices are wanted of a block.

    It is spelled as NVIDIA's demangler does: CuPy 14.1 and 14.2 find what they have on disk by that spelling.
    """
    flags = ", ".join(f"(bool){int(flag)}" for flag in (warp, undo, measured))
    return f"fusedqml::sweep<{_real(single)}, (int){register_qubits}, {flags}>"


@cache
def kernel_names() -> list[str]:
    """All kernels that a device may launch."""
    names = []
    for kernel, (template, _) in _declared().items():
        for single in (True, False) if template else (False,):
            names += _sweep_names(single) if kernel == "sweep" else [kernel_name(kernel, single)]
    return names


def _sweep_names(single: bool) -> list[str]:
    block = 4 if single else 3
    names = [sweep_name(single, w, warp=True, undo=undo) for w in (1, 2, 3) for undo in (False, True)]
    names += [sweep_name(single, block, warp=False, undo=undo) for undo in (False, True)]
    return [*names, sweep_name(single, block, warp=False, undo=True, measured=True)]


def _real(single: bool) -> str:
    """C++ type of a real number."""
    return "float" if single else "double"
