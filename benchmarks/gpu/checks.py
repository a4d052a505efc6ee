"""What must be right before anything is timed: every kernel, every case, and compute-sanitizer's opinion."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import timing
from support.conformance import TOLERANCE, random_run

from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.planner.frame import Frame

HERE = Path(__file__).resolve().parent

SHOTS = 1000
"""Of the device's sampling."""


PLAIN = ((1, 5), (3, 40), (5, 3), (6, 21), (8, 9), (9, 2), (10, 3), (12, 2))
"""Qubits and samples of states that are one tile."""

TILED = (10, 11, 12)
"""Qubits of states that are cut into tiles."""

TOOLS = ("memcheck", "racecheck", "synccheck")
"""Of compute-sanitizer."""


def conformance_names() -> list[str]:
    """The items of `conformance`, as words."""
    sizes = [*(f"{n} {batch}" for n, batch in PLAIN), *(f"{n} tiles" for n in TILED), "shots"]
    return [f"{precision} {size}" for precision in ("double", "single") for size in sizes]


def conformance(name: str, make_device: Callable[[str, Geometry | None], GPUDevice], limits: Limits) -> dict[str, Any]:
    """A random tape of every operation against the reference device, or shots against NumPy's."""
    precision, first, *rest = name.split(" ")
    if first == "shots":
        return shots(make_device(precision, None), precision)
    single, n = precision == "single", int(first)
    smallest = 9 if single else 8
    tiled = rest == ["tiles"]
    batch, spread = (2, n - smallest) if tiled else (int(rest[0]), 0)
    geometry = Geometry(single, 8, smallest, smallest + 1, limits) if tiled else None
    errors = random_run(n + batch, n, spread, batch, operations=6).errors(make_device(precision, geometry))
    right = bool(max(errors) < 10 * TOLERANCE[precision])
    where = "tiles" if tiled else "warp" if n <= 8 else "block"
    return {"n": n, "batch": batch, "where": where, "precision": precision, "error": max(errors), "right": right}


def shots(device: GPUDevice, precision: str) -> dict[str, Any]:
    """Shots drawn on the device and by NumPy from the same random numbers: the share that differs, for rounding."""
    n, run = 10, random_run(1, 10, 0, 2)
    ket, frame = device.allocate(run.tape, 2, run.start), Frame.identity(n)
    keys = np.array([[3, 1], [4, 1]], np.uint64)
    given = device.sample(ket, frame, range(n), SHOTS, keys)
    sums = np.cumsum(np.abs(run.start) ** 2, axis=1)
    expected = [
        np.searchsorted(row / row[-1], np.random.Generator(np.random.Philox(key=key)).random(SHOTS), side="right")
        for row, key in zip(sums, keys, strict=True)
    ]
    error = float(np.mean(given != expected))
    return {"n": n, "batch": 2, "where": "shots", "precision": precision, "error": error, "right": error < 1e-2}


def coefficient_maps(device: GPUDevice, folder: Path, host: Callable[[Any], np.ndarray]) -> dict[str, Any]:
    """Coefficients and gradients made on the device, beside those of the examples that were carried here."""
    examples = pickle.loads((folder / cases.EXAMPLES).read_bytes())
    error = max(max(example.errors(device, host)) for example in examples)
    return {
        "examples": len(examples),
        "where": "coefficient maps",
        "precision": "double",
        "error": error,
        "right": error < 1e-10,
    }


def check_case(device: GPUDevice, case: cases.Case) -> dict[str, float]:
    """Errors of a case's first samples: values absolutely, overlaps and gradients relative to the largest.

    Overlaps are found with the coefficients that were carried here, gradients with those that the device makes.
    """
    samples, frame = len(case.values), case.tape.frame
    bound = case.bound(samples)
    ket = device.allocate(case.tape, samples, None)
    device.forward(case.tape, bound, ket)
    values = device.expectation(ket, frame, case.sums)
    bra = device.apply_observables(ket, frame, case.sums, np.ones((samples, 1)))
    overlaps = device.backward(case.tape, bound, ket, bra, per_sample=True)
    return {
        "values": float(np.abs(values - case.values).max()),
        "overlaps": float(np.nanmax(np.abs(overlaps - case.overlaps)) / np.nanmax(np.abs(case.overlaps))),
    } | _on_device_errors(device, case, samples)


def _on_device_errors(device: GPUDevice, case: cases.Case, samples: int) -> dict[str, float]:
    """The same for the step that is timed, in which nothing crosses."""
    parts, held = timing.step(device, case, samples)
    for part in parts.values():
        part()
    values, gradient = (device.to_host(held[name]) for name in ("values", "gradient"))
    right = case.gradient.reshape(-1)
    return {
        "on-device values": float(np.abs(values - case.values).max()),
        "gradient": float(np.abs(gradient[case.num_qubits :] - right).max() / np.abs(right).max()),
    }


def sanitizer(tool: str, seconds: float) -> dict[str, Any]:
    """Small runs under a tool of compute-sanitizer, where it is installed: what it says."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return {"code": None, "end": "compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, str(HERE / "sanitized.py")]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"code": None, "end": "took too long"}
    return {"code": answer.returncode, "end": answer.stdout[-500:] + answer.stderr[-500:]}
