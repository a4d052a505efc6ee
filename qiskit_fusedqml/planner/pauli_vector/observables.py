"""Observables on Pauli vectors: sums of entries, as Tr(P rho) is one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arrays import FloatArray, Int64Array
from ...errors import InvalidInputError
from ...ir.observables import PauliSum, z_masks
from ...ir.qubits import bits
from .tape import PauliFrame


def physical_index(frame: PauliFrame, x: int, z: int) -> int:
    """The physical index of the string F(x, z), given by masks of qubits."""
    index = 0
    for q in bits(x):
        index ^= frame.qubits[q].x
    for q in bits(z):
        index ^= frame.qubits[q].z
    return index


def entries(frame: PauliFrame, sums: Sequence[PauliSum]) -> tuple[Int64Array, Int64Array, FloatArray]:
    """Observables as ``sum weight r[row]``: where each begins (K + 1,), rows and weights of all.

    Raises:
        InvalidInputError: If one of them acts on another number of qubits.
    """
    starts, rows, weights = [0], list[int](), list[float]()
    for number, observable in enumerate(sums):
        if observable.num_qubits != len(frame.qubits):
            raise InvalidInputError(
                f"Observable {number} acts on {observable.num_qubits} qubits; the state has {len(frame.qubits)}."
            )
        found: dict[int, float] = {}
        for term in observable.terms:
            # the letters Y are the term's: F is (-1)**(#Y // 2) times the Pauli string
            sign = -1.0 if (term.x & term.z).bit_count() // 2 & 1 else 1.0
            for z, weight in z_masks(term):
                row = physical_index(frame, term.x, z)
                found[row] = found.get(row, 0.0) + sign * weight
        rows += found
        weights += found.values()
        starts.append(len(rows))
    return np.array(starts, np.int64), np.array(rows, np.int64), np.array(weights, np.float64)


def z_strings(frame: PauliFrame, qubits: Sequence[int]) -> Int64Array:
    """The physical indices (2**k,) of all products of Z on k qubits; bit j of the position is ``qubits[j]``."""
    found = np.zeros(1, dtype=np.int64)
    for q in qubits:
        found = np.concatenate([found, found ^ frame.qubits[q].z])
    return found
