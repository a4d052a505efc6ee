"""Rotations about commuting Pauli strings, on logical qubits: what controlled rotations and diagonals are.

``C[exp(-1j t/2 P)] = prod_S exp(-1j/2 s_S t/2**m P Z_S)`` over the subsets S of the m controls, with the sign s_S of
``prod (1 + (-1)**value Z)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi, remainder

import numpy as np

from ...errors import UnsupportedInstructionError
from ...ir.program import Diagonal, Rotation
from ...ir.qubits import bits
from ..collector import z_angles
from .elements import EPSILON, Angle, whole_turn
from .sequences import summed

AXIS_X, AXIS_Y, AXIS_Z = range(3)

MAX_STRINGS = 1024
"""A controlled rotation or a diagonal is a product of at most this many rotations."""

WAY_OUT = "Trajectories of pure states can run it: give their number as trajectories=N."
"""What to do about an instruction that is too wide."""


@dataclass(frozen=True, slots=True)
class String:
    """A Pauli string by its masks."""

    x: int
    z: int

    @property
    def letters(self) -> dict[int, int]:
        """The axis (X, Y, Z: 0, 1, 2) of the letter on each qubit."""
        return {q: self.axis(q) for q in bits(self.x | self.z)}

    def axis(self, q: int) -> int:
        """The axis of the letter on a qubit of the support."""
        if self.x >> q & 1:
            return AXIS_Y if self.z >> q & 1 else AXIS_X
        return AXIS_Z


def controlled(r: Rotation) -> dict[String, Angle]:
    """The rotations that a rotation under controls is the product of.

    Raises:
        UnsupportedInstructionError: If they are too many.
    """
    controls = list(bits(r.ctrl_mask))
    if 1 << len(controls) > MAX_STRINGS:
        raise UnsupportedInstructionError(
            f"under {len(controls)} controls a rotation is {2 ** len(controls)} strings; a density matrix takes "
            f"{MAX_STRINGS}. {WAY_OUT}"
        )
    strings = [(r.z, 0.5 ** len(controls))]
    for control in controls:
        sign = -1.0 if r.ctrl_value >> control & 1 else 1.0
        strings += [(z | 1 << control, sign * weight) for z, weight in strings]
    return {
        String(r.x, z): Angle(-1, 0.0, weight * r.theta) if r.slot < 0 else Angle(r.slot, weight, 0.0)
        for z, weight in strings
        if r.x | z
    }


def walsh(d: Diagonal) -> dict[String, Angle]:
    """The Z strings whose rotations a diagonal is the product of.

    Raises:
        UnsupportedInstructionError: If they are too many.
    """
    k, angles = len(d.qubits), z_angles(d)
    masks = [int(mask) for mask in np.flatnonzero(np.abs(angles) > EPSILON) if mask]
    if len(masks) > MAX_STRINGS:
        raise UnsupportedInstructionError(
            f"a diagonal on {k} qubits is {len(masks)} strings; a density matrix takes {MAX_STRINGS}. {WAY_OUT}"
        )
    logical = {mask: sum(1 << d.qubits[j] for j in bits(mask)) for mask in masks}
    return {String(0, logical[mask]): Angle(-1, 0.0, float(angles[mask])) for mask in masks}


@dataclass(slots=True)
class Product:
    """Commuting rotations: those about one qubit (qubit, axis), controlled Z or X, and those about several qubits."""

    single: dict[tuple[int, int], Angle] = field(default_factory=dict)
    controlled: list[tuple[int, int, int]] = field(default_factory=list)
    turns: list[tuple[String, Angle]] = field(default_factory=list)

    def extend(self, place: tuple[int, int], angle: Angle) -> None:
        """Turn a qubit about an axis."""
        total = summed(self.single.get(place, Angle(-1, 0.0, 0.0)), angle)
        assert total is not None  # the angles of one instruction have one slot
        self.single[place] = total


def product(angles: dict[String, Angle]) -> Product:
    """Sort rotations. Constant ones that are Pauli strings or ZZ, ZX(+-pi/2) become one-qubit gates, CZ and CX."""
    found = Product()
    for string, angle in angles.items():
        letters = string.letters
        turned = abs(remainder(angle.constant, 2 * pi)) if angle.slot < 0 else -1.0
        if whole_turn(angle):
            continue
        if len(letters) == 1 or abs(turned - pi) < EPSILON:
            for place in letters.items():
                found.extend(place, angle)
        elif abs(turned - pi / 2) < EPSILON and sorted(letters.values()) in ([AXIS_X, AXIS_Z], [AXIS_Z, AXIS_Z]):
            # CP = RZ(pi/2) RP(pi/2) RZP(-pi/2) for P = Z, X, its own inverse
            control, target = sorted(letters, key=letters.__getitem__, reverse=True)
            found.controlled.append((control, target, letters[target]))
            for place in letters.items():
                found.extend(place, Angle(-1, 0.0, remainder(angle.constant, 2 * pi)))
        else:
            found.turns.append((string, angle))
    return found
