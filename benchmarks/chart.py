"""Draw how many times as fast as the best peer each workload of a result of `run.py` is.

``python benchmarks/chart.py benchmarks/results/w1-w6-epyc-2-cores.json docs/speed.svg`` made the chart of the README
(extra ``demo``).
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


def ratios(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Best peer's time over ours, by precision and workload; workloads without both figures are left out."""
    found: dict[str, dict[str, float]] = {}
    for result in record["results"]:
        value = compare.ratio(result)
        if value is not None:
            found.setdefault(result["precision"], {})[result["workload"]] = value
    return found


def draw(record: Mapping[str, Any], output: Path) -> None:
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
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "speed"}):
        figure.savefig(output, metadata={"Date": None} if output.suffix == ".svg" else None)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="JSON file of run.py")
    parser.add_argument("output", type=Path, help="the picture; its suffix decides the format")
    arguments = parser.parse_args()
    draw(json.loads(arguments.results.read_text()), arguments.output)


if __name__ == "__main__":
    main()
