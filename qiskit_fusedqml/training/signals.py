"""Ctrl-C and SIGTERM, held back until the work is at a place where it can stop."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

HELD = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """While this is entered, the first signal is noted and the second one takes its course at once.

    Signals that the process ignores stay ignored, and threads other than the main one, which get no signals, hold none.

    Args:
        message: What the first signal is answered with, on standard error.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._before: dict[signal.Signals, Any] = {}
        self._received: int | None = None

    @property
    def received(self) -> bool:
        """Whether a signal waits."""
        return self._received is not None

    def let_go(self) -> None:
        """Let a signal that waits take its course, by whatever handled it before."""
        self._restore()
        if self._received is not None:
            signal.raise_signal(self._received)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in HELD:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the signature of handlers)
        if self._received is not None:
            self._received = number
            self.let_go()
            return
        self._received = number
        sys.stderr.write(f"\n{self._message}\n")

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
