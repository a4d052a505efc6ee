"""Numbers that Python and the kernels both know: written here, and declared to the kernels by `declarations`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...planner.tape import STEEP

THREADS = 256
"""Threads of a block of the kernels that are not sweeps, and of sweeps that measure matrices."""

WARP_THREADS = 128
"""Most threads of a block whose warps work alone."""

BLOCK_THREADS = (256, 512)
"""Threads of the largest blocks, on GPUs with little and with much shared memory (`Limits.block_threads`)."""

PART_BYTES = 32
"""Of a `Part` in the kernels."""

RESULTS_BYTES = 32
"""Of `Results` in the kernels."""


class Counts(NamedTuple):
    """The numbers of a `CoefficientMap` in the kernels, in their order; columns are the batched parameters."""

    parameters: int
    columns: int
    expressions: int
    sequences: int
    matrices: int
    batched_matrices: int
    shared_gates: int
    gates: int
    pairs: int
    scales: int
    angles: int
    batched_pairs: int
    batched_angles: int
    stretches: int
    plain: int
    scalings: int
    overlaps: int


_INTEGERS = (
    *("start", "source", "sequence_start", "axis", "order", "stretch_start", "plain"),
    *("sequence_overlaps", "sequence_pairs", "matrix_overlaps", "position"),
)

MAP_ARRAYS: dict[str, type[np.number]] = {
    **dict.fromkeys(_INTEGERS, np.int32),
    **dict.fromkeys(("weight", "constant", "sequence_signs"), np.float64),
}
"""The arrays of a `CoefficientMap`, and the types of their entries."""

_C_TYPES: dict[type[np.number], str] = {np.int32: "int", np.float64: "double"}
"""C++'s names of them."""

STRUCTURES: dict[str, dict[str, str]] = {
    "MapMembers": {
        **{name: f"const {_C_TYPES[kind]}*" for name, kind in MAP_ARRAYS.items()},
        **dict.fromkeys((f"num_{name}" for name in Counts._fields), "int"),
    },
    "SweepMembers": {
        **dict.fromkeys(("words", "order", "load_rows", "store_rows"), "const int*"),
        "part": "const volatile Part<Real>*",
        **dict.fromkeys(("ket", "bra"), "Complex<Real>*"),
        "numbers": "const Real*",
        "tables": "const Complex<Real>*",
        "partials": "Real*",
        **dict.fromkeys(("steps", "n", "t", "batch", "first_sample", "samples"), "int"),
        **dict.fromkeys(("shared_numbers", "capacity", "second"), "int"),
    },
}
"""Structures that kernels take by value: the C++ types of their members, which are pointers and integers."""


def _structure(name: str) -> np.dtype[np.void]:
    """NumPy's type of a structure."""
    members = STRUCTURES[name].items()
    return np.dtype([(member, np.uint64 if "*" in kind else np.int32) for member, kind in members], align=True)


MAP, SWEEP = _structure("MapMembers"), _structure("SweepMembers")

RECORDS = ("exchange", "flush", "turn", "unitary", "pauli", "phase", "diagonal", "measure", "dense")
"""The kinds of a sweep's records, by number."""

SCALINGS = ("plain_pair", "factored_pair", "carrier_pair", "carrier_scale")
"""The kinds of scaling operations, by number; those of pairs are `planner.tables.PLAIN` and its likes."""

STEPS = (
    *("variable", "number", "add", "subtract", "multiply", "divide", "power", "negative", "sin", "cos", "tan"),
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "absolute", "sign", "positive"),
    "zeros_like",
)
"""NumPy's names of a formula's steps, by number."""

STAGED_TERMS = 64
"""Terms of observables that are in shared memory at a time."""

THREAD_ROWS = 16
"""Most amplitudes that a thread has where observables are measured or applied."""

PAULI_KINDS = ("affine", "pair", "turn", "transfer")
"""The kinds of operations on Pauli vectors, by number."""

PAULI_THREADS = 256
"""Most threads of a block that works on Pauli vectors."""

PAULI_ROW_WORDS = 256
"""Words of shared memory for the rows of a tile's entries."""

PAULI_SUMS = 18
"""Most sums of an operation on Pauli vectors, and most numbers."""

PAULI_WORDS = 25
"""Words of an operation's record."""


def declarations(block_threads: int) -> str:
    """C++ declarations of all that is here.

    Args:
        block_threads: Threads of the largest blocks on the device that the kernels are compiled for.
    """
    numbers = {
        "small_block": THREADS,
        "warp_block": WARP_THREADS,
        "largest_block": block_threads,
        "part_bytes": PART_BYTES,
        "results_bytes": RESULTS_BYTES,
        "map_bytes": MAP.itemsize,
        "sweep_bytes": SWEEP.itemsize,
        "steep": int(STEEP),
        "staged_terms": STAGED_TERMS,
        "thread_rows": THREAD_ROWS,
        "pauli_threads": PAULI_THREADS,
        "pauli_row_words": PAULI_ROW_WORDS,
        "pauli_sums": PAULI_SUMS,
        "pauli_words": PAULI_WORDS,
    }
    lines = [f"constexpr int {name} = {value};" for name, value in numbers.items()]
    for name, values in (
        ("Kind", [f"{each}_record" for each in RECORDS]),
        ("Scaling", list(SCALINGS)),
        ("Step", [f"{each}_step" for each in STEPS]),
        ("PauliKind", [f"pauli_{each}" for each in PAULI_KINDS]),
    ):
        lines.append(f"enum {name} {{ {', '.join(values)} }};")
    lines += [f"template <class Real> struct {name};" for name in ("Complex", "Part")]
    for name, members in STRUCTURES.items():
        template = "template <class Real> " if any("Real" in kind for kind in members.values()) else ""
        declared = " ".join(f"{kind} {member};" for member, kind in members.items())
        lines.append(f"{template}struct {name} {{ {declared} }};")
    return "namespace fusedqml {\n" + "\n".join(lines) + "\n}\n"
