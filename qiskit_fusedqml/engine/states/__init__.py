"""Derivatives of final states: of amplitudes, overlaps and probabilities.

The device's backward sweep takes any bra, not only ``O ket``. With ``g`` such that a real function of the state
changes by ``dL = Re sum_i conj(g_i) d psi_i``, sweeping with ``bra = g / 2`` gives dL for every angle (reverse mode,
one sweep a function). The other way, forward mode, needs no new sweep either: a rotation's derivative is the rotation
itself half a turn on, ::

    d psi / d theta = psi(theta + pi) / 2                             without controls,
    d psi / d theta = (psi(theta + pi) - psi(theta - pi)) / 4         with controls,

exactly, because ``cos(theta/2) - 1j sin(theta/2) P`` is differentiated by the shift and what the controls leave alone
cancels. So the derivatives of a state are one batch of states.
"""

from __future__ import annotations

from .probabilities import DifferentiableStates
from .rotations import Rotations

__all__ = ["DifferentiableStates", "Rotations"]
