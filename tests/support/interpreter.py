"""A direct reading of `qiskit_fusedqml.ir.program`'s docstring: one amplitude array, one instruction at a time.

The tests' independent meaning of a program; nothing here is shared with the package's own devices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qiskit_fusedqml.ir.observables import PauliSum
from qiskit_fusedqml.ir.program import (
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
)

Amplitudes = NDArray[np.complex128]


def run_program(program: Program, angles: ArrayLike = ()) -> Amplitudes:
    """The final amplitudes (2**n,) of a program at one angle vector (A,)."""
    values = np.asarray(angles, dtype=np.float64)
    assert values.shape == (program.num_angles,)
    if program.initial_state is None:
        state = np.zeros(2**program.num_qubits, dtype=np.complex128)
        state[0] = 1.0
    else:
        state = np.array(program.initial_state, dtype=np.complex128)
    for instruction in program.instructions:
        state = apply_instruction(instruction, values, state)
    return state


def program_unitary(program: Program, angles: ArrayLike = ()) -> Amplitudes:
    """The unitary (2**n, 2**n) of the program's instructions, its initial state aside."""
    values = np.asarray(angles, dtype=np.float64)
    columns = []
    for column in np.eye(2**program.num_qubits, dtype=np.complex128):
        for instruction in program.instructions:
            column = apply_instruction(instruction, values, column)
        columns.append(column)
    return np.stack(columns, axis=1)


def apply_instruction(instruction: Instruction, angles: NDArray[np.float64], state: Amplitudes) -> Amplitudes:
    """One instruction on amplitudes (2**n,)."""
    if isinstance(instruction, Rotation):
        theta = angles[instruction.slot] if instruction.slot >= 0 else instruction.theta
        rotated = np.cos(theta / 2) * state - 1j * np.sin(theta / 2) * apply_pauli(instruction.x, instruction.z, state)
        index = np.arange(state.size)
        return np.where(index & instruction.ctrl_mask == instruction.ctrl_value, rotated, state)
    local, rest = _split(instruction.qubits, state.size)
    result = np.empty_like(state)
    if isinstance(instruction, Diagonal):
        result[local + rest] = instruction.table[:, None] * state[local + rest]
    else:
        assert isinstance(instruction, Matrix)
        result[local + rest] = instruction.matrix @ state[local + rest]
    return result


def adjoint_gradient(program: Program, angles: ArrayLike, observable: PauliSum) -> NDArray[np.float64]:
    """``dE/dangles`` (A,) of the observable's expectation value, by the docstring's formula, slot by slot."""
    values = np.asarray(angles, dtype=np.float64)
    ket = run_program(program, values)
    bra = apply_sum(observable, ket)
    gradient = np.zeros(program.num_angles)
    index = np.arange(ket.size)
    for instruction in reversed(program.instructions):
        if isinstance(instruction, Rotation) and instruction.slot >= 0:
            selected = index & instruction.ctrl_mask == instruction.ctrl_value
            overlap = bra.conj() * apply_pauli(instruction.x, instruction.z, ket)
            gradient[instruction.slot] += overlap[selected].sum().imag
        inverse = invert(instruction, values)
        ket, bra = (apply_instruction(inverse, values, state) for state in (ket, bra))
    return gradient


def invert(instruction: Instruction, angles: NDArray[np.float64]) -> Instruction:
    """The instruction that undoes one at these angles."""
    if isinstance(instruction, Rotation):
        theta = angles[instruction.slot] if instruction.slot >= 0 else instruction.theta
        return instruction._replace(slot=-1, theta=-float(theta))
    if isinstance(instruction, Diagonal):
        return Diagonal(instruction.qubits, instruction.table.conj())
    return Matrix(instruction.qubits, instruction.matrix.conj().T)


def apply_pauli(x: int, z: int, state: Amplitudes) -> Amplitudes:
    """``(P a)[i] = (-1j)**|x & z| (-1)**|i & z| a[i ^ x]``."""
    index = np.arange(state.size)
    signs = 1 - 2 * (np.bitwise_count(index & z).astype(np.int64) & 1)
    return (-1j) ** (x & z).bit_count() * signs * state[index ^ x]


def apply_sum(observable: PauliSum, state: Amplitudes) -> Amplitudes:
    """``O a`` for a sum of controlled Pauli strings: a term is zero where its controls do not hold."""
    index = np.arange(state.size)
    result = np.zeros_like(state)
    for term in observable.terms:
        selected = index & term.ctrl_mask == term.ctrl_value
        result += term.coefficient * np.where(selected, apply_pauli(term.x, term.z, state), 0)
    return result


def expectation(observable: PauliSum, state: Amplitudes) -> float:
    """``Re <a|O|a>``."""
    return float(np.vdot(state, apply_sum(observable, state)).real)


def _split(qubits: tuple[int, ...], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets (2**k, 1) of the qubits' bits and (1, 2**(n-k)) of all the others; their sum is an index."""
    k = len(qubits)
    local = sum((np.arange(2**k) >> j & 1) << q for j, q in enumerate(qubits))
    mask = sum(1 << q for q in qubits)
    rest = np.flatnonzero(np.arange(size) & mask == 0)
    return np.broadcast_to(local, (2**k,))[:, None], rest[None, :]
