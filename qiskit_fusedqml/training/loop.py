"""`fit`: epochs and mini-batches with a torch optimiser, in a run that may be cut off anywhere and go on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..arrays import whole_number
from ..errors import InvalidInputError, MissingExtraError
from .checkpoint import RunFolder
from .run import Batches, Epoch, Run


def fit(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    scheduler: Any = None,
    schedule_by: str = "step",
    folder: str | Path | None = None,
    save_every: int | timedelta = timedelta(minutes=1),
    callback: Callable[[Epoch], Mapping[str, float] | None] | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    progress: bool | None = None,
) -> list[Epoch]:
    """Train a model.

    With a folder the run can be killed at any time: the same call in a new process resumes it from the last checkpoint,
    in the middle of an epoch too, and reaches the same weights, bit for bit, on the same machine. The folder holds
    ``checkpoint.pt`` (model, optimiser, scheduler, random number generators, place in the data) and
    ``metrics.jsonl`` (see `qiskit_fusedqml.training.metrics`). Random numbers from generators of your own are not part
    of it.

    On Ctrl-C or SIGTERM the step is finished and a checkpoint saved; then the signal takes its course
    (`KeyboardInterrupt`). A second one does so at once.

    Args:
        model: Any module; `FusedLayer` or a network with such layers.
        optimizer: A torch optimiser of the model's parameters, LBFGS included.
        loss: From outputs and targets of a batch to a scalar, their mean: ``torch.nn.MSELoss()``.
        data: A pair (x, y) of arrays or tensors with one row a sample, or anything with a length that gives a pair
            for an array of row numbers: `torch.utils.data.TensorDataset`, `IdxImages`.
        epochs: Passes through the data in all, those before a run was resumed included; more continue a finished run.
        batch_size: Samples in a step. The last batch of an epoch may be smaller.
        seed: Of the samples' order, which is another one in each epoch. Initial weights are the model's matter.
        scheduler: A scheduler of torch for the optimiser's learning rate. `ReduceLROnPlateau` gets the mean loss.
        schedule_by: "step" or "epoch": after what the scheduler is stepped.
        folder: Where checkpoint and metrics are kept; None for neither.
        save_every: Time between checkpoints, or a number of steps. One is saved at the end in any case.
        callback: Called after each epoch in evaluation mode, without gradients; what it returns goes into the metrics.
        collate: For data of single samples: from a list of them to a pair, as ``torch.utils.data.default_collate``.
        progress: Whether a progress bar is shown; by default if standard error is a terminal and tqdm is installed.

    Returns:
        The epochs, those before the run was resumed included.

    Raises:
        DivergedError: If the loss, a gradient or a parameter is not finite. The checkpoint is from before.
        InvalidInputError: If an argument is not allowed, the folder's checkpoint is damaged or of another run, or
            another process trains in the folder.
        MissingExtraError: If a progress bar is asked for and tqdm is not installed.
        OSError: If a file cannot be written.

    Example:
        >>> import torch
        >>> from qiskit_fusedqml.training import fit
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        >>> run = fit(model, optimizer, torch.nn.MSELoss(), (x, 3 * x), epochs=30, batch_size=16)
        >>> run[-1].loss < 0.01
        True
    """
    epochs = whole_number(epochs, "epochs", least=1)
    save_every = _interval(save_every)
    batches = Batches(data, batch_size, seed, collate)
    run = Run(model, optimizer, loss, batches, scheduler, schedule_by)
    with ExitStack() as stack:
        kept = None if folder is None else RunFolder(Path(folder), run, save_every, stack)
        done = run.epoch * batches.samples + run.batch * batches.batch_size
        bar = _progress_bar(progress, epochs * batches.samples, done, stack)
        received = stack.enter_context(_held_signals())
        while run.epoch < epochs and not received:
            samples, value = run.take_step()
            if bar is not None:
                bar.set_postfix_str(", ".join([f"loss={value:.4g}", *map(str, run.epochs[-1:])]), refresh=False)
                bar.update(samples)
            if run.batch == batches.per_epoch:
                run.finish_epoch(callback)
            if kept is not None:
                kept.save()
        if kept is not None:
            kept.save(end=True)
    if received:
        signal.raise_signal(received[0])
    return run.epochs


def _interval(save_every: int | timedelta) -> int | timedelta:
    """The interval between checkpoints, checked."""
    expected = "a number of steps or a timedelta"
    if not isinstance(save_every, timedelta):
        return whole_number(save_every, "save_every", expected, least=1)
    if save_every <= timedelta(0):
        raise InvalidInputError(f"save_every is {save_every!r}; {expected} is expected.")
    return save_every


def _progress_bar(wanted: bool | None, total: int, done: int, stack: ExitStack) -> Any:
    """A bar of tqdm over all samples, those of earlier processes included; or None."""
    installed, watched = find_spec("tqdm") is not None, sys.stderr.isatty()
    if wanted and not installed:
        raise MissingExtraError("progress=True needs tqdm: install qiskit-fusedqml[demo]")
    if not (wanted or (wanted is None and installed and watched)):
        return None
    from tqdm.auto import tqdm

    interval = 0.1 if watched else 1.0  # a line a second is enough for a log file
    options = {"unit": " samples", "unit_scale": True, "mininterval": interval, "maxinterval": interval}
    return stack.enter_context(tqdm(desc="training", total=total, initial=done, **options))


_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")


@contextmanager
def _held_signals() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and Windows' Ctrl-Break are listed; the second one takes its course at once.

    Signals that the process ignores stay ignored, and threads other than the main one, which get no signals, hold none.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def note(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            restore()
            signal.raise_signal(number)
        else:
            sys.stderr.write("\nStopping after this step; once more, and it stops at once.\n")

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                before[number] = handler
                signal.signal(number, note)
    try:
        yield received
    finally:
        restore()
