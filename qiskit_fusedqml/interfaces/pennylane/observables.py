"""Turns PennyLane's observables into Pauli sums.

Whatever the framework itself can state as a Pauli sentence comes from there; projectors on basis states become
controls; sums, multiples and products of other observables are put together from their parts; a Hermitian matrix on a
few wires is expanded. What remains (wide matrices) has no Pauli sum and is evaluated on amplitudes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import QuantumFunctionError
from scipy.sparse import csr_matrix, issparse

from ...ir.observables import PauliSum, PauliTerm

MAX_EXPANDED_WIRES = 4
"""A Hermitian matrix on more wires would have too many Pauli terms."""

MAX_SQUARE_TERMS = 4096
"""The square of an observable is expanded if it has at most this many products of terms."""

_TOLERANCE = 1e-10

_Masks = tuple[int, int, int, int]
_Terms = dict[_Masks, complex]
_Qubits = Mapping[Hashable, int]


def identity(measurement: Any) -> Hashable:
    """Equal for measurements of the same kind, on the same wires, that measure the same."""
    if measurement.obs is not None:
        return _identity(measurement.obs)
    values = measurement.mv if measurement.mv is not None else measurement.eigvals()
    if values is None:
        return tuple(getattr(measurement, name, None) for name in ("log_base", "all_outcomes"))
    return id(values) if measurement.mv is not None else np.asarray(qml.math.unwrap([values])[0]).tobytes()


def _identity(obs: Any) -> Hashable:
    kind, operands = type(obs), getattr(obs, "operands", None)
    if operands is not None:
        numbers = np.array(qml.math.unwrap(list(obs.coeffs))) if isinstance(obs, qml.ops.LinearCombination) else None
        return kind, None if numbers is None else numbers.tobytes(), tuple(map(_identity, operands))
    data = tuple(
        array.toarray().tobytes() if issparse(array) else np.asarray(array).tobytes()
        for array in (qml.math.unwrap(obs.data) if obs.data else ())
    )
    base = getattr(obs, "base", None)
    return kind, obs.wires.labels, data, None if base is None else _identity(base)


def pauli_sum(obs: Any, qubits: _Qubits) -> PauliSum | None:
    """An observable as a Pauli sum, or None if it would have too many terms.

    Raises:
        QuantumFunctionError: If it is not Hermitian.
    """
    try:
        return _real_sum(_terms(obs, qubits), obs, len(qubits))
    except _NoSumError:
        return None


def squared_sum(observable: PauliSum) -> PauliSum | None:
    """The square of an observable, or None if it would have too many terms."""
    if len(observable.terms) ** 2 > MAX_SQUARE_TERMS:
        return None
    terms = {(t.x, t.z, t.ctrl_mask, t.ctrl_value): complex(t.coefficient) for t in observable.terms}
    try:
        return _real_sum(_multiplied(terms, terms), "the square of an observable", observable.num_qubits)
    except _NoSumError:
        return None


def sparse_matrix(obs: Any, wires: tuple[Hashable, ...]) -> Any:
    """An observable as a sparse matrix on all wires, the first one the highest bit."""
    if obs.has_sparse_matrix:
        return obs.sparse_matrix(wire_order=qml.wires.Wires(wires)).tocsr(copy=True)  # it may be the caller's own
    matrix = np.asarray(qml.math.unwrap([obs.matrix()])[0])
    small = qml.SparseHamiltonian(csr_matrix(matrix), wires=obs.wires)
    return small.sparse_matrix(wire_order=qml.wires.Wires(wires)).tocsr()


class _NoSumError(Exception):
    """An observable has too many terms, or a product of two terms is none."""


def _terms(obs: Any, qubits: _Qubits) -> _Terms:
    if obs.pauli_rep is not None:
        return _sentence(obs.pauli_rep, qubits)
    if isinstance(obs, qml.Hadamard):
        bit, share = 1 << qubits[obs.wires[0]], np.sqrt(0.5)
        return {(bit, 0, 0, 0): share, (0, bit, 0, 0): share}
    if isinstance(obs, qml.Projector) and obs.data and np.ndim(obs.data[0]) == 1 and _is_basis_projector(obs):
        bits = [1 << qubits[wire] for wire in obs.wires]
        return {(0, 0, sum(bits), sum(bit for bit, one in zip(bits, obs.data[0], strict=True) if one)): 1.0}
    if isinstance(obs, qml.ops.SProd | qml.ops.Sum):
        numbers, parts = obs.terms()
        result: _Terms = {}
        for number, part in zip(qml.math.unwrap(list(numbers)), parts, strict=True):
            for masks, coefficient in _terms(part, qubits).items():
                result[masks] = result.get(masks, 0.0) + complex(number) * coefficient
        return result
    if isinstance(obs, qml.ops.Prod):
        with suppress(_NoSumError):
            return reduce(_multiplied, (_terms(part, qubits) for part in obs.operands))
    return _expanded(obs, qubits)


def _is_basis_projector(obs: Any) -> bool:
    return len(obs.data[0]) == len(obs.wires) and set(np.asarray(obs.data[0]).tolist()) <= {0, 1}


def _sentence(sentence: Any, qubits: _Qubits) -> _Terms:
    result: _Terms = {}
    coefficients = qml.math.unwrap(list(sentence.values()))
    for word, coefficient in zip(sentence, coefficients, strict=True):
        x = z = 0
        for wire, letter in word.items():
            bit = 1 << qubits[wire]
            x |= bit if letter in "XY" else 0
            z |= bit if letter in "YZ" else 0
        result[x, z, 0, 0] = result.get((x, z, 0, 0), 0.0) + complex(coefficient)
    return result


def _multiplied(left: _Terms, right: _Terms) -> _Terms:
    result: _Terms = {}
    for (one, a), (other, b) in product(left.items(), right.items()):
        masks, factor = _product(one, other)
        if factor:
            result[masks] = result.get(masks, 0.0) + a * b * factor
    return result


def _product(left: _Masks, right: _Masks) -> tuple[_Masks, complex]:
    """The product of two terms: a term and its factor."""
    x1, z1, mask1, value1 = left
    x2, z2, mask2, value2 = right
    if (x1 | z1) & mask2 or (x2 | z2) & mask1:
        raise _NoSumError
    if (value1 ^ value2) & mask1 & mask2:
        return left, 0.0
    x, z = x1 ^ x2, z1 ^ z2
    # with P = i^|x&z| X^x Z^z and Z^z1 X^x2 = (-1)^|z1&x2| X^x2 Z^z1
    power = (x1 & z1).bit_count() + (x2 & z2).bit_count() - (x & z).bit_count() + 2 * (z1 & x2).bit_count()
    return (x, z, mask1 | mask2, value1 | value2), 1j ** (power % 4)


def _expanded(obs: Any, qubits: _Qubits) -> _Terms:
    """A matrix on a few wires in Pauli words."""
    if len(obs.wires) > MAX_EXPANDED_WIRES or not (obs.has_matrix or obs.has_sparse_matrix):
        raise _NoSumError
    given = qml.math.unwrap([obs.matrix()])[0] if obs.has_matrix else obs.sparse_matrix().toarray()
    matrix = np.asarray(given, dtype=np.complex128)
    # wire 0 is the highest bit of the matrix's indices
    bits = [1 << qubits[wire] for wire in reversed(obs.wires.labels)]
    masks = [sum(bit for k, bit in enumerate(bits) if index >> k & 1) for index in range(len(matrix))]
    coefficients = _walsh(matrix)
    found = zip(*np.nonzero(abs(coefficients) > 1e-15 * abs(matrix).max()), strict=True)
    return {(masks[x], masks[z], 0, 0): complex(coefficients[x, z]) for x, z in found}


def _walsh(matrix: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The coefficients (2**k, 2**k) of the Pauli words P(x, z) of a matrix: ``tr(P M) / 2**k``."""
    size = len(matrix)
    index = np.arange(size)
    result = np.empty((size, size), dtype=np.complex128)
    overlaps = index[:, None] & index
    signs = 1.0 - 2.0 * (np.bitwise_count(overlaps) % 2)
    for x in range(size):
        # (P a)[i] = (-1j)^|x&z| (-1)^|i&z| a[i ^ x], so that P[i, i ^ x] = (-1j)^|x&z| (-1)^|i&z|
        entries = matrix[index ^ x, index]
        result[x] = (-1j) ** np.bitwise_count(x & index) * (signs @ entries) / size
    return result


def _real_sum(terms: _Terms, obs: Any, num_qubits: int) -> PauliSum:
    coefficients = list(map(complex, terms.values()))
    largest = max(map(abs, coefficients), default=0.0)
    if any(abs(c.imag) > _TOLERANCE * largest for c in coefficients):
        raise QuantumFunctionError(
            f"The observable {obs} is not Hermitian: in Pauli words it has complex coefficients. "
            "Measure its Hermitian and anti-Hermitian parts."
        )
    real = (PauliTerm(c.real, *masks) for masks, c in zip(terms, coefficients, strict=True) if c)
    return PauliSum(num_qubits, tuple(real) or (PauliTerm(0.0, 0, 0),))
