"""Turn the JSON of `run.py` and `networks.py` into tables.

``python benchmarks/compare.py results/a.json [results/b.json ...]`` prints Markdown; with ``--readme
benchmarks/README.md`` it replaces what stands between two marks there, one pair for each of the programs. ``--summary
README.md`` does so with a short table of the double-precision results of `run.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KINDS = ("benchmarks", "networks")
"""What stands between which marks, by the ``kind`` of a record; those of `run.py` name none."""
SUMMARY = "summary"
"""The marks of the short table."""
OURS = "ours"

Entry = Mapping[str, Any]


def timed(result: Mapping[str, Any]) -> dict[str, Entry]:
    """The entries that hold figures."""
    return {peer: entry for peer, entry in result["entries"].items() if entry["status"] == "ok"}


def best_peer(result: Mapping[str, Any]) -> str | None:
    """The fastest tool besides ours, by the median."""
    peers = {peer: entry["median"] for peer, entry in timed(result).items() if peer != OURS}
    return min(peers, key=lambda peer: peers[peer]) if peers else None


def ratio(result: Mapping[str, Any]) -> float | None:
    """How many times faster than the best peer we are; None without either figure."""
    best, entries = best_peer(result), timed(result)
    return entries[best]["median"] / entries[OURS]["median"] if best and OURS in entries else None


def duration(seconds: float) -> str:
    """Three figures and a unit."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def gemm_peak(record: Mapping[str, Any], precision: str) -> float:
    """Multiply-adds per second, in 10^9, of the fastest matrix product measured in the run."""
    taken = [record["ceilings"][when] for when in ("before", "after") if record["ceilings"].get(when)]
    return max(float(figures["gemm_gfma_per_s"][precision]) for figures in taken)


def line(result: Mapping[str, Any]) -> str:
    """One result in one line of text."""
    parts = [f"{peer} {_cell(entry)}" for peer, entry in result["entries"].items() if entry["status"] == "ok"]
    times = ratio(result)
    ending = f"; {times:.1f} times the best peer" if times else ""
    return f"{result['workload']} {result['precision']}: {', '.join(parts) or 'no figures'}{ending}"


def table(record: Mapping[str, Any]) -> str:
    """A section for each precision, then where, when and with which versions."""
    precisions = list(dict.fromkeys(result["precision"] for result in record["results"]))
    sections = [
        _section(record, precision, [r for r in record["results"] if r["precision"] == precision])
        for precision in precisions
    ]
    return "\n\n".join([*sections, _origin(record)])


def size(result: Mapping[str, Any]) -> tuple[str, str]:
    """Qubits and layers, samples; of a workload whose specification names them."""
    letters = dict(part.split("=") for part in result["spec"].partition(":")[2].split(","))
    samples = "1 sample" if letters["B"] == "1" else f"{letters['B']} samples"
    return f"{letters['n']} qubits, {letters['L']} layers", samples


def summary(record: Mapping[str, Any]) -> str:
    """A line a workload in double precision: what it is, our time, the best peer's, the ratio."""
    header = ["", "circuit", "weights", "batch", "ours", "best peer", "best peer / ours"]
    rows = [_markdown(header), _markdown(["---"] * len(header))]
    for result in record["results"]:
        best, times = best_peer(result), ratio(result)
        if result["precision"] == "double" and best and times:
            entries, (circuit, samples) = result["entries"], size(result)
            peer = f"{_cell(entries[best])} ({best})"
            cells = [circuit, str(result["num_weights"]), samples, _cell(entries[OURS]), peer, f"**{times:.1f}**"]
            rows.append(_markdown([result["workload"], *cells]))
    return "\n".join(rows)


def networks_table(record: Mapping[str, Any]) -> str:
    """What `networks.py` measured: our classes beside the engine and beside the stock classes."""
    header = ["", "time", "beside", "its time", "more, or faster", "wanted"]
    rows = [_markdown(header), _markdown(["---"] * len(header))]
    for entry in record["entries"]:
        if "more" in entry:
            difference = f"{1e3 * entry['more']:+.2f} ms".replace("-", "−")
            if "torch" in entry:
                difference += f", torch alone {1e3 * entry['torch']:.2f}"
            figures = [f"**{difference}**", f"at most +{1e3 * entry['allowed']:.2f} ms"]
        else:
            wanted = f"{entry['faster']:.0f} times" if "faster" in entry else f"within {duration(entry['within'])}"
            figures = [f"**{entry['reference'] / entry['seconds']:.0f} times**", wanted]
        other = duration(entry["reference"]) + ("*" if entry["scaled"] else "")
        rows.append(_markdown([entry["what"], duration(entry["seconds"]), entry["beside"], other, *figures]))
    where = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    origin = (
        f"Measured on {record['date'][:10]} at commit {record['commit']}: {where['cpu']}, {where['cores']} cores, "
        f"{record['threads']} threads, load {record['load']['before']:.1f} before the run ({versions}). Networks: a "
        "forward and a backward pass at the same values; a step of the layer: forward, a sum of squares, backward. "
        "Differences are medians over turns, of the second of two calls in a row; what torch alone takes for the same "
        "calls around a `torch.nn.Linear`, right after a sweep, is part of them. \\* measured on fewer samples or "
        "parameters and scaled by the number of circuits."
    )
    if max(record["load"].values()) > where["cores"]:
        origin += " Other programs had the cores for most of this run: the differences are mostly theirs."
    return "\n".join([*rows, "", origin])


def _section(record: Mapping[str, Any], precision: str, results: list[Mapping[str, Any]]) -> str:
    peers = [peer for peer in _columns(results) if peer != OURS]
    header = [
        "workload",
        "qubits",
        "weights",
        "batch",
        "ours",
        "best peer / ours",
        "GFMA/s (of peak)",
        "outside",
        *peers,
    ]
    rows = [_row(record, precision, result, peers) for result in results]
    lines = [f"**{precision.capitalize()} precision**", "", _markdown(header), _markdown(["---"] * len(header))]
    lines += [_markdown(row) for row in rows]
    ratios = [value for value in map(ratio, results) if value]
    if len(ratios) > 1:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines += ["", f"Geometric mean of best peer / ours: **{mean:.1f}**."]
    return "\n".join(lines)


def _row(record: Mapping[str, Any], precision: str, result: Mapping[str, Any], peers: Iterable[str]) -> list[str]:
    entries, best, times = result["entries"], best_peer(result), ratio(result)
    ours = entries.get(OURS, {"status": "missing"})
    work = ours.get("useful_gfma_per_s")
    cells = [result["workload"], str(result["num_qubits"]), str(result["num_weights"]), str(result["batch"])]
    cells += [_cell(ours), f"**{times:.1f}**" if times else "–"]
    cells.append(f"{work:.1f} ({100 * work / gemm_peak(record, precision):.0f} %)" if work else "–")
    outside = ours.get("outside_sweeps")
    cells.append("–" if outside is None else f"{100 * outside:.0f} %")
    for peer in peers:
        cell = _cell(entries.get(peer, {"status": "missing"}))
        cells.append(f"**{cell}**" if peer == best else cell)
    return cells


def _cell(entry: Entry) -> str:
    if entry["status"] != "ok":
        return {"unsupported": "–", "missing": "not installed"}.get(entry["status"], entry["status"])
    return duration(entry["median"]) + ("*" if entry["scaled"] else "") + ("~" if entry["disturbed"] else "")


def _columns(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Peers with a figure or a failure somewhere; those that nobody could run are left to the JSON."""
    names: dict[str, None] = {}
    for result in results:
        names.update({peer: None for peer, entry in result["entries"].items() if entry["status"] != "unsupported"})
    return list(names)


def _origin(record: Mapping[str, Any]) -> str:
    machine, load = record["machine"], record["load"]
    versions: dict[str, dict[str, str]] = {}
    scaled = disturbed = False
    for result in record["results"]:
        for peer, entry in timed(result).items():
            versions[peer] = entry["versions"]
            scaled |= entry["scaled"]
            disturbed |= entry["disturbed"]
    packages = "; ".join(f"{peer}: {_installed(names, peer)}" for peer, names in versions.items())
    peaks = ", ".join(f"{gemm_peak(record, p):.0f} in {p}" for p in ("double", "single"))
    cores = f"{machine['cores']} cores ({', '.join(machine['instruction_set'])})"
    measured = (
        f"Measured on {record['date'][:10]} at commit {record['commit']}: {machine['cpu']}, {cores}, "
        f"{record['options']['threads']} threads for every tool, load {load['before']:.1f} before the run."
    )
    meaning = (
        "A step is the values of all samples and the gradient of their sum at new weights; medians of all steps. Every "
        "answer agreed with ours to 1e-5 (double) or 1e-4 (single). GFMA/s: useful multiply-adds per second (10 n + 14 "
        "per amplitude and layer for W1 to W6, `hamiltonian` and `molecule`, what the plan does for the others; "
        f"observables are not counted); a matrix product reaches {peaks}. Outside: the share of our step that is not "
        "spent in the device's sweeps."
    )
    lines = [f"{measured} {meaning}", f"Versions: {packages}."]
    if scaled:
        lines.append("\\* timed on fewer samples and scaled linearly to the batch.")
    if disturbed:
        lines.append("~ other programs were busy during every turn.")
    if not record["complete"]:
        lines.append("The run was interrupted.")
    return "\n\n".join(lines)


def _installed(versions: Mapping[str, str], peer: str) -> str:
    """The versions that matter; what all environments share is said once."""
    shared = set() if peer == OURS else {"numpy", "python"}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name not in shared)


def _markdown(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def marks(kind: str) -> tuple[str, str]:
    """The lines before and after the tables of a kind."""
    return f"<!-- {kind}:start -->", f"<!-- {kind}:end -->"


def insert(text: str, tables: str, kind: str = KINDS[0]) -> str:
    """The text with what stands between the marks of a kind replaced.

    Raises:
        ValueError: Without exactly one pair of marks, in this order.
    """
    start, end = marks(kind)
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"The file needs one line {start} and, after it, one line {end}.")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    return f"{before}{start}\n\n{tables}\n\n{end}{after}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Make tables of benchmark results.")
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of run.py and networks.py")
    parser.add_argument("--readme", type=Path, help="write the tables between the marks of this file")
    parser.add_argument("--summary", type=Path, help="write the short table between the marks of this file")
    arguments = parser.parse_args()
    records = [json.loads(path.read_text()) for path in arguments.results]
    if arguments.summary is None:
        made = [(KINDS[0], table, KINDS[0], arguments.readme), (KINDS[1], networks_table, KINDS[1], arguments.readme)]
    else:
        made = [(KINDS[0], summary, SUMMARY, arguments.summary)]
    for kind, make, mark, target in made:
        tables = "\n\n".join(make(record) for record in records if record.get("kind", KINDS[0]) == kind)
        if not tables:
            continue
        if target is None:
            print(tables)
            continue
        try:
            target.write_text(insert(target.read_text(), tables, mark))
        except ValueError as problem:
            parser.error(str(problem))
    return 0


if __name__ == "__main__":
    sys.exit(main())
