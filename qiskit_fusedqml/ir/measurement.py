"""Terminal measurements: from outcomes of qubits to values of classical bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classical import WIDEST_FIXED


@dataclass(frozen=True)
class Measurement:
    """Where outcomes go: pairs (qubit, clbit), and the number of classical bits."""

    pairs: tuple[tuple[int, int], ...]
    num_clbits: int

    @property
    def qubits(self) -> list[int]:
        """The k measured qubits, ascending."""
        return sorted({qubit for qubit, _ in self.pairs})

    def outcomes(self) -> NDArray[Any]:
        """The value (2**k,) of the classical bits for each outcome of the measured qubits; they are distinct."""
        place = {qubit: k for k, qubit in enumerate(self.qubits)}
        return clbit_values(len(place), [(place[qubit], clbit) for qubit, clbit in self.pairs])

    def of_basis_states(self, num_qubits: int) -> NDArray[np.intp]:
        """The outcome of the measured qubits (2**n,) for each basis state."""
        return clbit_values(num_qubits, [(qubit, k) for k, qubit in enumerate(self.qubits)])


def clbit_values(num_bits: int, pairs: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """The classical value for each index (2**num_bits,) whose bit ``pairs[j][0]`` goes to clbit ``pairs[j][1]``.

    Values of more than 63 bits are Python's integers.
    """
    indices = np.arange(2**num_bits, dtype=np.intp)
    is_wide = any(clbit >= WIDEST_FIXED for _, clbit in pairs)
    values = np.zeros(len(indices), dtype=object if is_wide else np.intp)
    for bit, clbit in pairs:
        values |= (indices >> bit & 1).astype(values.dtype) << clbit
    return values
