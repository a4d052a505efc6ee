"""The text of the kernels and the names of their instances."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "cuda_src"
PARTS = ("base", "tile", "turns", "diagonal", "dense", "sweep", "tables", "readout", "sampling")
"""The files in the order in which they build on one another."""

RUNNING_SUMS, DRAW_OUTCOMES = "fusedqml::running_sums", "fusedqml::draw_outcomes"
"""Kernels that know double precision only."""

OPTIONS = ("-std=c++17",)
"""What NVRTC is told besides the architecture."""


@cache
def source() -> str:
    """All kernels as one text; errors name the file they are in."""
    return "".join(f'#line 1 "{part}.cuh"\n{(FOLDER / f"{part}.cuh").read_text()}' for part in PARTS)


def real_name(single: bool) -> str:
    """C++ type of a real number."""
    return "float" if single else "double"


def sweep_name(single: bool, register_qubits: int, warp: bool, undo: bool) -> str:
    """Name expression of a sweep."""
    flags = ", ".join(str(flag).lower() for flag in (warp, undo))
    return f"fusedqml::sweep<{real_name(single)}, {register_qubits}, {flags}>"


def kernel_name(kernel: str, single: bool) -> str:
    """Name expression of a kernel that depends on the precision only."""
    return f"fusedqml::{kernel}<{real_name(single)}>"
