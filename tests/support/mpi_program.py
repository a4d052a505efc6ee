"""What MPI's ranks run in tests: ``mpiexec -n 2 python mpi_program.py NAME``. Not imported by tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parent.parent))  # where `support` lies

from support import staged

from qiskit_fusedqml import DifferentiableCircuit, FusedSimulator
from qiskit_fusedqml.distributed.ranks import Ranks
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError, OutOfMemoryError, RankMismatchError
from qiskit_fusedqml.interfaces.qiskit.backend.saves import save

COMM = MPI.COMM_WORLD
TIMEOUT = 4.0 if sys.argv[1:] == ["leaves"] else 25.0
CIRCUIT = staged.layered(8, 3, "ring")
W = np.linspace(-1, 1, CIRCUIT.num_parameters)
ONES = np.ones((1, 2))


def function(circuit: Any = CIRCUIT, comm: Any = COMM, **options: Any) -> DifferentiableCircuit:
    return DifferentiableCircuit(
        circuit, ["Z" * 8, "ZIIIIIII"], comm=comm, comm_timeout=TIMEOUT, num_threads=1, **options
    )


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def compare() -> None:
    """Values, gradients, bytes: as in one process, the same bits on all ranks, as many bytes as the plan says."""
    own = function(comm=None)
    for kind in ("ring", "linear", "full"):
        circuit = staged.layered(8, 3, kind)
        f = function(circuit)
        values, _, gradient = f.value_and_vjp(None, W, ONES)
        expected = function(circuit, None).value_and_vjp(None, W, ONES)
        assert np.abs(values - expected[0]).max() < 1e-12
        assert np.abs(gradient - expected[2]).max() < 1e-12
        assert len(set(COMM.allgather(gradient.tobytes()))) == 1
        sent = f.device.ranks.bytes_sent
        f.value_and_vjp(None, W, ONES)
        plan = f.plans.sweeps(f.request(f.read(None, W))).plan
        assert f.device.ranks.bytes_sent - sent == plan.network_bytes * 2**8 / COMM.size
    assert np.abs(function().statevector(None, W) - own.statevector(None, W)).max() < 1e-12
    assert np.abs(function().probabilities(None, W) - own.probabilities(None, W)).max() < 1e-12
    saved = save(CIRCUIT.assign_parameters(W), "statevector")
    found = FusedSimulator(comm=COMM).run(saved).result().get_statevector().data
    assert np.abs(found - FusedSimulator().run(saved).result().get_statevector().data).max() < 1e-12
    whole = COMM.Split(0, COMM.rank)
    assert np.abs(function(comm=whole).values(None, W) - own.values(None, W)).max() < 1e-12


def expect(words: str, call: Callable[[], Any]) -> None:
    """A mismatch with these words, soon, and the next call is all right."""
    began = time.monotonic()
    message = raised(RankMismatchError, call)
    assert words in message, message
    assert f"rank {COMM.size - 1} differs" in message, message
    assert time.monotonic() - began < TIMEOUT
    assert function().values(None, W).shape == (1, 2)


def raised(kind: type[FusedQMLError], call: Callable[[], Any]) -> str:
    """The message of an error that a call has to raise."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value.message)


def disagree() -> None:
    """Mismatched calls: one error on all ranks, which then go on."""
    last, f = COMM.rank == COMM.size - 1, function()
    f.value_and_vjp(None, W, ONES)
    expect("the values of parameters, inputs or cotangents", lambda: f.values(None, W + 0.1 * last))
    expect("the values of parameters", lambda: f.value_and_vjp(None, W, ONES + last))
    other = function(staged.layered(8, 3, "linear" if last else "ring"))
    expect("the circuit, the observables", lambda: other.values(None, W))
    g = function()
    said = "the call (rank 0: expectation, rank 1: probabilities)"
    expect(said, lambda: g.probabilities(None, W) if last else g.values(None, W))
    said = "the call (rank 0: allocate, rank 1: make the device)"
    expect(said, lambda: function(precision="single" if last else "double").values(None, W))
    if last:  # one rank raises by itself, catches it and goes on
        raised(InvalidInputError, lambda: f.values(None, np.full_like(W, np.nan)))
    raised(RankMismatchError, lambda: f.values(None, W + last))
    assert function().values(None, W).shape == (1, 2)


def fail() -> None:
    """A rank's device runs out of memory in the middle of a call: the same error on all ranks, which then go on."""
    f = function()
    for method in ("forward", "backward", "apply_observables", "allocate"):
        inner = f.device.inner
        original = getattr(inner, method)

        def broken(*_: Any, **__: Any) -> None:
            raise OutOfMemoryError("no memory for this")

        if COMM.rank == 1:
            setattr(inner, method, broken)
        message = raised(OutOfMemoryError, lambda: f.value_and_vjp(None, W, ONES))
        assert message == "Rank 1: no memory for this", message
        if COMM.rank == 1:
            setattr(inner, method, original)
        f.value_and_vjp(None, W, ONES)


def killed(where: str) -> None:
    """Rank 1 is killed in the third call of a method."""
    f = function()
    owner = f.device.ranks.comm if where == "swap" else f.device.inner
    original, calls = getattr(owner, where), [0]

    def dying(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if COMM.rank == 1 and calls[0] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, where, dying)
    for _ in range(3):
        f.value_and_vjp(None, W, ONES)
    say("finished")


def raises() -> None:
    f = function()
    f.values(None, W)
    if COMM.rank == 1:
        raise RuntimeError("something of the user's")
    f.values(None, W)
    say("finished")


def leaves() -> None:
    f = function()
    f.values(None, W)
    if COMM.rank == 1:
        sys.exit(0)
    f.values(None, W)
    say("finished")


def three() -> None:
    assert "3 ranks were given for one state; a power of two" in raised(InvalidInputError, function)
    say("refused")


def sabotage(what: str) -> None:
    """The comparison of this module sees a piece for the wrong partner, and a status word that is not sent."""
    if what == "piece":
        original = Ranks.exchange

        def wrong(self: Ranks, exchange: Any, parts: Any, batch: int) -> None:
            partners = list(exchange.partners(self.rank))
            offsets = [offset ^ 1 for _, offset in partners]
            pairs = [(other, offset) for (other, _), offset in zip(partners, offsets, strict=True)]
            object.__setattr__(exchange, "partners", lambda rank: iter(pairs))
            original(self, exchange, parts, batch)

        Ranks.exchange = wrong
    else:
        original_step = Ranks.step
        Ranks.step = lambda self, action: action() if self.rank == 1 else original_step(self, action)
    compare()


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
    if name in ("compare", "disagree", "fail"):
        say("all right")
