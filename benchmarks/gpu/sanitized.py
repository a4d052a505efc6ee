"""Small runs of every kind of sweep, to be watched by compute-sanitizer; `run.py` starts it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests")]
sys.path.append(str(ROOT))  # an installed package comes first: it has the compiled module

import standin  # noqa: E402

standin.install()

import cases  # noqa: E402
import checks  # noqa: E402
import cupy  # noqa: E402
from support.conformance import random_run  # noqa: E402

from qiskit_fusedqml.devices.gpu.compiled import Geometry  # noqa: E402
from qiskit_fusedqml.devices.gpu.device import GPUDevice  # noqa: E402
from qiskit_fusedqml.devices.gpu.runtime import Runtime  # noqa: E402


def main() -> None:
    """A warp, a block, and tiles; coefficients and gradients made on the device."""
    runtime = Runtime()
    tiles = Geometry(single=True, whole_qubits=8, tile_qubits=9, largest_tile=10, limits=runtime.limits)
    for seed, n, spread, geometry in ((1, 6, 0, None), (2, 10, 0, None), (3, 11, 2, tiles)):
        print(n, max(random_run(seed, n, spread, 2).errors(GPUDevice(runtime, "single", geometry))))
    print(checks.coefficient_maps(GPUDevice(runtime, "double"), cases.FOLDER, cupy.asnumpy))


if __name__ == "__main__":
    main()
