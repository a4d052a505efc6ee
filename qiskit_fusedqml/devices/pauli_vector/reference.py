"""The meaning of a `PauliTape`, in plain NumPy.

Not intended to be fast: each operation is a transfer matrix on the letters of its qubits, as
`qiskit_fusedqml.planner.pauli_vector.tape` defines it, on whole arrays (B, 4**n) by physical index. If another device
disagrees with this one, the other is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from typing_extensions import override

from ...arrays import FloatArray, Int64Array, IntArray
from ...errors import InvalidInputError
from ...memory import default_budget
from ...planner.pauli_vector.tape import Affine, Pair, PauliOperation, PauliQubit, PauliTape, Transfer, Turn
from ..checks import empty_batch
from . import PauliCoefficients, PauliDevice, PauliObservables
from .coefficients import PauliCoefficientMap

LETTER_OF_BITS = np.array([0, 1, 3, 2])
"""I, X, Y, Z (0 to 3) by x + 2 z."""


class ReferencePauliDevice(PauliDevice):
    """Runs tapes on arrays of float64; a state is an array (B, 4**n)."""

    name = "reference"
    tile_bits = 8
    coefficient_map = PauliCoefficientMap

    @override
    def allocate(self, num_qubits: int, batch: int, vectors: FloatArray | None = None) -> FloatArray:
        if batch < 1:
            raise empty_batch(batch)
        shape = (batch, 4**num_qubits)
        if vectors is None:
            vectors = zero_state(num_qubits)
        if vectors.shape not in (shape, shape[1:]):
            raise InvalidInputError(f"The vectors have shape {vectors.shape}; {shape[1:]} or {shape} is expected.")
        return np.array(np.broadcast_to(vectors, shape), dtype=np.float64)

    @override
    def copy(self, state: FloatArray) -> FloatArray:
        return state.copy()

    @override
    def vectors(self, state: FloatArray) -> FloatArray:
        return state.copy()

    @override
    def forward(self, tape: PauliTape, coefficients: PauliCoefficients, ket: FloatArray) -> None:
        for operation in _operations(tape):
            ket[...] = _map(operation, coefficients, ket)

    @override
    def backward(
        self, tape: PauliTape, coefficients: PauliCoefficients, ket: FloatArray, bra: FloatArray, *, per_sample: bool
    ) -> FloatArray:
        overlaps = np.zeros((len(ket), tape.num_overlaps))
        for block in reversed(tape.blocks):
            for operation in reversed(block.operations[block.undo_from :]):
                ket[...] = _map(operation, coefficients, ket, inverse=True)
                _measure(operation, coefficients, ket, bra, overlaps)
                bra[...] = _map(operation, coefficients, bra, transposed=True)
        return overlaps if per_sample else np.asarray(overlaps.sum(axis=0))

    @override
    def backward_bra(self, tape: PauliTape, coefficients: PauliCoefficients, bra: FloatArray) -> None:
        for operation in reversed(list(_operations(tape))):
            bra[...] = _map(operation, coefficients, bra, transposed=True)

    @override
    def joint(
        self, tape: PauliTape, coefficients: PauliCoefficients, ket: FloatArray, bra: FloatArray, *, per_sample: bool
    ) -> FloatArray:
        overlaps = np.zeros((len(ket), tape.num_overlaps))
        for operation in _operations(tape):
            bra[...] = _map(operation, coefficients, bra, inverse=True, transposed=True)
            _measure(operation, coefficients, ket, bra, overlaps)
            ket[...] = _map(operation, coefficients, ket)
        return overlaps if per_sample else np.asarray(overlaps.sum(axis=0))

    @override
    def expectation(self, ket: FloatArray, observables: PauliObservables) -> FloatArray:
        return ket @ _dense(observables, ket.shape[1]).T

    @override
    def bra(
        self, num_qubits: int, batch: int, observables: PauliObservables, cotangents: FloatArray | None
    ) -> FloatArray:
        dense = _dense(observables, 4**num_qubits)
        return dense if cotangents is None else cotangents @ dense

    @override
    def products(self, bras: FloatArray, kets: FloatArray) -> FloatArray:
        return kets @ bras.T

    @override
    def combine(self, kets: FloatArray, weights: FloatArray) -> FloatArray:
        return weights.T @ kets

    @override
    def rows(self, state: FloatArray, rows: Int64Array) -> FloatArray:
        return state[:, rows]

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        return 8 * batch << 2 * num_qubits

    @override
    def memory_budget(self) -> int:
        return default_budget()


def zero_state(num_qubits: int) -> FloatArray:
    """The Pauli vector (4**n,) of ``|0...0>``: 1 for the strings of I and Z."""
    has_x = np.arange(4**num_qubits) & sum(1 << 2 * q for q in range(num_qubits))
    return np.asarray(has_x == 0, dtype=np.float64)


def y_parity(rows: IntArray) -> IntArray:
    """Number of letters Y modulo 2 of strings by physical index, whatever the frame."""
    both = rows & rows >> 1 & 0x5555555555555555
    return np.asarray(np.bitwise_count(both) & 1, dtype=np.intp)


def _operations(tape: PauliTape) -> Iterator[PauliOperation]:
    return (operation for block in tape.blocks for operation in block.operations)


def _dense(observables: PauliObservables, size: int) -> FloatArray:
    """The bras (K, 4**n) of observables."""
    bras = np.zeros((len(observables.starts) - 1, size))
    for k, bra in enumerate(bras):
        own = slice(observables.starts[k], observables.starts[k + 1])
        np.add.at(bra, observables.rows[own], observables.weights[own])
    return bras


def _map(
    operation: PauliOperation,
    coefficients: PauliCoefficients,
    vectors: FloatArray,
    inverse: bool = False,
    transposed: bool = False,
) -> FloatArray:
    """An operation, its inverse or the transpose of either on vectors (B, 4**n)."""
    if isinstance(operation, Turn):
        cos, sin = _turn(operation, coefficients)
        rows, signs = _turn_rows(operation, vectors.shape[1])
        result = vectors.copy()
        angle = -sin if inverse != transposed else sin  # the transpose of a rotation is its inverse
        result[:, rows] = cos * vectors[:, rows] + angle * signs * vectors[:, rows ^ operation.x]
        return result
    matrix = _matrix(operation, coefficients, inverse)
    return _apply(_qubits(operation), matrix.swapaxes(-1, -2) if transposed else matrix, vectors)


def _measure(
    operation: PauliOperation, coefficients: PauliCoefficients, ket: FloatArray, bra: FloatArray, overlaps: FloatArray
) -> None:
    """Put an operation's overlaps (B, S) of the ket before it and the bra after it into their places."""
    if operation.overlap < 0:
        return
    own = overlaps[:, operation.overlap : operation.overlap + operation.num_overlaps]
    if isinstance(operation, Turn):
        after = _map(operation, coefficients, ket)
        rows, signs = _turn_rows(operation, ket.shape[1])
        own[:, 0] = (bra[:, rows] * signs * after[:, rows ^ operation.x]).sum(axis=1)
        return
    size = 4 ** len(_qubits(operation))
    products = np.zeros((len(ket), size, size))
    for a, b, rows, partners, signs in _entries(_qubits(operation), ket.shape[1]):
        products[:, a, b] = (bra[:, rows] * signs * ket[:, partners]).sum(axis=1)
    if isinstance(operation, Affine):
        own[...] = products[:, 1:].reshape(len(ket), 12)
    elif isinstance(operation, Pair):
        own[...] = _pair_derivatives(coefficients.pairs[operation.coefficient], products)
    else:
        own[...] = products.reshape(len(ket), -1)


def _pair_derivatives(pair: FloatArray, products: FloatArray) -> FloatArray:
    """From M (B, 16, 16) to the derivatives (B, 18) by S and the gains: T = G_1 G_0 diag(S)."""
    scales, (first, second) = pair[:16], _gains(1.0, 1.0)
    by_scale = np.einsum("ai,nai->ni", _shifts(pair), products)
    by_first = np.einsum("ai,i,nai->n", (np.eye(16) + pair[17] * second) @ first, scales, products)
    by_second = np.einsum("ai,i,nai->n", second @ (np.eye(16) + pair[16] * first), scales, products)
    return np.concatenate([by_scale, by_first[:, None], by_second[:, None]], axis=1)


def _gains(first: float, second: float) -> tuple[FloatArray, FloatArray]:
    """``r[b, Z] += first r[b, I]`` and ``r[Z, a] += second r[I, a]`` without the identity, (16, 16) each."""
    unit = np.zeros((4, 4))
    unit[3, 0] = 1.0
    return np.asarray(np.kron(np.eye(4), first * unit)), np.asarray(np.kron(second * unit, np.eye(4)))


def _shifts(pair: FloatArray) -> FloatArray:
    first, second = _gains(pair[16], pair[17])
    return np.asarray((np.eye(16) + second) @ (np.eye(16) + first))


def _qubits(operation: Affine | Pair | Transfer) -> tuple[PauliQubit, ...]:
    return (operation.qubit,) if isinstance(operation, Affine) else operation.qubits


def _matrix(operation: Affine | Pair | Transfer, coefficients: PauliCoefficients, inverse: bool) -> FloatArray:
    """The transfer matrix (4**k, 4**k), or (B, 4, 4) of a batched affine map."""
    index = operation.coefficient
    if isinstance(operation, Transfer):
        return np.asarray((coefficients.inverse_transfers if inverse else coefficients.transfers)[index])
    if isinstance(operation, Pair):
        if not inverse:
            pair = coefficients.pairs[index]
            return np.asarray(_shifts(pair) * pair[:16])
        pair = coefficients.inverse_pairs[index] * np.array([1.0] * 16 + [-1.0, -1.0])
        return np.asarray(pair[:16, None] * _shifts(pair))
    if operation.batched:
        maps = (coefficients.inverse_batched_affine if inverse else coefficients.batched_affine)[index]
        rows = np.moveaxis(maps, -1, 0)
    else:
        rows = (coefficients.inverse_affine if inverse else coefficients.affine)[index][None]
    top = np.broadcast_to(np.eye(1, 4), (len(rows), 1, 4))
    return np.concatenate([top, rows], axis=1)


Entry: TypeAlias = tuple[int, int, IntArray, IntArray, FloatArray]


@lru_cache(maxsize=256)
def _entries(qubits: tuple[PauliQubit, ...], size: int) -> tuple[Entry, ...]:
    """For all letters a and b on some qubits: the strings with a, those with b instead, and sign(a, b)."""
    rows = np.arange(size)
    letters = sum(_letters(qubit, rows) << 2 * j for j, qubit in enumerate(qubits))
    count = 4 ** len(qubits)
    num_y = np.array([sum(a >> 2 * j & 3 == 2 for j in range(len(qubits))) for a in range(count)])
    flips = [_vector(qubits, a) for a in range(count)]
    found: list[Entry] = []
    for a in range(count):
        own = rows[letters == a]
        others = y_parity(own) ^ num_y[a] & 1
        for b in range(count):
            signs = 1.0 - 2.0 * ((((others + num_y[a]) // 2) + (others + num_y[b]) // 2) & 1)
            found.append((a, b, own, own ^ flips[a] ^ flips[b], signs))
    return tuple(found)


def _letters(qubit: PauliQubit, rows: IntArray) -> IntArray:
    x, z = (np.bitwise_count(rows & bit).astype(np.intp) & 1 for bit in (qubit.x_bit, qubit.z_bit))
    return np.asarray(LETTER_OF_BITS[x + 2 * z])


def _vector(qubits: tuple[PauliQubit, ...], letters: int) -> int:
    """The vector of a string on some qubits."""
    vector = 0
    for j, qubit in enumerate(qubits):
        vector ^= (0, qubit.x, qubit.x ^ qubit.z, qubit.z)[letters >> 2 * j & 3]
    return vector


def _apply(qubits: tuple[PauliQubit, ...], matrix: FloatArray, vectors: FloatArray) -> FloatArray:
    result = np.zeros_like(vectors)
    for a, b, rows, partners, signs in _entries(qubits, vectors.shape[1]):
        result[:, rows] += matrix[..., a, b, None] * signs * vectors[:, partners]
    return result


def _turn(operation: Turn, coefficients: PauliCoefficients) -> tuple[Any, Any]:
    """Cosine and sine, (B, 1) or numbers."""
    if not operation.batched:
        return tuple(coefficients.turns[operation.coefficient])
    cos, sin = coefficients.batched_turns[operation.coefficient]
    return cos[:, None], sin[:, None]


def _turn_rows(operation: Turn, size: int) -> tuple[IntArray, FloatArray]:
    """The strings that anticommute, and the signs g."""
    rows = np.arange(size)
    rows = rows[(np.bitwise_count(rows & operation.side) & 1) == 1]
    negative = np.bitwise_count(rows & operation.z).astype(np.intp) + (y_parity(rows) | operation.y_of_string)
    return rows, 1.0 - 2.0 * (negative & 1)
