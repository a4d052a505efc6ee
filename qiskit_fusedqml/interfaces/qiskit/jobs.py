"""The handle that a primitive's or a gradient's ``run`` returns.

Qiskit's own `PrimitiveJob` starts a thread per job. A call that lasts a millisecond gains nothing from one, and the
work already runs on every core, so jobs here are done when ``run`` returns: no thread, no polling, and Ctrl-C
interrupts the work.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from qiskit.primitives import BasePrimitiveJob
from qiskit.providers import JobError, JobStatus

ResultT = TypeVar("ResultT")


class FinishedJob(BasePrimitiveJob, Generic[ResultT]):
    """A job that has run: it holds a result, or the error that `result` raises."""

    def __init__(self, function: Callable[..., ResultT], *args: Any, **kwargs: Any) -> None:
        """Call the function now; what it raises is kept, and raised by `result`."""
        super().__init__("")
        self._error: Exception | None = None
        self._result: ResultT | None = None
        try:
            self._result = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (kept whole, and raised by result)
            self._error = error

    def job_id(self) -> str:
        """A name of its own, made when it is first asked for: drawing one takes as long as a small circuit."""
        name: str = self.__dict__.setdefault("_name", str(uuid.uuid4()))  # the first one, if several threads ask
        return name

    def submit(self) -> None:
        """Refuse with a `JobError`: ``run`` has submitted the job."""
        raise JobError("The job has been submitted already: its result() is there.")

    def result(self) -> ResultT:
        """The result; raises what the computation raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def status(self) -> JobStatus:
        """``JobStatus.DONE``, or ``JobStatus.ERROR`` if `result` raises."""
        return JobStatus.DONE if self._error is None else JobStatus.ERROR

    def done(self) -> bool:
        """Whether there is a result."""
        return self._error is None

    def running(self) -> bool:
        """False: a job has run when it is returned."""
        return False

    def cancelled(self) -> bool:
        """False."""
        return False

    def in_final_state(self) -> bool:
        """True."""
        return True

    def cancel(self) -> bool:
        """False: there is nothing left to cancel."""
        return False
