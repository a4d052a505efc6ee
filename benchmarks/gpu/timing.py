"""Times of a case's step, and what they are compared with: the machine's ceilings, the floor, and the peers."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import cases
import numpy as np
from others import GROUP

from qiskit_fusedqml.devices.gpu import sequences
from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.sequences import CACHE_SHARE

HERE = Path(__file__).resolve().parent

HEADLINE = (1000, 1000)
"""Layers and samples of the headline job, on 20 qubits."""

Clock = Callable[[Callable[[], object]], float]
"""Seconds a call takes, until the device has finished it."""


def useful_fma(n: int, layers: int, batch: int) -> float:
    """Multiply-adds of a step of the layered circuit that we know no way to get by without."""
    return float((10 * n + 14) * 2**n * layers * batch)


def moved_bytes(device: GPUDevice, case: cases.Case, samples: int) -> float:
    """Bytes that a step's sweeps read and write beyond the chip: the ket forward, ket and bra back; 0 for one tile."""
    if case.num_qubits <= device.geometry.whole_qubits:
        return 0.0
    return float(len(case.tape.blocks) * 6 * device.state_bytes(case.num_qubits, samples))


def floor(device: GPUDevice, case: cases.Case, samples: int, ceilings: dict[str, float]) -> dict[str, Any] | None:
    """The least time of a step by what the machine was measured to do: its arithmetic, or its traffic.

    None where that was not measured.

    States that are cut into tiles move through the second-level cache, if ket and bra of a sample fit there, else to
    and from memory.
    """
    name = "float32" if case.precision == "single" else "float64"
    if not {f"gemm_{name}_gfma_per_s", "cache_gb_per_s", "copy_gb_per_s"} <= set(ceilings):
        return None
    arithmetic = useful_fma(case.num_qubits, case.layers, samples) / (1e9 * ceilings[f"gemm_{name}_gfma_per_s"])
    cached = 2 * device.state_bytes(case.num_qubits, 1) <= CACHE_SHARE * device.geometry.limits.cache_bytes
    bandwidth = ceilings["cache_gb_per_s" if cached else "copy_gb_per_s"]
    traffic = moved_bytes(device, case, samples) / (1e9 * bandwidth)
    return {"ms": 1e3 * max(arithmetic, traffic), "by": "arithmetic" if arithmetic >= traffic else "traffic"}


def step(device: GPUDevice, case: cases.Case, samples: int) -> tuple[dict[str, Callable[[], None]], dict[str, Any]]:
    """The parts of a training step, to be called in order, and what they leave: values and the weights' gradient.

    Inputs, weights and cotangents are in the device's memory, and so are the results.
    """
    kept, frame = device.on_device, case.tape.frame
    base = device.from_host(np.concatenate([case.inputs[0], case.weights.reshape(-1)]))
    rows, cotangents = device.from_host(case.inputs[:samples]), device.from_host(np.ones((samples, 1)))
    held: dict[str, Any] = {}

    def bind() -> None:
        held["bound"] = kept.bind(case.tables, base, rows)

    def forward() -> None:
        held["ket"] = kept.allocate(case.tape, samples, None)
        kept.forward(case.tape, held["bound"].coefficients, held["ket"])

    def values() -> None:
        held["values"] = kept.expectation(held["ket"], frame, case.sums)

    def bra() -> None:
        held["bra"] = kept.apply_observables(held["ket"], frame, case.sums, cotangents)

    def backward() -> None:
        states, coefficients = (held.pop("ket"), held.pop("bra")), held["bound"].coefficients
        held["overlaps"] = kept.backward(case.tape, coefficients, *states, per_sample=False)

    def pull() -> None:
        held["gradient"], _ = held.pop("bound").pull(held.pop("overlaps"), per_sample=False)

    parts = {"bind": bind, "forward": forward, "values": values, "bra": bra, "backward": backward, "pull": pull}
    return parts, held


def measure(
    device: GPUDevice, case: cases.Case, samples: int, clock: Clock, seconds: float, ceilings: dict[str, float]
) -> dict[str, Any]:
    """Times of a step and its parts: the first one, which uploads the tape and captures graphs, apart."""
    parts, _ = step(device, case, samples)
    first = {name: clock(part) for name, part in parts.items()}
    times: dict[str, list[float]] = {name: [] for name in parts}
    end = time.perf_counter() + seconds
    while len(times["forward"]) < 2 or (time.perf_counter() < end and len(times["forward"]) < 200):
        for name, part in parts.items():
            times[name].append(clock(part))
    whole = [sum(repeat) for repeat in zip(*times.values(), strict=True)]
    median, least = statistics.median(whole), floor(device, case, samples, ceilings)
    return {
        "name": case.name,
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
        "moved_gb_per_s": moved_bytes(device, case, samples) / median / 1e9,
        "floor": least,
        "share_of_floor": least and least["ms"] / (1e3 * median),
        "sweeps": len(case.tape.blocks) if moved_bytes(device, case, samples) else 1,
    }


def without_waiting(device: GPUDevice, case: cases.Case, samples: int, clock: Clock, steps: int) -> dict[str, float]:
    """A step among others that the host does not wait for: its time, and the host's share of it."""
    parts, _ = step(device, case, samples)
    host = [0.0]

    def several() -> None:
        start = time.perf_counter()
        for _ in range(steps):
            for part in parts.values():
                part()
        host[0] = time.perf_counter() - start

    several()
    whole = clock(several)
    return {"ms": 1e3 * whole / steps, "host_ms": 1e3 * host[0] / steps, "steps": steps}


def kernel_times(
    device: GPUDevice, case: cases.Case, samples: int, clock: Clock, repeats: int = 20
) -> list[dict[str, Any]]:
    """The launches of a step, those alike together: what the GPU takes for each, replayed without the host.

    What is replayed as a graph counts once for each replay.
    """
    runtime, noted, kept = device.runtime, _Noted(device.runtime), []
    with noted:
        for number in range(2):  # in the first step, graphs are captured
            parts, held = step(device, case, samples)
            if number:
                captured = [each for each in noted.launches if each.graph is not None]
                noted.launches, noted.replays = captured, Counter()
            for part in parts.values():
                part()
                kept.append(dict(held))  # what kernels were given the addresses of
    for launch in filter(_is_first_part, noted.launches):
        runtime.launch(*launch.arguments)  # graphs find all states there, from the first sample on
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for launch in noted.launches:
        groups.setdefault((launch.arguments[:4], launch.graph), []).append(launch)
    rows = []
    for (shape, graph), launches in groups.items():
        name, blocks, threads, shared = shape
        kernel = runtime.kernel(name)
        chosen = next((each for each in launches if _is_first_part(each)), launches[-1])
        call = partial(runtime.launch, *chosen.arguments)
        replay = runtime.capture(lambda call=call: [call() for _ in range(repeats)][-1])
        replay()
        times = launches if graph is None else launches * noted.replays[graph]
        rows.append(
            {
                "kernel": name,
                "blocks": blocks,
                "threads": threads,
                "shared_bytes": shared,
                "registers": int(kernel.num_regs),
                "launches": len(times),
                "in_graph": graph is not None,
                "us_each": 1e6 * min(clock(replay) for _ in range(3)) / repeats,
            }
        )
    return sorted(rows, key=lambda row: -row["us_each"] * row["launches"])


def _is_first_part(launch: _Launch) -> bool:
    """Whether it says where ket, bra and totals of the first samples of a batch are."""
    values = launch.arguments[4]
    return "set_part" in launch.arguments[0] and values[2] is not None and int(values[4]) == 0


class _Launch(NamedTuple):
    """One launch, and the number of the graph that it is part of."""

    arguments: tuple[Any, ...]
    graph: int | None


class _Noted:
    """Notes what a runtime launches and replays."""

    def __init__(self, runtime: Any) -> None:
        self.runtime, self.launches, self.replays, self.graph = runtime, list[_Launch](), Counter[int](), None
        self.count = 0

    def __enter__(self) -> None:
        self.launch, self.capture = self.runtime.launch, self.runtime.capture

        def launch(*arguments: Any) -> None:
            self.launches.append(_Launch(arguments, self.graph))
            self.launch(*arguments)

        def capture(work: Callable[[], None]) -> Callable[[], None]:
            self.count += 1
            number = self.graph = self.count
            try:
                replay = self.capture(work)
            finally:
                self.graph = None

            def counted() -> None:
                self.replays[number] += 1
                replay()

            return counted

        self.runtime.launch, self.runtime.capture = launch, capture

    def __exit__(self, *_: object) -> None:
        del self.runtime.launch, self.runtime.capture


def variants(runtime: Any, case: cases.Case, samples: int, clock: Clock, seconds: float) -> list[dict[str, Any]]:
    """Steps with smaller tiles, and with one or four waves of blocks at a time."""
    rows = []
    default = Geometry.of(runtime.limits, single=case.precision == "single")
    planned = max(len(block.tile) for block in case.tape.blocks)
    for largest in range(max(planned, default.largest_tile - 1), default.largest_tile + 1):
        tile = min(default.tile_qubits, largest)
        geometry = replace(
            default, largest_tile=largest, whole_qubits=min(default.whole_qubits, largest), tile_qubits=tile
        )
        for waves in (1, sequences.WAVES):
            kept, sequences.WAVES = sequences.WAVES, waves
            try:
                device = GPUDevice(runtime, case.precision, geometry)
                times, end = [], time.perf_counter() + seconds
                while len(times) < 2 or time.perf_counter() < end:
                    times.append(without_waiting(device, case, samples, clock, 1)["ms"])
            finally:
                sequences.WAVES = kept
            rows.append({"largest_tile": largest, "waves": waves, "ms": statistics.median(times[1:])})
    return rows


def headline(row: dict[str, Any]) -> dict[str, Any]:
    """The headline job's time, scaled from fewer layers and samples."""
    layers, samples = HEADLINE
    factor = layers / row["layers"] * samples / row["batch"]
    return {
        "seconds": row["step_ms"] / 1e3 * factor,
        "scaled_by": factor,
        "measured": "scaled" if factor != 1 else "whole",
    }


def peer_samples(case: cases.Case, free_bytes: int) -> int:
    """The case's samples, or as many as leave triton-qml room for the state of every fused call."""
    calls = (ceil(case.num_qubits / GROUP) + 1) * (case.layers + 1) + 4
    amplitude = 8 if case.precision == "single" else 16
    return max(1, min(case.batch, int(0.8 * free_bytes / (calls * amplitude << case.num_qubits))))


def run_peer(peer: str, path: Path, samples: int, seconds: float, timeout: float) -> dict[str, Any]:
    """A peer's step on a case, in a process of its own: times and errors, or what went wrong."""
    command = [sys.executable, str(HERE / "others.py"), str(path), "--peer", peer, "--samples", str(samples)]
    command += ["--seconds", str(seconds)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"peer": peer, "problem": f"not done after {timeout:.0f} s"}
    if answer.returncode:
        return {"peer": peer, "problem": answer.stderr.strip()[-400:]}
    found = json.loads(answer.stdout.splitlines()[-1])
    median = statistics.median(found["times_s"])
    return {
        "peer": peer,
        "step_ms": 1e3 * median,
        "fastest_ms": 1e3 * min(found["times_s"]),
        "repeats": len(found["times_s"]),
        "first_ms": 1e3 * found["first_s"],
        "errors": found["errors"],
    }


def reached(result: dict[str, Any]) -> dict[str, Any]:
    """What the goals ask for, as far as it was measured; limits do not depend on it."""
    rows = [row for row in result.get("cases", ()) if "step_ms" in row and row["precision"] == "single"]
    triton = {
        f"n={row['n']} B={row['batch']}": row["step_ms"] / row["ours_ms"]
        for row in result.get("peers", ())
        if row["peer"] == "triton-qml" and "step_ms" in row
    }
    shares = {f"n={row['n']} B={row['batch']}": row["share_of_floor"] for row in rows if row["n"] in (12, 20)}
    seconds = next((row["headline"]["seconds"] for row in rows if "headline" in row), None)
    return {"headline_seconds": seconds, "times_triton_qml": triton, "share_of_floor": shares}
