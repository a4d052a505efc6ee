"""The text of the kernels and the names of their instances."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "cuda_src"
PARTS = (
    "base",
    "tile",
    "turns",
    "diagonal",
    "dense",
    "sweep",
    "tables",
    "readout",
    "sampling",
    "coefficients",
    "formulas",
)
"""The files in the order in which they build on one another."""

SMALL_KERNELS = (
    "fill_tables",
    "set_part",
    "set_state",
    "relabel",
    "expectation",
    "apply_observables",
    "probabilities",
    "add_segments",
    "pack_numbers",
)
"""Those that depend on the precision only."""

RUNNING_SUMS, DRAW_OUTCOMES = "fusedqml::running_sums", "fusedqml::draw_outcomes"
SET_COEFFICIENT_MAP = "fusedqml::set_coefficient_map"
BIND_VALUES, BIND_SHARED = "fusedqml::bind_values", "fusedqml::bind_shared"
ADD_COLUMNS, PULL_SEQUENCES, PULL_VALUES = "fusedqml::add_columns", "fusedqml::pull_sequences", "fusedqml::pull_values"
EVALUATE_EXPRESSIONS, PULL_EXPRESSIONS = "fusedqml::evaluate_expressions", "fusedqml::pull_expressions"

DOUBLE_KERNELS = (
    *(RUNNING_SUMS, DRAW_OUTCOMES, SET_COEFFICIENT_MAP, BIND_VALUES, BIND_SHARED, ADD_COLUMNS, PULL_SEQUENCES),
    *(PULL_VALUES, EVALUATE_EXPRESSIONS, PULL_EXPRESSIONS),
)
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


@cache
def sweep_name(single: bool, register_qubits: int, warp: bool, undo: bool, measured: bool = False) -> str:
    """Name expression of a sweep; ``measured``: overlaps of matrices are wanted of a block.

    It is spelled as NVIDIA's demangler does: CuPy 14.1 and 14.2 find what they have on disk by that spelling.
    """
    flags = ", ".join(f"(bool){int(flag)}" for flag in (warp, undo, measured))
    return f"fusedqml::sweep<{real_name(single)}, (int){register_qubits}, {flags}>"


@cache
def kernel_name(kernel: str, single: bool) -> str:
    """Name expression of a kernel that depends on the precision only."""
    return f"fusedqml::{kernel}<{real_name(single)}>"


def kernel_names() -> list[str]:
    """All kernels that a device may launch."""
    names = [*DOUBLE_KERNELS]
    for single in (True, False):
        names += [sweep_name(single, w, warp=True, undo=undo) for w in (1, 2, 3) for undo in (False, True)]
        block = 4 if single else 3
        names += [sweep_name(single, block, warp=False, undo=undo) for undo in (False, True)]
        names += [sweep_name(single, block, warp=False, undo=True, measured=True)]
        names += [kernel_name(kernel, single) for kernel in SMALL_KERNELS]
    return names
