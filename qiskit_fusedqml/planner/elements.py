"""Elements: what planning orders and groups, between a program's instructions and a tape's operations.

Elements are stated on the physical indices r of a frame (`collector.collect`):

=================  ===================================================================================================
`ZRotation`        ``exp(-1j angle/2 (-1)**f(r))``; phases of any diagonal gate expand into few of them
`PauliRotation`    ``C[exp(-1j angle/2 P)]``, among them the RY in the middle of a ZYZ decomposition
`U2Element`        a rotation sequence as one 2x2 matrix on a virtual qubit, or one a sample
`DenseElement`     a constant matrix on virtual qubits
`DiagonalElement`  a constant diagonal that would expand into many Z rotations
=================  ===================================================================================================

A `RotationSequence` is a maximal sequence of single-qubit gates on one qubit with the same kind of angles (shared or
per sample). Its gates' gradients all follow from <X>, <Y>, <Z> at one point
(`qiskit_fusedqml.devices.reference_coefficients`).
Two elements commute if all their ``generators`` do: Pauli strings ``x | z << n``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi, remainder
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .frame import Frame, Functional, Vector

EPSILON = 1e-14
"""Angles up to this size, in radians, are 0: rounding."""

MAX_EXPANDED_TERMS = 128
"""A diagonal gate of more Z strings stays whole: one table serves them all, and none can be joined by another."""

X, Y, Z = 0, 1, 2
"""Axes of a sequence's gates."""

ALPHA, BETA, GAMMA = 0, 1, 2
"""The Euler angles of sequence e, ``RZ(alpha) RY(beta) RZ(gamma)``, are the sources ``3 e + ALPHA`` and so on."""


Gate: TypeAlias = tuple[int, int, float]
"""A single-qubit gate of a sequence: axis, slot (-1: constant), constant angle."""


@dataclass(slots=True)
class RotationSequence:
    """Single-qubit gates in time order.

    ``index`` numbers the sequences that are decomposed by Euler angles; -1 for the others.
    """

    gates: list[Gate]
    batched: bool
    index: int = -1

    def about_one_axis(self) -> tuple[list[Gate], int, Angle, float, list[Gate]] | None:
        """The same as some about Z, an angle about one axis, a multiple of pi about Z, and some about Z.

        Constant multiples of pi about Z between them go behind what follows, and change its sign. None where rotations
        about several axes remain; Z where there are none about another.
        """
        gates, first, last = self.gates, 0, len(self.gates)
        while first < last and gates[first][0] == Z:
            first += 1
        while first < last and gates[last - 1][0] == Z:
            last -= 1
        angle, sign, half_turns = Angle(), 1.0, 0.0
        if first == last:
            return gates, Z, angle, half_turns, []
        axis = gates[first][0]
        for of, slot, theta in gates[first:last]:
            if of == axis:
                angle.constant += sign * theta
                if slot >= 0:
                    angle.slots.append((slot, sign))
            elif _is_half_turn((of, slot, theta)):
                half_turns += theta
                sign = -sign if round(theta / pi) & 1 else sign
            else:
                return None
        return gates[:first], axis, angle, half_turns, gates[last:]


@dataclass(slots=True)
class Angle:
    """``constant + sum weight * source`` over slots, and over Euler angles with signs."""

    constant: float = 0.0
    slots: list[tuple[int, float]] = field(default_factory=list)
    euler: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_zero(self) -> bool:
        """Whether nothing would be rotated, whatever the parameters."""
        return not self.slots and not self.euler and abs(remainder(self.constant, 4 * pi)) < EPSILON


def _is_half_turn(gate: Gate) -> bool:
    """Whether a gate of a sequence is Z, or nothing, up to a phase."""
    axis, slot, theta = gate
    return axis == Z and slot < 0 and abs(remainder(theta, pi)) < EPSILON


@dataclass(slots=True)
class ZRotation:
    """``exp(-1j angle/2 (-1)**f)`` with a linear functional f (its constant has been moved into the angle's sign)."""

    functional: Functional
    angle: Angle
    batched: bool
    generators: tuple[int, ...]
    flips: ClassVar[tuple[Vector, ...]] = ()


@dataclass(slots=True)
class PauliRotation:
    """``C[exp(-1j angle/2 P)]``. ``side`` is the functional of a virtual qubit when P is its Y, else -1."""

    x: Vector
    z: Functional
    power: int
    controls: tuple[Functional, ...]
    side: Functional
    angle: Angle
    batched: bool
    sequence: RotationSequence | None
    generators: tuple[int, ...]

    @property
    def flips(self) -> tuple[Vector, ...]:
        """The flip vectors."""
        return (self.x,) if self.x else ()


@dataclass(slots=True)
class U2Element:
    """A sequence about several axes as one 2x2 matrix, or one a sample."""

    x: Vector
    side: Functional
    sequence: RotationSequence
    generators: tuple[int, ...]

    @property
    def flips(self) -> tuple[Vector, ...]:
        """The flip vector."""
        return (self.x,)


@dataclass(slots=True)
class DenseElement:
    """A constant matrix on virtual qubits (flips, sides)."""

    flips: tuple[Vector, ...]
    sides: tuple[Functional, ...]
    matrix: NDArray[np.complex128]
    generators: tuple[int, ...]


@dataclass(slots=True)
class DiagonalElement:
    """``exp(-1j/2 sum_m angles_m (-1)**f_m)``, f_m the sum of the linear functionals ``basis[j]`` with bit j of m set.

    Attributes:
        basis: d independent functionals.
        masks: The m, ascending.
        angles: Their angles.
        generators: As of all elements.
    """

    basis: tuple[Functional, ...]
    masks: tuple[int, ...]
    angles: NDArray[np.float64]
    generators: tuple[int, ...]
    flips: ClassVar[tuple[Vector, ...]] = ()

    @property
    def is_large(self) -> bool:
        """Whether it has an operation of its own."""
        return len(self.masks) > MAX_EXPANDED_TERMS


Element: TypeAlias = ZRotation | PauliRotation | U2Element | DenseElement | DiagonalElement


@dataclass(slots=True)
class Elements:
    """What `collector.collect` makes of a window; the frame is the one after it."""

    elements: list[Element]
    sequences: list[RotationSequence]
    frame: Frame
