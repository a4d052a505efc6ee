"""Timing that holds on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
Action: TypeAlias = Callable[[], object]


@dataclass(frozen=True)
class Timer:
    """Times actions that run on the calling thread.

    Attributes:
        seconds: After this long no further round begins, once there were enough.
        fewest_rounds: Rounds that are run however long they take.
        most_rounds: Rounds that are enough.
        clock: Seconds; by default those that this thread spent on a core, so that time given to others is left out.
        watch: Seconds that pass, for ``seconds``.
    """

    seconds: float = 1.0
    fewest_rounds: int = 30
    most_rounds: int = 2000
    clock: Clock = time.thread_time
    watch: Clock = time.monotonic

    def fastest(self, actions: Sequence[Action]) -> list[float]:
        """Seconds that each action takes when nothing disturbs it.

        The actions take turns, so that a slow moment of the machine falls on all of them. Of many short times the
        least, but for one in twenty, is one that nothing disturbed; the least of all may be a slip of the clock, as
        virtual machines take time stolen from them off afterwards.
        """
        times: list[list[float]] = [[] for _ in actions]
        end = self.watch() + self.seconds
        for turn in range(self.most_rounds):
            if turn >= self.fewest_rounds and self.watch() >= end:
                break
            for action, kept in zip(actions, times, strict=True):
                start = self.clock()
                action()
                kept.append(self.clock() - start)
        return [sorted(kept)[len(kept) // 20] for kept in times]
