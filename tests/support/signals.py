"""Ctrl-C is a signal whose handler raises; here an alarm's does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class AlarmError(Exception):
    """What the alarm's handler raises."""


@contextmanager
def stopped_by_alarm(seconds: float = 0.2) -> Iterator[None]:
    """An alarm rings while the block runs, and must end it."""

    def ring(*_: object) -> None:
        raise AlarmError

    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(AlarmError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
