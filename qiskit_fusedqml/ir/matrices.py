"""Gates given by their entries: dense unitaries, diagonals, permutations, each under any controls.

Bit j of an entry's index is the j-th target; controls (ctrl_mask, ctrl_value) are as of `Rotation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .program import MAX_DIAGONAL_QUBITS, MAX_MATRIX_QUBITS, Diagonal, Matrix

MAX_EXPANDED_QUBITS = 6
"""Up to this many qubits a matrix under controls is written with its controls as one larger matrix."""


def dense(
    matrix: NDArray[np.complex128], targets: tuple[int, ...], controls: tuple[int, int]
) -> list[Matrix | Diagonal] | None:
    """A unitary U (2**k, 2**k) under c controls; None if it is too large.

    With few qubits, and without controls, it is one matrix. Else ``C[U] = V C[D] V^dagger`` with ``U = V D V^dagger``,
    as V undoes itself where the controls do not hold: a diagonal takes far more controls than a dense matrix.
    """
    qubits, block = _qubits_and_block(targets, controls)
    if len(targets) > MAX_MATRIX_QUBITS or not qubits:
        return None
    if not controls[0]:
        return [Matrix(qubits, np.array(matrix, dtype=np.complex128))]
    if len(qubits) <= MAX_EXPANDED_QUBITS:
        full = np.eye(2 ** len(qubits), dtype=np.complex128)
        full[block, block] = matrix
        return [Matrix(qubits, full)]
    from scipy.linalg import schur

    triangle, vectors = schur(matrix, output="complex")
    phases = np.diagonal(triangle)
    found = diagonal(phases / np.abs(phases), targets, controls)  # a normal matrix's triangle is its eigenvalues
    if found is None:
        return None
    return [Matrix(targets, vectors.conj().T), found, Matrix(targets, vectors)]


def diagonal(
    entries: Sequence[complex] | NDArray[np.complex128], targets: tuple[int, ...], controls: tuple[int, int]
) -> Diagonal | None:
    """A diagonal (2**k,) under controls; None if it is too large."""
    qubits, block = _qubits_and_block(targets, controls)
    if len(qubits) > MAX_DIAGONAL_QUBITS:
        return None
    table = np.ones(2 ** len(qubits), dtype=np.complex128)
    table[block] = entries
    return Diagonal(qubits, table)


def transpositions(pattern: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Swaps, in order of application, that bring the qubit ``pattern[i]`` to place i for every i."""
    place = list(range(len(pattern)))  # which qubit is where
    for i, wanted in enumerate(pattern):
        j = place.index(wanted, i)
        if i != j:
            place[i], place[j] = place[j], place[i]
            yield i, j


def _qubits_and_block(targets: tuple[int, ...], controls: tuple[int, int]) -> tuple[tuple[int, ...], slice]:
    """The targets followed by the controls, and the basis states in which the controls have their values."""
    mask, value = controls
    others = tuple(qubit for qubit in range(mask.bit_length()) if mask >> qubit & 1)
    position = sum((value >> qubit & 1) << k for k, qubit in enumerate(others))
    size = 1 << len(targets)
    return (*targets, *others), slice(position * size, (position + 1) * size)
