"""Metrics: one line of JSON a step and one an epoch, appended to a file, and the picture of them.

A step's line holds ``step`` (finished so far), ``epoch`` (finished so far), ``loss`` (of this step, before it),
``learning_rate`` and ``samples_per_second`` (since the line before). An epoch's line holds ``step``, ``epoch``,
``mean_loss`` (over its samples), ``seconds`` (of its steps) and whatever the callback of `fit` returned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS_FILE = "metrics.jsonl"
"""Its name within a run's folder."""

_OWN = {"epoch", "step", "mean_loss", "seconds"}
_SMOOTHED_POINTS = 200


class MetricsFile:
    """A file of metrics that is appended to; what belongs to steps that are going to be run again is cut off.

    Args:
        path: The file; it need not exist.
        step: The number of finished steps.
    """

    def __init__(self, path: Path, step: int) -> None:
        if path.exists():
            os.truncate(path, _length_until(path, step))
        self._file = path.open("a", buffering=1)  # a line at a time: a kill loses no finished step's

    def write(self, record: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(record) + "\n")

    def sync(self) -> None:
        """Have all lines on the disk, so that the file is never behind the checkpoint that is saved next."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a metrics file.

    Args:
        path: The file, or the folder of the run. The run may still be going on.

    Raises:
        InvalidInputError: If a line, other than a last one that is being written, is no object of JSON.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    path = path / METRICS_FILE if path.is_dir() else path
    found = []
    for number, (line, record) in enumerate(_lines(path), start=1):
        if record is None and line.endswith(b"\n"):
            raise InvalidInputError(f"{path}, line {number}, is no line of metrics: {line[:60]!r}.")
        if record is not None:
            found.append(record)
    return found


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
    steps, epochs = ([r for r in records if key in r] for key in ("loss", "mean_loss"))
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


def _length_until(path: Path, step: int) -> int:
    """Bytes of the whole lines that belong to the first so many steps."""
    length = 0
    for line, record in _lines(path):
        if record is None or record.get("step", step + 1) > step:
            break
        length += len(line)
    return length


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Lines and their contents; None for what is no whole line of metrics."""
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            yield line, record if isinstance(record, dict) else None
