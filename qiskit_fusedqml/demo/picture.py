"""The demo's picture: loss, accuracy and confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .training import Epoch


def confusion(truth: NDArray[np.int64], found: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Counts (num_classes, num_classes); entry (i, j): samples of class i taken for class j."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (truth, found), 1)
    return counts


def save_picture(
    path: Path, history: list[Epoch], counts: NDArray[np.int64], names: tuple[int, ...], baseline: float
) -> None:
    """Draw the three panels and save them; the suffix of ``path`` (.png, .pdf, .svg) decides the format."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    loss, accuracy, matrix = figure.subplots(1, 3)
    epochs = np.arange(1, len(history) + 1)
    loss.plot(epochs, [epoch.loss for epoch in history], marker="o", markersize=3)
    loss.set(title="Training loss", xlabel="epoch", ylabel="cross entropy", ylim=(0, None))
    accuracy.plot(epochs, [epoch.train for epoch in history], label="training")
    accuracy.plot(epochs, [epoch.test for epoch in history], label="test")
    accuracy.axhline(baseline, color="grey", linestyle="--", label="logistic regression, test")
    accuracy.set(title="Accuracy", xlabel="epoch", ylim=(None, 1.01))
    accuracy.legend(loc="lower right")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    _draw_matrix(matrix, counts, names)
    figure.savefig(path, dpi=120)


def _draw_matrix(axes: Axes, counts: NDArray[np.int64], names: tuple[int, ...]) -> None:
    axes.imshow(counts, cmap="Blues")
    ticks = np.arange(len(names))
    axes.set(title="Test images", xlabel="taken for", ylabel="is", xticks=ticks, yticks=ticks)
    axes.set_xticklabels([str(name) for name in names])
    axes.set_yticklabels([str(name) for name in names])
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if 2 * count > counts.max() else "black"
        )
