"""The intermediate representation: what a circuit means, without Qiskit.

A `Program` is a straight line of three instructions on ``num_qubits`` qubits. Bit ``q`` of an amplitude's index is
qubit ``q`` (Qiskit's order).

==============  =====================================================================================================
`Rotation`      controlled Pauli rotation ``C[exp(-i theta/2 P)]``; nearly every gate is a short product of them
`Diagonal`      a constant diagonal unitary on k qubits, given by its table
`Matrix`        a constant dense unitary on k <= 6 qubits
==============  =====================================================================================================

With the Pauli string ``P`` given by two bit masks ``x`` and ``z`` (Y where both are set), the meaning of a rotation
is ::

    (P a)[i]  = (-1j)**|x & z| * (-1)**|i & z| * a[i ^ x]                  |m| = number of set bits
    C(i)      : (i & ctrl_mask) == ctrl_value
    forward   : a'[i] = cos(theta/2) a[i] - 1j sin(theta/2) (P a)[i]       if C(i), else a[i]

and its derivative, with ``bra = O ket`` taken at any point where the rotation has just been or is about to be
applied, ::

    dE/dtheta = Im sum_{i: C(i)} conj(bra[i]) (P ket)[i].

An angle ``theta`` is either a constant or entry ``slot`` of the angle vector that `qiskit_fusedqml.ir.angles.AngleMap`
computes. The grammar is checked by `validate`; a program is built, saved and loaded without Qiskit.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

MAX_MATRIX_QUBITS = 6
"""A `Matrix` acts on at most this many qubits; larger unitaries are decomposed by their definition."""

MAX_DIAGONAL_QUBITS = 16
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


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A constant dense unitary.

    Attributes:
        qubits: The k <= 6 qubits; bit j of the matrix's indices is ``qubits[j]``.
        matrix: Complex array of shape (2**k, 2**k), unitary.
    """

    qubits: tuple[int, ...]
    matrix: NDArray[np.complex128]


Instruction: TypeAlias = Rotation | Diagonal | Matrix


def _contents(instruction: Diagonal | Matrix) -> Hashable:
    entries = instruction.table if isinstance(instruction, Diagonal) else instruction.matrix
    return type(instruction), instruction.qubits, entries.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A straight-line program.

    Attributes:
        num_qubits: Number of qubits n.
        num_angles: Length of the angle vector the rotations' slots refer to.
        instructions: The instructions in order of application.
        initial_state: None for ``|0...0>``, amplitudes of shape (2**n,), or one row per sample of shape (B, 2**n).
        cuts: Positions, ascending, that no block of a plan may reach over: 3 lies before ``instructions[3]``. They say
            how the program is to be run and do not change its meaning.
    """

    num_qubits: int
    num_angles: int
    instructions: tuple[Instruction, ...]
    initial_state: NDArray[np.complex128] | None = None
    cuts: tuple[int, ...] = ()

    def structure(self) -> Hashable:
        """Equal for programs that do the same to every state, whatever the angles in their slots."""
        instructions = tuple(i if isinstance(i, Rotation) else _contents(i) for i in self.instructions)
        return self.num_qubits, self.num_angles, instructions, self.cuts

    def save(self, path: str | Path) -> None:
        """Write the program to an ``.npz`` file (no pickle)."""
        arrays, entries = _pack(self)
        arrays["header"] = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read a program written by `save` and validate it."""
        with np.load(path, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes().decode())
            program = _unpack(header, arrays)
        validate(program)
        return program


def validate(program: Program) -> None:
    """Check the grammar; every instruction is named by its position.

    Raises:
        InvalidInputError: At the first violation.
    """
    n = program.num_qubits
    if not 1 <= n <= MAX_QUBITS:
        raise InvalidInputError(f"A program has 1 to {MAX_QUBITS} qubits, got {n}.")
    for position, instruction in enumerate(program.instructions):
        problem = _problem(instruction, n, program.num_angles)
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


def _problem(instruction: Instruction, n: int, num_angles: int) -> str | None:
    if isinstance(instruction, Rotation):
        return _rotation_problem(instruction, n, num_angles)
    qubits = instruction.qubits
    if len(set(qubits)) != len(qubits) or any(not 0 <= q < n for q in qubits):
        return f"qubits {qubits} must be distinct and below {n}"
    k = len(qubits)
    if isinstance(instruction, Diagonal):
        if k > MAX_DIAGONAL_QUBITS:
            return f"{k} qubits given, at most {MAX_DIAGONAL_QUBITS} allowed"
        if instruction.table.shape != (2**k,):
            return f"the table has shape {instruction.table.shape}, ({2**k},) expected"
        if not np.allclose(np.abs(instruction.table), 1.0, atol=1e-8):
            return "the table's entries must have modulus 1"
        return None
    if not 1 <= k <= MAX_MATRIX_QUBITS:
        return f"{k} qubits given, 1 to {MAX_MATRIX_QUBITS} allowed"
    if instruction.matrix.shape != (2**k, 2**k):
        return f"the matrix has shape {instruction.matrix.shape}, ({2**k}, {2**k}) expected"
    if not np.allclose(instruction.matrix @ instruction.matrix.conj().T, np.eye(2**k), atol=1e-8):
        return "the matrix is not unitary"
    return None


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


def _pack(program: Program) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    entries: list[list[Any]] = []
    for position, instruction in enumerate(program.instructions):
        if isinstance(instruction, Rotation):
            r = instruction
            entries.append(["rotation", r.x, r.z, r.ctrl_mask, r.ctrl_value, r.slot, r.theta])
        elif isinstance(instruction, Diagonal):
            arrays[f"a{position}"] = instruction.table
            entries.append(["diagonal", list(instruction.qubits)])
        else:
            arrays[f"a{position}"] = instruction.matrix
            entries.append(["matrix", list(instruction.qubits)])
    if program.initial_state is not None:
        arrays["initial_state"] = program.initial_state
    header = {
        "num_qubits": program.num_qubits,
        "num_angles": program.num_angles,
        "instructions": entries,
        "cuts": list(program.cuts),
    }
    return arrays, header


def _unpack(header: dict[str, Any], arrays: Any) -> Program:
    def instructions() -> Iterable[Instruction]:
        for position, (kind, *fields) in enumerate(header["instructions"]):
            if kind == "rotation":
                yield Rotation(*fields)
            elif kind == "diagonal":
                yield Diagonal(tuple(fields[0]), arrays[f"a{position}"])
            else:
                yield Matrix(tuple(fields[0]), arrays[f"a{position}"])

    initial_state = arrays.get("initial_state")
    cuts = tuple(header.get("cuts", ()))  # files of earlier versions have none
    return Program(header["num_qubits"], header["num_angles"], tuple(instructions()), initial_state, cuts)
