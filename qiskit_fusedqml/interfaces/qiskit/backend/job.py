"""The handle that `FusedSimulator.run` returns."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, JobV1
from qiskit.providers.jobstatus import JobStatus
from qiskit.result import Result

from ..jobs import FinishedJob
from .errors import errors_as_on_aer
from .spreading import SpreadWork


class FusedSimulatorJob(JobV1):
    """A job that has run, or that an executor runs; `result` gives a `Result` or raises what went wrong."""

    def __init__(
        self, backend: BackendV2, start: Callable[[str], FinishedJob[Result] | SpreadWork], **metadata: Any
    ) -> None:
        """Start now.

        Args:
            backend: The backend.
            start: Does the work for a job id, or has an executor do it.
            **metadata: Anything to keep with the job.
        """
        job_id = str(uuid.uuid4())
        super().__init__(backend, job_id, **metadata)
        self._work = start(job_id)
        self._async = isinstance(self._work, SpreadWork)  # whether there is anything to wait for

    def circuits(self) -> list[QuantumCircuit]:
        """The circuits that were run."""
        return list(self.metadata.get("circuits", []))

    def submit(self) -> None:
        """Refuse: ``run`` has submitted the job.

        Raises:
            JobError: Always.
        """
        self._work.submit()

    def result(self, timeout: float | None = None) -> Result:
        """The result.

        Args:
            timeout: Seconds to wait for an executor at most.

        Raises:
            FusedQMLError: If a circuit cannot be run: unsupported instructions, parameters without values.
            WorkerError: If the executor has lost a worker.
            TimeoutError: If the time is over.
        """
        with errors_as_on_aer():
            return cast("SpreadWork", self._work).result(timeout) if self._async else self._work.result()

    def status(self) -> JobStatus:
        """``JobStatus.DONE``, ``JobStatus.ERROR`` if `result` raises; ``RUNNING`` or ``CANCELLED`` with an executor."""
        return self._work.status()

    def cancel(self) -> bool:
        """Whether an executor had not begun; without one there is nothing left to cancel."""
        return self._work.cancel()
