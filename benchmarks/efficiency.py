"""What share of the machine a step reaches: the multiply-adds that are useful against a matrix product's, row by row.

    python benchmarks/efficiency.py --json FILE.json                # the whole table, both precisions: some minutes
    python benchmarks/efficiency.py --rows "8,5;12,10" --batches 1,32 --precision double --rounds 3 --seconds 0.1
    python benchmarks/efficiency.py --workloads shapes              # other circuits, by their plan's count

A row is a layered circuit (`workloads.hea`) of n qubits and L layers, a column a batch; a step is values and gradient.
Useful are 10 n + 14 multiply-adds per amplitude and layer, for other circuits those of the plan. The speed of a shared
machine moves, so every case is timed between two matrix products and held against these; the share is the median over
the rounds, and the spread goes from the least to the most.

Which limit binds is counted, not measured: the time that the plan's multiply-adds take at the speed of the matrix
product, and that its bytes take at each level of memory: those of each operation on a tile come from the level that
holds a tile's ket and bra, those of each block from the level that holds all states. The longest binds; the table says
how many times as long the step takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # python -P leaves the script's folder out

import ceilings  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import workloads  # noqa: E402
from peers.fusedqml import Adapter  # noqa: E402

from qiskit_fusedqml.engine.sweeps import PlannedSweeps  # noqa: E402
from qiskit_fusedqml.planner.cost import share_of  # noqa: E402

ROWS = "8,5;10,10;12,10;14,5;16,5;18,5;20,5"
BATCHES = "1,4,8,32,256"

LARGEST = 2**22
"""Amplitudes of a batch that are timed at most."""

SIZE = 1536
"""Rows and columns of the matrices whose product is the peak."""

SETTLE = 0.06
"""Seconds after a matrix product in which the threads of its library may still spin."""

DTYPES = {"double": np.float64, "single": np.float32}

ROTATIONS_A_PASS = 6
"""Rotations that the CPU's sweeps apply to rows while these are in registers or the first cache."""


@dataclass(frozen=True)
class Level:
    """A level of memory: its name, the bytes that all cores hold in it together, and GB/s of ``y += a x`` from it."""

    name: str
    bytes: float
    gb_per_s: float


@dataclass(frozen=True)
class Case:
    """A step to be timed."""

    workload: str
    precision: str


def cases(arguments: argparse.Namespace) -> list[Case]:
    """What is asked for, row by row."""
    if arguments.workloads:
        names = list(workloads.expand(arguments.workloads))
    else:
        sizes = [tuple(map(int, row.split(","))) for row in arguments.rows.split(";")]
        batches = [int(batch) for batch in arguments.batches.split(",")]
        names = [f"hea:n={n},L={layers},B={b}" for n, layers in sizes for b in batches if b << n <= LARGEST]
    return [Case(name, precision) for precision in arguments.precision.split(",") for name in names]


def peak(precision: str, repeats: int = 2) -> float:
    """Multiply-adds per second of a matrix product, the best of a few, and a pause for its threads to end."""
    a = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(DTYPES[precision])
    out, shortest = np.empty_like(a), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        shortest = min(shortest, time.perf_counter() - start)
    time.sleep(SETTLE)
    return SIZE**3 / shortest


def levels(threads: int) -> list[Level]:
    """The caches as the system tells them, and memory, with what each delivers."""
    found = []
    for name, size, shared in machine.caches():
        together = size if shared else size * threads
        # two vectors that fill three quarters of the level; a library may use one thread for those of the first level
        mebibytes = 0.75 * together / 2**20 if found or shared else 0.75 * size / 2**20
        factor = threads if not found and not shared else 1
        found.append(Level(name, together, factor * ceilings.stream(min(mebibytes, 16.0), 0.1)))
    return [*found, Level("memory", float("inf"), ceilings.stream(256, 0.3))]


def traffic(plan: Any, sweeps: tuple[int, int], samples: float) -> tuple[float, float, float]:
    """Bytes that operations move within tiles, bytes that blocks move, and the bytes of a tile's ket and bra.

    Args:
        plan: The plan.
        sweeps: How often the forward and the backward sweep are run.
        samples: Samples that go through a tile together.
    """
    row = plan.cost_model.amplitude_bytes
    inside = 0.0
    for block in plan.tape.blocks:
        run, passes = 0, [0, 0]
        for position, operation in enumerate(block.operations):
            rotation = type(operation).__name__ in {"RY", "Pauli"}
            if not rotation or run % ROTATIONS_A_PASS == 0:
                passes[0] += 1
                passes[1] += position >= block.undo_from
            run = run + 1 if rotation else 0
        share = share_of(block, plan.tape.num_qubits)
        inside += share * 2.0 * row * (sweeps[0] * passes[0] + 2 * sweeps[1] * passes[1])
    work = plan.work
    largest = max((len(block.tile) for block in plan.tape.blocks), default=0)
    between = sweeps[0] * work.forward_bytes + sweeps[1] * work.backward_bytes
    return inside, between, 2.0 * row * samples * 2.0**largest


def bounds(
    plan: Any, sweeps: tuple[int, int], batch: int, flops: float, memory: Sequence[Level], threads: int
) -> dict[str, float]:
    """Seconds that a step takes at least by each limit."""
    model, amplitudes = plan.cost_model, batch * 2.0**plan.tape.num_qubits
    lanes = min(model.lanes, batch)
    inside, between, tile = traffic(plan, sweeps, lanes)
    work = plan.work
    found = {"arithmetic": amplitudes * (sweeps[0] * work.forward + sweeps[1] * work.backward) / flops}
    states = 2.0 * model.amplitude_bytes * amplitudes
    for moved, held in ((inside, tile * threads), (between, states)):
        level = next(level for level in memory if held <= level.bytes)
        found[level.name] = found.get(level.name, 0.0) + amplitudes * moved / (level.gb_per_s * 1e9)
    return found


class Contender:
    """A case that is ready to be timed."""

    def __init__(self, case: Case, threads: int) -> None:
        self.case, self.threads = case, threads
        self.workload = workloads.get(case.workload)
        self.adapter = Adapter(self.workload, case.precision, threads, 60.0)
        self.number = 0
        self.adapter.step(self.workload.weights(0))
        self.adapter.step(self.workload.weights(1))
        # the plan of this batch, which may be cut otherwise than that of a large one
        made = self.adapter.function.passes.plans.made()
        self.plan = plan = [each.plan for each in made if isinstance(each, PlannedSweeps)][-1]
        wanted = self.workload.wanted
        self.sweeps = (1, 0 if wanted == "values" else 1)
        if wanted == "jacobian":
            self.sweeps = (2, len(self.workload.observables))
        self.plan_fma = (self.sweeps[0] * plan.work.forward + self.sweeps[1] * plan.work.backward) * (
            self.workload.batch * 2**self.workload.num_qubits
        )
        self.useful_fma = self.workload.useful_fma or self.plan_fma
        self.turns: list[dict[str, float]] = []

    def turn(self, seconds: float) -> None:
        """Some steps between two matrix products, after one that finds memory as the case before left it."""
        before, steps = peak(self.case.precision), []
        self.adapter.step(self.workload.weights(self.number))
        end = time.perf_counter() + seconds
        while not steps or time.perf_counter() < end:
            weights = self.workload.weights(self.number)
            self.number += 1
            start = time.perf_counter()
            self.adapter.step(weights)
            steps.append(time.perf_counter() - start)
        after = peak(self.case.precision)
        flops = (before + after) / 2
        step = statistics.median(steps)
        self.turns.append({"step_seconds": step, "peak": flops, "share": self.useful_fma / step / flops})

    def record(self, memory: Sequence[Level]) -> dict[str, Any]:
        """What was found."""
        shares = sorted(turn["share"] for turn in self.turns)
        flops = statistics.median(turn["peak"] for turn in self.turns)
        step = statistics.median(turn["step_seconds"] for turn in self.turns)
        plan = self.plan
        limits = bounds(plan, self.sweeps, self.workload.batch, flops, memory, self.threads)
        binding = max(limits, key=limits.__getitem__)
        return {
            **asdict(self.case),
            "num_qubits": self.workload.num_qubits,
            "num_layers": self.workload.num_layers,
            "batch": self.workload.batch,
            "share": statistics.median(shares),
            "spread": [shares[0], shares[-1]],
            "step_seconds": step,
            "peak_gfma_per_s": flops / 1e9,
            "useful_fma": self.useful_fma,
            "plan_fma": self.plan_fma,
            "blocks": len(plan.tape.blocks),
            "tile_qubits": max((len(block.tile) for block in plan.tape.blocks), default=0),
            "bounds_seconds": limits,
            "binds": binding,
            "times_bound": step / limits[binding],
            "turns": self.turns,
        }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The shares as a table: a row for each circuit, a column for each batch and precision."""
    columns = list(dict.fromkeys((r["precision"], r["batch"]) for r in results))
    rows: dict[str, dict[tuple[str, int], str]] = {}
    for r in results:
        family = r["workload"].split(":")[0]
        name = f"{family}, n = {r['num_qubits']}, L = {r['num_layers']}"
        low, high = r["spread"]
        text = f"{100 * r['share']:.0f} % ({100 * low:.0f}-{100 * high:.0f}) {r['binds']} x{r['times_bound']:.1f}"
        rows.setdefault(name, {})[r["precision"], r["batch"]] = text
    lines = ["| circuit | " + " | ".join(f"{precision}, B = {batch}" for precision, batch in columns) + " |"]
    lines.append("|" + "---|" * (len(columns) + 1))
    lines += [f"| {name} | " + " | ".join(row.get(c, "") for c in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def line(entry: dict[str, Any]) -> str:
    """An entry in a line of text."""
    low, high = entry["spread"]
    limits = ", ".join(f"{name} {1e6 * seconds:.0f}" for name, seconds in entry["bounds_seconds"].items())
    share = f"{100 * entry['share']:5.1f} % ({100 * low:.1f}-{100 * high:.1f})"
    counts = f"plan/useful {entry['plan_fma'] / entry['useful_fma']:.2f}  {entry['blocks']} blocks"
    step = f"{1e6 * entry['step_seconds']:9.0f} us  peak {entry['peak_gfma_per_s']:.0f} GFMA/s"
    least = f"at least, us: {limits}; {entry['binds']} x{entry['times_bound']:.1f}"
    return f"{entry['workload']:<24}{entry['precision']:<8}{share}  {step}  {counts}  {least}"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything asked for, in rounds: in each, every case has a turn."""
    record: dict[str, Any] = machine.report(threads=arguments.threads, results=[])
    memory = levels(arguments.threads)
    record["levels"] = [asdict(level) for level in memory]
    for level in memory:
        print(f"{level.name}: {level.bytes / 2**20:g} MiB, {level.gb_per_s:.0f} GB/s", flush=True)
    contenders = [Contender(case, arguments.threads) for case in cases(arguments)]
    for _ in range(arguments.rounds):
        for contender in contenders:
            contender.turn(arguments.seconds)
    for contender in contenders:
        record["results"].append(contender.record(memory))
        print(line(record["results"][-1]), flush=True)
    print("\n" + table(record["results"]))
    return record


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=ROWS, help=f"n,L;n,L;... (default: {ROWS})")
    parser.add_argument("--batches", default=BATCHES, help=f"samples (default: {BATCHES})")
    parser.add_argument("--workloads", help="names, groups or family:n=..,L=..,B=.. in place of rows and batches")
    parser.add_argument("--precision", default="double,single", help="double, single or both (default)")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="threads (default: all cores)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each case (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="seconds of steps in a turn, at least one (default: 0.3)"
    )
    parser.add_argument("--json", type=Path, help="where to write everything")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, and write, what `measure` finds; in a process whose libraries have the number of threads asked for."""
    options = parse(arguments)
    environment = ceilings.environment(options.threads)
    if any(os.environ.get(name) != value for name, value in environment.items()):
        given = sys.argv[1:] if arguments is None else list(arguments)
        os.execve(sys.executable, [sys.executable, __file__, *given], environment)
    machine.save(measure(options), options.json)


if __name__ == "__main__":
    main()
