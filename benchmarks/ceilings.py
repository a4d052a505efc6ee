"""What this machine can do at most: matrix products and memory traffic.

``python benchmarks/ceilings.py [--threads 1,2] [--json]``. A product of large matrices is the most multiply-adds per
second that a program sees in practice; ``y += a x`` over vectors larger than the caches is the most bytes. Both through
the BLAS of NumPy and SciPy, best of several. Thread counts are fixed before the libraries are loaded: one process each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import blas

SIZE = 2048
"""Rows and columns of the matrices."""

STREAM_MIB = {"1 MiB": 1, "16 MiB": 16, "256 MiB": 256}
"""Size of the two vectors together."""


def best(action: Callable[[], object], seconds: float = 1.0) -> float:
    """The shortest time of an action repeated for some time, after an untimed one."""
    action()
    shortest, deadline = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        action()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def gemm(dtype: type[np.floating]) -> float:
    """Multiply-adds per second, in 10^9, of a matrix product."""
    a = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(dtype)
    out = np.empty_like(a)
    return SIZE**3 / best(lambda: np.matmul(a, a, out=out)) / 1e9


def stream(mebibytes: float, seconds: float = 0.5) -> float:
    """GB/s of ``y += a x``: two streams read, one written."""
    size = int(mebibytes * 2**20) // 16
    x, y = np.ones(size), np.ones(size)
    return 24 * size / best(lambda: blas.daxpy(x, y, a=1e-9), seconds) / 1e9


def environment(threads: int) -> dict[str, str]:
    """This process's environment with a number of threads for the libraries that NumPy and SciPy may use."""
    names = ("OPENBLAS", "OMP", "MKL", "BLIS")
    counts = {f"{name}_NUM_THREADS": str(threads) for name in names}
    return os.environ | counts | {"VECLIB_MAXIMUM_THREADS": str(threads)}


def measure_here() -> dict[str, Any]:
    """All figures at the thread count of this process."""
    return {
        "gemm_gfma_per_s": {"double": gemm(np.float64), "single": gemm(np.float32)},
        "axpy_gb_per_s": {name: stream(mebibytes) for name, mebibytes in STREAM_MIB.items()},
    }


def measure(threads: int) -> dict[str, Any]:
    """All figures at a thread count, in a process of its own."""
    command = [sys.executable, __file__, "--here"]
    finished = subprocess.run(command, env=environment(threads), check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(finished.stdout)
    return figures | {"threads": threads}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Measure the machine's ceilings.")
    parser.add_argument("--threads", default="1,2", help="thread counts (default: 1,2)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure_here()))
        return
    rows = [measure(int(threads)) for threads in arguments.threads.split(",")]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    sizes = list(STREAM_MIB)
    print("| threads | double GFMA/s | single GFMA/s | " + " | ".join(f"axpy {s}, GB/s" for s in sizes) + " |")
    print("|" + "---|" * (3 + len(sizes)))
    for row in rows:
        gemms, streams = row["gemm_gfma_per_s"], row["axpy_gb_per_s"]
        figures = [gemms["double"], gemms["single"], *(streams[s] for s in sizes)]
        print(f"| {row['threads']} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
