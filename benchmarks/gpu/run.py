"""Check the CUDA device on a GPU, then time it; one command, within nine minutes.

``python benchmarks/gpu/run.py --name h100`` needs Python, NumPy and CuPy, this checkout, and the files that
``python benchmarks/gpu/cases.py`` has written on a machine where the package is installed; PyTorch and triton-qml are
compared with where they are installed, and compute-sanitizer is asked where there is one. It writes
``benchmarks/results/gpu-NAME.json`` anew after everything it finds, so that nothing is lost when it is cut off;
``--resume`` goes on from such a file. ``--emulate`` goes the same way on the CPU, with small cases and a stand-in for
CuPy that runs the same kernels.
"""

from __future__ import annotations

import argparse
import json
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
import checks  # noqa: E402
import machine  # noqa: E402
import timing  # noqa: E402

from qiskit_fusedqml.devices.gpu.compiled import Geometry  # noqa: E402
from qiskit_fusedqml.devices.gpu.device import GPUDevice  # noqa: E402
from qiskit_fusedqml.devices.gpu.sources import kernel_names  # noqa: E402

LIMIT = 9 * 60.0
"""Seconds after which nothing new is begun."""

RESERVE = 15.0
"""The last of them are left for what is under way."""

GOALS = {
    "headline_seconds": {"goal": 30.0, "least": 60.0, "device": "H100"},
    "times_triton_qml": {"goal": 5.0, "at": "n = 12, 16, 20, B = 1000"},
    "share_of_floor": {"goal": 0.5, "at": "n = 12, 20"},
}
"""What the figures are held to."""

BATCHES = (1, 10, 100, 1000)

COMPILERS = 8
"""Processes that compile kernels side by side."""


class Budget:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds until nothing new is begun."""
        return self.end - time.perf_counter() - RESERVE


class Gpu:
    """What runs the cases: the CUDA device, timed by events.

    Args:
        emulated: Whether CuPy is the stand-in; times mean nothing then, and everything is small.
    """

    def __init__(self, *, emulated: bool) -> None:
        if emulated:
            from support.emulation import fake_cupy

            fake_cupy.install()
        import cupy

        from qiskit_fusedqml.devices.gpu.runtime import Runtime

        self.emulated, self.cupy, self.runtime = emulated, cupy, Runtime()
        self.folder = Path(tempfile.mkdtemp()) if emulated else cases.FOLDER
        if emulated:
            cases.write_all(self.folder, ("single", "double"), cases.DRY, self.runtime.limits, num_maps=8)
        self.compared = ("W3",) if emulated else ("n12", "n16", "n20")
        self.peers = ("torch", "numpy") if emulated else ("triton-qml", "torch", "cupy")
        self.seconds = 0.0 if emulated else 1.5
        """Of each timing."""

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

    def conformance(self) -> Iterator[dict[str, Any]]:
        """What every kernel does, beside the reference device and the host."""
        yield from checks.conformance(self.device, self.runtime.limits)
        yield checks.coefficient_maps(self.device("double"), self.folder, self.cupy.asnumpy)

    def ceilings(self) -> dict[str, float]:
        """What the machine does at most: copies in memory and in the cache, matrix products in both precisions."""
        cupy, result = self.cupy, {}
        for name, size, repeats in (("copy", 2**28, 1), ("cache", 2**20, 100)):
            count = size >> 16 if self.emulated else size
            source, target = cupy.zeros(count, cupy.float32), cupy.zeros(count, cupy.float32)

            def copies(source: Any = source, target: Any = target, repeats: int = repeats) -> None:
                for _ in range(repeats):
                    cupy.copyto(target, source)

            least = min(self.clock(copies) for _ in range(6))
            result[f"{name}_gb_per_s"] = 2 * repeats * source.nbytes / least / 1e9
        size = 32 if self.emulated else 8192
        for name, dtype in (("float32", cupy.float32), ("float64", cupy.float64)):
            a = cupy.ones((size, size), dtype)
            times = [self.clock(lambda a=a: a @ a) for _ in range(4)]
            result[f"gemm_{name}_gfma_per_s"] = size**3 / min(times) / 1e9
        self.free()
        return result

    def free(self) -> None:
        """Give memory back to the driver, for other processes."""
        self.cupy.get_default_memory_pool().free_all_blocks()

    def compile(self, seconds: float) -> dict[str, Any]:
        """All kernels, in several processes at once, then here, from disk: registers, and bytes of local memory.

        Where CuPy keeps nothing on disk (before 14.1), they are compiled anew here, as far as the time allows; the rest
        follow when they are first launched.
        """
        names = kernel_names()
        start = time.perf_counter()
        if not self.emulated:
            commands = [[sys.executable, str(HERE / "warm.py"), *names[k::COMPILERS]] for k in range(COMPILERS)]
            running = [subprocess.Popen(command) for command in commands]
            for process in running:
                try:
                    process.wait(max(1.0, seconds - (time.perf_counter() - start)))
                except subprocess.TimeoutExpired:
                    process.kill()
        compiled = time.perf_counter() - start
        found = {}
        for name in names:
            if time.perf_counter() - start > seconds:
                break
            kernel = self.runtime.kernel(name)
            found[name] = int(kernel.num_regs), int(kernel.local_size_bytes)
        whole = time.perf_counter() - start
        return {"compilers_seconds": compiled, "seconds": whole, "registers_and_local_bytes": found}


class Run:
    """The whole run: its stages one after the other, each result written at once.

    Args:
        runner: What runs the cases.
        output: The file.
        budget: The time.
        resume: Whether to go on from what the file says.
    """

    def __init__(self, runner: Gpu, output: Path, budget: Budget, *, resume: bool) -> None:
        self.runner, self.output, self.budget = runner, output, budget
        self.result: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "machine": machine.describe() | runner.describe(),
            "goals": GOALS,
            "conformance": [],
            "cases": [],
            "peers": [],
            "left_out": [],
        }
        if resume and output.exists():
            self.result |= json.loads(output.read_text()) | {"left_out": []}

    def write(self) -> None:
        """The file as far as it is known, in one move: a run that is cut off leaves the last whole one."""
        self.result["reached"] = timing.reached(self.result)
        self.result["seconds_left"] = self.budget.left
        self.output.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.output.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.result, indent=1) + "\n")
        unfinished.replace(self.output)

    def all(self) -> dict[str, Any]:
        """Everything, the most important first."""
        runner = self.runner
        if "kernels" not in self.result:
            self.result["kernels"] = runner.compile(self.budget.left / 3)
            self.write()
        if not self.result["conformance"]:
            for row in runner.conformance():
                self.result["conformance"].append(row)
                print(row, flush=True)
                self.write()
        if "ceilings" not in self.result:
            self.result["ceilings"] = runner.ceilings()
        files = sorted(runner.folder.glob("*.pickle"), key=_order)
        named = [path for path in files if _is_named(path) and "single" in path.name]
        for path in named:
            self.case(path)
        for name in runner.compared:
            self.compare(runner.folder / f"{name}-single.pickle")
        for path in files:
            if path not in named:
                self.case(path)
        self.sanitizer()
        self.write()
        return self.result

    def has_time(self, what: str) -> bool:
        """Whether something new may begin; notes what is left out."""
        if self.budget.left > 0:
            return True
        self.result["left_out"].append(what)
        return False

    def case(self, path: Path) -> None:
        """Check a case and time it, unless that has been done."""
        if any(row["file"] == path.name for row in self.result["cases"]) or not self.has_time(path.name):
            return
        case = cases.load(path)
        device = self.runner.device(case.precision)
        errors = checks.check_case(device, case)
        right = max(errors.values()) < (1e-10 if case.precision == "double" else 1e-4)
        table = {min(b, case.batch) for b in BATCHES} if not _is_named(path) else {case.batch}
        rows: list[dict[str, Any]] = []
        for samples in sorted(table) if right else []:
            rows.append(self.timed(device, case, samples))
            if case.name == "headline":
                rows[-1]["headline"] = timing.headline(rows[-1])
        if not right:
            rows = [{"name": case.name, "precision": case.precision}]
            print(path.name, "is wrong:", errors, flush=True)
        self.result["cases"] += [row | {"file": path.name, "errors": errors, "right": right} for row in rows]
        self.write()
        self.runner.free()

    def timed(self, device: GPUDevice, case: cases.Case, samples: int) -> dict[str, Any]:
        """A row of times."""
        runner = self.runner
        seconds = min(runner.seconds, max(self.budget.left, 0.0))
        row = timing.measure(device, case, samples, runner.clock, seconds, self.result["ceilings"])
        text = (
            f"{row['step_ms']:.3f} ms, {row['useful_gfma_per_s']:.0f} GFMA/s, {row['share_of_floor']:.2f} of the floor"
        )
        print(row["name"], row["precision"], samples, text, flush=True)
        return row

    def compare(self, path: Path) -> None:
        """Our step beside the peers', on the same samples."""
        done = {row["peer"] for row in self.result["peers"] if row["file"] == path.name}
        wanted = [peer for peer in self.runner.peers if peer not in done]
        if not wanted or not self.has_time(f"peers of {path.name}"):
            return
        case = cases.load(path)
        device = self.runner.device(case.precision)
        if max(checks.check_case(device, case).values()) > 1e-4:
            return
        self.runner.free()
        samples = timing.peer_samples(case, self.runner.runtime.free_bytes())
        ours = self.timed(device, case, samples)["step_ms"]
        self.runner.free()
        for number, peer in enumerate(wanted):
            if not self.has_time(f"{peer}, {path.name}"):
                continue
            timeout = min(120.0, self.budget.left / 2 if number + 1 < len(wanted) else self.budget.left)
            row = timing.run_peer(peer, path, samples, self.runner.seconds, max(timeout, RESERVE))
            row |= {"file": path.name, "n": case.num_qubits, "layers": case.layers, "batch": samples, "ours_ms": ours}
            print(row, flush=True)
            self.result["peers"].append(row)
            self.write()

    def sanitizer(self) -> None:
        """Ask compute-sanitizer."""
        if self.runner.emulated or "sanitizer" in self.result or not self.has_time("compute-sanitizer"):
            return
        self.result["sanitizer"] = {}
        for tool, answer in checks.sanitizer(max(self.budget.left, RESERVE)):
            self.result["sanitizer"][tool] = answer
            self.write()


def _is_named(path: Path) -> bool:
    return not path.name.startswith("n")


def _order(path: Path) -> tuple[bool, bool, str]:
    """Single precision and the named cases first."""
    return "double" in path.name, not _is_named(path), path.name


def wrong(result: dict[str, Any]) -> Iterator[Any]:
    """What is not right."""
    yield from (row for row in (*result["conformance"], *result["cases"]) if not row["right"])
    yield from (tool for tool, answer in result.get("sanitizer", {}).items() if answer["code"] not in (0, None))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check and time the CUDA device.")
    parser.add_argument("--name", default="gpu", help="the result is benchmarks/results/gpu-NAME.json")
    parser.add_argument("--emulate", action="store_true", help="run on the CPU, to try the script")
    parser.add_argument("--seconds", type=float, default=LIMIT)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from what the output file says")
    options = parser.parse_args()
    budget = Budget(options.seconds)
    runner = Gpu(emulated=options.emulate)
    if not any(runner.folder.glob("*.pickle")):
        parser.error(f"There are no cases in {runner.folder}: write them with python benchmarks/gpu/cases.py.")
    output = options.output or HERE.parent / "results" / f"gpu-{options.name}.json"
    result = Run(runner, output, budget, resume=options.resume).all()
    faults = list(wrong(result))
    print(f"{output}: {len(result['cases'])} rows, {len(faults)} of all checks wrong, left out: {result['left_out']}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
