"""Tools take turns on a machine that others may be using: the turns they disturb are told apart and made up for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import machine
from peers.session import PeerError, Session

SETTLE_SECONDS = 0.3
"""Pause between turns: thread pools of the tool before may spin for a while."""

QUIET = 0.05
"""A turn is clean if other programs took at most this share of the processor time there was."""

TICK = 0.02
"""Seconds of processor time that the system's clocks cannot tell from none."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much is timed.

    Attributes:
        repeats: Steps of every tool at most.
        budget: Seconds of steps of every tool, at least one step.
        rounds: Turns they are spread over.
        patience: Seconds spent waiting for a quiet machine and repeating disturbed turns.
        reply_limit: Seconds after which a turn is given up.
    """

    repeats: int
    budget: float
    rounds: int
    patience: float
    reply_limit: float


@dataclass
class Contestant:
    """A tool that is ready, and its turns so far.

    Attributes:
        session: Its process.
        turns: For each turn the seconds of its steps and the share of the processors that others took, None if unknown.
        problem: Why it is out, if it is.
    """

    session: Session
    turns: list[tuple[list[float], float | None]] = field(default_factory=list)
    problem: PeerError | None = None

    @property
    def clean(self) -> list[list[float]]:
        """The steps of undisturbed turns."""
        return [seconds for seconds, others in self.turns if others is None or others <= QUIET]

    @property
    def seconds(self) -> list[float]:
        """The steps that count: those of undisturbed turns, or of all turns where there is none."""
        turns = self.clean or [seconds for seconds, _ in self.turns]
        return [second for turn in turns for second in turn]

    def needs_turns(self, schedule: Schedule) -> bool:
        """Whether undisturbed turns are missing."""
        spent = sum(sum(turn) for turn in self.clean)
        enough = schedule.budget * (1 - 0.5 / schedule.rounds)
        return self.problem is None and len(self.clean) < schedule.rounds and spent < enough

    def take(self, schedule: Schedule) -> None:
        """One turn."""
        first = 1 + sum(len(seconds) for seconds, _ in self.turns)
        steps = max(1, schedule.repeats // schedule.rounds)
        limit = schedule.budget / schedule.rounds
        try:
            before = _clocks(self.session)
            reply = self.session.ask("time", schedule.reply_limit, first=first, steps=steps, seconds=limit)
            self.turns.append((reply["seconds"], _others(before, _clocks(self.session))))
        except PeerError as problem:
            self.session.end()
            self.problem = problem

    def record(self) -> dict[str, Any]:
        """What the JSON keeps: every single time, in the order taken."""
        return {
            "seconds": self.seconds,
            "disturbed": not self.clean,
            "turns": [{"seconds": seconds, "others": others} for seconds, others in self.turns],
        }


def take_turns(contestants: Mapping[str, Contestant], schedule: Schedule) -> None:
    """Every tool's turns, round by round, so that a disturbance hits all alike; then the disturbed ones again."""
    deadline = time.perf_counter() + schedule.patience
    for _ in range(schedule.rounds):
        _round([c for c in contestants.values() if c.needs_turns(schedule)], schedule, deadline)
    while time.perf_counter() < deadline:
        missing = [c for c in contestants.values() if c.needs_turns(schedule)]
        if not missing:
            return
        _round(missing, schedule, deadline)


def _round(contestants: Iterable[Contestant], schedule: Schedule, deadline: float) -> None:
    for contestant in contestants:
        _settle(deadline)
        contestant.take(schedule)


def _settle(deadline: float) -> None:
    """Pause, and go on pausing while the processors are busy and there is patience."""
    while True:
        before, start = machine.busy_seconds(), time.perf_counter()
        time.sleep(SETTLE_SECONDS)
        end, after = time.perf_counter(), machine.busy_seconds()
        if before is None or after is None or end > deadline:
            return
        if after - before <= max(TICK, QUIET * machine.cores() * (end - start)):
            return


def _clocks(session: Session) -> tuple[float, float | None, float | None]:
    return time.perf_counter(), machine.busy_seconds(), machine.process_seconds(session.pid)


def _others(
    before: tuple[float, float | None, float | None], after: tuple[float, float | None, float | None]
) -> float | None:
    """The share of the processor time that neither idled nor went to the tool; None where the system does not say."""
    if before[1] is None or before[2] is None or after[1] is None or after[2] is None:
        return None
    foreign = (after[1] - before[1]) - (after[2] - before[2])
    return max(0.0, foreign - TICK) / (machine.cores() * (after[0] - before[0]))
