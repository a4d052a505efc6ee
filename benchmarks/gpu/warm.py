"""Compile kernels, named on the command line; `run.py` starts several at once. CuPy keeps what they make on disk."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]
sys.path.append(str(Path(__file__).resolve().parent.parent.parent))  # an installed package has the compiled module

import standin  # noqa: E402

standin.install()

from qiskit_fusedqml.devices.gpu.runtime import Runtime  # noqa: E402

if __name__ == "__main__":
    runtime = Runtime()
    for name in sys.argv[1:]:
        runtime.kernel(name)
