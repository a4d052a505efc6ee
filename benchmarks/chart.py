"""Draw the charts of the README and of the pages from the results of `run.py`: ``python benchmarks/chart.py``.

It needs the extra ``demo``. `CHARTS` says what is drawn from which file; with ``--output`` they go into another folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compare
import matplotlib as mpl
from matplotlib.figure import Figure

COLORS = {"double": "#3b6fb6", "single": "#e08a2c"}
TICKS = (1, 2, 5, 10, 20, 50, 100)
BENCHMARKS = Path(__file__).parent

Record = Mapping[str, Any]


def ratios(record: Record) -> dict[str, dict[str, float]]:
    """Best peer's time over ours, by precision and workload; workloads without both figures are left out."""
    found: dict[str, dict[str, float]] = {}
    for result in record["results"]:
        value = compare.ratio(result)
        if value is not None:
            found.setdefault(result["precision"], {})[result["workload"]] = value
    return found


def speed(record: Record) -> Figure:
    """A group of bars a workload, a bar a precision, on a logarithmic axis."""
    found, sizes = ratios(record), {result["workload"]: compare.size(result) for result in record["results"]}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(found)
    for k, (precision, values) in enumerate(found.items()):
        places = [names.index(name) + (k - (len(found) - 1) / 2) * width for name in values]
        bars = axes.bar(places, list(values.values()), width, color=COLORS[precision], label=f"{precision} precision")
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(1, 2 * TICKS[-1])
    axes.set_yticks(TICKS, labels=[str(tick) for tick in TICKS], minor=False)
    axes.minorticks_off()
    axes.set_xticks(
        range(len(names)), labels=["\n".join([name, *sizes[name]]).replace(", ", "\n") for name in names], fontsize=8
    )
    axes.set(ylabel="best peer's time / ours", title="A training step: values and gradient of a batch")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", ncols=len(found))
    return figure


AXES = {
    "n": ("qubits, 5 layers", lambda x: 2.0**x, "$2^n$"),
    "L": ("layers, 8 qubits, batch of 64", lambda x: x, "layers"),
    "B": ("samples, 8 qubits, 5 layers", lambda x: x, "samples"),
}
"""What a series of workloads is along -> the name of its axis; what its time would be proportional to, and its name."""


def series(record: Record, letter: str) -> list[tuple[int, float]]:
    """Seconds along one letter of the specifications: of a step, or along qubits, where batches differ, of a sample."""
    rest = {"n": {"L": 5}, "L": {"n": 8, "B": 64}, "B": {"n": 8, "L": 5}}[letter]
    found = {}
    for result in record["results"]:
        letters = {key: int(value) for key, value in (part.split("=") for part in result["spec"][4:].split(","))}
        if all(letters[key] == value for key, value in rest.items()):
            seconds = result["entries"]["ours"]["median"]
            found[letters[letter]] = seconds / letters["B"] if letter == "n" else seconds
    return sorted(found.items())


def growth(record: Record) -> Figure:
    """Our time against qubits, layers and samples, with what proportional growth would be."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    for axes, (letter, (name, power, label)) in zip(figure.subplots(1, 3), AXES.items(), strict=True):
        places, seconds = zip(*series(record, letter), strict=True)
        axes.plot(places, seconds, "o-", color=COLORS["double"], markersize=4, label="measured")
        guide = [seconds[-1] * power(float(x)) / power(float(places[-1])) for x in places]
        axes.plot(places, guide, "--", color="#888888", linewidth=1, label=f"proportional to {label}")
        axes.set_yscale("log")
        if letter != "n":
            axes.set_xscale("log")
        axes.set(xlabel=name, ylabel="seconds a sample" if letter == "n" else "seconds a step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


CHARTS = {
    "speed.svg": (speed, "w1-w6-epyc-2-cores.json"),
    "growth.svg": (growth, "scaling-epyc-2-cores.json"),
}
"""A picture in `docs/` -> what draws it, and the file among the results that it is drawn from."""


def draw(folder: Path) -> None:
    """All charts, the same bytes for the same results."""
    for name, (make, results) in CHARTS.items():
        figure = make(json.loads((BENCHMARKS / "results" / results).read_text()))
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": Path(name).stem}):
            figure.savefig(folder / name, metadata={"Date": None})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=BENCHMARKS.parent / "docs", help="the folder; docs by default")
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
