"""A fidelity kernel of 10^4 x 10^4 entries, whole: time and peak memory, with and without a limit on the states.

    python benchmarks/kernel.py                      # about half a minute on a quiet machine
    python benchmarks/kernel.py --json FILE.json     # and a file

Memory is the most that a process of its own ever held, less what it held with everything imported; the matrix itself,
800 MB, is part of it. Entries are compared with Qiskit's statevectors.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine

MIB = 2**20
QUBITS, SAMPLES = 10, 10_000


def peak() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(samples: int, qubits: int, max_memory_mb: float | None) -> dict[str, Any]:
    """One matrix, in this process."""
    import numpy as np
    from qiskit.circuit.library import zz_feature_map
    from qiskit.quantum_info import Statevector

    from qiskit_fusedqml import FusedFidelityKernel

    features, rng = zz_feature_map(qubits, reps=2), np.random.default_rng(0)
    x = rng.uniform(-1, 1, (samples, qubits))
    kernel = FusedFidelityKernel(feature_map=features, max_memory_mb=max_memory_mb)
    kernel.evaluate(x[:2])
    before, start = peak(), time.perf_counter()
    matrix = kernel.evaluate(x)
    seconds = time.perf_counter() - start
    for i, j in rng.integers(0, samples, (20, 2)):
        one, other = (Statevector(features.assign_parameters(x[k])).data for k in (i, j))
        np.testing.assert_allclose(matrix[i, j], abs(np.vdot(one, other)) ** 2, rtol=0, atol=1e-10)
    return {
        "samples": samples,
        "qubits": qubits,
        "max_memory_mb": max_memory_mb,
        "seconds": seconds,
        "matrix_mib": matrix.nbytes / MIB,
        "states_mib": samples * 16 * 2**qubits / MIB,
        "peak_mib": (peak() - before) / MIB,
    }


def line(entry: dict[str, Any]) -> str:
    """An entry in a line of text."""
    limit = "no limit" if entry["max_memory_mb"] is None else f"states within {entry['max_memory_mb']:.0f} MiB"
    return (
        f"{entry['samples']} x {entry['samples']}, {entry['qubits']} qubits, {limit}: {entry['seconds']:.2f} s, "
        f"{entry['peak_mib']:.0f} MiB, of which the matrix is {entry['matrix_mib']:.0f} (all states at once would be "
        f"{entry['states_mib']:.0f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, and write, what `measure` finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--qubits", type=int, default=QUBITS)
    parser.add_argument("--json", type=Path, help="where to write everything")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = machine.report(entries=[])
    for limit in (None, 64.0):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            entry = process.submit(measure, options.samples, options.qubits, limit).result()
        record["entries"].append(entry)
        print(line(entry), flush=True)
    machine.save(record, options.json)


if __name__ == "__main__":
    main()
