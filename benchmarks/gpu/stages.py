"""The stages of a run: items, one after the other. `run.py` runs every stage in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import checks
import loop
import smoke
import timing

from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.sources import kernel_names

HERE = Path(__file__).resolve().parent

BATCHES = (1, 10, 100, 1000)

COMPILERS = 8
"""Processes that compile kernels side by side."""

STEPS = 20
"""Steps that the host does not wait for."""

STAGES = (
    *("smoke", "kernels", "conformance", "sanitizer", "ceilings", "named", "kernel times", "variants", "peers"),
    *("training loops", "table"),
)
"""In their order, the most important first."""

LOOPS = tuple(
    (n, layers, batch, precision)
    for precision in ("single", "double")
    for n, layers, batch in ((4, 3, 256), (8, 4, 256), (12, 10, 1000))
)
"""Sizes of the training loops."""

DRY_LOOPS = ((2, 1, 4, "double"),)


class Stages:
    """What runs the items: the CUDA device, timed by events.

    Args:
        folder: The cases.
        result: The result so far; what is found is put there.
        emulated: Whether CuPy is the stand-in; times mean nothing then, and everything is small.
    """

    def __init__(self, folder: Path, result: dict[str, Any], *, emulated: bool) -> None:
        if emulated:
            from support.emulation import fake_cupy

            fake_cupy.install()
        import cupy

        from qiskit_fusedqml.devices.gpu.runtime import Runtime

        self.emulated, self.cupy, self.runtime, self.folder, self.result = emulated, cupy, Runtime(), folder, result
        self.compared = ("W3",) if emulated else ("n12", "n16", "n20")
        self.peers = ("torch", "numpy") if emulated else ("triton-qml", "torch", "cupy")
        self.seconds = 0.0 if emulated else 1.5
        """Of each timing."""

    def items(self, stage: str) -> list[str]:
        """The names of a stage's items."""
        files = sorted((path.name for path in self.folder.glob("*.pickle")), key=_order)
        named = [name for name in files if not name.startswith("n") and "single" in name]
        wanted = [f"{name}-single.pickle" for name in (*self.compared, "headline")]
        large = [name for name in wanted if name in files]
        compared = [name for name in large if not name.startswith("headline")]
        match stage:
            case "smoke":
                return [*smoke.ITEMS]
            case "kernels":
                return ["all"]
            case "conformance":
                return [*checks.conformance_names(), "coefficient maps"]
            case "sanitizer":
                return [] if self.emulated else [*checks.TOOLS]
            case "ceilings":
                return ["copy", "cache", "float32", "float64"]
            case "named":
                return named
            case "kernel times" | "variants":
                return large
            case "peers":
                return [f"{file} {peer}" for file in compared for peer in self.peers]
            case "training loops":
                return [" ".join(map(str, each)) for each in (DRY_LOOPS if self.emulated else LOOPS)]
        assert stage == "table"
        return [name for name in files if name not in named]

    def run(self, stage: str, item: str, left: float) -> None:
        """Do an item, in about the seconds that are left at most."""
        match stage:
            case "smoke":
                self.add("smoke", smoke.run(item, self.runtime, self.cupy))
            case "kernels":
                self.result["kernels"] = self.compile(left / 3)
            case "conformance":
                self.add("conformance", self.conformance(item))
            case "sanitizer":
                self.result.setdefault("sanitizer", {})[item] = checks.sanitizer(item, min(left, 60.0))
            case "ceilings":
                self.result.setdefault("ceilings", {}).update(self.ceiling(item))
            case "named" | "table":
                self.case(item, left)
            case "kernel times":
                self.kernel_times(item)
            case "variants":
                case = cases.load(self.folder / item)
                rows = timing.variants(self.runtime, case, case.batch, self.clock, self.seconds)
                self.result.setdefault("variants", {})[item] = rows
            case "peers":
                self.peer(*item.split(" "), left)
            case "training loops":
                self.training_loop(item)
        self.cupy.get_default_memory_pool().free_all_blocks()

    def add(self, key: str, row: dict[str, Any]) -> None:
        """A row of the result."""
        print(row, flush=True)
        self.result.setdefault(key, []).append(row)

    def device(self, precision: str, geometry: Geometry | None = None) -> GPUDevice:
        """A device for a precision."""
        return GPUDevice(self.runtime, precision, geometry)

    def loaded(self, file: str) -> tuple[cases.Case, GPUDevice]:
        """A case and the device that runs it."""
        case = cases.load(self.folder / file)
        return case, self.device(case.precision)

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

    def conformance(self, item: str) -> dict[str, Any]:
        """What kernels do, beside the reference device and the host."""
        if item == "coefficient maps":
            return checks.coefficient_maps(self.device("double"), self.folder, self.cupy.asnumpy)
        return checks.conformance(item, self.device, self.runtime.limits)

    def ceiling(self, item: str) -> dict[str, float]:
        """What the machine does at most: copies in memory and in the cache, matrix products in both precisions."""
        cupy = self.cupy
        if item in {"copy", "cache"}:
            size, repeats = (2**28, 1) if item == "copy" else (2**20, 100)
            count = size >> 16 if self.emulated else size
            source, target = cupy.zeros(count, cupy.float32), cupy.zeros(count, cupy.float32)
            least = min(self.clock(lambda: [cupy.copyto(target, source) for _ in range(repeats)]) for _ in range(6))
            return {f"{item}_gb_per_s": 2 * repeats * source.nbytes / least / 1e9}
        size = 32 if self.emulated else 8192
        a = cupy.ones((size, size), getattr(cupy, item))
        return {f"gemm_{item}_gfma_per_s": size**3 / min(self.clock(lambda: a @ a) for _ in range(4)) / 1e9}

    def compile(self, seconds: float) -> dict[str, Any]:
        """All kernels, in several processes at once, then here, from disk: registers, and bytes of local memory."""
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
            if time.perf_counter() - start > seconds and not self.emulated:
                break
            kernel = self.runtime.kernel(name)
            found[name] = int(kernel.num_regs), int(kernel.local_size_bytes)
        whole = time.perf_counter() - start
        return {"compilers_seconds": compiled, "seconds": whole, "registers_and_local_bytes": found}

    def case(self, file: str, left: float) -> None:
        """Check a case and time it."""
        case, device = self.loaded(file)
        errors = checks.check_case(device, case)
        right = max(errors.values()) < (1e-10 if case.precision == "double" else 1e-4)
        batches = {min(b, case.batch) for b in BATCHES} if file.startswith("n") else {case.batch}
        rows: list[dict[str, Any]] = [] if right else [{"name": case.name, "precision": case.precision}]
        for samples in sorted(batches) if right else []:
            rows.append(self.timed(device, case, samples, left))
            rows[-1]["flowing"] = timing.without_waiting(
                device, case, samples, self.clock, 2 if self.emulated else STEPS
            )
            if case.name == "headline":
                rows[-1]["headline"] = timing.headline(rows[-1])
        for row in rows:
            self.add("cases", row | {"file": file, "errors": errors, "right": right})

    def timed(self, device: GPUDevice, case: cases.Case, samples: int, left: float) -> dict[str, Any]:
        """A row of times."""
        seconds = min(self.seconds, max(left, 0.0))
        return timing.measure(device, case, samples, self.clock, seconds, self.result.get("ceilings", {}))

    def kernel_times(self, file: str) -> None:
        """Each kernel of a step by itself."""
        case, device = self.loaded(file)
        rows = timing.kernel_times(device, case, case.batch, self.clock, 2 if self.emulated else 20)
        self.result.setdefault("kernel_times", {})[file] = rows

    def peer(self, file: str, peer: str, left: float) -> None:
        """Our step beside a peer's, on the same samples."""
        case, device = self.loaded(file)
        if max(checks.check_case(device, case).values()) > 1e-4:
            raise RuntimeError(f"{file} is wrong")
        samples = timing.peer_samples(case, self.runtime.free_bytes())
        ours = self.timed(device, case, samples, left)["step_ms"]
        del device
        self.cupy.get_default_memory_pool().free_all_blocks()
        row = timing.run_peer(peer, self.folder / file, samples, self.seconds, max(min(120.0, left), 15.0))
        self.add(
            "peers",
            row | {"file": file, "n": case.num_qubits, "layers": case.layers, "batch": samples, "ours_ms": ours},
        )

    def training_loop(self, item: str) -> None:
        """The torch loop, where there is what it needs."""
        lacks = loop.missing()
        if lacks:
            self.result.setdefault("left_out", []).append(f"training loop {item}: {lacks}")
            return
        n, layers, batch, precision = item.split(" ")
        row = loop.run(int(n), int(layers), int(batch), precision, self.seconds, emulated=self.emulated)
        self.add("training_loops", row)


def _order(name: str) -> tuple[bool, bool, str]:
    """Single precision and the named cases first."""
    return "double" in name, name.startswith("n"), name


def write(path: Path, result: dict[str, Any]) -> None:
    """The result in one move: a run that is cut off leaves the last whole one."""
    result["reached"] = timing.reached(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(path)


def work(stage: str, only: str | None, output: Path, folder: Path, seconds: float, *, emulated: bool) -> None:
    """A process's part: the items of a stage that are neither done nor have failed, or a single one again."""
    end = time.perf_counter() + seconds
    result = json.loads(output.read_text())
    stages = Stages(folder, result, emulated=emulated)
    result["machine"] |= {} if "gpu" in result["machine"] else stages.describe()
    for item in stages.items(stage) if only is None else [only]:
        name = f"{stage}: {item}"
        if name in result["done"] or (only is None and name in result["errors"]):
            continue
        if time.perf_counter() > end:
            result["left_out"].append(name)
            continue
        result["doing"] = name
        write(output, result)
        print(name, flush=True)
        stages.run(stage, item, end - time.perf_counter())
        result["done"].append(name)
    result["doing"] = None
    write(output, result)
