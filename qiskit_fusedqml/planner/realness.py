"""Programs that keep real states real, so that a device may store one number an amplitude.

A program is taken for real where each of its gates is a real matrix, up to a phase of the whole state: rotations about
Pauli strings with an odd number of Y, CX, X, Z, CZ and further controls, H, real constant matrices, diagonals of +1 and
-1. A product of complex gates that happens to be real is not found.
"""

from __future__ import annotations

from functools import lru_cache
from math import pi, remainder
from typing import NamedTuple

import numpy as np

from ..ir.program import Diagonal, Matrix, Program, Rotation
from .collector import MAX_EXPANDED_CONTROLS, zyz
from .elements import EPSILON


class _Factor(NamedTuple):
    """What an instruction is: ``exp(-1j phase/2)`` times a real matrix and, under its control, ``exp(-1j held/2)``."""

    is_real: bool = True
    phase: float = 0.0
    held: float = 0.0


REAL, COMPLEX = _Factor(), _Factor(is_real=False)


def is_real(program: Program, *, keep_phase: bool) -> bool:
    """Whether every gate is real; with ``keep_phase`` the phase of the whole program, too."""
    state, cuts = program.initial_state, program.cuts
    if state is not None and state.imag.any():
        return False
    # of the state; and what is left under a control so far, which the next instructions have to make real
    phase = held = 0.0
    control = (0, 0)
    for position, each in enumerate(program.instructions):
        # called for few instructions: the planning of a new circuit counts calls
        if not isinstance(each, Rotation):
            found = _of_table(each)
        else:
            found = REAL if (each.x & each.z).bit_count() & 1 else _of_rotation(*each)
        if held and (not found.held or each[2:4] != control or position in cuts):  # type: ignore[index]
            return False
        if not found.is_real:
            return False
        phase = remainder(phase + found.phase, 4 * pi)
        if found.held:
            control, held = each[2:4], remainder(held + found.held, 2 * pi)  # type: ignore[index]
            held = held if abs(held) >= EPSILON else 0.0
    tolerance = EPSILON * (1 + len(program.instructions))
    return not held and (not keep_phase or abs(remainder(phase, 2 * pi)) < tolerance)


@lru_cache(maxsize=1 << 14)
def _of_rotation(x: int, z: int, ctrl_mask: int, ctrl_value: int, slot: int, theta: float) -> _Factor:  # noqa: ARG001
    """A rotation about a string with an even number of Y."""
    if slot >= 0 or (x and not _is_multiple(theta - pi, 2 * pi)):
        return REAL if slot < 0 and _is_multiple(theta, 4 * pi) else COMPLEX
    if not ctrl_mask:
        return _Factor(not z or _is_multiple(theta, pi), theta)
    if z or ctrl_mask.bit_count() > 1:
        few = ctrl_mask.bit_count() <= MAX_EXPANDED_CONTROLS
        return REAL if not x and few and _is_multiple(theta, 2 * pi) else COMPLEX
    return _Factor(held=theta)


def _of_table(instruction: object) -> _Factor:
    if isinstance(instruction, Diagonal):
        first = instruction.table[0]
        signs = instruction.table / first
        return _Factor(bool(np.abs(signs.imag).max() < EPSILON), -2.0 * float(np.angle(first)))
    if not isinstance(instruction, Matrix):
        return COMPLEX
    if len(instruction.qubits) > 1:
        return COMPLEX if instruction.matrix.imag.any() else REAL
    phase, (first, _, third) = zyz(instruction.matrix)
    return _Factor(_is_multiple(first, pi) and _is_multiple(third, pi), first + third - 2.0 * phase)


def _is_multiple(angle: float, unit: float) -> bool:
    return abs(remainder(angle, unit)) < EPSILON
