"""Elements of Pauli vectors' plans: what is ordered and grouped, between instructions and a tape's operations.

An element moves strings by its vectors and depends on them by its functionals; its **generators** are the vectors, and
the functionals shifted by 2 n bits. Two elements may change places where no functional of one sees a vector of the
other (`qiskit_fusedqml.planner.schedule`). For gates and channels these are commuting algebras of Pauli strings; a
diagonal commutes with all that moves no string across the places where it changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi, remainder
from typing import NamedTuple, TypeAlias

from ...ir.channels import Channel
from ..frame import Functional, Vector
from .structure import algebra, is_constant, one_qubit, swapped
from .tape import PauliQubit

EPSILON = 1e-14
"""What angles may differ by where one is taken for another."""


class Angle(NamedTuple):
    """``weight * angle of the slot + constant``; slot -1 for none."""

    slot: int
    weight: float
    constant: float


def whole_turn(angle: Angle) -> bool:
    """Whether a rotation by this angle does nothing but change a global sign."""
    return angle.slot < 0 and abs(remainder(angle.constant, 2 * pi)) < EPSILON


class Gate(NamedTuple):
    """A rotation in a sequence, about axis 0, 1, 2."""

    axis: int
    angle: Angle


@dataclass(slots=True)
class Sequence:
    """Gates and channels of one qubit in time order; ``batched`` is None as long as no angle has a slot."""

    factors: list[Gate | Channel] = field(default_factory=list)
    batched: bool | None = None
    letters: frozenset[int] = frozenset((0, 1, 2))

    @property
    def slots(self) -> set[int]:
        """The slots of all factors."""
        found = {f.angle.slot for f in self.factors if isinstance(f, Gate)}
        return found.union(*(f.slots for f in self.factors if isinstance(f, Channel))) - {-1}

    @property
    def unital(self) -> bool:
        """Whether nothing is gained from I."""
        return all(isinstance(f, Gate) or one_qubit(f).unital for f in self.factors)


@dataclass(slots=True)
class AffineElement:
    """A sequence as one affine map."""

    qubit: PauliQubit
    sequence: Sequence

    @property
    def empty(self) -> bool:
        """Whether it does nothing."""
        return False

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The vectors of X and Z."""
        return self.qubit.x, self.qubit.z

    def generators(self, bits: int) -> tuple[int, ...]:
        """All of the qubit."""
        return algebra(self.qubit, bits)


@dataclass(slots=True)
class PairElement:
    """Diagonals of two qubits, then a shift (a channel that is diagonal but for what Z gains) on each."""

    qubits: tuple[PauliQubit, PauliQubit]
    logical: tuple[int, int]
    diagonals: list[Channel] = field(default_factory=list)
    shifts: list[Channel | None] = field(default_factory=lambda: [None, None])

    @property
    def empty(self) -> bool:
        """Whether it does nothing."""
        return not self.diagonals and self.shifts == [None, None]

    @property
    def gains(self) -> tuple[bool, bool]:
        """Whether Z of each qubit gains something."""
        first, second = (shift is not None and one_qubit(shift).gain for shift in self.shifts)
        return first, second

    def oriented(self, first: int, diagonal: Channel) -> bool:
        """Whether a diagonal of a qubit and the other one can join, if need be after both have changed places."""
        if self.logical[0] != first and not is_constant(diagonal):
            if not all(map(is_constant, self.diagonals)):
                return False
            self.qubits, self.logical = self.qubits[::-1], self.logical[::-1]
            self.diagonals, self.shifts = [swapped(d) for d in self.diagonals], self.shifts[::-1]
        return True

    @property
    def slots(self) -> set[int]:
        """The slots of all channels."""
        channels = [*self.diagonals, *(shift for shift in self.shifts if shift)]
        return {slot for channel in channels for slot in channel.slots} - {-1}

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """All vectors of both qubits: a kernel works on sixteen strings at once."""
        return tuple(vector for q in self.qubits for vector in (q.x, q.z))

    def generators(self, bits: int) -> tuple[int, ...]:
        """The functionals of qubits that are acted on, and the vectors of Z where there is a gain."""
        found: list[int] = []
        for qubit, shift, gain in zip(self.qubits, self.shifts, self.gains, strict=True):
            if self.diagonals or shift:
                found += (qubit.x_bit << bits, qubit.z_bit << bits)
            if gain:
                found.append(qubit.z)
        return tuple(found)


@dataclass(slots=True)
class TurnElement:
    """A Pauli rotation; fields as of `qiskit_fusedqml.planner.pauli_vector.tape.Turn`."""

    x: Vector
    side: Functional
    z: Functional
    y_of_string: int
    angle: Angle
    batched: bool

    @property
    def empty(self) -> bool:
        """Whether it does nothing."""
        return whole_turn(self.angle)

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The string's vector."""
        return (self.x,)

    @property
    def slots(self) -> set[int]:
        """The angle's slot."""
        return {self.angle.slot} - {-1}

    def generators(self, bits: int) -> tuple[int, ...]:
        """The string, and what anticommutes with it."""
        return self.x, self.side << bits


@dataclass(slots=True)
class TransferElement:
    """A transfer matrix."""

    qubits: tuple[PauliQubit, ...]
    channel: Channel

    @property
    def empty(self) -> bool:
        """Whether it does nothing."""
        return False

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """All vectors of all qubits."""
        return tuple(vector for q in self.qubits for vector in (q.x, q.z))

    @property
    def slots(self) -> set[int]:
        """The channel's slots."""
        return set(self.channel.slots) - {-1}

    def generators(self, bits: int) -> tuple[int, ...]:
        """All of the qubits."""
        return tuple(g for qubit in self.qubits for g in algebra(qubit, bits))


Element: TypeAlias = AffineElement | PairElement | TurnElement | TransferElement
