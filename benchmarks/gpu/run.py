"""Check the CUDA device on a GPU, then time it; one command, within nine minutes.

``python benchmarks/gpu/run.py --name h100`` needs Python, NumPy and CuPy, this checkout, and the files that
``python benchmarks/gpu/cases.py`` has written on a machine where the package is installed. It writes
``benchmarks/results/gpu-NAME.json`` anew after every case. ``--emulate`` goes the same way on the CPU, with small
cases.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for folder in (HERE, HERE.parent, ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
sys.path.append(str(ROOT))  # an installed package comes first: it has the compiled module

import standin  # noqa: E402

standin.install()

import cases  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
from devices.conformance import TOLERANCE, random_run  # noqa: E402

from qiskit_fusedqml.devices.gpu.compiled import Geometry  # noqa: E402
from qiskit_fusedqml.devices.gpu.device import GPUDevice  # noqa: E402
from qiskit_fusedqml.devices.gpu.runtime import Limits, Runtime  # noqa: E402

LIMIT = 9 * 60.0
"""Seconds after which nothing new is begun; the last of them are left for what is under way."""

GOALS = {
    "headline_seconds": {"goal": 30.0, "least": 60.0, "device": "H100"},
    "times_triton_qml": {"goal": 5.0, "at": "n = 12, 16, 20, B = 1000"},
    "share_of_floor": {"goal": 0.5, "at": "n = 12, 20"},
}
"""What the figures are held to."""

HEADLINE = (1000, 1000)
"""Layers and samples of the headline job, on 20 qubits."""

BATCHES = (1, 10, 100, 1000)

Clock = Callable[[Callable[[], object]], float]
"""Seconds a call takes, until the device has finished it."""


class Budget:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.perf_counter()


def useful_fma(n: int, layers: int, batch: int) -> float:
    """Multiply-adds of a step of the layered circuit that we know no way to get by without."""
    return float((10 * n + 14) * 2**n * layers * batch)


def conformance(make_device: Callable[[str, Geometry | None], GPUDevice], limits: Limits) -> Iterator[dict[str, Any]]:
    """Random tapes of every operation against the reference device."""
    for precision in ("double", "single"):
        single = precision == "single"
        smallest = 9 if single else 8
        tiles = Geometry(single, 8, smallest, smallest + 1, limits)
        plain = [
            (n, 0, batch, None) for n, batch in ((1, 5), (3, 40), (5, 3), (6, 21), (8, 9), (9, 2), (10, 3), (12, 2))
        ]
        for seed, (n, spread, batch, geometry) in enumerate(
            [*plain, *((n, n - smallest, 2, tiles) for n in (10, 11, 12))]
        ):
            errors = random_run(seed, n, spread, batch, operations=6).errors(make_device(precision, geometry))
            right = bool(max(errors) < 10 * TOLERANCE[precision])
            where = "tiles" if geometry else "warp" if n <= 8 else "block"
            yield {"n": n, "batch": batch, "where": where, "precision": precision, "error": max(errors), "right": right}


def sanitizer(budget: Budget) -> dict[str, Any]:
    """Small runs under compute-sanitizer's memcheck and racecheck, where it is installed."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return {"available": False}
    results: dict[str, Any] = {"available": True}
    for tool in ("memcheck", "racecheck", "synccheck"):
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, str(HERE / "sanitized.py")]
        try:
            answer = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=min(60.0, budget.left - 240)
            )
            results[tool] = {"code": answer.returncode, "end": answer.stdout[-500:]}
        except subprocess.TimeoutExpired:
            results[tool] = {"code": None, "end": "took too long"}
    return results


def check_case(device: GPUDevice, case: cases.Case) -> dict[str, float]:
    """Errors of a case's first samples: values absolutely, overlaps relative to the largest."""
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
    }


def step(device: GPUDevice, case: cases.Case, samples: int) -> dict[str, Callable[[], None]]:
    """The parts of a training step, to be called in order."""
    bound, frame = case.bound(samples), case.tape.frame
    cotangents = np.ones((samples, 1))
    held: dict[str, Any] = {}

    def forward() -> None:
        held["ket"] = device.allocate(case.tape, samples, None)
        device.forward(case.tape, bound, held["ket"])

    def values() -> None:
        device.expectation(held["ket"], frame, case.sums)

    def bra() -> None:
        held["bra"] = device.apply_observables(held["ket"], frame, case.sums, cotangents)

    def backward() -> None:
        device.backward(case.tape, bound, held["ket"], held["bra"], per_sample=False)

    return {"forward": forward, "values": values, "bra": bra, "backward": backward}


def measure(device: GPUDevice, case: cases.Case, samples: int, clock: Clock, seconds: float) -> dict[str, Any]:
    """Times of a step and its parts: the first one, which compiles and uploads, apart."""
    parts = step(device, case, samples)
    first = {name: clock(part) for name, part in parts.items()}
    times: dict[str, list[float]] = {name: [] for name in parts}
    end = time.perf_counter() + seconds
    while len(times["forward"]) < 2 or (time.perf_counter() < end and len(times["forward"]) < 200):
        for name, part in parts.items():
            times[name].append(clock(part))
    whole = [sum(repeat) for repeat in zip(*times.values(), strict=True)]
    median = statistics.median(whole)
    return {
        "n": case.num_qubits,
        "layers": case.layers,
        "batch": samples,
        "precision": case.precision,
        "repeats": len(whole),
        "step_ms": 1e3 * median,
        "fastest_ms": 1e3 * min(whole),
        "parts_ms": {name: 1e3 * statistics.median(values) for name, values in times.items()},
        "first_ms": {name: 1e3 * value for name, value in first.items()},
        "us_per_layer_sample": 1e6 * median / case.layers / samples,
        "useful_gfma_per_s": useful_fma(case.num_qubits, case.layers, samples) / median / 1e9,
        "sweeps": len(case.tape.blocks),
    }


def headline(row: dict[str, Any]) -> dict[str, Any]:
    """The headline job's time, scaled from fewer layers and samples."""
    layers, samples = HEADLINE
    factor = layers / row["layers"] * samples / row["batch"]
    return {
        "seconds": row["step_ms"] / 1e3 * factor,
        "scaled_by": factor,
        "measured": "scaled" if factor != 1 else "whole",
    }


class Gpu:
    """What runs the cases: the CUDA device, timed by events."""

    share = 0.5
    """Of the time left for a case, what its timing may take."""

    def __init__(self) -> None:
        import cupy

        from qiskit_fusedqml.devices.cuda import CUDADevice, CupyRuntime

        self.cupy, self._device = cupy, CUDADevice
        self.runtime: Runtime = CupyRuntime()
        self.folder = cases.FOLDER

    def device(self, precision: str, geometry: Geometry | None = None) -> GPUDevice:
        """A device for a precision."""
        return GPUDevice(self.runtime, precision, geometry)

    def clock(self, call: Callable[[], object]) -> float:
        """Seconds between the events before and after a call."""
        start, stop = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) / 1e3

    def describe(self) -> dict[str, Any]:
        """The GPU and its software."""
        runtime = self.cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.cupy.cuda.Device().id)
        return {
            "gpu": properties["name"].decode(),
            "multiprocessors": properties["multiProcessorCount"],
            "compute_capability": self.cupy.cuda.Device().compute_capability,
            "driver": runtime.driverGetVersion(),
            "cuda": runtime.runtimeGetVersion(),
            "cupy": self.cupy.__version__,
        }

    def ceilings(self) -> dict[str, float]:
        """What the machine does at most: a large copy, and a large matrix product in single and double precision."""
        cupy = self.cupy
        source, target = cupy.zeros(2**28, cupy.float32), cupy.zeros(2**28, cupy.float32)
        result = {}
        times = [self.clock(lambda: cupy.copyto(target, source)) for _ in range(6)]
        result["copy_gb_per_s"] = 2 * source.nbytes / min(times) / 1e9
        for name, dtype in (("float32", cupy.float32), ("float64", cupy.float64)):
            a = cupy.ones((8192, 8192), dtype)
            times = [self.clock(lambda a=a: a @ a) for _ in range(4)]
            result[f"gemm_{name}_gfma_per_s"] = 8192**3 / min(times) / 1e9
        return result


class Emulation:
    """The same on the CPU; its times mean nothing."""

    share = 0.0

    def __init__(self) -> None:
        from devices.emulation.runtime import EmulatedRuntime

        self.runtime: Runtime = EmulatedRuntime(seed=1)
        self.folder = Path(tempfile.mkdtemp())
        cases.write_all(self.folder, ("single", "double"), cases.DRY, self.runtime.limits)

    def device(self, precision: str, geometry: Geometry | None = None) -> GPUDevice:
        """A device for a precision."""
        return GPUDevice(self.runtime, precision, geometry)

    @staticmethod
    def clock(call: Callable[[], object]) -> float:
        """Seconds by the clock on the wall."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    @staticmethod
    def describe() -> dict[str, Any]:
        """That there is no GPU."""
        return {"gpu": "none: emulated on the CPU"}

    @staticmethod
    def ceilings() -> dict[str, float]:
        """Nothing to compare with."""
        return {}


def run(runner: Gpu | Emulation, output: Path, budget: Budget, batches: tuple[int, ...]) -> dict[str, Any]:
    """All checks, then all times; the file is complete after each of them."""
    result: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe() | runner.describe(),
        "goals": GOALS,
        "conformance": [],
        "cases": [],
        "left_out": [],
    }

    def write() -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n")

    for row in conformance(runner.device, runner.runtime.limits):
        result["conformance"].append(row)
        print(row, flush=True)
    write()
    result["ceilings"] = runner.ceilings()
    if isinstance(runner, Gpu):
        result["sanitizer"] = sanitizer(budget)
    files = sorted(runner.folder.glob("*.pickle"), key=_order)
    for number, path in enumerate(files):
        if budget.left < 20:
            result["left_out"] += [f.name for f in files[number:]]
            break
        result["cases"] += _case(runner, cases.load(path), batches, budget.left / (len(files) - number))
        write()
    result["seconds_left"] = budget.left
    write()
    return result


def _order(path: Path) -> tuple[bool, bool, str]:
    """Single precision and the named cases first."""
    return "double" in path.name, path.name.startswith("n"), path.name


def _case(runner: Gpu | Emulation, case: cases.Case, batches: tuple[int, ...], seconds: float) -> list[dict[str, Any]]:
    device = runner.device(case.precision)
    errors = check_case(device, case)
    limit = 1e-10 if case.precision == "double" else 1e-4
    right = max(errors.values()) < limit
    table = case.name.startswith("n")
    samples = sorted({min(b, case.batch) for b in batches}) if table else [case.batch]
    rows = []
    for count in samples if right else []:
        row = measure(device, case, count, runner.clock, runner.share * seconds / len(samples))
        row |= {"name": case.name, "errors": errors, "right": right}
        if case.name == "headline":
            row["headline"] = headline(row)
        rows.append(row)
        print(
            row["name"], row["precision"], count, f"{row['step_ms']:.3f} ms", f"{row['useful_gfma_per_s']:.0f} GFMA/s"
        )
    return rows or [{"name": case.name, "precision": case.precision, "errors": errors, "right": False}]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check and time the CUDA device.")
    parser.add_argument("--name", default="gpu", help="the result is benchmarks/results/gpu-NAME.json")
    parser.add_argument("--emulate", action="store_true", help="run on the CPU, to try the script")
    parser.add_argument("--seconds", type=float, default=LIMIT)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    budget = Budget(options.seconds)
    runner = Emulation() if options.emulate else Gpu()
    if not any(runner.folder.glob("*.pickle")):
        parser.error(f"There are no cases in {runner.folder}: write them with python benchmarks/gpu/cases.py.")
    output = options.output or HERE.parent / "results" / f"gpu-{options.name}.json"
    result = run(runner, output, budget, BATCHES)
    wrong = [row for row in (*result["conformance"], *result["cases"]) if not row["right"]]
    print(f"{output}: {len(result['cases'])} rows, {len(wrong)} of all checks wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
