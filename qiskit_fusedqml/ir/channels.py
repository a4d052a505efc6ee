"""Channels: what noise does to a state, as real matrices on Pauli vectors.

A mixed state rho of n qubits is its **Pauli vector** r_P = Tr(P rho) over the 4**n Pauli strings P. String number
``sum_j digit_j 4**j`` has I, X, Y or Z (digits 0 to 3) on qubit j. A channel E with Kraus operators K is the real
**transfer matrix** ::

    T[a, b] = 2**-k Tr(P_a E(P_b)),   E(rho) = sum K rho K^dagger,   r' = T r,

on the digits of its k qubits. E preserves the trace where ``T[0] = (1, 0, ..., 0)`` and is completely positive where
its Choi matrix, `choi`, has no negative eigenvalue.

A channel that depends on angles of a program (a probability of an error is an "angle" as any other) names a row of
`CHANNELS` in `qiskit_fusedqml.ir.channel_table`: the transfer matrix as a function of its parameters, and the
derivatives. Several numbers may be given at once: parameters are arrays of one shape (...), transfer matrices arrays
(..., 4**k, 4**k).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import ComplexArray, FloatArray

MAX_CHANNEL_QUBITS = 3
"""A `Channel` acts on at most this many qubits."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelFamily:
    """Channels that depend on m parameters.

    Attributes:
        name: The family's name.
        num_qubits: Number k of qubits.
        parameters: Names of the m parameters, for messages.
        transfer: From m arrays (...) to transfer matrices (..., 4**k, 4**k).
        derivatives: From the same to their derivatives with respect to each parameter, (m, ..., 4**k, 4**k).
        problem: From m numbers, or arrays (...) of them, to what is wrong with them, or None.
        base: The transfer matrix that is raised to powers, if that is what the family does; such families have one
            name, and differ in their bases.
    """

    name: str
    num_qubits: int
    parameters: tuple[str, ...]
    transfer: Callable[..., FloatArray]
    derivatives: Callable[..., FloatArray]
    problem: Callable[..., str | None]
    base: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A channel on some qubits of a program.

    Attributes:
        qubits: The k <= 3 qubits; digit j of the matrix's indices is that of ``qubits[j]``.
        matrix: The transfer matrix (4**k, 4**k); None where it depends on angles.
        family: What the matrix is a member of, or None for a constant one.
        slots: For each parameter of the family the slot of the angle vector it is taken from, or -1.
        constants: The parameters where the slot is -1, else 0.
    """

    qubits: tuple[int, ...]
    matrix: FloatArray | None = None
    family: ChannelFamily | None = None
    slots: tuple[int, ...] = ()
    constants: tuple[float, ...] = ()

    @property
    def entries(self) -> FloatArray:
        """The matrix, or the base of its family; empty if there is neither."""
        matrix = self.matrix if self.family is None else self.family.base
        return np.empty(0) if matrix is None else matrix

    @property
    def parts(self) -> tuple[tuple[int, ...], str, tuple[int, ...], tuple[float, ...]]:
        """All that makes up the channel beside its `entries`; the family by its name, "" where there is none."""
        return self.qubits, "" if self.family is None else self.family.name, self.slots, self.constants

    def structure(self) -> Hashable:
        """Equal for channels that do the same to every state, whatever the angles in their slots."""
        return Channel, *self.parts, self.entries.tobytes()

    def parameters(self, angles: FloatArray) -> list[FloatArray]:
        """The family's m parameters (...), from a program's angles (..., A)."""
        return [
            np.full(angles.shape[:-1], constant) if slot < 0 else angles[..., slot]
            for slot, constant in zip(self.slots, self.constants, strict=True)
        ]

    def problem(self, num_angles: int) -> str | None:
        """What keeps it from being an instruction of a program of so many angles, its qubits aside."""
        k = len(self.qubits)
        if not 1 <= k <= MAX_CHANNEL_QUBITS:
            return f"{k} qubits given, 1 to {MAX_CHANNEL_QUBITS} allowed"
        if (self.matrix is None) == (self.family is None):
            return "a channel has either a matrix or a family"
        if self.matrix is not None:
            if self.matrix.shape == (4**k, 4**k) and self.matrix.dtype == np.float64:
                return channel_problem(self.matrix)
            given = f"shape {self.matrix.shape} of {self.matrix.dtype}"
            return f"the matrix has {given}, ({4**k}, {4**k}) of float64 expected"
        assert self.family is not None
        return self._family_problem(self.family, num_angles)

    def _family_problem(self, family: ChannelFamily, num_angles: int) -> str | None:
        k, slots, constants = len(self.qubits), self.slots, self.constants
        if family.num_qubits != k:
            return f"{k} qubits given, {family.name} acts on {family.num_qubits}"
        if not len(slots) == len(constants) == len(family.parameters):
            counts = f"{len(slots)} slots, {len(constants)} constants"
            return f"{family.name} has the parameters {family.parameters}; {counts}"
        if any(not -1 <= slot < num_angles for slot in slots):
            return f"slots {slots} must lie in -1..{num_angles - 1}"
        if any(slot >= 0 and constant for slot, constant in zip(slots, constants, strict=True)):
            return "a parameter is either a slot or a constant, not both"
        problem = None if family.base is None else channel_problem(family.base)
        return family.problem(*constants) if problem is None and max(slots) < 0 else problem


@cache
def pauli_matrices(k: int) -> ComplexArray:
    """The 4**k Pauli strings as matrices, (4**k, 2**k, 2**k); bit j of a matrix's index is qubit j."""
    one = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    # a further qubit is the most significant one, of strings and of matrices
    strings: ComplexArray = one
    for _ in range(k - 1):
        strings = np.stack([np.kron(p, q) for p in one for q in strings])
    return strings


PLANES = ((2, 3), (3, 1), (1, 2))
"""The letters that a rotation about X, Y, Z turns into one another: ``r_first' = cos r_first - sin r_second``."""


def rotation(axis: int, angles: ArrayLike) -> FloatArray:
    """Transfer matrices (..., 4, 4) of ``exp(-1j angle/2 P)``, P = X, Y, Z for axis 0, 1, 2, by angles (...)."""
    first, second = PLANES[axis]
    result = np.zeros((*np.shape(angles), 4, 4))
    result[...] = np.eye(4)
    result[..., first, first] = result[..., second, second] = np.cos(angles)
    result[..., second, first] = np.sin(angles)
    result[..., first, second] = -np.sin(angles)
    return result


def transfer_of_kraus(operators: Sequence[ArrayLike] | NDArray[np.complexfloating]) -> FloatArray:
    """``T[a, b] = 2**-k Tr(P_a sum K P_b K^dagger)`` of Kraus operators (2**k, 2**k)."""
    kraus = np.asarray(operators, dtype=np.complex128)
    k = kraus.shape[-1].bit_length() - 1
    strings = pauli_matrices(k)
    images = np.einsum("mij,bjk,mlk->bil", kraus, strings, kraus.conj(), optimize=True)
    matrix: FloatArray = np.einsum("aij,bji->ab", strings, images).real / 2**k
    return np.ascontiguousarray(matrix)


def transfer_of_superop(matrix: ArrayLike) -> FloatArray:
    """``T[a, b] = 2**-k Tr(P_a E(P_b))`` of ``vec(E(rho)) = S vec(rho)`` (4**k, 4**k), vec stacking columns."""
    superop = np.asarray(matrix, dtype=np.complex128)
    size = round(len(superop) ** 0.5)
    columns = pauli_matrices(size.bit_length() - 1).transpose(0, 2, 1).reshape(size * size, size * size)
    result: FloatArray = (columns.conj() @ superop @ columns.T).real / size  # Tr(P Q) = vec(P)^dagger vec(Q)
    return np.ascontiguousarray(result)


def tensor(factors: Iterable[FloatArray]) -> FloatArray:
    """Transfer matrices, or their diagonals, on some qubits, on all of these; the first is on the first qubits."""
    first, *others = factors
    for factor in others:  # a further qubit is the more significant one
        first = np.asarray(np.kron(factor, first), dtype=np.float64)
    return first


def embedded(matrix: FloatArray, places: Sequence[int], num_qubits: int) -> FloatArray:
    """A transfer matrix on some of ``num_qubits`` qubits as one on all of them, which does nothing to the others."""
    rest = [qubit for qubit in range(num_qubits) if qubit not in places]
    order = [*places, *rest]
    full = tensor([matrix, np.eye(4 ** len(rest))])
    axes = [num_qubits - 1 - order.index(qubit) for qubit in reversed(range(num_qubits))]
    moved = full.reshape((4,) * (2 * num_qubits)).transpose(*axes, *(num_qubits + axis for axis in axes))
    return moved.reshape(len(full), len(full))


def choi(matrix: FloatArray) -> ComplexArray:
    """The Choi matrix ``2**-k sum_ab T[a, b] P_b^T (x) P_a`` (4**k, 4**k); its trace is 2**k."""
    size = round(len(matrix) ** 0.5)
    strings = pauli_matrices(size.bit_length() - 1)
    blocks: ComplexArray = np.einsum("ab,bji,akl->ikjl", matrix, strings, strings, optimize=True) / size
    return blocks.reshape(size * size, size * size)


def channel_problem(matrix: FloatArray, tolerance: float = 1e-8) -> str | None:
    """What keeps a transfer matrix from being a channel, and by how much; None for a channel."""
    if not np.isfinite(matrix).all():
        return "its transfer matrix is not finite"
    leak = np.abs(matrix[0] - np.eye(1, len(matrix))[0]).max()
    if not leak <= tolerance:
        return f"it does not preserve the trace (off by {leak:.3g})"
    lowest = float(np.linalg.eigvalsh(choi(matrix))[0])
    return None if lowest >= -tolerance else f"it is not completely positive (Choi eigenvalue {lowest:.3g})"
