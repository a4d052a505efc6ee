"""A direct reading of the docstrings of `planner.pauli_vector.tape` and `.tables`: one vector, one string at a time.

Nothing here is shared with the package's devices or its planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.planner.pauli_vector.plan import PauliPlan
from qiskit_fusedqml.planner.pauli_vector.tables import AffineSequences, PauliTables, TurnAngles
from qiskit_fusedqml.planner.pauli_vector.tape import (
    Affine,
    Pair,
    PauliFrame,
    PauliOperation,
    PauliQubit,
    Transfer,
    Turn,
)

Vector = NDArray[np.float64]

PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
X, Y, Z = 1, 2, 3


def run_plan(plan: PauliPlan, angles: Vector, vector: Vector) -> Vector:
    """The Pauli vector (4**n,), index ``sum_j letter_j 4**j``, after a plan's tape."""
    tape = plan.tape
    identity = PauliFrame.identity(tape.num_qubits).qubits
    rows = np.empty_like(vector)
    for number, letters in enumerate(all_letters(tape.num_qubits)):
        rows[string(identity, letters)] = f_sign(letters) * vector[number]
    for block in tape.blocks:
        for operation in block.operations:
            rows = apply(operation, plan.tables, angles, rows)
    return np.array([f_sign(ls) * rows[string(tape.frame.qubits, ls)] for ls in all_letters(tape.num_qubits)])


def all_letters(n: int) -> list[tuple[int, ...]]:
    """Letters of all strings, the first qubit's fastest."""
    return [letters[::-1] for letters in product(range(4), repeat=n)]


def f_sign(letters: Sequence[int]) -> float:
    """F = (-1)**(#Y // 2) P."""
    return -1.0 if letters.count(Y) // 2 % 2 else 1.0


def string(qubits: Sequence[PauliQubit], letters: Sequence[int]) -> int:
    """The physical index of letters on some qubits and I elsewhere."""
    index = 0
    for qubit, letter in zip(qubits, letters, strict=True):
        index ^= (qubit.x if letter in (X, Y) else 0) ^ (qubit.z if letter in (Y, Z) else 0)
    return index


def parity(mask: int) -> int:
    return mask.bit_count() % 2


def read(qubits: Sequence[PauliQubit], index: int) -> tuple[int, ...]:
    """The letters of a physical index on some qubits."""
    bits = [(parity(q.x_bit & index), parity(q.z_bit & index)) for q in qubits]
    return tuple({(0, 0): 0, (1, 0): X, (1, 1): Y, (0, 1): Z}[pair] for pair in bits)


def y_of(index: int) -> int:
    return sum(index >> 2 * q & 3 == 3 for q in range(32)) % 2


def apply(operation: PauliOperation, tables: PauliTables, angles: Vector, rows: Vector) -> Vector:
    """One operation."""
    if isinstance(operation, Turn):
        return turn(operation, tables, angles, rows)
    if isinstance(operation, Pair):
        return pair(operation, tables, angles, rows)
    if isinstance(operation, Affine):
        table = tables.batched_affine if operation.batched else tables.affine
        matrix = sequence_matrix(table, operation.coefficient, tables, angles, operation.batched)
        assert not operation.unital or np.abs(matrix[1:, 0]).max() < 1e-13
        return mix((operation.qubit,), matrix, rows)
    assert isinstance(operation, Transfer)
    return mix(operation.qubits, channel_matrix(tables.transfers[operation.coefficient], angles), rows)


def mix(qubits: Sequence[PauliQubit], matrix: Vector, rows: Vector) -> Vector:
    """``r'[a] = sum_b sign(a, b) T[a, b] r[b]``."""
    result = np.zeros_like(rows)
    choices = all_letters(len(qubits))
    for index in range(len(rows)):
        a = read(qubits, index)
        m = (y_of(index) + a.count(Y)) % 2
        rest = index ^ string(qubits, a)
        row = sum(letter << 2 * j for j, letter in enumerate(a))
        for column, b in enumerate(choices):
            sign = (-1) ** ((m + a.count(Y)) // 2 + (m + b.count(Y)) // 2)
            result[index] += sign * matrix[row, column] * rows[rest ^ string(qubits, b)]
    return result


def pair(operation: Pair, tables: PauliTables, angles: Vector, rows: Vector) -> Vector:
    diagonals, *shifts = tables.pairs[operation.coefficient]
    scales, gains = np.ones((4, 4)), [0.0, 0.0]
    for channel in diagonals:
        scales = scales * np.diagonal(channel_matrix(channel, angles)).reshape(4, 4)
    for position, shift in enumerate(shifts):
        if shift is not None:
            matrix = channel_matrix(shift, angles)
            diagonal = np.diagonal(matrix)
            scales = scales * (diagonal[None, :] if position == 0 else diagonal[:, None])
            gains[position] = matrix[Z, 0]
            assert operation.shifts[position] or gains[position] == 0.0
            np.testing.assert_allclose(matrix, np.diag(diagonal) + gains[position] * np.eye(4, k=-3), atol=1e-12)
    result = rows.copy()
    for index in range(len(rows)):
        a, b = read(operation.qubits, index)
        result[index] *= scales[b, a]
    for position, gain in enumerate(gains):
        before = result.copy()
        for index in range(len(rows)):
            if read(operation.qubits, index)[position] == Z:
                result[index] += gain * before[index ^ operation.qubits[position].z]
    return result


def turn(operation: Turn, tables: PauliTables, angles: Vector, rows: Vector) -> Vector:
    table: TurnAngles = tables.batched_turns if operation.batched else tables.turns
    k = operation.coefficient
    slot = source(int(table.slots[k]), tables, operation.batched)
    theta = table.constants[k] + (table.weights[k] * angles[slot] if slot >= 0 else 0.0)
    result = rows.copy()
    for index in range(len(rows)):
        if parity(operation.side & index):
            sign = (-1) ** parity(operation.z & index) * (-1 if operation.y_of_string or y_of(index) else 1)
            result[index] = np.cos(theta) * rows[index] + np.sin(theta) * sign * rows[index ^ operation.x]
    return result


def source(slot: int, tables: PauliTables, batched: bool) -> int:
    return int(tables.batched_slots[slot]) if batched and slot >= 0 else slot


def sequence_matrix(table: AffineSequences, number: int, tables: PauliTables, angles: Vector, batched: bool) -> Vector:
    """The product of a sequence's factors (4, 4)."""
    total = np.eye(4)
    for k in range(table.starts[number], table.starts[number + 1]):
        if table.axes[k] == 3:
            factor = channel_matrix(tables.channels[table.slots[k]], angles)
        else:
            slot = source(int(table.slots[k]), tables, batched)
            theta = table.angles[k] + (table.weights[k] * angles[slot] if slot >= 0 else 0.0)
            string = PAULIS[table.axes[k] + 1]
            unitary = np.cos(theta / 2) * np.eye(2) - 1j * np.sin(theta / 2) * string
            factor = np.einsum("aij,jk,bkl,il->ab", PAULIS, unitary, PAULIS, unitary.conj()).real / 2
        total = factor @ total
    return total


def channel_matrix(channel: Channel, angles: Vector) -> Vector:
    """The transfer matrix of a channel at a program's angles."""
    if channel.family is None:
        assert channel.matrix is not None
        return channel.matrix
    given = zip(channel.slots, channel.constants, strict=True)
    return channel.family.transfer(*(np.asarray(angles[slot] if slot >= 0 else c) for slot, c in given))
