"""Training under noise: this package beside tools that simulate noise, in one run, taking turns.

    python benchmarks/noise.py --json FILE.json              # N1 to N6; ten minutes
    python benchmarks/noise.py --quick                       # circuits of 3 qubits: whether everything runs
    python benchmarks/noise.py --table FILE.json             # the table again, in Markdown

The workloads are those of `noise_workloads`. What is timed is a training step: the values of all samples and the
gradient of their sum, at new weights; or values only, or counts. Ours comes twice, as it is, and with a state for every
sample (*general*), as where the encoding does not precede all weights. Answers are compared before anything is timed.
A slow tool gets the first few samples, and its time is scaled; one that has not built, compiled and answered
within `--build-limit` has no figure and is not counted. What peers are missing, `setup_peers.sh tensorcircuit` and the
extras ``aer``, ``pennylane`` and ``torch`` bring.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # python -P leaves the script's folder out

import machine  # noqa: E402
from compare import duration, insert  # noqa: E402
from measure import Options, measure  # noqa: E402
from peers import OURS  # noqa: E402
from peers.noise import NOISE_PEERS  # noqa: E402
from run import write  # noqa: E402

KIND = "noise"
GENERAL, SIMULATOR = "general", "simulator"


@dataclass(frozen=True)
class Case:
    """One workload in one precision.

    Attributes:
        workload: Its name.
        peers: The tools that can run it in minutes.
        precision: Of ours.
        seconds: Seconds of steps of every tool.
        step_limit: Seconds that a step may take, if more than otherwise: all trajectories of a sample are run.
    """

    workload: str
    peers: tuple[str, ...]
    precision: str = "double"
    seconds: float = 4.0
    step_limit: float = 0.0

    @property
    def wanted(self) -> str:
        """What a step is."""
        return self.workload.partition("-")[2] or "values, gradient"


CASES = (
    Case("N1", (OURS, GENERAL, "default.mixed", "jax", "tensorcircuit")),
    Case("N1-values", (OURS, GENERAL, SIMULATOR, "aer")),
    Case("N2", (OURS, GENERAL, "default.mixed", "jax")),
    Case("N2", (OURS, GENERAL), "single"),
    Case("N2-values", (OURS, GENERAL, SIMULATOR, "aer")),
    Case("N3", (OURS, "default.mixed", "jax")),
    Case("N3-values", (OURS, "aer")),
    Case("N4", (OURS, GENERAL, "jax")),
    Case("N4-values", (OURS, GENERAL, "aer")),
    Case("N4x", (OURS,)),
    Case("N4x-values", (OURS,)),
    Case("N5", (OURS, GENERAL)),
    Case("N5-values", (OURS, GENERAL, SIMULATOR, "aer")),
    Case("N5-counts", (OURS, "aer")),
    Case("N6s", (OURS,)),
    Case("N6s-values", (OURS, "aer")),
    Case("N6", (OURS,)),
    Case("N6-values", (OURS, "aer"), step_limit=60.0),
)


@dataclass(frozen=True)
class Goal:
    """What is wanted of a figure: a peer's time over ours.

    Attributes:
        workload: The workload, in double precision.
        tool: Which form of ours.
        peer: Which peer; None for the best.
        least: What it should be at least.
        aim: What it might be.
    """

    workload: str
    tool: str
    peer: str | None
    least: float
    aim: float | None = None


GOALS = (
    Goal("N1", OURS, None, 30, 60),
    Goal("N2", GENERAL, None, 20, 45),
    Goal("N2", OURS, None, 250, 600),
    Goal("N2", OURS, "default.mixed", 400, 1000),
    Goal("N3", OURS, None, 25, 50),
    Goal("N4", GENERAL, None, 30, 70),
    Goal("N4", OURS, None, 450, 1000),
    Goal("N1-values", GENERAL, "aer", 300),
    Goal("N2-values", GENERAL, "aer", 70, 150),
    Goal("N4-values", GENERAL, "aer", 50, 100),
    Goal("N5-values", SIMULATOR, "aer", 50, 100),
    Goal("N5-counts", OURS, "aer", 50, 100),
    Goal("N6s-values", OURS, "aer", 25, 60),
    Goal("N6-values", OURS, "aer", 12, 25),
)

MOST = {"seconds of N4x": 2.0, "MiB of N2": 50.0, "MiB of N4x": 450.0, "error of single precision on N2": 3e-5}
"""What other figures of ours should be at most."""

_QUICK = {
    "N1": "noisy_hea:n=3,L=2,B=3",
    "N3": "noisy_reupload:n=3,L=2,B=3",
    "N5": "noisy_device:n=3,L=1,B=2",
    "N6s": "noisy_trajectories:n=3,L=2,B=1",
}
"""Small workloads that take the place of some cases."""


def quick(cases: Iterable[Case]) -> list[Case]:
    """The cases of `_QUICK` in their small sizes."""
    found = []
    for case in cases:
        stem, dash, wanted = case.workload.partition("-")
        if stem in _QUICK:
            found.append(Case(_QUICK[stem] + dash + wanted, case.peers, case.precision, 0.05))
    return found


def peak_mib(entry: Mapping[str, Any]) -> float | None:
    """Most memory the process ever held, less what it held when everything was imported."""
    return entry["peak_mib"] - entry["imported_mib"] if "peak_mib" in entry else None


def seconds(result: Mapping[str, Any], tool: str) -> float | None:
    """The median of a tool for the whole batch; None without a figure."""
    entry = result["entries"].get(tool, {})
    return float(entry["median"]) if entry.get("status") == "ok" else None


def ratios(result: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """How many times faster than the best peer ours and the general form are, with that peer's name."""
    own = (OURS, GENERAL, SIMULATOR)
    foreign = {tool: s for tool in result["entries"] if tool not in own and (s := seconds(result, tool))}
    if not foreign:
        return {}
    best = min(foreign, key=lambda tool: foreign[tool])
    return {tool: (best, foreign[best] / s) for tool in own if (s := seconds(result, tool))}


def rounded(number: float) -> str:
    """Three figures, without a power of ten."""
    return f"{float(f'{number:.3g}'):g}"


def others(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of `MOST`."""
    found: dict[str, float] = {}
    for result in record["results"]:
        name, entry = result["workload"], result["entries"].get(OURS, {})
        if name not in {"N2", "N4x"} or entry.get("status") != "ok":
            continue
        if result["precision"] == "single":
            found[f"error of single precision on {name}"] = entry["gradient_error"]
            continue
        found[f"seconds of {name}"] = entry["median"]
        if (own := peak_mib(entry)) is not None:
            found[f"MiB of {name}"] = own
    return {name: found[name] for name in MOST if name in found}


def goals(record: Mapping[str, Any]) -> str:
    """Markdown: what is wanted, and what it is."""
    lines = ["| | over | figure | at least | aim |", "| --- | --- | --- | --- | --- |"]
    by_name = {result["workload"]: result for result in record["results"] if result["precision"] == "double"}
    for goal in GOALS:
        result = by_name.get(goal.workload)
        own = seconds(result, goal.tool) if result else None
        if result is None or own is None:
            continue
        best = ratios(result).get(goal.tool)
        peer = goal.peer or (best[0] if best else None)
        other = seconds(result, peer) if peer else None
        if other is not None:
            aim = "" if goal.aim is None else f"{goal.aim:g}"
            lines.append(
                f"| {goal.workload}, {goal.tool} | {peer} | **{rounded(other / own)}** | {goal.least:g} | {aim} |"
            )
    lines += [f"| {name} | | **{value:.3g}** | at most {MOST[name]:g} | |" for name, value in others(record).items()]
    return "\n".join(lines)


def cell(entry: Mapping[str, Any] | None) -> str:
    """A figure, or why there is none."""
    if entry is None:
        return ""
    if entry["status"] != "ok":
        return str(entry["status"])
    return duration(entry["median"]) + ("*" if entry["scaled"] else "") + ("~" if entry["disturbed"] else "")


def table(record: Mapping[str, Any]) -> str:
    """Markdown: a row a workload and quantity, then memory, rounding, and where it was measured."""
    results = record["results"]
    peers = [tool for tool in NOISE_PEERS if any(tool in result["entries"] for result in results)]
    foreign = [tool for tool in peers if tool not in {OURS, GENERAL, SIMULATOR}]
    own = [tool for tool in peers if tool not in foreign]
    lines = ["| | step | " + " | ".join([*own, *foreign, "best peer / ours; general"]) + " |"]
    lines.append("| --- " * (len(peers) + 3) + "|")
    for result in results:
        times = ratios(result)
        shown = "; ".join(rounded(times[tool][1]) for tool in (OURS, GENERAL) if tool in times)
        cells = [cell(result["entries"].get(tool)) for tool in (*own, *foreign)]
        name = result["workload"].partition("-")[0]
        step = result["step"] + ("" if result["precision"] == "double" else f", {result['precision']}")
        lines.append(f"| {name} | {step} | " + " | ".join([*cells, f"**{shown}**" if shown else ""]) + " |")
    where = record["machine"]
    origin = (
        f"Measured on {record['date'][:10]} at commit {record['commit']}: {where['cpu']}, {where['cores']} cores, "
        f"{record['threads']} threads for every tool, load {record['load']['before']:.1f} before the run. Medians of "
        "steps at new weights. \\* timed on fewer samples and scaled linearly to the batch. ~ other programs were busy "
        f"during every turn. timeout: not built, compiled and answered within {record['build_limit']:.0f} s; "
        f"unsupported: a sample takes longer than {record['step_limit']:.0f} s, or the tool cannot do it."
    )
    return "\n".join([*lines, "", goals(record), "", *notes(record), "", origin, "", versions(record)])


def versions(record: Mapping[str, Any]) -> str:
    """What was measured."""
    found: dict[str, str] = {}
    for result in record["results"]:
        for entry in result["entries"].values():
            found |= entry.get("versions", {})
    return "Versions: " + ", ".join(f"{name} {number}" for name, number in found.items()) + "."


def notes(record: Mapping[str, Any]) -> list[str]:
    """Memory of our processes, and errors of single precision."""
    found = []
    for result in record["results"]:
        name, entries = result["workload"], result["entries"]
        for tool in (OURS, GENERAL):
            entry = entries.get(tool, {})
            if entry.get("status") != "ok" or result["step"] != "values, gradient":
                continue
            if result["precision"] == "single":
                found.append(
                    f"- {name}, {tool}: gradient in single precision off by {entry['gradient_error']:.1e} of its norm"
                )
            elif (own := peak_mib(entry)) is not None:
                found.append(f"- {name}, {tool}: {own:.0f} MiB at most, beside what is imported")
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all cases."""
    chosen = arguments.workloads.split(",") if arguments.workloads else None
    cases = [c for c in CASES if not chosen or {c.workload, c.workload.partition("-")[0]} & set(chosen)]
    cases = quick(cases) if arguments.quick else cases
    record: dict[str, Any] = {
        "kind": KIND,
        "command": " ".join(["python", "benchmarks/noise.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load": {"before": machine.load()},
        "threads": arguments.threads,
        "build_limit": arguments.build_limit,
        "step_limit": arguments.step_limit,
        "results": [],
    }
    wanted_peers = set(arguments.peers.split(",")) | {OURS} if arguments.peers else set(NOISE_PEERS)
    for case in cases:
        options = Options(
            threads=arguments.threads,
            budget=case.seconds,
            rounds=2,
            patience=arguments.patience,
            step_limit=max(arguments.step_limit, case.step_limit),
            build_limit=arguments.build_limit,
            venvs=arguments.venvs.resolve(),
            log=arguments.log.resolve() if arguments.log else None,
        )
        peers = [peer for peer in case.peers if peer in wanted_peers]
        result = measure(case.workload, case.precision, peers, options, known=NOISE_PEERS)
        record["results"].append(result | {"step": case.wanted})
        figures = (f"{tool} {cell(entry)}" for tool, entry in result["entries"].items())
        times = (f"{tool} {ratio:.1f} times {best}" for tool, (best, ratio) in ratios(result).items())
        print(f"{case.workload} {case.precision}: {', '.join(figures)}; {', '.join(times)}", flush=True)
        record["load"]["after"] = machine.load()
        if arguments.json:
            write(record, arguments.json)
    return record


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", help="some of them, separated by commas: N2,N4-values")
    parser.add_argument("--peers", help=f"some of {', '.join(NOISE_PEERS)}; ours is always there")
    parser.add_argument("--quick", action="store_true", help="small circuits, a step or two each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patience", type=float, default=0.0, help="seconds a workload may wait for a quiet machine")
    parser.add_argument(
        "--step-limit", type=float, default=6.0, help="seconds a step may take; slow tools get few samples"
    )
    parser.add_argument("--build-limit", type=float, default=120.0, help="seconds for compiling and the first answers")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="folder made by setup_peers.sh")
    parser.add_argument("--log", type=Path, help="file for what the tools print")
    parser.add_argument("--json", type=Path, help="where to write everything")
    parser.add_argument("--table", type=Path, help="print the table of this file, and measure nothing")
    parser.add_argument("--readme", type=Path, help="write the table between the marks of this file")
    arguments = parser.parse_args()
    record = json.loads(arguments.table.read_text()) if arguments.table else run(arguments)
    made = table(record)
    if arguments.readme:
        arguments.readme.write_text(insert(arguments.readme.read_text(), made, KIND))
    else:
        print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
