"""Channels by Kraus operators and Qiskit's quantum_info, to compare transfer matrices with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.quantum_info import PTM, Kraus, Pauli, SuperOp


def transfer(channel: SuperOp | Kraus) -> NDArray[np.float64]:
    """The transfer matrix by Qiskit, whose PTM has its strings in the same order and is normalised alike."""
    matrix = PTM(channel).data
    assert np.abs(matrix.imag).max() < 1e-12
    return np.asarray(matrix.real)


def of_kraus(*operators: ArrayLike) -> NDArray[np.float64]:
    """The transfer matrix of Kraus operators, by Qiskit."""
    return transfer(Kraus([np.asarray(each, dtype=complex) for each in operators]))


def of_paulis(probabilities: dict[str, float]) -> NDArray[np.float64]:
    """The transfer matrix of Pauli strings with probabilities."""
    return of_kraus(*(np.sqrt(p) * Pauli(label).to_matrix() for label, p in probabilities.items()))


def all_labels(num_qubits: int) -> list[str]:
    """The Pauli strings in the order of a Pauli vector, the first qubit's letter last."""
    return ["".join(letters) for letters in itertools.product("IXYZ", repeat=num_qubits)]


def random_channel(rng: np.random.Generator, num_qubits: int, rank: int = 3) -> list[NDArray[np.complex128]]:
    """Random Kraus operators."""
    size = 2**num_qubits
    stacked = rng.normal(size=(rank * size, size)) + 1j * rng.normal(size=(rank * size, size))
    isometry = np.linalg.qr(stacked)[0]
    return [isometry[k * size : (k + 1) * size] for k in range(rank)]


def five_points(function: object, values: Sequence[float], index: int, step: float) -> NDArray[np.float64]:
    """The derivative of a function of several numbers with respect to one of them, by five points."""
    total = 0.0
    for shift, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        moved = [value + shift * step * (k == index) for k, value in enumerate(values)]
        total = total + weight * function(*map(np.float64, moved))  # type: ignore[operator]
    return np.asarray(total / (12 * step))
