"""Peak memory against depth and against batch, beside other tools: one process a tool and size.

    python benchmarks/memory.py                      # a table; a few minutes
    python benchmarks/memory.py --json FILE.json     # and a file

A figure is the most memory a process ever held, less what it held once the tool was imported: building, compiling and
two steps (values and gradient) in single precision. What cannot run says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))  # python -P leaves the script's folder out

import machine  # noqa: E402
from peers import OURS, PEERS  # noqa: E402
from peers.session import PeerError, Session  # noqa: E402
from run import write  # noqa: E402

DEPTH = tuple(f"hea:n=14,L={layers},B=1" for layers in (1, 10, 100, 300))
BATCH = tuple(f"hea:n=10,L=20,B={batch}" for batch in (1, 16, 64, 256))
TOOLS = (OURS, "tensorcircuit", "lightning")
LIMIT = 240.0
"""Seconds for anything a tool is asked."""


def measure(name: str, tool: str, venvs: Path, threads: int) -> dict[str, Any]:
    """Peak memory of one tool at one size."""
    try:
        with Session(PEERS[tool], venvs, threads) as session:
            session.ask("build", LIMIT, workload=name, precision="single", threads=threads, step_limit=LIMIT)
            step = session.ask("time", LIMIT, first=1, steps=1, seconds=1.0)
            last = session.ask("close", LIMIT)
    except PeerError as problem:
        return {"status": problem.status, "reason": str(problem)}
    own = last["peak_mib"] - last["imported_mib"]
    return {"status": "ok", "own_mib": own, "peak_mib": last["peak_mib"], "seconds": step["seconds"][0]}


def cell(entry: dict[str, Any]) -> str:
    """A figure, or why there is none."""
    return f"{entry['own_mib']:.0f} MiB" if entry["status"] == "ok" else entry["status"]


def table(results: dict[str, dict[str, Any]], tools: Sequence[str]) -> str:
    """Markdown."""
    lines = ["| circuit | " + " | ".join(tools) + " |", "| --- " * (len(tools) + 1) + "|"]
    for name, entries in results.items():
        cells = (cell(entries[tool]) for tool in tools if tool in entries)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join([*DEPTH, *BATCH]), help="names, separated by commas")
    parser.add_argument("--peers", default=",".join(TOOLS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--venvs", type=Path, default=HERE / ".venvs", help="folder made by setup_peers.sh")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = arguments.workloads.replace(",hea", ";hea").split(";")
    tools = arguments.peers.split(",")
    record: dict[str, Any] = machine.report(threads=arguments.threads, results={})
    for name in names:
        entries = record["results"][name] = {}
        for tool in tools:
            entries[tool] = measure(name, tool, arguments.venvs, arguments.threads)
            print(f"{name}  {tool}: {entries[tool]}", flush=True)
        if arguments.json:
            write(record, arguments.json)
    print(table(record["results"], tools))
    return 0


if __name__ == "__main__":
    sys.exit(main())
