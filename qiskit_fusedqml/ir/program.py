"""Programs: what a circuit does to a state, as a straight line of four instructions.

Bit q of an amplitude's index i is qubit q (Qiskit's order), and ``|m|`` is the number of set bits of m. With a Pauli
string P given by two masks x and z (Y where both are set), and j the bits of i at an instruction's qubits, ::

    (P a)[i]   = (-1j)**|x & z| * (-1)**|i & z| * a[i ^ x]
    C(i)       : (i & ctrl_mask) == ctrl_value

    Rotation   : a'[i] = cos(theta/2) a[i] - 1j sin(theta/2) (P a)[i]   if C(i), else a[i]
    Diagonal   : a'[i] = table[j] a[i]
    Matrix     : a'[i] = sum_k matrix[j, k] a[i with k in place of j]

The fourth, `Channel`, is noise. It acts on density matrices, and a program that holds one is `Program.is_noisy`: its
states are Pauli vectors, not amplitudes.

A `Rotation` is ``C[exp(-i theta/2 P)]``; nearly every gate is a short product of them. Its derivative is, with
``bra = O ket`` taken at any point where the rotation has just been or is about to be applied, ::

    dE/dtheta = Im sum_{i: C(i)} conj(bra[i]) (P ket)[i].

An angle is either a constant or entry ``slot`` of the vector that `qiskit_fusedqml.ir.angles.AngleMap` computes.
`validate` checks this grammar; a program is built, saved and loaded without Qiskit.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, UnsupportedInstructionError
from .channel_table import named_channel
from .channels import Channel
from .program_files import StoredInstruction, StoredProgram, damage_named, read, write

MAX_MATRIX_QUBITS = 12
"""A `Matrix` acts on at most this many qubits; a matrix of so many takes 256 MiB."""

MAX_DIAGONAL_QUBITS = 24
"""A `Diagonal` table covers at most this many qubits."""

MAX_QUBITS = 40
"""Masks are 64-bit integers in the compiled sweeps, and no machine holds a state of more qubits."""


class Rotation(NamedTuple):
    """``C[exp(-i theta/2 P)]``, see the module's docstring.

    Attributes:
        x: Mask of the qubits on which P is X or Y.
        z: Mask of the qubits on which P is Z or Y. ``x == z == 0`` is the identity string: a phase under the controls.
        ctrl_mask: Mask of the control qubits, disjoint from ``x | z``.
        ctrl_value: The bits the controls must have, a subset of ``ctrl_mask``.
        slot: Index into the angle vector, or -1 for a constant angle.
        theta: The constant angle in radians; 0 when ``slot >= 0``.
    """

    x: int
    z: int
    ctrl_mask: int = 0
    ctrl_value: int = 0
    slot: int = -1
    theta: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Diagonal:
    """A constant diagonal unitary.

    Attributes:
        qubits: The k qubits; bit j of the table's index is ``qubits[j]``.
        table: Complex array of shape (2**k,), unit modulus.
    """

    qubits: tuple[int, ...]
    table: NDArray[np.complex128]

    @property
    def entries(self) -> NDArray[np.complex128]:
        """The table."""
        return self.table


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A constant dense unitary.

    Attributes:
        qubits: The k <= 12 qubits; bit j of the matrix's indices is ``qubits[j]``.
        matrix: Complex array of shape (2**k, 2**k), unitary.
    """

    qubits: tuple[int, ...]
    matrix: NDArray[np.complex128]

    @property
    def entries(self) -> NDArray[np.complex128]:
        """The matrix."""
        return self.matrix


Instruction: TypeAlias = Rotation | Diagonal | Matrix | Channel


def inverted(instruction: Instruction) -> Instruction:
    """The inverse of an instruction, once the angle of its slot, if it takes one, has been negated.

    Raises:
        UnsupportedInstructionError: For a channel.
    """
    match instruction:
        case Rotation(slot=slot, theta=theta):
            return instruction._replace(theta=-theta) if slot < 0 else instruction
        case Diagonal(qubits, table):
            return Diagonal(qubits, table.conj())
        case Matrix(qubits, matrix):
            return Matrix(qubits, matrix.conj().T.copy())
        case Channel(qubits):
            raise UnsupportedInstructionError(f"The channel on qubits {qubits} has no inverse that is a channel.")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Program:
    """A straight-line program.

    Attributes:
        num_qubits: Number of qubits n.
        num_angles: Length of the angle vector the rotations' slots refer to.
        instructions: The instructions in order of application.
        initial_state: None for ``|0...0>``, amplitudes of shape (2**n,), or one state a sample of shape (B, 2**n).
        cuts: Positions, ascending, that no block of a plan may reach over: 3 lies before ``instructions[3]``. They say
            how the program is to be run and do not change its meaning.
    """

    num_qubits: int
    num_angles: int
    instructions: tuple[Instruction, ...]
    initial_state: NDArray[np.complex128] | None = None
    cuts: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.instructions)} instructions on {self.num_qubits} qubits, {self.num_angles} angles>"
        )

    def structure(self) -> Hashable:
        """Equal for programs that do the same to every state, whatever the angles in their slots."""
        instructions: tuple[Hashable, ...] = self.instructions
        if set(map(type, instructions)) != {Rotation}:
            instructions = tuple(
                i if isinstance(i, Rotation) else (*_stored(i)[:2], i.entries.tobytes()) for i in self.instructions
            )
        return self.num_qubits, self.num_angles, instructions, self.cuts

    @property
    def is_noisy(self) -> bool:
        """Whether there are channels."""
        return Channel in set(map(type, self.instructions))

    def check_pure(self, what: str) -> None:
        """Refuse what is defined for programs without channels only.

        Raises:
            UnsupportedInstructionError: If there is a channel.
        """
        if self.is_noisy:
            count = sum(isinstance(instruction, Channel) for instruction in self.instructions)
            raise UnsupportedInstructionError(
                f"The program has {count} channel(s) and so mixed states; {what} needs pure states."
            )

    def save(self, path: str | Path) -> None:
        """Write the program to an ``.npz`` file, whole or not at all; errors as of `program_files.write`."""
        stored = map(_stored, self.instructions)
        write(Path(path), StoredProgram(self.num_qubits, self.num_angles, tuple(stored), self.initial_state, self.cuts))

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read a program written by `save` and validate it; errors as of `program_files.read`."""
        stored = read(Path(path))
        with damage_named(Path(path)):
            instructions = tuple(map(_loaded, stored.instructions))
            program = cls(stored.num_qubits, stored.num_angles, instructions, stored.initial_state, stored.cuts)
            validate(program)
        return program


def _stored(instruction: Instruction) -> StoredInstruction:
    if isinstance(instruction, Rotation):
        return StoredInstruction("rotation", instruction, None)
    fields = instruction.parts if isinstance(instruction, Channel) else (instruction.qubits,)
    entries = instruction.entries if instruction.entries.size else None
    return StoredInstruction(type(instruction).__name__.lower(), fields, entries)


def _loaded(stored: StoredInstruction) -> Instruction:
    kind, fields, entries = stored
    if kind == "rotation":
        return Rotation(*fields)
    if entries is not None and kind != "channel":
        return (Diagonal if kind == "diagonal" else Matrix)(fields[0], entries)
    qubits, name, slots, constants = fields
    return named_channel(qubits, name, slots, constants, entries)


def support(instruction: Instruction) -> int:
    """Mask of the qubits an instruction acts on."""
    if isinstance(instruction, Rotation):
        return instruction.x | instruction.z | instruction.ctrl_mask
    return sum(1 << qubit for qubit in instruction.qubits)


def validate(program: Program) -> None:
    """Check the grammar; every instruction is named by its position.

    Raises:
        InvalidInputError: At the first violation.
    """
    n = program.num_qubits
    if not 1 <= n <= MAX_QUBITS:
        raise InvalidInputError(f"A program has 1 to {MAX_QUBITS} qubits, got {n}.")
    if program.num_angles < 0:
        raise InvalidInputError(f"A program has 0 angles or more, got {program.num_angles}.")
    for position, instruction in enumerate(program.instructions):
        if isinstance(instruction, Rotation):
            problem = _rotation_problem(instruction, n, program.num_angles)
        elif isinstance(instruction, Channel):
            problem = _qubits_problem(instruction.qubits, n) or instruction.problem(program.num_angles)
        else:
            problem = _problem(instruction, n)
        if problem:
            raise InvalidInputError(f"Instruction {position} ({type(instruction).__name__}): {problem}.")
    bounds = [0, *program.cuts, len(program.instructions)]
    if bounds != sorted(bounds):
        raise InvalidInputError(f"The cuts {program.cuts} must ascend from 0 to {len(program.instructions)}.")
    state = program.initial_state
    if state is not None:
        if state.ndim not in (1, 2) or state.shape[-1] != 2**n:
            raise InvalidInputError(f"The initial state has shape {state.shape}; ({2**n},) or (B, {2**n}) is expected.")
        norms = np.linalg.norm(state, axis=-1)
        if not np.allclose(norms, 1.0, atol=1e-8):
            raise InvalidInputError(f"The initial state has norm {np.ravel(norms)[0]:.12g}; 1 is expected.")


def _rotation_problem(rotation: Rotation, n: int, num_angles: int) -> str | None:
    masks = (rotation.x, rotation.z, rotation.ctrl_mask)
    if any(not 0 <= mask < 1 << n for mask in masks):
        return f"masks {masks} must lie below 2**{n}"
    if (rotation.x | rotation.z) & rotation.ctrl_mask:
        return "a qubit is both control and target"
    if rotation.ctrl_value & ~rotation.ctrl_mask:
        return f"ctrl_value {rotation.ctrl_value:#b} has bits outside ctrl_mask {rotation.ctrl_mask:#b}"
    if not -1 <= rotation.slot < num_angles:
        return f"slot {rotation.slot} must lie in -1..{num_angles - 1}"
    if rotation.slot >= 0 and rotation.theta != 0.0:
        return "an angle is either a slot or a constant, not both"
    if not np.isfinite(rotation.theta):
        return f"the angle {rotation.theta} is not finite"
    return None


def _qubits_problem(qubits: tuple[int, ...], n: int) -> str | None:
    valid = len(set(qubits)) == len(qubits) and all(0 <= q < n for q in qubits)
    return None if valid else f"qubits {qubits} must be distinct and below {n}"


def _problem(instruction: Diagonal | Matrix, n: int) -> str | None:
    if problem := _qubits_problem(instruction.qubits, n):
        return problem
    k, entries = len(instruction.qubits), instruction.entries
    if isinstance(instruction, Diagonal):
        if k > MAX_DIAGONAL_QUBITS:
            return f"{k} qubits given, at most {MAX_DIAGONAL_QUBITS} allowed"
        if entries.shape != (2**k,):
            return f"the table has shape {entries.shape}, ({2**k},) expected"
        return None if np.allclose(np.abs(entries), 1.0, atol=1e-8) else "the table's entries must have modulus 1"
    if not 1 <= k <= MAX_MATRIX_QUBITS:
        return f"{k} qubits given, 1 to {MAX_MATRIX_QUBITS} allowed"
    if entries.shape != (2**k, 2**k):
        return f"the matrix has shape {entries.shape}, ({2**k}, {2**k}) expected"
    unitary = np.allclose(entries @ entries.conj().T, np.eye(2**k), atol=1e-8)
    return None if unitary else "the matrix is not unitary"
