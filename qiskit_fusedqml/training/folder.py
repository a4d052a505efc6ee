"""A run's folder: its checkpoint, its metrics, and the lock that keeps a second process out."""

from __future__ import annotations

import fcntl
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import InvalidInputError
from .checkpoint import load_checkpoint, save_checkpoint
from .metrics import METRICS_FILE, MetricsFile
from .resume import check_settings, describe_options
from .run import Run

CHECKPOINT_FILE = "checkpoint.npz"
"""Its name within a run's folder."""

LOCK_FILE = "lock"
"""Its name within a run's folder."""


class RunFolder:
    """Brings a run to where the folder's checkpoint was taken, and saves it from time to time.

    Args:
        path: The folder; it is made if need be.
        run: The run, as it is at the beginning.
        save_every: Time between checkpoints, or a number of steps.

    Raises:
        InvalidInputError: If another process trains here, or the checkpoint is damaged or of another run.
    """

    def __init__(self, path: Path, run: Run, save_every: int | timedelta) -> None:
        self._checkpoint, self._run, self._save_every = path / CHECKPOINT_FILE, run, save_every
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._lock = stack.enter_context((path / LOCK_FILE).open("a"))
            _lock(self._lock.fileno(), path)
            if self._checkpoint.exists():
                state = load_checkpoint(self._checkpoint)
                check_settings(self._checkpoint, run.settings, state["settings"], describe_options(state["optimizer"]))
                run.load_state(state)
                self._saved()
            self._metrics = MetricsFile(path / METRICS_FILE, run.step)
            stack.callback(self._metrics.close)
            self._open = stack.pop_all()
        run.log = self._metrics
        self._saved_step, self._saved_at = run.step, time.monotonic()

    def save_if_due(self) -> None:
        """Save if the time has come or the steps have been taken."""
        if isinstance(self._save_every, timedelta):
            due = time.monotonic() - self._saved_at >= self._save_every.total_seconds()
        else:
            due = self._run.step - self._saved_step >= self._save_every
        if due:
            self.save()

    def save(self) -> None:
        """Save a checkpoint, unless this very state has been saved."""
        if self._run.step == self._saved_step and self._checkpoint.exists():
            return
        self._metrics.sync()
        save_checkpoint(self._checkpoint, self._run.state())
        self._saved()
        self._saved_step, self._saved_at = self._run.step, time.monotonic()

    def _saved(self) -> None:
        self._run.last_good = f"{self._checkpoint} holds the state after step {self._run.step}. "

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _lock(descriptor: int, folder: Path) -> None:
    try:
        # of this process alone: a forked child does not keep it when this process is killed
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise InvalidInputError(
            f"Another process is training in {folder}: wait for it, stop it, or name another folder."
        ) from error
