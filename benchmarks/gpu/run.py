"""Check the CUDA device on a GPU, then time it; one command, within nine minutes.

``python benchmarks/gpu/run.py --name h100`` needs Python, NumPy and CuPy, this checkout, and the files that
``python benchmarks/gpu/cases.py`` has written on a machine where the package is installed; PyTorch and triton-qml are
compared with where they are installed, and compute-sanitizer is asked where there is one. Each stage runs in a process
of its own, which writes ``benchmarks/results/gpu-NAME.json`` anew after everything it finds. What fails is noted there,
tried once more with CUDA_LAUNCH_BLOCKING=1, and the run goes on. ``--resume`` goes on from such a file. ``--emulate``
goes the same way on the CPU, with small cases and a stand-in for CuPy that runs the same kernels. ``--ncu`` asks Nsight
Compute about four launches of a case instead. READING.md says how to read the result.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for place in (HERE, HERE.parent, ROOT / "tests"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
sys.path.append(str(ROOT))  # an installed package comes first: it has the compiled module

import standin  # noqa: E402

standin.install()

import cases  # noqa: E402
import machine  # noqa: E402
import stages  # noqa: E402

LIMIT = 9 * 60.0
"""Seconds after which nothing new is begun."""

RESERVE = 15.0
"""The last of them are left for what is under way."""

PATIENCE = 90.0
"""Seconds beyond the limit after which a stage is ended."""

GOALS = {
    "headline_seconds": {"goal": 30.0, "least": 60.0, "device": "H100"},
    "times_triton_qml": {"goal": 5.0, "at": "n = 12, 16, 20, B = 1000"},
    "share_of_floor": {"goal": 0.5, "at": "n = 12, 20"},
}
"""What the figures are held to."""


class Run:
    """The whole run: its stages one after the other.

    Args:
        output: The file.
        folder: The cases.
        seconds: The time.
        emulated: Whether the stand-in for CuPy is used.
        resume: Whether to go on from what the file says.
    """

    def __init__(self, output: Path, folder: Path, seconds: float, *, emulated: bool, resume: bool) -> None:
        self.output, self.folder, self.emulated = output, folder, emulated
        self.end = time.perf_counter() + seconds
        result: dict[str, Any] = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "machine": machine.describe(),
            "goals": GOALS,
            "done": [],
            "errors": {},
            "left_out": [],
        }
        if resume and output.exists():
            result |= json.loads(output.read_text()) | {"left_out": []}
        stages.write(output, result)

    @property
    def left(self) -> float:
        """Seconds until nothing new is begun."""
        return self.end - time.perf_counter() - RESERVE

    def all(self) -> dict[str, Any]:
        """Everything that there is time for."""
        for stage in stages.STAGES:
            while error := self.work(stage):
                item = self.read().get("doing")
                if item is None:  # it did not come to its first item
                    self.note(f"{stage}: start", error)
                    break
                self.note(item, error)
                again = self.work(stage, only=item.partition(": ")[2])
                if again:
                    self.note(item, again, "with CUDA_LAUNCH_BLOCKING=1")
            if stage == "smoke" and any(name.startswith("smoke") for name in self.read()["errors"]):
                break  # nothing else would work
        return self.read()

    def work(self, stage: str, only: str | None = None) -> str:
        """Run a stage, or one item of it again; what went wrong, or nothing."""
        command = [sys.executable, str(HERE / "run.py"), "--worker", stage, "--output", str(self.output)]
        command += ["--folder", str(self.folder), "--seconds", str(max(self.left, 0.0))]
        command += ["--emulate"] * self.emulated + (["--only", only] if only else [])
        environment = os.environ | ({"CUDA_LAUNCH_BLOCKING": "1"} if only else {})
        limit = max(self.left, 0.0) + PATIENCE
        with tempfile.TemporaryFile("w+") as errors:
            try:
                answer = subprocess.run(command, stderr=errors, check=False, timeout=limit, env=environment)
            except subprocess.TimeoutExpired:
                return f"not done after {limit:.0f} s"
            errors.seek(0)
            end = errors.read()[-2000:]
        return "" if answer.returncode == 0 else f"exit status {answer.returncode}: {end}"

    def read(self) -> dict[str, Any]:
        """The result as far as it is known."""
        found: dict[str, Any] = json.loads(self.output.read_text())
        return found

    def note(self, item: str, error: str, how: str = "first") -> None:
        """An item that failed."""
        print(f"{item} failed ({how}): {error[-500:]}", flush=True)
        result = self.read()
        result["errors"].setdefault(item, {})[how] = error
        result["doing"] = None
        stages.write(self.output, result)


def wrong(result: dict[str, Any]) -> Iterator[Any]:
    """What is not right."""
    rows = (*result.get("conformance", ()), *result.get("cases", ()), *result.get("training_loops", ()))
    yield from (row for row in rows if not row["right"])
    yield from (tool for tool, answer in result.get("sanitizer", {}).items() if answer["code"] not in (0, None))
    yield from result["errors"]


def ncu(output: Path, folder: Path, file: str) -> int:
    """Nsight Compute's opinion of four launches of sweeps of a case; the table goes beside the result."""
    program = shutil.which("ncu") or shutil.which("ncu", path="/usr/local/cuda/bin")
    if program is None:
        print("Nsight Compute (ncu) is not installed.")
        return 1
    command = [program, "--set", "full", "--csv", "--page", "details", "-k", "regex:sweep", "-s", "8", "-c", "4"]
    command += [sys.executable, str(HERE / "run.py"), "--worker", "kernel times", "--only", file]
    command += ["--folder", str(folder), "--output", str(output)]
    Run(output, folder, LIMIT, emulated=False, resume=False)
    with output.with_suffix(".ncu.csv").open("w") as table:
        return subprocess.run(command, stdout=table, check=False).returncode


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check and time the CUDA device.")
    parser.add_argument("--name", default="gpu", help="the result is benchmarks/results/gpu-NAME.json")
    parser.add_argument("--emulate", action="store_true", help="run on the CPU, to try the script")
    parser.add_argument("--seconds", type=float, default=LIMIT)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from what the output file says")
    parser.add_argument("--ncu", metavar="CASE", help="ask Nsight Compute about a case, such as n20-single.pickle")
    for name in ("--worker", "--only"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    output = options.output or HERE.parent / "results" / f"gpu-{options.name}.json"
    if options.worker:
        stages.work(options.worker, options.only, output, options.folder, options.seconds, emulated=options.emulate)
        return
    folder = options.folder or (Path(tempfile.mkdtemp()) if options.emulate else cases.FOLDER)
    if options.emulate and not any(folder.glob("*.pickle")):
        cases.write_dry(folder)
    if not any(folder.glob("*.pickle")):
        parser.error(f"There are no cases in {folder}: write them with python benchmarks/gpu/cases.py.")
    if options.ncu:
        sys.exit(ncu(output, folder, options.ncu))
    result = Run(output, folder, options.seconds, emulated=options.emulate, resume=options.resume).all()
    faults = list(wrong(result))
    rows = len(result.get("cases", ()))
    print(f"{output}: {rows} rows, {len(faults)} of all checks wrong or failed, left out: {result['left_out']}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
