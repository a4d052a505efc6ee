"""Tapes for Pauli vectors: what a device runs where a state is mixed, as data that can be printed.

A state of n qubits is the real vector of its 4**n Pauli strings (`qiskit_fusedqml.ir.channels`). Here a string is
2 n bits s: bit 2 q is x_q, bit 2 q + 1 is z_q (X is 01, Z is 10, Y is 11), and stands for the operator ::

    F(x, z) = 1j**y X^x Z^z,   y = #Y mod 2,   F = (-1)**(#Y // 2) P

for the Pauli string P with #Y letters Y. In this basis a network of CX and SWAP gates only relabels strings, without
signs, and leaves y as it is. So, as in `qiskit_fusedqml.planner.tape`, the network goes into a linear map from strings
to physical indices r (2 n bits), and what follows is stated on r by vectors (XOR) and functionals (parities):

* a **qubit** is four of these, `PauliQubit`: the vectors of its X and Z, the functionals that give its bits x_q, z_q;
* ``y(r) = parity(r & r >> 1 & 0b...0101)``, whatever the frame.

Operations, with letters a, b of I, X, Y, Z = 0, 1, 2, 3 on the operation's qubits, m the number of Y elsewhere (only
its parity matters: that of y(r) and the operation's own letters), and
``sign(a, b) = (-1)**((m + #Y(a)) // 2 + (m + #Y(b)) // 2)``, which for one qubit is -1 where m is odd and just one of
a and b is Y:

==========  ==========================================================================================================
`Affine`    ``r'[a] = sum_b sign(a, b) T[a, b] r[b]`` on one qubit; T (3, 4) has the rows a = X, Y, Z, r'[I] = r[I]
`Pair`      on two qubits: ``r[b, a] *= S[b, a]``, then ``r[b, Z] += gain_0 r[b, I]`` for all b, then
            ``r[Z, a] += gain_1 r[I, a]`` for all a (a is the letter of the first qubit; no signs)
`Turn`      ``r'[s] = cos r[s] + sin g(s) r[s ^ x]`` for the strings s that anticommute with F(x), where
            ``side(s) == 1``: the rotation ``exp(-1j angle/2 F(x))``, with
            ``g(s) = (-1)**z(s) * (-1 if y_of_string or y(s) else 1)``
`Transfer`  ``r'[a] = sum_b sign(a, b) T[a, b] r[b]`` on k qubits, T (4**k, 4**k), index ``sum_j letter_j 4**j``
==========  ==========================================================================================================

The forward sweep applies them to kets. The other sweeps are made of the transposed maps on bras and of inverse maps;
overlaps are with the ket **before** and the bra **after** the operation, summed over the whole vector:

==========  ==========================================================================================================
`Affine`    12 numbers ``M[a, b] = sum sign(a, b) bra[a] ket[b]``, a = X, Y, Z, b = I, X, Y, Z, row-major: dE = <dT, M>
`Pair`      18: the derivatives dE/dS[b, a] (index ``a + 4 b``), dE/dgain_0, dE/dgain_1
`Turn`      1: dE/dangle ``= sum_{s: side(s) == 1} bra[s] g(s) ket'[s ^ x]`` with the ket **after** the operation
`Transfer`  16**k: ``M[a, b]`` as of `Affine`, all letters
==========  ==========================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..frame import Functional, Vector


class PauliQubit(NamedTuple):
    """A qubit on physical indices: the vectors of X and of Z, and the functionals that give the bits x and z."""

    x: Vector
    z: Vector
    x_bit: Functional
    z_bit: Functional


@dataclass(frozen=True, slots=True)
class Affine:
    """Gates and channels of one qubit, as one affine map.

    Attributes:
        qubit: The qubit.
        coefficient: Index into the shared or batched (3, 4) maps.
        batched: Whether they differ from sample to sample.
        overlap: Index of the first overlap, or -1.
        unital: Whether ``T[a, I] = 0`` at all angles. A device may then leave r[I] alone, and the overlaps M[a, I],
            which nothing depends on, at 0.
    """

    qubit: PauliQubit
    coefficient: int
    batched: bool = False
    overlap: int = -1
    unital: bool = False

    @property
    def num_overlaps(self) -> int:
        """M, or nothing."""
        return 12 if self.overlap >= 0 else 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A diagonal of two qubits, and what is added to their Z.

    Attributes:
        qubits: The two qubits.
        coefficient: Index into the pairs' tables of 18 numbers: S, gain_0, gain_1.
        shifts: Whether the gains of each qubit may differ from 0.
        overlap: Index of the first overlap, or -1.
    """

    qubits: tuple[PauliQubit, PauliQubit]
    coefficient: int
    shifts: tuple[bool, bool] = (True, True)
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """S and both gains, or nothing."""
        return 18 if self.overlap >= 0 else 0


@dataclass(frozen=True, slots=True)
class Turn:
    """A Pauli rotation.

    Attributes:
        x: The vector of the string F; the angle is that about the Pauli string P times ``(-1)**(#Y // 2)``.
        side: The functional that is 1 for strings that anticommute with F.
        z: The linear part of the sign g: the parity of the x bits where F has Z or Y.
        y_of_string: y of F, 0 or 1.
        coefficient: Index into the shared or batched (cos, sin).
        batched: Whether they differ from sample to sample.
        overlap: Index of the overlap, or -1.
    """

    x: Vector
    side: Functional
    z: Functional
    y_of_string: int
    coefficient: int
    batched: bool = False
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """One or none."""
        return 1 if self.overlap >= 0 else 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer matrix on k qubits.

    Attributes:
        qubits: The k qubits.
        coefficient: Index into the transfer matrices.
        overlap: Index of the first overlap, or -1.
    """

    qubits: tuple[PauliQubit, ...]
    coefficient: int
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """M, or nothing."""
        return 16 ** len(self.qubits) if self.overlap >= 0 else 0


PauliOperation: TypeAlias = Affine | Pair | Turn | Transfer


@dataclass(frozen=True, slots=True)
class PauliBlock:
    """One pass over the vector; attributes as of `qiskit_fusedqml.planner.tape.Block`, the tile in 2 n bits."""

    tile: tuple[Vector, ...]
    operations: tuple[PauliOperation, ...]
    undo_from: int = 0


@dataclass(frozen=True, slots=True)
class PauliFrame:
    """The linear map from strings to physical indices: the qubits after the last operation."""

    qubits: tuple[PauliQubit, ...]

    @classmethod
    def identity(cls, num_qubits: int) -> PauliFrame:
        """The frame in which strings are their own physical indices."""
        return cls(tuple(PauliQubit(1 << 2 * q, 2 << 2 * q, 1 << 2 * q, 2 << 2 * q) for q in range(num_qubits)))


@dataclass(frozen=True, eq=False, repr=False)
class PauliTape:
    """What a device runs on Pauli vectors.

    Attributes:
        num_qubits: Number of qubits n.
        blocks: The blocks in forward order.
        frame: The frame after the last block; before the first it is the identity, or whatever the vectors' frame is.
        num_overlaps: Number of real overlaps of a backward sweep.
    """

    num_qubits: int
    blocks: tuple[PauliBlock, ...]
    frame: PauliFrame
    num_overlaps: int

    def __repr__(self) -> str:
        return f"<PauliTape of {len(self.blocks)} blocks on {self.num_qubits} qubits>"
