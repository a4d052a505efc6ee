"""The demo from its first line on the terminal to its picture."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from ..errors import InvalidInputError
from . import Options
from .data import Data, load
from .network import Trainer, fused_network, stock_network, time_stock_step

STEP_REPEATS = 11


def run(options: Options) -> None:
    """Train, compare, draw; everything is printed on standard output.

    Raises:
        InvalidInputError: The data or the picture's name do not fit.
        KeyboardInterrupt: Ctrl-C ended the training; what had been reached has been reported.
    """
    _check_picture(options)
    torch.set_num_threads(1)  # torch only adds up a few numbers; the cores are for the sweeps
    wanted = {"num_qubits": options.qubits, "num_classes": options.classes}
    data = load(options.data, samples=options.samples, seed=options.seed, **wanted)
    network = fused_network(options.qubits, options.layers, options.classes, options.threads)
    classes = " ".join(str(name) for name in data.names)
    _say("data", f"{data.source}: {len(data.y_train)} to learn, {len(data.y_test)} to test; classes {classes}")
    _say("features", f"{options.qubits} principal components ({data.explained:.0%} of the variance) as angles")
    weights = f"{network.num_weights} weights, one observable a class"
    _say("network", f"{options.qubits} qubits, {options.layers} layers, {weights}")
    trainer = Trainer(network, data, batch_size=options.batch_size, seed=options.seed)
    try:
        trainer.run(options.epochs)
    except KeyboardInterrupt:
        _say("interrupted", f"after {len(trainer.history)} of {options.epochs} epochs")
        if trainer.history:
            _report(options, data, trainer)
        raise
    _report(options, data, trainer)
    _compare(options, data, network, trainer)


def _say(what: str, text: str) -> None:
    print(f"{what:<22}{text}", flush=True)


def _report(options: Options, data: Data, trainer: Trainer) -> None:
    reached, baseline = trainer.accuracy(), data.logistic_regression()
    _save_picture(options, data, trainer, baseline[1])
    _say("", f"{'training':>10}{'test':>10}   accuracy")
    _say("this network", f"{reached['train']:>10.1%}{reached['test']:>10.1%}")
    _say("logistic regression", f"{baseline[0]:>10.1%}{baseline[1]:>10.1%}   on the same features")
    seconds, steps = [epoch.seconds for epoch in trainer.history], -(-len(data.y_train) // options.batch_size)
    _say("one epoch", f"{np.median(seconds):.2f} s (median; {steps} steps of {options.batch_size} samples)")
    _say("picture", os.fspath(options.output.absolute()))


def _compare(options: Options, data: Data, network: Any, trainer: Trainer) -> None:
    batch = min(options.batch_size, len(data.y_train))
    ours = trainer.step_seconds(STEP_REPEATS)
    _say("one step", f"{1e3 * ours:.1f} ms ({batch} samples, median of {STEP_REPEATS})")
    few = data.x_train[: options.stock_samples]
    stock = stock_network(options.qubits, options.layers, options.classes)
    seconds, difference = time_stock_step(stock, network, few, trainer.weights)
    run = "1 sample" if len(few) == 1 else f"{len(few)} samples"
    _say(
        "stock gradient",
        f"{seconds * batch:.0f} s for the same step (parameter shift; scaled from {run}, "
        f"which took {seconds * len(few):.1f} s): {seconds * batch / ours:,.0f} times as long",
    )
    _say("agreement", f"the two gradients differ by at most {difference:.0e}")


def _check_picture(options: Options) -> None:
    # before the training, not after it
    allowed = sorted(f".{name}" for name in Figure().canvas.get_supported_filetypes())
    if options.output.suffix.lower() not in allowed:
        raise InvalidInputError(f"--output {options.output}: the name must end in one of {', '.join(allowed)}.")
    if options.output.is_dir():
        raise InvalidInputError(f"--output {options.output} is a folder; name the picture's file.")
    options.output.parent.mkdir(parents=True, exist_ok=True)


def _save_picture(options: Options, data: Data, trainer: Trainer, baseline: float) -> None:
    """Loss, accuracy and confusion matrix."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    loss, accuracy, matrix = figure.subplots(1, 3)
    history = trainer.history
    epochs = [epoch.number for epoch in history]
    loss.plot(epochs, [epoch.loss for epoch in history], marker="o", markersize=3)
    loss.set(title="Training loss", xlabel="epoch", ylabel="cross entropy", ylim=(0, None))
    for name, label in (("train", "training"), ("test", "test")):
        accuracy.plot(epochs, [epoch.metrics[name] for epoch in history], label=label)
    accuracy.axhline(baseline, color="grey", linestyle="--", label="logistic regression, test")
    accuracy.set(title="Accuracy", xlabel="epoch", ylim=(None, 1.01))
    accuracy.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, fontsize="small", frameon=False)
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    counts = confusion_matrix(data.y_test, trainer.predict(data.x_test), labels=range(options.classes))
    ConfusionMatrixDisplay(counts, display_labels=data.names).plot(ax=matrix, cmap="Blues", colorbar=False)
    matrix.set(title="Test images", xlabel="taken for", ylabel="is")
    figure.savefig(options.output, dpi=120)
