"""Runs of `FusedSimulator` that an executor's workers do: Aer's options ``executor`` and ``max_job_size``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from qiskit.providers import JobError
from qiskit.providers.jobstatus import JobStatus
from qiskit.result import Result
from qiskit.result.models import ExperimentResult

from ....distributed.circuit import Spread
from ....errors import FusedQMLError
from ..sampling import RunnerOptions
from .experiments import Experiments, RunOptions, run_all


class SpreadWork:
    """Experiments that an executor has been asked to run.

    Every experiment has its seed from its number, so that results do not depend on how they are cut into jobs.

    Args:
        executor: The executor.
        experiments: The experiments.
        size: At most so many go into a job; None for all of them in one.
        options: How circuits are compiled.
        run: The run's options.
        finish: Makes the result of the experiments' results.
    """

    def __init__(
        self,
        executor: Executor,
        experiments: Sequence[Experiments],
        size: int | None,
        options: RunnerOptions,
        run: RunOptions,
        finish: Callable[[list[ExperimentResult]], Result],
    ) -> None:
        self._spread = Spread(executor, run_all, [(each, options, run) for each in cut_into_jobs(experiments, size)])
        self._finish = finish
        self._result: Result | None = None

    def result(self, timeout: float | None = None) -> Result:
        """The result, when all jobs have ended."""
        if self._result is None:
            self._result = self._finish([each for part in self._spread.results(timeout) for each in part])
        return self._result

    def status(self) -> JobStatus:
        """What the futures say."""
        if not self._spread.done():
            return JobStatus.RUNNING
        if self._spread.cancelled():
            return JobStatus.CANCELLED
        try:
            self.result()
        except FusedQMLError:
            return JobStatus.ERROR
        return JobStatus.DONE

    def cancel(self) -> bool:
        """Take back what has not begun; whether that was everything."""
        return self._spread.cancel()

    def submit(self) -> None:
        """Refuse: ``run`` has submitted the job.

        Raises:
            JobError: Always.
        """
        raise JobError("The job has been submitted already: its result() is there or on its way.")


def cut_into_jobs(experiments: Sequence[Experiments], size: int | None) -> list[list[Experiments]]:
    """The same experiments in the same order, at most so many in a list; a circuit's rows may be parted."""
    if size is None:
        return [list(experiments)]
    jobs: list[list[Experiments]] = []
    room = 0
    for each in experiments:
        start = 0
        while start < len(each.rows):
            if not room:
                jobs.append([])
                room = size
            rows = each.rows[start : start + room]
            jobs[-1].append(Experiments(each.circuit, rows, each.first + start))
            start += len(rows)
            room -= len(rows)
    return jobs
