"""Frames: affine maps over GF(2) from logical basis states to physical indices, the positions of the amplitudes.

A network of CX, X and SWAP gates changes the frame and moves no amplitude. Physical index, vector and functional are
explained in `qiskit_fusedqml.planner.tape`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir.observables import PauliSum
from ..ir.qubits import bits
from .gf2 import combination

PhysicalIndex: TypeAlias = int
Vector: TypeAlias = int
Functional: TypeAlias = int


@dataclass(frozen=True, slots=True)
class PhysicalTerm:
    """A term of an observable: ``(P a)[r] = (-1j)**power (-1)**z(r) a[r ^ x]`` where every control functional is 1."""

    coefficient: float
    x: Vector
    z: Functional
    power: int
    controls: tuple[Functional, ...]


@dataclass(frozen=True, slots=True)
class PhysicalSum:
    """An observable that is stated on physical indices already, so that no frame changes it."""

    num_qubits: int
    terms: tuple[PhysicalTerm, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """``r(i)``, the physical index of a logical basis state i: the XOR of ``offset`` and the columns of the bits set.

    Attributes:
        columns: Image of each logical qubit's flip: the flip vectors of the logical qubits.
        duals: The side functional of each logical qubit: ``duals[q](r(i)) == bit q of i``.
        offset: Physical index of the logical state 0.
    """

    columns: tuple[Vector, ...]
    duals: tuple[Functional, ...]
    offset: PhysicalIndex = 0

    @classmethod
    def identity(cls, num_qubits: int) -> Frame:
        """The frame in which r(i) == i."""
        units = tuple(1 << q for q in range(num_qubits))
        return cls(units, units, 0)

    @classmethod
    def folded(cls, num_qubits: int, first: int, bits: int) -> Frame:
        """Index bits from ``first + bits`` on are also added to the ``bits`` ones above ``first``, in turn.

        Amplitudes that differ in high bits only then differ in low bits, too, and do not crowd one set of a cache.
        """
        columns, duals = ([1 << q for q in range(num_qubits)] for _ in range(2))
        for q in range(first + bits, num_qubits if bits else 0):
            low = first + (q - first) % bits
            columns[q] |= 1 << low
            duals[low] |= 1 << q
        return cls(tuple(columns), tuple(duals), 0)

    @property
    def num_qubits(self) -> int:
        """Number of qubits n."""
        return len(self.columns)

    def indices(self) -> NDArray[np.int64]:
        """``r(i)`` for every logical basis state i, (2**n,)."""
        found = np.array([self.offset], dtype=np.int64)
        for column in self.columns:
            found = np.concatenate([found, found ^ column])
        return found

    def vector(self, mask: int) -> Vector:
        """The flip vector of a set of logical qubits."""
        return combination(self.columns, mask)

    def functional(self, mask: int) -> Functional:
        """The functional whose value is the parity of a set of logical bits."""
        return combination(self.duals, mask)

    def controls(self, ctrl_mask: int, ctrl_value: int) -> tuple[Functional, ...]:
        """Functionals that are all 1 exactly where ``(i & ctrl_mask) == ctrl_value``."""
        one = 1 << self.num_qubits
        found = []
        while ctrl_mask:  # as in `combination`
            low = ctrl_mask & -ctrl_mask
            dual = self.duals[low.bit_length() - 1]
            found.append(dual if ctrl_value & low else dual ^ one)
            ctrl_mask ^= low
        return tuple(found)

    def terms(self, observable: PauliSum | PhysicalSum) -> tuple[PhysicalTerm, ...]:
        """The terms of an observable, stated on physical indices."""
        if isinstance(observable, PhysicalSum):
            return observable.terms
        return tuple(
            PhysicalTerm(
                term.coefficient,
                self.vector(term.x),
                self.functional(term.z),
                (term.x & term.z).bit_count() % 4,
                self.controls(term.ctrl_mask, term.ctrl_value),
            )
            for term in observable.terms
        )

    def flipped(self, target_mask: int, control: int = -1, value: int = 1) -> Frame:
        """The frame after an X on every target, controlled by one qubit being ``value`` unless ``control`` is -1."""
        columns, duals, offset = list(self.columns), list(self.duals), self.offset
        vector = self.vector(target_mask)
        one = 1 << self.num_qubits
        if control < 0:
            offset ^= vector
            for q in bits(target_mask):
                duals[q] ^= one
        else:
            # i_t ^= i_c (^ 1 for an open control); no amplitude moves, so r'(i') = r(i)
            columns[control] ^= vector
            for q in bits(target_mask):
                duals[q] ^= duals[control] ^ (0 if value else one)
            if not value:
                offset ^= vector
        return Frame(tuple(columns), tuple(duals), offset)
