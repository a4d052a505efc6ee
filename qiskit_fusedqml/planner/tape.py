"""Tapes: what a device runs, as data that can be printed.

Everything is stated in **physical indices** r, the positions of the amplitudes in memory. Logical basis states i map to
them by an affine map over GF(2), the `Frame`, which networks of CX, X and SWAP change while they move nothing. So
logical bits turn into parities of bits of r, and flipping a logical qubit turns into XOR with a vector. For n qubits:

* A *vector* x is an n-bit integer that is added to physical indices by XOR.
* A *functional* f is an (n+1)-bit integer with the value ``f(r) = parity(f & (r | 1 << n))``: bit n is a constant.
* A *virtual qubit* is a vector and a functional (x, w) with ``parity(w & x) == 1``: the physical index r is on side
  ``w(r)``, its partner ``r ^ x`` on the other.

A `Tape` is a list of blocks, passes over the state. A `Block` names its tile, the amplitudes brought together in fast
memory, and its operations, which map an amplitude a[r], or the pair (a0, a1) of a virtual qubit's sides, to

=========  =======================================================================================================
`Diag`     ``a'[r] = K exp(-1j/2 sum_k theta_k (-1)**f_k(r)) a[r]``
`RY`       ``a0' = a a0 - b a1``, ``a1' = b a0 + a a1`` with real a and b
`U2`       ``(a0', a1') = U (a0, a1)`` with a complex 2x2 matrix U
`Pauli`    ``a'[r] = a a[r] - 1j b (P a)[r]`` where every control functional is 1,
           ``(P a)[r] = (-1j)**power (-1)**z(r) a[r ^ x]``
`Dense`    a complex 2**k x 2**k matrix on k virtual qubits (bit j of the matrix's index is ``ws[j]``)
=========  =======================================================================================================

The backward sweep undoes the operations in reverse order on ket and bra and returns real *overlaps*. With
``<P> = Im sum_r conj(bra[r]) (P ket)[r]`` taken right after the operation (before it is undone), these are

=========  =======================================================================================================
`Diag`     ``<(-1)**f>`` for each functional f in ``overlap_functionals``
`RY`       ``<Y>`` of the virtual qubit, then ``<X>`` when ``num_overlaps == 2``
`U2`       ``<X>, <Y>, <Z>`` of the virtual qubit
`Pauli`    ``<C P>``, restricted to the amplitudes where the controls hold
`Dense`    ``Re M`` then ``Im M``, row-major, with ``M[i, j] = sum ket[i] conj(bra[j])`` over everything outside
=========  =======================================================================================================

RY and Pauli are undone with b replaced by -b, U2 and Dense with the adjoint, Diag with the phases conjugated and K
kept. A rotation with its cosine factored out (``a = 1, b = tan``; or ``b = 1, a = cot``) costs half, and both it and
its undoing divide by the same cosine; the planner therefore gives each such rotation a *carrier*, another operation
of the same block that multiplies by the product K of what was factored out (a Diag's K, or the (a, b) of a plain RY).
K is real and belongs to both directions, so at the end of every block, and after a block has been undone, ket and bra
have their true scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .frame import Frame, Functional, Vector
from .stages import Stage

STEEP = 8.0
"""See `RY.is_steep`."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of a diagonal that fits one table.

    Attributes:
        basis: The d linear functionals (constant 0) whose values, bit j from ``basis[j]``, index the table.
        terms: One mask a term, over the table's index: a functional of d bits, with bit d as its constant.
        first: Position of the first term's angle among the (shared or batched) diagonal angles.
        batched: Whether the angles differ from sample to sample.
    """

    basis: tuple[Functional, ...]
    terms: tuple[int, ...]
    first: int
    batched: bool


@dataclass(frozen=True, slots=True)
class Diag:
    """A product of Z-string rotations, in factors.

    Attributes:
        factors: The factors; the phases of all of them multiply.
        scale: Index of K in `Coefficients.scales`, or -1 for K = 1.
        overlap: Index of the first overlap, or -1.
        overlap_functionals: The functionals whose overlaps are wanted.
    """

    factors: tuple[Factor, ...]
    scale: int = -1
    overlap: int = -1
    overlap_functionals: tuple[Functional, ...] = ()

    @property
    def num_overlaps(self) -> int:
        """Number of overlaps returned."""
        return len(self.overlap_functionals)


@dataclass(frozen=True, slots=True)
class RY:
    """A real rotation of a virtual qubit by coefficients (a, b).

    Attributes:
        x: The flip vector.
        w: The side functional, ``parity(w & x) == 1``.
        coefficient: Index into the shared or batched pairs.
        batched: Whether the coefficients differ from sample to sample.
        overlap: Index of the first overlap, or -1.
        num_overlaps: 0, 1 (Y) or 2 (Y, X).
        x_optional: X is wanted only where `is_steep` is false; elsewhere its place may hold anything.
    """

    x: Vector
    w: Functional
    coefficient: int
    batched: bool = False
    overlap: int = -1
    num_overlaps: int = 0
    x_optional: bool = False

    @staticmethod
    def is_steep(a: float, b: float) -> bool:
        """Whether ``V Z V^dagger = cos(beta) Z + sin(beta) X`` gives <X> with a loss of three bits at most."""
        return bool(STEEP * abs(2.0 * a * b) >= a * a + b * b)


@dataclass(frozen=True, slots=True)
class U2:
    """A complex 2x2 matrix on a virtual qubit; fields as in `RY`, the coefficient indexes the matrices."""

    x: Vector
    w: Functional
    coefficient: int
    batched: bool = False
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """X, Y and Z, or nothing."""
        return 3 if self.overlap >= 0 else 0


@dataclass(frozen=True, slots=True)
class Pauli:
    """A controlled Pauli rotation by coefficients (a, b).

    Attributes:
        x: The flip vector; 0 for a controlled phase.
        z: The sign functional.
        power: The power of -1j in P, 0 to 3.
        controls: Functionals that must all be 1; each is even on x, so that a pair is selected as a whole.
        coefficient: Index into the shared or batched pairs.
        batched: Whether the coefficients differ from sample to sample.
        overlap: Index of the overlap, or -1.
    """

    x: Vector
    z: Functional
    power: int
    controls: tuple[Functional, ...]
    coefficient: int
    batched: bool = False
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """One or none."""
        return 1 if self.overlap >= 0 else 0


@dataclass(frozen=True, slots=True)
class Dense:
    """A shared complex matrix on k virtual qubits, ``parity(ws[i] & xs[j]) == (i == j)``.

    Attributes:
        xs: The k flip vectors.
        ws: The k side functionals.
        coefficient: Index into the dense matrices.
        overlap: Index of the first of 2 * 4**k overlaps, or -1.
    """

    xs: tuple[Vector, ...]
    ws: tuple[Functional, ...]
    coefficient: int
    overlap: int = -1

    @property
    def num_overlaps(self) -> int:
        """Real and imaginary parts of M, or nothing."""
        return 2 * 4 ** len(self.xs) if self.overlap >= 0 else 0


Operation: TypeAlias = Diag | RY | U2 | Pauli | Dense


@dataclass(frozen=True, slots=True)
class Block:
    """One pass over the state.

    Attributes:
        tile: Basis of the subspace T of vectors that holds all flip vectors of the operations, so that the amplitudes
            fall into independent tiles (cosets of T). Reduced echelon form: each vector has a pivot bit that no other
            one has.
        operations: The operations in forward order.
        undo_from: The backward sweep undoes ``operations[undo_from:]``; no gradient before them is wanted.
        support: Basis of the space outside of which the ket is zero before and after the block; None for all. A device
            may leave tiles outside it, both ways: overlaps are zero there, and no block before needs the bra there.
    """

    tile: tuple[Vector, ...]
    operations: tuple[Operation, ...]
    undo_from: int = 0
    support: tuple[Vector, ...] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Tape:
    """What a device runs.

    Attributes:
        num_qubits: Number of qubits n.
        blocks: The blocks in forward order; a tuple, or made when one is asked for (`planner.words`).
        frame: That after the last block; before the first, the identity or, from ``|0...0>``, any linear frame.
        num_overlaps: Number of real overlaps the backward sweep returns.
        lane_qubits: Dimensions that every tile leaves outside it, for SIMD lanes that the batch alone does not fill.
        stages: Of a state over several ranks; one process runs the tape as any other.
        is_real: Whether all operations are real matrices, so that real states stay real.
    """

    num_qubits: int
    blocks: Sequence[Block]
    frame: Frame
    num_overlaps: int
    lane_qubits: int = 0
    stages: tuple[Stage, ...] = ()
    is_real: bool = False

    def __repr__(self) -> str:
        return f"<Tape of {len(self.blocks)} blocks on {self.num_qubits} qubits>"
