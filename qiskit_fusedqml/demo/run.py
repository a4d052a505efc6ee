"""The demo from the first line on the terminal to the last."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ..errors import InvalidInputError
from . import Options
from .data import Data, load
from .model import fused_network, stock_network
from .picture import confusion, save_picture
from .timing import time_stock_step
from .training import Epoch, Trainer

STEP_REPEATS = 11


def run(options: Options) -> None:
    """Train, compare, draw; everything is told on standard output.

    Args:
        options: What to do.

    Raises:
        InvalidInputError: The data or the picture's name do not fit.
        KeyboardInterrupt: Ctrl-C ended the training; what had been reached has been reported.
    """
    _check_picture(options)
    torch.set_num_threads(1)  # it only adds up a few numbers here; the cores are for the sweeps
    data = load(
        options.data,
        num_qubits=options.qubits,
        num_classes=options.classes,
        samples=options.samples,
        seed=options.seed,
    )
    network = fused_network(options.qubits, options.layers, options.classes, options.threads)
    _introduce(options, data, network)
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


def _introduce(options: Options, data: Data, network: Any) -> None:
    classes = " ".join(str(name) for name in data.names)
    _say("data", f"{data.source}: {len(data.y_train)} to learn, {len(data.y_test)} to test; classes {classes}")
    _say("features", f"{options.qubits} principal components ({data.explained:.0%} of the variance) as angles")
    _say(
        "network",
        f"{options.qubits} qubits, {options.layers} layers, {network.num_weights} weights, one observable a class",
    )


def _report(options: Options, data: Data, trainer: Trainer) -> None:
    reached, baseline = trainer.accuracy(), data.logistic_regression()
    counts = confusion(data.y_test, trainer.predict(data.x_test), options.classes)
    save_picture(options.output, trainer.history, counts, data.names, baseline[1])
    _say("", f"{'training':>10}{'test':>10}   accuracy")
    _say("this network", f"{reached[0]:>10.1%}{reached[1]:>10.1%}")
    _say("logistic regression", f"{baseline[0]:>10.1%}{baseline[1]:>10.1%}   on the same features")
    _say("one epoch", _epoch_time(trainer.history, len(data.y_train), options.batch_size))
    _say("picture", os.fspath(options.output.absolute()))


def _epoch_time(history: list[Epoch], samples: int, batch_size: int) -> str:
    steps = -(-samples // batch_size)
    return f"{np.median([epoch.seconds for epoch in history]):.2f} s (median; {steps} steps of {batch_size} samples)"


def _compare(options: Options, data: Data, network: Any, trainer: Trainer) -> None:
    batch = min(options.batch_size, len(data.y_train))
    ours = trainer.step_seconds(STEP_REPEATS)
    _say("one step", f"{1e3 * ours:.1f} ms ({batch} samples, median of {STEP_REPEATS})")
    few = data.x_train[: options.stock_samples]
    stock = time_stock_step(
        stock_network(options.qubits, options.layers, options.classes), network, few, trainer.weights
    )
    scaled = stock.scaled(batch)
    run = "1 sample" if stock.samples == 1 else f"{stock.samples} samples"
    _say(
        "stock gradient",
        f"{scaled:.0f} s for the same step (parameter shift; scaled from {run}, "
        f"which took {stock.seconds:.1f} s): {scaled / ours:,.0f} times as long",
    )
    _say("agreement", f"the two gradients differ by at most {stock.difference:.0e}")


def _check_picture(options: Options) -> None:
    # before the training, not after it
    allowed = sorted(f".{name}" for name in Figure().canvas.get_supported_filetypes())
    if options.output.suffix.lower() not in allowed:
        raise InvalidInputError(f"--output {options.output}: the name must end in one of {', '.join(allowed)}.")
    if options.output.is_dir():
        raise InvalidInputError(f"--output {options.output} is a folder; name the picture's file.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
