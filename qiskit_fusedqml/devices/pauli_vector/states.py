"""Pauli vectors, density matrices, amplitudes and probabilities of one another, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...arrays import ComplexArray, FloatArray, Int64Array
from ...planner.gf2 import walsh
from ...planner.pauli_vector.tape import PauliFrame


def strings(frame: PauliFrame, qubits: Sequence[int] | None = None) -> Int64Array:
    """The physical index of each string s on some qubits, (4**k,); by default all of them.

    Bits 2 j and 2 j + 1 of s are x and z of ``qubits[j]``.
    """
    found = np.zeros(1, dtype=np.int64)
    for qubit in frame.qubits if qubits is None else (frame.qubits[q] for q in qubits):
        found = np.concatenate([found, found ^ qubit.x, found ^ qubit.z, found ^ qubit.x ^ qubit.z])
    return found


def vectors_of_density(density: ComplexArray) -> FloatArray:
    """Pauli vectors (B, 4**n) by string s of density matrices (B, 2**n, 2**n)."""
    batch, size = density.shape[:2]
    n = size.bit_length() - 1
    x, z = _masks(n)
    basis = np.arange(size)
    # Tr(X^x Z^z rho) = sum_i (-1)**(z & i) rho[i, i ^ x]
    by_flip = density[:, basis[None, :], basis[None, :] ^ basis[:, None]]
    found = walsh(by_flip).reshape(batch, -1)[:, x * size + z]
    return np.ascontiguousarray((found * (1j) ** _num_y(x, z)).real * _signs(x, z))


def densities(vectors: FloatArray) -> NDArray[np.complex128]:
    """Density matrices (B, 2**n, 2**n) of Pauli vectors (B, 4**n) by string s."""
    batch, count = vectors.shape
    n = (count.bit_length() - 1) // 2
    size = 2**n
    x, z = _masks(n)
    by_flip = np.zeros((batch, size * size), dtype=np.complex128)
    by_flip[:, x * size + z] = vectors * _signs(x, z) * (1j) ** _num_y(x, z)
    sums = walsh(by_flip.reshape(batch, size, size)) / size
    basis = np.arange(size)
    result = np.empty((batch, size, size), dtype=np.complex128)
    result[:, basis[None, :] ^ basis[:, None], basis[None, :]] = sums
    return result


def vectors_of_amplitudes(amplitudes: ComplexArray) -> FloatArray:
    """Pauli vectors (B, 4**n) by string s of pure states (B, 2**n)."""
    return vectors_of_density(amplitudes[:, :, None] * amplitudes[:, None, :].conj())


def outcome_probabilities(entries: FloatArray) -> FloatArray:
    """Probabilities (B, 2**k) of outcomes from the entries (B, 2**k) of all products of Z on k qubits."""
    return np.asarray(walsh(entries) / entries.shape[1], dtype=np.float64)


def _masks(n: int) -> tuple[Int64Array, Int64Array]:
    """The masks x and z of each string s."""
    rows = np.arange(4**n)
    x, z = np.zeros_like(rows), np.zeros_like(rows)
    for q in range(n):
        x |= (rows >> 2 * q & 1) << q
        z |= (rows >> 2 * q + 1 & 1) << q
    return x, z


def _num_y(x: Int64Array, z: Int64Array) -> Int64Array:
    return np.asarray(np.bitwise_count(x & z), dtype=np.int64)


def _signs(x: Int64Array, z: Int64Array) -> FloatArray:
    """``(-1)**(#Y // 2)``: the Pauli string P is this times F."""
    return np.asarray(1.0 - 2.0 * (_num_y(x, z) // 2 & 1))
