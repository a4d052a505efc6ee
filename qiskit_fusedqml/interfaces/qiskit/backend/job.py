"""The handle that `FusedSimulator.run` returns."""

from __future__ import annotations

import secrets
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, JobError, JobV1
from qiskit.providers.jobstatus import JobStatus
from qiskit.result import Result
from qiskit.result.models import ExperimentResult

from ....distributed import DistributedDevice
from ....distributed.circuit import ExecutorTasks
from ....errors import FusedQMLError, InvalidInputError
from ..cache import owned
from ..compiled import RunnerOptions
from ..jobs import FinishedJob
from .experiments import Experiments, list_experiments, run_all
from .options import run_metadata


class AerErrors:
    """A context from which this package's errors come as ones that are an ``AerError``, too.

    That is where qiskit-aer has been imported.
    """

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise the error as both."""
        if not isinstance(error, FusedQMLError):
            return
        aer_error = getattr(sys.modules.get("qiskit_aer"), "AerError", None)
        if aer_error is None or isinstance(error, aer_error):
            return
        ours = type(error)
        both = type(ours.__name__, (ours, aer_error), {"__doc__": ours.__doc__, "__module__": ours.__module__})
        raise both(error.message) from error


class FusedSimulatorJob(JobV1):
    """A job that has run, or that an executor runs; `result` gives a `Result` or raises what went wrong.

    Every experiment has its seed from its number, so that results do not depend on how they are cut into the
    executor's tasks.
    """

    def __init__(
        self,
        backend: BackendV2,
        circuits: Sequence[QuantumCircuit],
        binds: Sequence[Mapping[Any, Any]] | None,
        options: Mapping[str, Any],
        compiling: RunnerOptions,
    ) -> None:
        """Run the circuits, or have an executor run them; ``options`` have been checked and say how to compile."""
        super().__init__(backend, str(uuid.uuid4()), circuits=list(circuits))
        self._began = time.perf_counter()
        seed = options["seed_simulator"]
        self._engine_options = compiling.engine
        device = self._engine_options.device
        if isinstance(device, DistributedDevice):
            if options["executor"] is not None:
                raise InvalidInputError("executor and comm were both given; a run has either workers or ranks.")
            seed = device.agreed(secrets.randbits(31)) if seed is None else seed
        how = {**options, "executor": None, "seed_simulator": secrets.randbits(31) if seed is None else int(seed)}
        listed = FinishedJob(list_experiments, circuits, binds)
        self._bound = time.perf_counter()
        self._async = options["executor"] is not None and listed.done()  # whether there is anything to wait for
        self._finished: FinishedJob[Result] | None = None
        if self._async:
            owning = [replace(each, circuit=owned(each.circuit)) for each in listed.result()]
            tasks = cut_into_tasks(owning, options["max_job_size"])
            self._tasks = ExecutorTasks(options["executor"], run_all, [(task, how) for task in tasks])
        else:
            self._finished = FinishedJob(lambda: self._joined([run_all(listed.result(), how, compiling)]))

    def circuits(self) -> list[QuantumCircuit]:
        """The circuits that were run."""
        return list(self.metadata["circuits"])

    def submit(self) -> None:
        """Refuse with a `JobError`: ``run`` has submitted the job."""
        ending = "there or on its way" if self._async else "there"
        raise JobError(f"The job has been submitted already: its result() is {ending}.")

    def result(self, timeout: float | None = None) -> Result:
        """The result; an executor is waited for, ``timeout`` seconds at most.

        Raises:
            FusedQMLError: If a circuit cannot be run: unsupported instructions, parameters without values.
            WorkerError: If the executor has lost a worker.
            TimeoutError: If the time is over.
        """
        with AerErrors():
            return self._waited(timeout).result()

    def status(self) -> JobStatus:
        """``JobStatus.DONE``, ``JobStatus.ERROR`` if `result` raises; ``RUNNING`` or ``CANCELLED`` with an executor."""
        if self._finished is None:
            if not self._tasks.done():
                return JobStatus.RUNNING
            if self._tasks.cancelled():
                return JobStatus.CANCELLED
        try:
            return self._waited().status()
        except FusedQMLError:
            return JobStatus.ERROR

    def cancel(self) -> bool:
        """Whether an executor had not begun; without one there is nothing left to cancel."""
        return self._async and self._tasks.cancel()

    def _waited(self, timeout: float | None = None) -> FinishedJob[Result]:
        """The work when it has ended."""
        if self._finished is None:
            self._finished = FinishedJob(self._joined, self._tasks.results(timeout))
        return self._finished

    def _joined(self, parts: Sequence[list[ExperimentResult]]) -> Result:
        results = [result for part in parts for result in part]
        failed = [result.status for result in results if not result.success]
        partly = "PARTIAL COMPLETED" if len(failed) < len(results) else next(iter(failed), "")
        now = time.perf_counter()
        backend = self.backend()
        return Result(
            backend_name=backend.name,
            backend_version=backend.backend_version,
            job_id=self.job_id(),
            success=not failed,
            results=results,
            date=datetime.now(UTC).isoformat(),
            status=partly if failed else "COMPLETED",
            time_taken=now - self._began,
            metadata=run_metadata(self._engine_options, now - self._bound, self._bound - self._began),
        )


def cut_into_tasks(experiments: Sequence[Experiments], size: int | None) -> list[list[Experiments]]:
    """The same experiments in the same order, at most so many in a list; a circuit's parameter sets may be parted."""
    if size is None:
        return [list(experiments)]
    tasks: list[list[Experiments]] = []
    room = 0
    for each in experiments:
        start = 0
        while start < len(each.sets):
            if not room:
                tasks.append([])
                room = size
            sets = each.sets[start : start + room]
            tasks[-1].append(Experiments(each.circuit, sets, each.first + start))
            start += len(sets)
            room -= len(sets)
    return tasks
