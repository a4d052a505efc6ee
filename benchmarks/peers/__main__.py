"""The process of one adapter: JSON requests on stdin, a line each, JSON replies on stdout.

``python -m peers peers.qulacs`` in the folder ``benchmarks``. Requests, in this order:

* ``{"command": "build", "workload", "precision", "threads", "step_limit"}``, optionally with a ``"batch"`` other than
  the workload's -> ``{"status": "ready", "batch", ...}`` or ``{"status": "unsupported", "reason"}``
* ``{"command": "check"}`` -> the arrays of a step at the check weights
* ``{"command": "time", "first", "steps", "seconds"}`` -> ``{"seconds": [...]}`` of that many steps, each at new
  weights, fewer when the time is up; may be repeated
* ``{"command": "close"}`` -> ``{"peak_mib", ...}``, and the process ends

A failure is ``{"status": "error", "reason"}``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import noise_workloads
import numpy as np

from peers.adapter import Adapter, Step, UnsupportedError

CHECK_STEP = 0
"""The step whose weights the answers are compared at."""

WARM_UP_STEP = 1_000_000
"""Weights of untimed steps are numbered from here."""


class Server:
    """Answers the requests for one adapter."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.imported_mib = 0.0
        self.warm_ups = 0

    def build(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import the tool, build the circuit and take the first step."""
        _limit_cores(int(request["threads"]))
        workload = noise_workloads.find(request["workload"])
        self.workload = replace(workload, batch=request.get("batch", workload.batch))
        imported = importlib.import_module(self.module)
        if hasattr(workload, "noise") and not self.module.startswith("peers.noise."):
            raise UnsupportedError("the adapter knows no noise")
        self.imported_mib = peak_mib()
        start = time.perf_counter()
        self.adapter: Adapter = imported.Adapter(
            self.workload, request["precision"], int(request["threads"]), float(request["step_limit"])
        )
        built = time.perf_counter()
        self.first_step_seconds = self._warm_up()
        return {
            "status": "ready",
            "batch": self.adapter.batch,
            "note": self.adapter.note,
            "versions": {package: version(package) for package in self.adapter.packages} | {"python": _python()},
            "build_seconds": built - start,
            "first_step_seconds": self.first_step_seconds,
        }

    def check(self, _: dict[str, Any]) -> dict[str, Any]:
        """The answers at the check weights."""
        step = self.adapter.step(self.workload.weights(CHECK_STEP))
        arrays = {field.name: getattr(step, field.name) for field in fields(Step)}
        return {"status": "checked"} | {
            name: None if array is None else np.asarray(array, dtype=np.float64).tolist()
            for name, array in arrays.items()
        }

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time steps at new weights, after an untimed one that wakes threads and caches."""
        if self.first_step_seconds < 3 or not self.warm_ups:
            self._warm_up()
        gc.collect()
        weights = [self.workload.weights(request["first"] + k) for k in range(request["steps"])]
        deadline = time.perf_counter() + request["seconds"]
        seconds: list[float] = []
        for values in weights:
            start = time.perf_counter()
            self.adapter.step(values)
            end = time.perf_counter()
            seconds.append(float(f"{end - start:.4g}"))
            if end > deadline:
                break
        return {"status": "timed", "seconds": seconds}

    def close(self, _: dict[str, Any]) -> dict[str, Any]:
        """The last words."""
        return {
            "status": "closed",
            "peak_mib": peak_mib(),
            "imported_mib": self.imported_mib,
            "report": self.adapter.report(),
        }

    def _warm_up(self) -> float:
        weights = self.workload.weights(WARM_UP_STEP + self.warm_ups)
        self.warm_ups += 1
        start = time.perf_counter()
        self.adapter.step(weights)
        return time.perf_counter() - start


def peak_mib() -> float:
    """The most memory this process has held, in MiB; NaN where the system does not say."""
    # not getrusage: its figure starts from that of the process that started this one
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def _limit_cores(threads: int) -> None:
    """Not every tool has a thread count to set; all of them see the cores they may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(server: Server, requests: IO[str], replies: IO[str]) -> None:
    """Answer until told to close."""
    for line in requests:
        request = json.loads(line)
        command = request["command"]
        try:
            reply = getattr(server, command)(request)
        except UnsupportedError as refusal:
            reply = {"status": "unsupported", "reason": str(refusal)}
        except Exception as failure:  # noqa: BLE001 - whatever a tool throws is its result
            traceback.print_exc()
            reply = {"status": "error", "reason": f"{type(failure).__name__}: {failure}"[:500]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if command == "close":
            return


def main() -> None:
    """Keep stdout for the replies: tools print there."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Server(sys.argv[1]), sys.stdin, replies)


if __name__ == "__main__":
    main()
