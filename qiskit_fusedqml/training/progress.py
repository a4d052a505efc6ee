"""A progress bar: loss, samples per second, time left."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from ..errors import MissingExtraError
from .run import Epoch


class ProgressBar:
    """tqdm's bar over all samples of a run, or nothing.

    Args:
        wanted: Whether it is shown; None where standard error is a terminal and tqdm is installed.
        total: Number of samples of all epochs.
        done: Samples of earlier processes of this run; they count as done, but not for the speed.

    Raises:
        MissingExtraError: If it is wanted and tqdm is not installed.
    """

    def __init__(self, wanted: bool | None, total: int, done: int) -> None:
        installed, watched = find_spec("tqdm") is not None, sys.stderr.isatty()
        if wanted and not installed:
            raise MissingExtraError("progress=True needs tqdm: install qiskit-fusedqml[demo]")
        self._bar: Any = None
        self._told = ""
        if wanted or (wanted is None and installed and watched):
            from tqdm.auto import tqdm

            interval = 0.1 if watched else 1.0  # where nobody watches, a line a second is enough
            self._bar = tqdm(
                desc="training",
                total=total,
                initial=done,
                unit=" samples",
                unit_scale=True,
                mininterval=interval,
                maxinterval=interval,
            )

    def update(self, samples: int, loss: float) -> None:
        """Count a step."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss={loss:.4g}{self._told}", refresh=False)
            self._bar.update(samples)

    def tell(self, epoch: Epoch) -> None:
        """Show what an epoch reached, from now on."""
        metrics = "".join(f", {name}={value:.4g}" for name, value in epoch.metrics.items())
        self._told = f", epoch {epoch.number}: loss={epoch.loss:.4g}{metrics}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
