"""One state over several ranks: bytes as counted, and time beside one process with as many threads.

``python benchmarks/distributed_state.py [--qubits 22] [--layers 6] [--turns 5] [--deepquantum PYTHON] [--json FILE]``
(extra ``mpi``).
First the plans of 30 qubits and 12 layers, nothing run: bytes that a rank sends for each amplitude it holds and layer,
values and gradients, 2, 8 and 1024 ranks. Then values and gradients of layers RX RY RZ and entangling gates: one
process with as many threads as there are ranks, and ranks of one thread each, in turns; what is exchanged, how fast,
and the largest memory of a rank. The answers are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import machine
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.distributed.ranks import Ranks
from qiskit_fusedqml.planner import fuse

KINDS = ("linear", "brick", "cz", "ring", "full")
TIMED = ("linear", "brick", "cz", "ring")
STEPS = 3
"""Steps of a turn."""


def layered(n: int, layers: int, kind: str) -> QuantumCircuit:
    """RX RY RZ on every qubit, then CX (CZ in a ring for "cz"), so many times."""
    weights = iter(ParameterVector("w", 3 * n * layers))
    pairs = {
        "linear": [(q, q + 1) for q in range(n - 1)],
        "brick": [(q, q + 1) for start in (0, 1) for q in range(start, n - 1, 2)],
        "full": list(combinations(range(n), 2)),
    }.get(kind, [(q, (q + 1) % n) for q in range(n)])
    circuit = QuantumCircuit(n)
    for _ in range(layers):
        for q in range(n):
            for turn in (circuit.rx, circuit.ry, circuit.rz):
                turn(next(weights), q)
        for pair in pairs:
            (circuit.cz if kind == "cz" else circuit.cx)(*pair)
    return circuit


def counts(n: int = 30, layers: int = 12) -> dict[str, Any]:
    """What the plans of several numbers of ranks send, and how long planning takes."""
    model, found = CPUDevice(num_threads=1).cost_model, {}
    for kind in KINDS:
        program = DifferentiableCircuit(layered(n, layers, kind)).program
        for g in (1, 3, 10):
            began = time.perf_counter()
            wanted = frozenset(range(program.num_angles))
            options = {"wanted_slots": wanted, "keep_phase": False, "populations": True}
            plan = fuse(program, replace(model, global_qubits=g), **options)
            seconds = time.perf_counter() - began
            found[f"{kind} {2**g}"] = {
                "bytes": plan.network_bytes / layers,
                "exchanges": plan.exchanges,
                "planning_seconds": seconds,
            }
    return found


def next_line(comm: Any) -> str:
    """The next line of the first rank's input; the others sleep until it is there, as MPI would keep cores busy."""
    if comm.rank:
        while not comm.Iprobe(source=0, tag=1):
            time.sleep(0.002)
        return str(comm.recv(source=0, tag=1))
    line = sys.stdin.readline()
    for rank in range(1, comm.size):
        comm.send(line, dest=rank, tag=1)
    return line


def rank_main(n: int, layers: int, kind: str) -> None:
    """A rank, or the one process: answers lines on standard input (of the first rank) with a turn's times."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    exchanging = [0.0]
    original = Ranks.exchange

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        original(*arguments)
        exchanging[0] += time.perf_counter() - began

    Ranks.exchange = timed  # type: ignore[method-assign]
    circuit, observable = layered(n, layers, kind), ["Z" * n]
    shared: dict[str, Any] = {"comm": comm, "num_threads": 1} if comm.size > 1 else {"num_threads": int(sys.argv[4])}
    f = DifferentiableCircuit(circuit, observable, **shared)
    w = np.random.default_rng(0).uniform(-np.pi, np.pi, circuit.num_parameters)
    value, gradient = f.value_and_grad(w=w)
    device: Any = f.device
    while next_line(comm):
        exchanging[0], sent = 0.0, device.ranks.bytes_sent if comm.size > 1 else 0
        times = []
        for _ in range(STEPS):
            comm.Barrier()
            began = time.perf_counter()
            f.value_and_grad(w=w)
            times.append(time.perf_counter() - began)
        peak = max(comm.allgather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        if comm.rank:
            continue
        plan = f.plans.sweeps(f.request(f.read(None, w))).plan
        answer = {
            "seconds": times,
            "exchanging_seconds": exchanging[0] / STEPS,
            "bytes_sent": (device.ranks.bytes_sent - sent) / STEPS if comm.size > 1 else 0,
            "bytes_counted": plan.network_bytes * 2**n / comm.size,
            "peak_mib": peak / 1024,
            "value": value,
            "gradient": gradient.tolist(),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Contestant:
    """One process, or several ranks, that wait for turns."""

    def __init__(self, ranks: int, threads: int, n: int, layers: int, kind: str) -> None:
        own = [sys.executable, __file__, "rank", str(n), str(layers), kind, str(threads)]
        command = [str(Path(sys.prefix) / "bin" / "mpiexec"), "-n", str(ranks), *own] if ranks > 1 else own
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.seconds: list[float] = []

    def turn(self) -> dict[str, Any]:
        """A turn's answer; its times are kept."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.seconds += answer["seconds"]
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def compare(ranks: int, n: int, layers: int, kind: str, turns: int) -> dict[str, Any]:
    """Times of one process and of ranks, in turns."""
    with Contestant(1, ranks, n, layers, kind) as one, Contestant(ranks, 1, n, layers, kind) as several:
        expected, found = one.turn(), several.turn()
        difference = float(np.abs(np.subtract(found["gradient"], expected["gradient"])).max())
        assert abs(found["value"] - expected["value"]) < 1e-10, "the values differ"
        assert difference < 1e-10, "the gradients differ"
        assert found["bytes_sent"] == found["bytes_counted"], "more or fewer bytes were sent than counted"
        for _ in range(turns):
            expected, found = one.turn(), several.turn()
    best = statistics.median(several.seconds), statistics.median(one.seconds)
    return {
        "ranks_seconds": best[0],
        "process_seconds": best[1],
        "ratio": best[0] / best[1],
        "ratio_of_best": min(several.seconds) / min(one.seconds),
        "gradient_difference": difference,
        "bytes_sent": found["bytes_sent"],
        "gigabytes_per_second": found["bytes_sent"] / max(found["exchanging_seconds"], 1e-9) / 1e9,
        "peak_mib_of_a_rank": found["peak_mib"],
        "peak_mib_of_the_process": expected["peak_mib"],
    }


def beside_deepquantum(python: Path, n: int = 20, layers: int = 5) -> dict[str, Any]:
    """Our step on two ranks beside DeepQuantum's: the ring's circuit, one observable, one thread a rank."""
    peer = [str(python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    weights = np.random.default_rng(0).uniform(-np.pi, np.pi, 3 * n * layers).tolist()
    script = Path(__file__).parent / "peers" / "deepquantum_ranks.py"
    command = [*peer, str(script), str(n), str(layers), json.dumps(weights)]
    with Contestant(2, 1, n, layers, "ring") as ours:
        expected = ours.turn()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ours.turn()
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    difference = float(np.abs(np.subtract(found["gradient"], expected["gradient"])).max())
    assert difference < 1e-8, "the gradients differ"
    medians = statistics.median(found["seconds"]), statistics.median(ours.seconds)
    return {
        "deepquantum_seconds": found["seconds"],
        "ranks_seconds": ours.seconds,
        "gradient_difference": difference,
        "ratio": medians[0] / medians[1],
    }


def main() -> None:
    """Count, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[22])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(TIMED))
    parser.add_argument("--deepquantum", type=Path, help="the Python of an environment that has it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = machine.report(times={})
    report["counts"] = counts()
    for name, entry in report["counts"].items():
        print(f"{name:>12} ranks: {entry['bytes']:6.2f} bytes a layer, exchanges {entry['exchanges']}")
    for n in options.qubits:
        for kind in options.kinds:
            entry = compare(options.ranks, n, options.layers, kind, options.turns)
            report["times"][f"{kind} {n}"] = entry
            print(
                f"{kind:>8} n={n}: {options.ranks} ranks {1e3 * entry['ranks_seconds']:.0f} ms, one process "
                f"{1e3 * entry['process_seconds']:.0f} ms, ratio {entry['ratio']:.2f} (best times "
                f"{entry['ratio_of_best']:.2f}), exchange {entry['gigabytes_per_second']:.1f} GB/s, "
                f"{entry['peak_mib_of_a_rank']:.0f} MiB a rank",
                flush=True,
            )
    if options.deepquantum:
        report["deepquantum"] = entry = beside_deepquantum(options.deepquantum)
        print(f"20 qubits, 5 layers, 2 ranks: DeepQuantum takes {entry['ratio']:.0f} times as long", flush=True)
    machine.save(report, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        sys.argv = [sys.argv[0], *sys.argv[2:]]
        rank_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        main()
