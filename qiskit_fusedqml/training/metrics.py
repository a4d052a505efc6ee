"""Metrics: one line of JSON a step and one an epoch, appended to a file, and the plot of them.

A step's line holds ``step`` (finished so far), ``epoch`` (finished so far), ``loss`` (of this step, before it),
``learning_rate`` and ``samples_per_second`` (since the line before). An epoch's line holds ``step``, ``epoch``,
``mean_loss`` (over its samples), ``seconds`` (of its steps) and whatever the callback of `fit` returned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ..errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS_FILE = "metrics.jsonl"
"""Its name within a run's folder."""

_OWN = {"epoch", "step", "mean_loss", "seconds"}
_SMOOTHED_POINTS = 200


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics file.

    Args:
        path: The file, or the folder of the run. The run may still be going on.

    Raises:
        InvalidInputError: If a line, other than a last one that is being written, holds something else.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    return [record for _, record in _records(path / METRICS_FILE if path.is_dir() else path)]


def open_metrics(path: Path, step: int) -> TextIO:
    """A file of metrics to append to; the lines of steps after the given one, which will be run again, are cut off.

    Raises:
        InvalidInputError: As `read_metrics`; the file is as it was.
    """
    if path.exists():
        os.truncate(path, max((end for end, record in _records(path) if record["step"] <= step), default=0))
    # a line at a time: a kill loses the line of no finished step
    return path.open("a", buffering=1, encoding="utf-8", newline="\n")


def plot(metrics: str | Path, output: str | Path | None = None) -> Figure:
    """Draw the loss of every step, with its running mean, and what the callback of `fit` returned for each epoch.

    Args:
        metrics: The metrics file, or the folder of the run.
        output: Where the picture is saved, if anywhere; the suffix decides the format.

    Returns:
        The figure, which a notebook shows by itself.

    Raises:
        InvalidInputError: If there are no metrics yet, or the file holds something else.
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("plot needs matplotlib: install qiskit-fusedqml[demo]") from error
    records = read_metrics(metrics)
    steps, epochs = ([r for r in records if key in r and "epoch" in r] for key in ("loss", "mean_loss"))
    if not steps:
        raise InvalidInputError(f"{metrics} holds no step yet; there is nothing to plot.")
    names = sorted({name for record in epochs for name in record} - _OWN)
    figure = Figure(figsize=(5 + 4 * bool(names), 4), layout="constrained")
    panels = figure.subplots(1, 1 + bool(names), squeeze=False)[0]
    _draw_loss(panels[0], steps, epochs)
    for name in names:
        chosen = [record for record in epochs if name in record]
        panels[1].plot([r["epoch"] for r in chosen], [r[name] for r in chosen], marker="o", markersize=3, label=name)
    if names:
        panels[1].set(title="After each epoch", xlabel="epoch")
        panels[1].legend()
        panels[1].xaxis.get_major_locator().set_params(integer=True)
    for axes in panels:
        axes.grid(alpha=0.3)
    if output is not None:
        figure.savefig(output, dpi=120)
    return figure


def _draw_loss(axes: Axes, steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> None:
    x, y = np.array([r["step"] for r in steps]), np.array([r["loss"] for r in steps])
    axes.plot(x, y, color="C0", alpha=0.3, linewidth=0.8, label="each step")
    width = max(1, len(y) // _SMOOTHED_POINTS)
    whole = len(y) // width * width
    if width > 1:
        axes.plot(*(each[:whole].reshape(-1, width).mean(axis=1) for each in (x, y)), label=f"mean of {width}")
    if epochs:
        axes.plot([r["step"] for r in epochs], [r["mean_loss"] for r in epochs], "C1o-", markersize=3, label="epoch")
    axes.set(title="Loss", xlabel="step")
    axes.legend()


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each line its end in the file and its content; a last line that is being written is left out."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not _is_record(record):
                raise InvalidInputError(f"{path}, line {number}, is no line of metrics: {line[:60]!r}.")
            end += len(line)
            yield end, record


def _is_record(value: object) -> bool:
    if not isinstance(value, dict) or type(value.get("step")) is not int:
        return False
    return all(each is None or isinstance(each, (int, float)) for each in value.values())
