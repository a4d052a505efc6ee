"""Measure this package beside its peers in one run.

``python benchmarks/run.py --workloads W1,W2 --peers all --precision double,single --threads 2 --output results/x.json``

The file is written anew after every workload, so an interrupted run keeps what is finished. `compare.py` makes a table.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # python -P leaves the script's folder out

import ceilings  # noqa: E402
import compare  # noqa: E402
import machine  # noqa: E402
import workloads  # noqa: E402
from measure import Options, measure  # noqa: E402
from peers import OURS, PEERS  # noqa: E402

SCHEMA = 1

BUSY = 0.5
"""A load above which figures deserve a warning."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure qiskit_fusedqml beside its peers.")
    parser.add_argument(
        "--workloads", default="paper", help=f"names, groups ({', '.join(workloads.GROUPS)}) or family:n=..,L=..,B=.."
    )
    parser.add_argument("--peers", default="all", help=f"all, none, or a list out of {', '.join(PEERS)}")
    parser.add_argument("--precision", default="double,single", help="double, single or both (default)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every tool (default: 2)")
    parser.add_argument("--repeats", type=int, default=1000, help="timed steps at most (default: 1000)")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of timed steps (default: 10)")
    parser.add_argument("--rounds", type=int, default=4, help="turns the steps are spread over (default: 4)")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        help="seconds a workload may wait for a quiet machine and repeat disturbed turns (default: 0)",
    )
    parser.add_argument("--step-limit", type=float, default=30.0, help="seconds a step may take (default: 30)")
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="folder made by setup_peers.sh")
    parser.add_argument("--output", type=Path, help="JSON file (default: results/DATE.json beside this script)")
    parser.add_argument("--log", type=Path, help="file for what the tools print")
    parsed = parser.parse_args(arguments)
    try:
        parsed.workloads = workloads.expand(parsed.workloads)
        parsed.peers = _chosen(parsed.peers)
        parsed.precision = _precisions(parsed.precision)
    except ValueError as problem:
        parser.error(str(problem))
    return parsed


def _chosen(names: str) -> tuple[str, ...]:
    """Ours and the peers named."""
    if names in {"all", "none"}:
        return tuple(PEERS) if names == "all" else (OURS,)
    chosen = [name.strip() for name in names.split(",") if name.strip() != OURS]
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        raise ValueError(f"There is no peer {unknown[0]!r}; known are {', '.join(PEERS)}, all and none.")
    return (OURS, *dict.fromkeys(chosen))


def _precisions(names: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    if not set(chosen) <= {"double", "single"}:
        raise ValueError(f"The precision is {names!r}; double, single or double,single is expected.")
    return chosen


def run(arguments: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Measure everything asked for, in order; the record says whether it is complete."""
    options = Options(
        threads=arguments.threads,
        repeats=arguments.repeats,
        budget=arguments.budget,
        rounds=max(1, min(arguments.rounds, arguments.repeats)),
        patience=arguments.patience,
        step_limit=arguments.step_limit,
        venvs=arguments.venvs.resolve(),
        log=arguments.log.resolve() if arguments.log else None,
    )
    if machine.load() > BUSY:
        print(f"The load is {machine.load():.1f}: other programs are busy, figures will be too large.", file=sys.stderr)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load": {"before": machine.load()},
        "options": {key: value for key, value in vars(arguments).items() if key not in {"venvs", "output", "log"}},
        "ceilings": {"before": ceilings.measure(options.threads)},
        "results": [],
    }
    try:
        for name in arguments.workloads:
            for precision in arguments.precision:
                result = measure(name, precision, arguments.peers, options)
                record["results"].append(result)
                print(compare.line(result), flush=True)
                write(record, output)
        record["complete"] = True
    except KeyboardInterrupt:
        print("Interrupted: what is finished is kept.", file=sys.stderr)
    record["ceilings"]["after"] = ceilings.measure(options.threads) if record["complete"] else None
    record["load"]["after"] = machine.load()
    write(record, output)
    return record


def write(record: dict[str, Any], output: Path) -> None:
    """Write the file whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.replace(output)


def main() -> int:
    """The command."""
    arguments = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    output = arguments.output or HERE / "results" / f"{stamp}.json"
    try:
        record = run(arguments, output)
    except KeyboardInterrupt:
        print("Interrupted between workloads: what was written before is kept.", file=sys.stderr)
        return 130
    print()
    print(compare.table(record))
    print(f"Written to {output}")
    return 0 if record["complete"] else 130


if __name__ == "__main__":
    sys.exit(main())
