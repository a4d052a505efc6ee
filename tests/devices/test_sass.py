"""The sweeps' machine code, executed on the CPU: it does what the text says, and executes no more than it did.

Counts are those of the newest NVRTC; `counts.json` has them as `registers.json` has registers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.programs import layered
from support.sass.launches import Launch, NotingRuntime, counts, run

from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.sources import TEMPLATES, source
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

pytestmark = [pytest.mark.nvdisasm, pytest.mark.slow]

LIMITS = Limits(shared_bytes=227 << 10, multiprocessors=132)
FILE = Path(__file__).parent / "counts.json"
MORE = 1.03
"""What another version of NVRTC may need more."""

SIZES = {"lanes": (5, 3), "warp": (8, 2), "block": (9, 3)}
"""Qubits and layers of circuits that run on some lanes of a warp, on one warp, and on one block of larger threads."""


@cache
def launches(where: str, precision: str) -> list[Launch]:
    """A forward and a backward sweep of the layered circuit, on one sample."""
    n, layers = SIZES[where]
    circuit = layered(n, layers)
    count = circuit.num_angles
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    device = GPUDevice(NotingRuntime(limits=LIMITS), precision)
    sums = [PauliSum(n, (PauliTerm(0.7, 3, 1), PauliTerm(0.4, 0, 1 << n - 1)))]
    f = ProgramFunction(circuit, angles, sums, EngineOptions(device), num_inputs=n)
    rng = np.random.default_rng(n)
    f.value_and_vjp(rng.uniform(-3, 3, (1, n)), rng.uniform(-3, 3, count - n), np.ones((1, 1)))
    return device.runtime.sweeps


def differences(launch: Launch, text: str | None = None) -> float:
    """How far what the machine code leaves is from what the emulation left."""
    _, found = run(launch, text)
    real = np.float32 if "<float" in launch.kernel else np.float64
    most = 0.0
    for given, expected, before in zip(found, launch.after, launch.before, strict=True):
        if expected != before:  # floating-point numbers: integers are not written
            a, b = np.frombuffer(given, real), np.frombuffer(expected, real)
            known = np.isfinite(b)
            most = max(most, float(np.abs(a - b)[known].max()) if np.isfinite(a[known]).all() else np.inf)
    return most


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-15), ("single", 3e-7)])
@pytest.mark.parametrize("where", SIZES)
def test_machine_code_does_what_the_text_says(where, precision, tolerance):
    assert len(launches(where, precision)) == 2
    for launch in launches(where, precision):
        assert differences(launch) < tolerance


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("where", SIZES)
def test_counts(where, precision):
    table = json.loads(FILE.read_text())[f"{where} {precision}"]
    for pinned, launch in zip(table, launches(where, precision), strict=True):
        found = counts(run(launch)[0])
        assert set(found) == set(pinned)
        assert found["arithmetic"] > pinned["arithmetic"] / MORE
        assert all(found[name] < pinned[name] * MORE for name in found if name != "arithmetic")


def test_a_wrong_kernel_and_a_slow_one_are_seen():
    forward = launches("lanes", "double")[0]
    text = source(TEMPLATES)
    right, wrong = "y = {y.re + b * u.re, y.im + b * u.im};", "y = {y.re - b * u.re, y.im + b * u.im};"
    assert text.count(right) == 1
    assert differences(forward, text.replace(right, wrong)) > 1e-3
    quick, slow = "if (uniform && a == 1) {", "if (uniform && a == 3) {"  # all take the way that multiplies by both
    assert text.count(quick) == 1
    slowed = text.replace(quick, slow)
    assert differences(forward, slowed) < 1e-15
    assert counts(run(forward, slowed)[0])["instructions"] > MORE * counts(run(forward)[0])["instructions"]


def main() -> None:
    """Write the table."""
    table = {
        f"{where} {precision}": [counts(run(launch)[0]) for launch in launches(where, precision)]
        for where in SIZES
        for precision in ("single", "double")
    }
    rows = (f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, found)) + "\n ]" for key, found in table.items())
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
