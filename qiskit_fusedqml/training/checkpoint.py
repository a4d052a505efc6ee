"""A run's folder: a checkpoint that is replaced atomically, the metrics, and a lock that keeps a second run out.

A checkpoint is a file of `torch.save` that ``torch.load(weights_only=True)`` reads, without running code from it.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InvalidInputError
from ..files import lock, replacing
from .metrics import METRICS_FILE, open_metrics
from .run import Run

CHECKPOINT_FILE = "checkpoint.pt"
"""Its name within a run's folder."""

_LOCK_FILE = "lock"
torch.serialization.add_safe_globals([Counter])  # harmless, and not known to every version of torch

_training: dict[tuple[int, int, int], object] = {}  # process and folder of the runs that go on


class RunFolder:
    """The folder of a run, which goes on from the checkpoint there; the stack frees the folder again.

    Raises:
        InvalidInputError: If another run trains here, or a file is damaged or of another run; no file has changed.
    """

    def __init__(self, path: Path, run: Run, save_every: int | timedelta, stack: ExitStack) -> None:
        self._checkpoint, self._run, self._save_every = path / CHECKPOINT_FILE, run, save_every
        path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_locked(path))
        self._saved_step: int | None = None
        if os.path.lexists(self._checkpoint):  # a link to nowhere is an error
            state = load_checkpoint(self._checkpoint)
            with _damage_named(self._checkpoint):
                run.resume(state, self._checkpoint)
            self._note_saved()
        self._metrics = run.log = stack.enter_context(open_metrics(path / METRICS_FILE, run.step))
        self._saved_at = time.monotonic()

    def save(self, *, end: bool = False) -> None:
        """Save a checkpoint, at the end or where it is due, unless this very state has been saved."""
        if isinstance(self._save_every, timedelta):
            due = time.monotonic() - self._saved_at >= self._save_every.total_seconds()
        else:
            due = self._run.step - (self._saved_step or 0) >= self._save_every
        if (due or end) and self._run.step != self._saved_step:
            os.fsync(self._metrics.fileno())  # the metrics are never behind the checkpoint
            save_checkpoint(self._checkpoint, self._run.state())
            self._note_saved()
            self._saved_at = time.monotonic()

    def _note_saved(self) -> None:
        self._saved_step = self._run.step
        self._run.last_good = f"{self._checkpoint} holds the state after step {self._run.step}. "


def save_checkpoint(path: Path, state: Any) -> None:
    """Write a state to a file, whole or not at all.

    Raises:
        InvalidInputError: If the state holds other things than dictionaries, lists and tuples of tensors, numbers,
            strings and None.
        OSError: If the file cannot be written; the former one is as it was.
    """
    plain = _plain(state, "")
    with replacing(path, part=f"{path.name}.part") as file:  # a run has its folder to itself
        torch.save(plain, file)


def load_checkpoint(path: Path) -> Any:
    """The state that `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        InvalidInputError: If the file is something else, or is damaged.
        OSError: If it cannot be read.
    """
    with _damage_named(path), path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:  # torch does not look at the checksums
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    found, mine = folder.stat(), object()
    key = (os.getpid(), found.st_dev, found.st_ino)
    if _training.setdefault(key, mine) is not mine:  # a lock keeps other processes out, not other threads
        raise InvalidInputError(f"This process is training in {folder} already: wait for it, or name another folder.")
    try:
        with (folder / _LOCK_FILE).open("a") as file:
            try:
                lock(file)  # which a forked child does not keep when this process is killed
            except (BlockingIOError, PermissionError) as error:
                raise InvalidInputError(
                    f"Another process is training in {folder}: wait for it, stop it, or name another folder."
                ) from error
            yield
    finally:
        del _training[key]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, InvalidInputError):
        raise
    except Exception as error:
        raise InvalidInputError(
            f"{path} is no checkpoint or is damaged ({error}). Move it away to train from the beginning."
        ) from error


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().resolve_conj().resolve_neg().clone()  # no more of its storage than it shows
    kind = type(value)
    if isinstance(value, dict):
        items = {_plain(key, where): _plain(each, f"{where}/{key}") for key, each in value.items()}
        return Counter(items) if kind is Counter else items
    if kind in {list, tuple}:
        return kind(_plain(each, f"{where}/{k}") for k, each in enumerate(value))
    if value is None or kind in {bool, int, float, str}:
        return value
    raise InvalidInputError(
        f"A checkpoint cannot hold {where.lstrip('/')}, a {kind.__name__}: tensors, numbers, strings and None, in "
        "dictionaries, lists and tuples, are possible."
    )
