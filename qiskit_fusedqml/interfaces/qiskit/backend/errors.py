"""Errors that a program written for Aer catches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....errors import FusedQMLError


@contextmanager
def errors_as_on_aer() -> Iterator[None]:
    """Raise this package's errors as ones that are an ``AerError``, too, where qiskit-aer has been imported.

    Without qiskit-aer nobody can name its error, and nothing changes.
    """
    try:
        yield
    except FusedQMLError as error:
        aer_error = getattr(sys.modules.get("qiskit_aer"), "AerError", None)
        if aer_error is None or isinstance(error, aer_error):
            raise
        raise _both(type(error), aer_error)(error.message) from error


def _both(ours: type[FusedQMLError], theirs: type[Exception]) -> Any:
    return type(ours.__name__, (ours, theirs), {"__doc__": ours.__doc__, "__module__": ours.__module__})
