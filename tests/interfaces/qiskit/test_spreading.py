"""FusedSimulator's options ``executor`` and ``max_job_size``."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import JobError
from qiskit.providers.jobstatus import JobStatus
from support.forked import CONTEXT
from support.sharded import Here, ghz

from qiskit_fusedqml import FusedSimulator
from qiskit_fusedqml.errors import InvalidInputError, WorkerError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.backend.experiments import Experiments
from qiskit_fusedqml.interfaces.qiskit.backend.job import cut_into_tasks

CIRCUITS = [ghz(n) for n in range(2, 9)]
OPTIONS: dict[str, Any] = {"shots": 200, "seed_simulator": 5, "memory": True}


def contents(job: Any) -> list[tuple[Any, ...]]:
    return [
        (each.header["name"], each.seed_simulator, each.data.counts, each.data.memory) for each in job.result().results
    ]


@pytest.mark.parametrize(("size", "jobs"), [(None, 1), (1, 7), (2, 4), (7, 1), (100, 1)])
def test_jobs_are_of_at_most_that_size_and_results_the_same(size: int | None, jobs: int) -> None:
    executor = Here()
    job = FusedSimulator().run(CIRCUITS, executor=executor, max_job_size=size, **OPTIONS)
    assert contents(job) == contents(FusedSimulator().run(CIRCUITS, **OPTIONS))
    assert executor.tasks == jobs
    assert (job.result().success, job.status()) == (True, JobStatus.DONE)
    assert job.result() is job.result()


def test_rows_of_a_circuit_are_parted_too() -> None:
    a = Parameter("a")
    turned, plain = QuantumCircuit(1, name="turned"), ghz(2)
    turned.rx(a, 0)
    save(turned, "statevector")
    turned.measure_all()
    binds = [{a: np.linspace(0, 1, 5)}, {}]
    expected = FusedSimulator(**OPTIONS).run([turned, plain], binds).result()
    executor = Here()
    found = FusedSimulator(executor=executor, max_job_size=2, **OPTIONS).run([turned, plain], binds).result()
    assert executor.tasks == 3
    for each, right in zip(found.results, expected.results, strict=True):
        assert each.data.counts == right.data.counts
        assert each.seed_simulator == right.seed_simulator
    for k in range(5):
        np.testing.assert_array_equal(found.results[k].data.statevector, expected.results[k].data.statevector)


def test_jobs_hold_the_experiments_in_their_order() -> None:
    sizes, listed, first = [3, 0, 4, 1], [], 0
    for size in sizes:
        listed.append(Experiments(QuantumCircuit(1), np.arange(first, first + size)[:, None] * 1.0, first))
        first += size
    jobs = cut_into_tasks(listed, 3)
    assert [sum(len(each.sets) for each in job) for job in jobs] == [3, 3, 2]
    flat = [each for job in jobs for each in job]
    assert np.concatenate([each.sets for each in flat]).ravel().tolist() == list(range(8))
    assert all(each.sets[0, 0] == each.first for each in flat)


def test_a_process_pool_runs_them() -> None:
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
        job = FusedSimulator(executor=pool, max_job_size=3).run(CIRCUITS, **OPTIONS)
        assert contents(job) == contents(FusedSimulator().run(CIRCUITS, **OPTIONS))


def test_a_run_does_not_wait() -> None:
    hold = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(hold.wait)
        job = FusedSimulator(executor=executor).run(ghz(2), **OPTIONS)
        assert job.status() == JobStatus.RUNNING
        with pytest.raises(TimeoutError):
            job.result(timeout=0.01)
        other = FusedSimulator(executor=executor).run(ghz(2), **OPTIONS)
        assert other.cancel()
        assert other.status() == JobStatus.CANCELLED
        hold.set()
        assert job.result(timeout=60).get_counts().keys() == {"00", "11"}
        assert not job.cancel()
        with pytest.raises(WorkerError, match="CancelledError"):
            other.result()
        with pytest.raises(JobError, match="submitted already"):
            job.submit()


def test_errors_come_from_the_result(caplog: pytest.LogCaptureFixture) -> None:
    unbound = QuantumCircuit(1, 1)
    unbound.rx(Parameter("a"), 0)
    unbound.measure(0, 0)
    job = FusedSimulator(executor=Here()).run(unbound)
    assert job.status() == JobStatus.ERROR
    with pytest.raises(InvalidInputError, match="has parameters without values"):
        job.result()
    large = FusedSimulator(executor=Here(), max_job_size=1, max_memory_mb=0.001).run([ghz(2), ghz(12)]).result()
    assert (large.status, [each.success for each in large.results]) == ("PARTIAL COMPLETED", [True, False])


def test_a_lost_worker_is_an_error() -> None:
    def lose(task: int) -> None:
        if task == 2:
            raise ConnectionResetError("gone")

    job = FusedSimulator(executor=Here(before=lose), max_job_size=2).run(CIRCUITS)
    assert job.status() == JobStatus.ERROR
    with pytest.raises(WorkerError, match="ConnectionResetError: gone"):
        job.result()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": 3}, "executor is a int; one with the interface"),
        ({"executor": Executor}, "executor is a ABCMeta|executor is a type"),
        ({"max_job_size": 0}, "max_job_size is 0; an integer >= 1"),
        ({"max_job_size": 1.5}, "max_job_size is 1.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FusedSimulator(**options)
