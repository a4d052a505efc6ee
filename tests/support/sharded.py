"""A circuit for tests that spread it, and executors and programs that fail in chosen ways."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from support.forked import kill_me

from qiskit_fusedqml import DifferentiableCircuit, ShardedCircuit
from qiskit_fusedqml.distributed import circuit as sharding
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction

OBSERVABLES = ["ZIII", "IXIZ"]
RNG = np.random.default_rng(4)
X, W = RNG.uniform(-1, 1, (11, 4)), RNG.uniform(-3, 3, 8)
COTANGENTS = RNG.normal(size=(11, 2))


def circuit(**options: Any) -> DifferentiableCircuit:
    features, ansatz = zz_feature_map(4, 1), real_amplitudes(4, reps=1)
    return DifferentiableCircuit(
        features.compose(ansatz), OBSERVABLES, features.parameters, ansatz.parameters, num_threads=1, **options
    )


def slices(rows: int, shards: int) -> list[slice]:
    """Written again, from the docstring: neighbouring rows, sizes that differ by one at most."""
    edges = np.floor(np.linspace(0, rows, min(rows, shards) + 1)).astype(int)
    return [slice(*pair) for pair in pairwise(edges)]


def summed_by_hand(f: DifferentiableCircuit, shards: int) -> np.ndarray:
    """Weight gradients of the shards, added up in order."""
    total = np.zeros(len(W))
    for rows in slices(len(X), shards):
        total = total + f.value_and_vjp(X[rows], W, COTANGENTS[rows])[2].astype(np.float64)
    return total.astype(f.dtype)


def check(executor: Executor, shards: int) -> None:
    """An executor gives what the circuit gives, and the sum as it is by hand, bit for bit."""
    f = circuit()
    values, _, gradient = ShardedCircuit(f, executor, shards=shards).value_and_vjp(X, W, COTANGENTS)
    np.testing.assert_allclose(values, f.values(X, W), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(gradient, summed_by_hand(f, shards))
    np.testing.assert_allclose(gradient, f.value_and_vjp(X, W, COTANGENTS)[2], rtol=0, atol=1e-12)


class Here(Executor):
    """Computes when it is asked; counts tasks and those that brought the program along."""

    def __init__(self, fresh: bool = False, before: Callable[[int], None] = lambda task: None) -> None:
        self.fresh, self.before = fresh, before
        self.tasks = self.sent = 0

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.fresh:
            sharding._programs.clear()
        self.tasks += 1
        self.sent += any(isinstance(argument, bytes) for argument in arguments)
        try:
            self.before(self.tasks)
            future.set_result(function(*arguments, **options))
        except Exception as error:  # noqa: BLE001 (as executors do)
            future.set_exception(error)
        return future


class Doomed(ProgramFunction):
    """Kills the process that asks for its gradients, as long as there is a certain file; each time costs a letter."""

    flag: Path

    def value_and_vjp(self, *arguments: Any) -> Any:
        letters = self.flag.read_text() if self.flag.exists() else ""
        if letters:
            self.flag.write_text(letters[1:])
            kill_me()
        return super().value_and_vjp(*arguments)


def doomed(flag: Path, deaths: int) -> Doomed:
    f = circuit()
    flag.write_text("x" * deaths)
    # the circuit's program as it is, without its features
    plain = DifferentiableCircuit(real_amplitudes(4, reps=1), OBSERVABLES, num_threads=1)
    assert f.num_weights == plain.num_weights
    program = Doomed(plain.program, plain.angle_map, plain.observables, EngineOptions(num_threads=1))
    program.flag = flag
    return program


def ghz(qubits: int) -> QuantumCircuit:
    made = QuantumCircuit(qubits)
    made.h(0)
    for q in range(qubits - 1):
        made.cx(q, q + 1)
    made.measure_all()
    return made
