"""Batches spread over executors: the same answer, or an error, never a part of a sum."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes
from support.forked import CONTEXT
from support.sharded import COTANGENTS, OBSERVABLES, Here, W, X, check, circuit, doomed, summed_by_hand

from qiskit_fusedqml import DifferentiableCircuit, ShardedCircuit
from qiskit_fusedqml.distributed import circuit as sharding
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError, WorkerError

ROW_WEIGHTS = W + 0.1 * np.arange(len(X))[:, None]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("shards", [1, 2, 3, 11, 40])
def test_a_process_pool_gives_the_sum_by_hand(pool: Executor, shards: int) -> None:
    check(pool, shards)


def test_whoever_computes_the_answer_is_the_same(pool: Executor) -> None:
    f = circuit()
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(1, mp_context=CONTEXT) as server:
        found = [
            ShardedCircuit(f, executor, shards=4).value_and_vjp(X, W, COTANGENTS)[2].tobytes()
            for executor in (pool, threads, Here(), server, pool)
        ]
    assert len(set(found)) == 1


@pytest.mark.parametrize("w", [W, ROW_WEIGHTS], ids=["shared", "by row"])
@pytest.mark.parametrize("precision", ["double", "single"])
def test_all_methods_have_the_circuits_answers(w: np.ndarray, precision: str) -> None:
    f = circuit(input_gradients=True, precision=precision)
    g = ShardedCircuit(f, Here(), shards=3)
    close = {"rtol": 0, "atol": 1e-12 if precision == "double" else 1e-5}
    np.testing.assert_allclose(g.values(X, w), f.values(X, w), **close)
    np.testing.assert_allclose(g.probabilities(X, w), f.probabilities(X, w), **close)
    for wrt in ("weights", "all", [3, 0], [f.weights[1]]):
        np.testing.assert_allclose(g.jacobian(X, w, wrt), f.jacobian(X, w, wrt), **close)
    expected = f.value_and_vjp(X, w, COTANGENTS)
    values, pullback = g.vjp(X, w)
    rule = lambda values: COTANGENTS * values  # noqa: E731
    pairs = [
        ((values, *pullback(COTANGENTS)), expected),
        (g.value_and_vjp(X, w, COTANGENTS), expected),
        (g.value_and_vjp(X, w, rule), f.value_and_vjp(X, w, rule)),
    ]
    for found, wanted in pairs:
        assert [part.dtype for part in found] == [part.dtype for part in wanted]
        for part, right in zip(found, wanted, strict=True):
            np.testing.assert_allclose(part, right, **close)
    loss = lambda values: (float((values**2).sum()), 2 * values)  # noqa: E731
    for part, right in zip(g.value_and_grad(X, w, loss), f.value_and_grad(X, w, loss), strict=True):
        np.testing.assert_allclose(part, right, **close)
    for part, right in zip(g.value_and_grad(x=X, w=W), f.value_and_grad(X, W), strict=True):
        np.testing.assert_allclose(part, right, **close)
    with pytest.raises(InvalidInputError, match="dloss/dvalues"):
        g.value_and_grad(X, W, np.mean)
    assert (g.num_qubits, g.num_inputs, g.num_weights) == (4, 4, 8)


def test_no_inputs_and_one_row() -> None:
    f = DifferentiableCircuit(real_amplitudes(4, reps=1), OBSERVABLES)
    g = ShardedCircuit(f, Here(), shards=3)
    np.testing.assert_array_equal(g.values(None, W), f.values(None, W))
    _, dx, dw = g.value_and_vjp(None, W, [[1.0, 2.0]])
    assert dx is None
    np.testing.assert_array_equal(dw, f.value_and_vjp(None, W, [[1.0, 2.0]])[2])
    np.testing.assert_allclose(g.values(None, ROW_WEIGHTS), f.values(None, ROW_WEIGHTS), atol=1e-12)


def test_a_shard_too_many_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sharding._shards
    monkeypatch.setattr(sharding, "_shards", lambda batch, shards: [*right(batch, shards)][:-1])
    found = ShardedCircuit(circuit(), Here(), shards=3).value_and_vjp(X, W, COTANGENTS)[2]
    assert np.abs(found - summed_by_hand(circuit(), 3)).max() > 1e-3


# --- what travels ---


def test_the_program_travels_once() -> None:
    sharding._programs.clear()
    executor = Here()
    g = ShardedCircuit(circuit(), executor, shards=3)
    g.values(X, W)
    assert (executor.tasks, executor.sent) == (3, 3)
    for _ in range(2):
        g.value_and_vjp(X, W, COTANGENTS)
    assert (executor.tasks, executor.sent) == (9, 3)


def test_a_worker_that_does_not_know_the_program_gets_it() -> None:
    g = ShardedCircuit(circuit(), executor := Here(), shards=3)
    g.values(X, W)
    executor.fresh = True  # every task meets a new worker
    np.testing.assert_allclose(g.values(X, W), circuit().values(X, W), atol=1e-12)
    assert executor.tasks == 9


def test_workers_forget_programs_beyond_their_number() -> None:
    sharding._programs.clear()
    executor = Here()
    many = [ShardedCircuit(circuit(max_memory_mb=10 + k), executor, shards=1) for k in range(sharding.MAX_PROGRAMS + 1)]
    for g in many:
        g.values(X, W)
    assert len(sharding._programs) == sharding.MAX_PROGRAMS
    for g in many:  # the one that was forgotten is sent again
        g.values(X, W)
    assert len(many) * 2 < executor.tasks <= len(many) * 3


def test_programs_can_be_pickled_after_use() -> None:
    # with formulas: products of features
    f = circuit()
    program = ProgramFunction(f.program, f.angle_map, f.observables, EngineOptions(precision="single"), num_inputs=4)
    expected = program.values(X, W)
    copy = pickle.loads(pickle.dumps(program))
    np.testing.assert_array_equal(copy.values(X, W), expected)
    assert copy.dtype == np.float32
    assert copy.device is not program.device
    assert pickle.loads(pickle.dumps(f)).values(X, W).tobytes() == f.values(X, W).tobytes()


# --- what goes wrong ---


def test_a_killed_worker_of_a_pool_is_an_error_and_a_new_pool_goes_on(tmp_path: Path) -> None:
    f = doomed(tmp_path / "flag", deaths=1)
    with ProcessPoolExecutor(2, mp_context=CONTEXT) as executor:
        g = ShardedCircuit(f, executor, shards=4)
        with pytest.raises(WorkerError, match=r"ProcessPoolExecutor\) lost a part of a job: BrokenProcessPool"):
            g.value_and_vjp(None, ROW_WEIGHTS, COTANGENTS)
        with pytest.raises(WorkerError, match="Start a new executor"):
            g.values(None, W)
    # the same program, for the flag has no letter left
    found = ShardedCircuit(f, Here(), shards=4).value_and_vjp(None, ROW_WEIGHTS, COTANGENTS)
    np.testing.assert_allclose(found[2], f.value_and_vjp(None, ROW_WEIGHTS, COTANGENTS)[2], atol=1e-12)


def test_no_sum_is_made_when_a_part_is_lost() -> None:
    def lose(task: int) -> None:
        if task == 2:
            raise ConnectionResetError("the machine is gone")

    g = ShardedCircuit(circuit(), Here(before=lose), shards=3)
    with pytest.raises(
        WorkerError, match=r"Here\) lost a part of a job: ConnectionResetError: the machine is gone"
    ) as e:
        g.value_and_vjp(X, W, COTANGENTS)
    assert isinstance(e.value.__cause__, ConnectionResetError)


def test_an_executor_that_is_shut_down_is_an_error() -> None:
    executor = ThreadPoolExecutor(1)
    g = ShardedCircuit(circuit(), executor, shards=2)
    executor.shutdown()
    with pytest.raises(WorkerError, match="cannot schedule new futures after shutdown"):
        g.values(X, W)


def test_errors_of_the_computation_stay_what_they_are(pool: Executor) -> None:
    bad = COTANGENTS.copy()
    bad[8] = np.nan
    with pytest.raises(InvalidInputError, match="Cotangents hold NaN"):
        ShardedCircuit(circuit(), pool, shards=3).value_and_vjp(X, W, bad)


def test_ctrl_c_takes_back_what_has_not_begun() -> None:
    class Waiting(Executor):
        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
            made.append(Interrupted())
            return made[-1]

    class Interrupted(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    made: list[Future[Any]] = []
    with pytest.raises(KeyboardInterrupt):
        ShardedCircuit(circuit(), Waiting(), shards=3).values(X, W)
    assert [future.cancelled() for future in made] == [True] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: ShardedCircuit(f, Here(), shards=0), "shards is 0; an integer >= 1"),
        (lambda f: ShardedCircuit(f, "pool", shards=1), "executor is a str; one with the interface"),
        (lambda f: ShardedCircuit(f, Here(), shards=2).values(X[:, :3], W), r"x has shape \(11, 3\)"),
        (lambda f: ShardedCircuit(f, Here(), shards=2).values(X, W[:3]), r"w has shape \(3,\)"),
        (lambda f: ShardedCircuit(f, Here(), shards=2).values(X[:4], ROW_WEIGHTS), "x has 4 rows and w has 11"),
        (
            lambda f: ShardedCircuit(f, Here(), shards=2).value_and_vjp(X, W, COTANGENTS[:5]),
            r"shape \(5, 2\); \(11, observables\)",
        ),
        (
            lambda f: ShardedCircuit(f, Here(), shards=2).value_and_vjp(X, W, COTANGENTS[:, :1]),
            r"Cotangents have shape \(\d, 1\)",
        ),
    ],
    ids=range(7),
)
def test_bad_arguments_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call(circuit())


def test_states_by_row_are_refused() -> None:
    f = circuit()
    states = np.eye(2, 16, dtype=complex)
    program = replace(f.program, initial_state=states)
    with pytest.raises(InvalidInputError, match="an initial state for every row"):
        ShardedCircuit(ProgramFunction(program, f.angle_map, f.observables, num_inputs=4), Here(), shards=2)


def test_pickles_need_an_executor_that_can_be_pickled() -> None:
    f = circuit()
    with ThreadPoolExecutor(1) as executor:
        sharded = ShardedCircuit(f, executor, shards=2)
        assert copy(sharded).executor is executor
        with pytest.raises(InvalidInputError, match=r"cannot be pickled .*a ThreadPoolExecutor.*function"):
            pickle.dumps(sharded)
