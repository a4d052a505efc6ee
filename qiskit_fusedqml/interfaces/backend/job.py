"""The handle that `FusedSimulator.run` returns."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, JobV1
from qiskit.providers.jobstatus import JobStatus
from qiskit.result import Result

from ..jobs import FinishedJob
from .errors import errors_as_on_aer


class FusedSimulatorJob(JobV1):
    """A job that has run: it holds a `Result`, or the error that `result` raises."""

    _async = False

    def __init__(self, backend: BackendV2, function: Callable[[str], Result], **metadata: Any) -> None:
        """Call the function now.

        Args:
            backend: The backend.
            function: Makes the result for a job id. What it raises is kept and raised by `result`.
            **metadata: Anything to keep with the job.
        """
        job_id = str(uuid.uuid4())
        super().__init__(backend, job_id, **metadata)
        self._work = FinishedJob(function, job_id)

    def circuits(self) -> list[QuantumCircuit]:
        """The circuits that were run."""
        return list(self.metadata.get("circuits", []))

    def submit(self) -> None:
        """Refuse: ``run`` has submitted the job.

        Raises:
            JobError: Always.
        """
        self._work.submit()

    def result(self, timeout: float | None = None) -> Result:  # noqa: ARG002 (Aer's signature)
        """The result.

        Args:
            timeout: For compatibility; the result is there.

        Raises:
            FusedQMLError: If a circuit cannot be run: unsupported instructions, parameters without values.
        """
        with errors_as_on_aer():
            return self._work.result()

    def status(self) -> JobStatus:
        """``JobStatus.DONE``, or ``JobStatus.ERROR`` if `result` raises."""
        return self._work.status()

    def cancel(self) -> bool:
        """False: there is nothing left to cancel."""
        return self._work.cancel()
