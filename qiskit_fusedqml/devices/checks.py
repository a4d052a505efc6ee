"""What every device refuses: options, batches, initial states and qubits that make no sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import shown, whole_number
from ..errors import InvalidInputError

PRECISIONS = ("double", "single")
MAX_THREADS = 4096


def check_options(precision: str, num_threads: int | None = None) -> int | None:
    """The number of threads as Python's integer, or None.

    Raises:
        InvalidInputError: For another precision than "double" or "single", or a number of threads that is no integer
            from 1 to `MAX_THREADS`.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InvalidInputError(f"precision is {shown(precision)}; {' or '.join(map(repr, PRECISIONS))} is expected.")
    if num_threads is None:
        return None
    expected = f"an integer from 1 to {MAX_THREADS}, or None for every core,"
    return whole_number(num_threads, "num_threads", expected, least=1, most=MAX_THREADS)


def empty_batch(batch: int) -> InvalidInputError:
    """The error of a device that is asked for no state at all."""
    return InvalidInputError(f"A batch of {batch} states was asked for; at least 1 is needed.")


def check_initial_state(state: NDArray[Any], num_qubits: int, batch: int) -> None:
    """Refuse amplitudes that are not (2**n,) or (B, 2**n).

    Raises:
        InvalidInputError: If they have another shape.
    """
    size = 2**num_qubits
    if np.shape(state) not in {(size,), (batch, size)}:
        raise InvalidInputError(
            f"The initial state has shape {np.shape(state)}; ({size},) or ({batch}, {size}) is expected."
        )


def check_qubits(qubits: Sequence[int], num_qubits: int) -> None:
    """Refuse qubits to be measured that are not distinct qubits of the state.

    Raises:
        InvalidInputError: If they are not.
    """
    if len(set(qubits)) != len(qubits) or any(not 0 <= qubit < num_qubits for qubit in qubits):
        raise InvalidInputError(f"The qubits {tuple(qubits)} must be distinct and below {num_qubits}.")
