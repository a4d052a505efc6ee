"""Terminal measurements: from outcomes of qubits to values of classical bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measurement:
    """Where outcomes go: pairs (qubit, clbit), and the number of classical bits."""

    pairs: tuple[tuple[int, int], ...]
    num_clbits: int


def clbit_values(num_bits: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """The classical value for each index (2**num_bits,) whose bit ``pairs[j][0]`` goes to clbit ``pairs[j][1]``."""
    indices = np.arange(2**num_bits, dtype=np.intp)
    values = np.zeros_like(indices)
    for bit, clbit in pairs:
        values |= (indices >> bit & 1) << clbit
    return values
