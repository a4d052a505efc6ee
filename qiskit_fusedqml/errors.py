"""The exception types of the package, and its warning.

All of them derive from `FusedQMLError`, itself a `qiskit.exceptions.QiskitError`, so that existing ``except
QiskitError`` blocks keep working. Wrong shapes and values are also `ValueError`, too much memory is also
`MemoryError`.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

try:
    from qiskit.exceptions import QiskitError
except ImportError:  # programs are loaded, planned and run on machines without Qiskit, too
    QiskitError = Exception


class FusedQMLError(QiskitError):
    """Base class of every error raised by this package."""


class InvalidInputError(FusedQMLError, ValueError):
    """An argument has the wrong shape, range or type; the message says what was given and what is allowed."""


class UnsupportedInstructionError(FusedQMLError):
    """A circuit holds an instruction this package cannot run; the message names it and its position."""


class SimulationError(FusedQMLError):
    """A circuit that was read cannot be simulated as it stands; a backend's experiment with it fails."""


class DeviceUnavailableError(FusedQMLError):
    """The requested device does not exist on this machine (for instance ``device="GPU"`` without CUDA)."""


class OutOfMemoryError(FusedQMLError, MemoryError):
    """A computation would need more memory than allowed; the message says how much is needed."""


class MissingExtraError(FusedQMLError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class DivergedError(FusedQMLError, ArithmeticError):
    """Training met a loss, gradient or parameter that is not finite; the message names the step and the parameter."""


class WorkerError(FusedQMLError, RuntimeError):
    """Part of a job that was spread over an executor did not come back; nothing was computed from the other parts."""


class CommunicationError(FusedQMLError, RuntimeError):
    """A rank has failed, or has not answered in time; the message says which, and what it was waited for."""


class RankMismatchError(FusedQMLError, RuntimeError):
    """The ranks that share a state were not asked for the same; the message names the odd one. Nothing was computed."""


class SlowPathWarning(UserWarning):
    """What was asked for is right and takes much longer than it need; the message says what to write instead."""


@lru_cache(maxsize=64)
def warn_slow_path(message: str) -> None:
    """Give a `SlowPathWarning` once, at the line that called the function that calls the caller."""
    warnings.warn(message, SlowPathWarning, stacklevel=4)
