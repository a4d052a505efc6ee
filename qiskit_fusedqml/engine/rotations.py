"""Derivatives of final amplitudes, in forward mode: every rotation's angle as a parameter of its own.

It needs no new sweep, as a rotation's derivative is the rotation itself half a turn on, ::

    d psi / d theta = psi(theta + pi) / 2                             without controls,
    d psi / d theta = (psi(theta + pi) - psi(theta - pi)) / 4         with controls,

exactly, because ``cos(theta/2) - 1j sin(theta/2) P`` is differentiated by the shift and what the controls leave alone
cancels. So the derivatives of a state are one batch of states. Rotations are the program's R parametrised ones, counted
in program order (`ProgramFunction.unrolled`).
"""

from __future__ import annotations

import numpy as np

from ..arrays import ComplexArray, FloatArray, IntArray
from .program_function import ProgramFunction


def depending_on(f: ProgramFunction, parameters: IntArray) -> IntArray:
    """The rotations that depend on any of these parameters."""
    return np.flatnonzero(f.angle_map.depends_on(parameters)[f.unrolled.source])


def tangents(f: ProgramFunction, values: FloatArray, rotations: IntArray) -> ComplexArray:
    """Derivatives (B, R', 2**n) of the state with respect to the angles of some rotations.

    Args:
        f: The function.
        values: Parameter values (B, P), inputs first.
        rotations: Which rotations (R',).
    """
    count, batch = len(rotations), len(values)
    controlled = np.flatnonzero(f.unrolled.controlled[rotations])
    points = np.repeat(angle_values(f, values)[:, None], count + len(controlled), axis=1)
    points[:, np.arange(count), rotations] += np.pi
    points[:, count + np.arange(len(controlled)), rotations[controlled]] -= np.pi
    states = f.unrolled.function.statevector(None, points.reshape(-1, points.shape[-1]))
    states = states.reshape(batch, count + len(controlled), -1)
    tangents = 0.5 * states[:, :count]
    tangents[:, controlled] = 0.5 * tangents[:, controlled] - 0.25 * states[:, count:]
    return tangents


def states_at(f: ProgramFunction, values: FloatArray) -> ComplexArray:
    """Final amplitudes (B, 2**n) at parameter values (B, P), inputs first."""
    return f.unrolled.function.statevector(None, angle_values(f, values))


def chain(f: ProgramFunction, values: FloatArray, rotations: IntArray, derivatives: FloatArray) -> FloatArray:
    """From derivatives (B, ..., R') with respect to rotations' angles to those (B, ..., P) of the parameters."""
    by_angle = np.zeros((*derivatives.shape[:-1], f.angle_map.num_angles))
    np.add.at(np.moveaxis(by_angle, -1, 0), f.unrolled.source[rotations], np.moveaxis(derivatives, -1, 0))
    middle = (1,) * (derivatives.ndim - 2)
    return f.angle_map.pullback(values.reshape(len(values), *middle, -1), by_angle)


def slopes(f: ProgramFunction, values: FloatArray, rotations: IntArray) -> FloatArray:
    """Derivatives (B, R', P) of some rotations' angles with respect to the parameters."""
    unit = np.broadcast_to(np.eye(len(rotations)), (len(values), len(rotations), len(rotations)))
    return chain(f, values, rotations, unit)


def blocks(f: ProgramFunction, num_samples: int, num_rotations: int) -> tuple[int, int]:
    """How many samples, and how many rotations of each, `tangents` takes at once within the memory budget."""
    # a state of the device, its amplitudes, the shifted ones and what is made of them
    per_state = 2 * (f.device.state_bytes(f.num_qubits, 1) + 48 * 2**f.num_qubits)
    states = max(int(f.budget // per_state), 1)
    if states >= num_rotations:
        return max(min(states // max(num_rotations, 1), num_samples), 1), max(num_rotations, 1)
    return 1, states


def angle_values(f: ProgramFunction, values: FloatArray) -> FloatArray:
    """Parameters of the unrolled function (B, ...): an angle for each rotation, then the encoded features."""
    angles = f.angle_map.evaluate(values)[:, f.unrolled.source]
    return angles if f.encoding is None else np.hstack([angles, f.encoding.features.evaluate(values)])
