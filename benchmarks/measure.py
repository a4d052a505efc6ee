"""One workload in one precision: all tools made ready, compared with ours, then timed in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noise_workloads
import numpy as np
import workloads
from peers import OURS, PEERS, Peer
from peers.session import PeerError, Session
from spec import Workload
from turns import Contestant, Schedule, take_turns

TOLERANCE = {"double": 1e-5, "single": 1e-4}
"""How far an answer may lie from ours in double precision: values absolutely (all observables have norms of at most 1),
gradients relative to their largest entry."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        threads: Threads of every tool.
        repeats: Timed steps of every tool at most.
        budget: Seconds of timed steps of every tool, at least one step.
        rounds: Turns the steps are spread over.
        patience: Seconds a workload and precision may wait for a quiet machine and repeat disturbed turns.
        step_limit: Seconds a single step may take; slow tools take fewer samples.
        build_limit: Seconds for building, compiling and the first step.
        venvs: The folder of the tools' environments.
        log: File for what the tools print.
    """

    threads: int = 2
    repeats: int = 1000
    budget: float = 10.0
    rounds: int = 4
    patience: float = 0.0
    step_limit: float = 30.0
    build_limit: float = 600.0
    venvs: Path = Path("benchmarks/.venvs")
    log: Path | None = None

    @property
    def schedule(self) -> Schedule:
        """The part that concerns the timing."""
        # a turn is a warm-up and its steps; a loaded machine may take several times longer than planned
        reply_limit = 60 + self.budget + 8 * self.step_limit
        return Schedule(self.repeats, self.budget, self.rounds, self.patience, reply_limit)


def deviations(answer: Answer, truth: Answer) -> dict[str, float]:
    """How far each array of an answer is from the truth, see `TOLERANCE`; infinite where shapes or presence differ."""
    result = {}
    for name, expected in truth.items():
        if name == "status" or expected is None:
            continue
        right, given = np.asarray(expected), np.asarray(answer.get(name), dtype=np.float64)
        if right.shape != given.shape or not np.isfinite(given).all():
            result[name] = float("inf")
            continue
        scale = 1.0 if name == "values" else float(np.abs(right).max()) or 1.0
        result[name] = float(np.abs(right - given).max(initial=0.0)) / scale
    return result


def gradient_error(answer: Answer, truth: Answer) -> float | None:
    """The norm of the difference of the gradients by that of the true one; None without gradients."""
    if truth.get("weights") is None or answer.get("weights") is None:
        return None
    right, given = np.asarray(truth["weights"]), np.asarray(answer["weights"])
    return float(np.linalg.norm(given - right) / (np.linalg.norm(right) or 1.0))


def measure(
    name: str,
    precision: str,
    peers: Sequence[str],
    options: Options,
    say: Callable[[str], None] = print,
    known: Mapping[str, Peer] = PEERS,
) -> dict[str, Any]:
    """Measure a workload; every peer asked for has an entry, with figures or with the reason why there are none."""
    workload = noise_workloads.find(name)
    entries: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        truths = _Truths(name, options, known[OURS])
        for peer in peers:
            try:
                session, entries[peer] = _prepare(stack, name, precision, known[peer], truths, options)
                contestants[peer] = Contestant(session)
            except PeerError as problem:
                entries[peer] = _problem(known[peer], problem)
            say(f"{name} {precision} {peer}: {_summary(entries[peer])}")
        take_turns(contestants, options.schedule)
        for peer, contestant in contestants.items():
            if contestant.problem:
                entries[peer] = _problem(known[peer], contestant.problem)
            else:
                _finish(contestant, entries[peer], workload, options)
    return {
        "workload": name,
        "spec": (workloads.NAMED | noise_workloads.NAMED).get(name.partition("-")[0], name),
        "precision": precision,
        "num_qubits": workload.num_qubits,
        "num_weights": workload.num_weights,
        "batch": workload.batch,
        "num_observables": len(workload.observables),
        "wanted": workload.wanted,
        "useful_fma": workload.useful_fma,
        "entries": entries,
    }


class _Truths:
    """Our answers in double precision, by the number of samples; each is computed once, in a process that then ends."""

    def __init__(self, name: str, options: Options, ours: Peer) -> None:
        self.name = name
        self.options = options
        self.ours = ours
        self.tolerance = getattr(noise_workloads.find(name), "tolerance", None)
        self.answers: dict[int, Answer] = {}

    def __getitem__(self, batch: int) -> Answer:
        if batch not in self.answers:
            with Session(self.ours, self.options.venvs, self.options.threads, self.options.log) as session:
                _build(session, self.name, "double", self.options, batch=batch)
                self.answers[batch] = session.ask("check", self.options.build_limit)
        return self.answers[batch]


def _build(session: Session, name: str, precision: str, options: Options, **more: Any) -> dict[str, Any]:
    return session.ask(
        "build",
        options.build_limit,
        workload=name,
        precision=precision,
        threads=options.threads,
        step_limit=options.step_limit,
        **more,
    )


def _prepare(
    stack: ExitStack, name: str, precision: str, peer: Peer, truths: _Truths, options: Options
) -> tuple[Session, dict[str, Any]]:
    """A session that has been built and found right, and its entry so far.

    Raises:
        PeerError: When it could not be built, or its answer differs from ours.
    """
    if precision not in peer.precisions:
        raise PeerError("unsupported", f"no {precision} precision")
    session = stack.enter_context(Session(peer, options.venvs, options.threads, options.log))
    try:
        ready = _build(session, name, precision, options)
        answer = session.ask("check", options.build_limit)
        errors = _compare(answer, truths, ready["batch"], precision)
    except PeerError:
        session.end()  # it may be busy still, and would disturb the others
        raise
    entry = {key: value for key, value in ready.items() if key != "status"}
    more = {"gradient_error": gradient_error(answer, truths[ready["batch"]])}
    return session, {"status": "ok", "title": peer.title, **entry, "errors": errors, **more}


def _compare(answer: Answer, truths: _Truths, batch: int, precision: str) -> dict[str, float]:
    """How far the answer is from ours; refuses it when that is too far, or when there is nothing to compare with."""
    try:
        truth = truths[batch]
    except PeerError as problem:
        raise PeerError("refused", f"not compared: our own answer is missing ({problem})") from problem
    errors, allowed = deviations(answer, truth), truths.tolerance or TOLERANCE[precision]
    if max(errors.values()) > allowed:
        raise PeerError("refused", f"differs from our answer: {_figures(errors)}; {allowed:g} is allowed")
    return errors


def _finish(contestant: Contestant, entry: dict[str, Any], workload: Workload, options: Options) -> None:
    """Statistics of the entry, scaled to the whole batch, and the tool's last words."""
    scale = workload.batch / entry["batch"]
    times = [scale * second for second in contestant.seconds]
    entry |= contestant.record() | {
        "scale": scale,
        "scaled": scale != 1,
        "median": statistics.median(times),
        "minimum": min(times),
        "maximum": max(times),
    }
    try:
        last = contestant.session.ask("close", options.build_limit)
    except PeerError as problem:
        last = {"report": {"problem": str(problem)}}
    entry |= {key: last[key] for key in ("peak_mib", "imported_mib", "report") if key in last}
    # a tool that knows how long its sweeps took, and what they did, says so in its report
    entry["outside_sweeps"] = entry["report"].get("outside_sweeps")
    useful = workload.useful_fma or entry["report"].get("plan_fma")
    if useful:
        entry["useful_gfma_per_s"] = useful / entry["median"] / 1e9


def _problem(peer: Peer, problem: PeerError) -> dict[str, Any]:
    return {"status": problem.status, "title": peer.title, "reason": str(problem)}


def _figures(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items())


def _summary(entry: Mapping[str, Any]) -> str:
    if entry["status"] != "ok":
        return f"{entry['status']}: {entry['reason']}"
    return f"agrees ({_figures(entry['errors'])}), first step {entry['first_step_seconds']:.3g} s"
