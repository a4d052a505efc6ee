"""Numbers that Python and the kernels both know: written here, and declared to the kernels by `declarations`."""

from __future__ import annotations

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

MAP_BYTES = 256
"""At least those of a `CoefficientMap` in the kernels."""

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
        "map_bytes": MAP_BYTES,
        "steep": int(STEEP),
        "staged_terms": STAGED_TERMS,
        "thread_rows": THREAD_ROWS,
        "pauli_threads": PAULI_THREADS,
        "pauli_row_words": PAULI_ROW_WORDS,
        "pauli_sums": PAULI_SUMS,
        "pauli_words": PAULI_WORDS,
    }
    lines = [f"constexpr int {name} = {value};" for name, value in numbers.items()]
    for name, members in (
        ("Kind", [f"{each}_record" for each in RECORDS]),
        ("Scaling", list(SCALINGS)),
        ("Step", [f"{each}_step" for each in STEPS]),
        ("PauliKind", [f"pauli_{each}" for each in PAULI_KINDS]),
    ):
        lines.append(f"enum {name} {{ {', '.join(members)} }};")
    return "namespace fusedqml {\n" + "\n".join(lines) + "\n}\n"
