"""Derivatives of final amplitudes, in forward mode: every rotation's angle as a parameter of its own.

It needs no new sweep, as a rotation's derivative is the rotation itself half a turn on, ::

    d psi / d theta = psi(theta + pi) / 2                             without controls,
    d psi / d theta = (psi(theta + pi) - psi(theta - pi)) / 4         with controls,

exactly, because ``cos(theta/2) - 1j sin(theta/2) P`` is differentiated by the shift and what the controls leave alone
cancels. So the derivatives of a state are one batch of states, and likewise those of expectation values, which are
trigonometric polynomials of the angle, one batch of values at shifted angles (Wierichs et al. 2022, arXiv:2107.12390).
Rotations are the program's R parametrised ones, counted in program order (`ProgramFunction.unrolled`).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray, IntArray
from ..devices import Device
from ..ir.angles import AngleMap
from ..ir.encoding import AmplitudeEncoding
from .parameters import ParameterBatch

PLAIN_SHIFTS = ((np.pi / 2, 0.5), (-np.pi / 2, -0.5))
"""Shifts of the angle of a rotation without controls and the weights, whose sum of values is the derivative."""

_OUTER, _INNER = (np.sqrt(2) + 1) / (4 * np.sqrt(2)), (np.sqrt(2) - 1) / (4 * np.sqrt(2))
CONTROLLED_SHIFTS = (
    (np.pi / 2, _OUTER),
    (-np.pi / 2, -_OUTER),
    (3 * np.pi / 2, -_INNER),
    (-3 * np.pi / 2, _INNER),
)
"""The same with controls."""

MANY_OBSERVABLES = 16
"""Fewer observables are always differentiated in reverse mode."""

SHIFTS_OF_BACKWARD = 1.5
"""Values at so many points cost less than a backward sweep, whatever the number of qubits."""

SHIFTED_BYTES = 1 << 26
"""Shifted angles, and values there, that are held at a time, if a quarter of the budget allows it."""


class Differentiated(Protocol):
    """What is read of a `ProgramFunction`."""

    angle_map: AngleMap
    encoding: AmplitudeEncoding | None
    device: Device
    num_qubits: int

    @property
    def budget(self) -> int:
        """See `ProgramFunction.budget`."""
        ...

    @property
    def passes(self) -> Any:
        """See `ProgramFunction.passes`."""
        ...

    @property
    def unrolled(self) -> Any:
        """See `ProgramFunction.unrolled`."""
        ...


def depending_on(f: Differentiated, parameters: IntArray) -> IntArray:
    """The rotations that depend on any of these parameters."""
    return np.flatnonzero(f.angle_map.depends_on(parameters)[f.unrolled.source])


def tangents(f: Differentiated, values: FloatArray, rotations: IntArray) -> ComplexArray:
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
    states: ComplexArray = f.unrolled.function.statevector(None, points.reshape(-1, points.shape[-1]))
    states = states.reshape(batch, count + len(controlled), -1)
    tangents = 0.5 * states[:, :count]
    tangents[:, controlled] = 0.5 * tangents[:, controlled] - 0.25 * states[:, count:]
    return tangents


def value_jacobian(f: Differentiated, parameters: ParameterBatch, wanted: IntArray) -> FloatArray | None:
    """Derivatives (B, n_obs, n) of the values in forward mode; None where backward sweeps cost less."""
    chosen, count = depending_on(f, wanted), f.unrolled.function.num_observables
    controlled = int(f.unrolled.controlled[chosen].sum())
    num_points = len(PLAIN_SHIFTS) * (len(chosen) - controlled) + len(CONTROLLED_SHIFTS) * controlled
    if not num_points or num_points > SHIFTS_OF_BACKWARD * count or f.passes.encodes(wanted):
        return None
    values, states = parameters.full(), parameters.initial_states
    result = np.empty((len(values), count, len(wanted)))
    room = min(SHIFTED_BYTES, f.budget // 4)
    size = max(room // (8 * count * max(f.angle_map.num_angles, len(wanted))), 1)
    for first in range(0, len(values), size):
        part = slice(first, first + size)
        own = states if states is None or states.ndim == 1 else states[part]
        by_angle = value_derivatives(f, values[part], chosen, own)
        result[part] = chain(f, values[part], chosen, by_angle)[..., wanted]
    return result


def value_derivatives(
    f: Differentiated, values: FloatArray, rotations: IntArray, initial_states: NDArray[np.complex128] | None = None
) -> FloatArray:
    """Derivatives (B, n_obs, R') of the values with respect to the angles of some rotations, in forward mode.

    Args:
        f: The function.
        values: Parameter values (B, P), inputs first.
        rotations: Which rotations (R',).
        initial_states: Amplitudes (2**n,) or (B, 2**n) that samples start from.
    """
    function, controlled = f.unrolled.function, f.unrolled.controlled[rotations].tolist()
    rules = [
        (place, shift, weight)
        for place, has_controls in enumerate(controlled)
        for shift, weight in (CONTROLLED_SHIFTS if has_controls else PLAIN_SHIFTS)
    ]
    places, shifts, weights = (np.array(column) for column in zip(*rules, strict=True))
    angles = angle_values(f, values)
    result = np.zeros((len(rotations), len(values), function.num_observables))
    of_states = 16 << f.num_qubits if initial_states is not None and initial_states.ndim == 2 else 0
    room = min(SHIFTED_BYTES, f.budget // 4)
    size = max(room // (of_states + 8 * (angles.shape[1] + function.num_observables)), 1)
    for first in range(0, len(values) * len(rules), size):
        samples, points = np.divmod(np.arange(first, min(first + size, len(values) * len(rules))), len(rules))
        shifted = angles[samples]
        shifted[np.arange(len(samples)), rotations[places[points]]] += shifts[points]
        own = initial_states if initial_states is None or not of_states else initial_states[samples]
        found = function.values(None, shifted, initial_states=own)
        np.add.at(result, (places[points], samples), weights[points, None] * found)
    return result.transpose(1, 2, 0)


def states_at(f: Differentiated, values: FloatArray) -> ComplexArray:
    """Final amplitudes (B, 2**n) at parameter values (B, P), inputs first."""
    states: ComplexArray = f.unrolled.function.statevector(None, angle_values(f, values))
    return states


def chain(f: Differentiated, values: FloatArray, rotations: IntArray, derivatives: FloatArray) -> FloatArray:
    """From derivatives (B, ..., R') with respect to rotations' angles to those (B, ..., P) of the parameters."""
    by_angle = np.zeros((*derivatives.shape[:-1], f.angle_map.num_angles))
    np.add.at(np.moveaxis(by_angle, -1, 0), f.unrolled.source[rotations], np.moveaxis(derivatives, -1, 0))
    middle = (1,) * (derivatives.ndim - 2)
    return f.angle_map.pullback(values.reshape(len(values), *middle, -1), by_angle)


def slopes(f: Differentiated, values: FloatArray, rotations: IntArray) -> FloatArray:
    """Derivatives (B, R', P) of some rotations' angles with respect to the parameters."""
    unit = np.broadcast_to(np.eye(len(rotations)), (len(values), len(rotations), len(rotations)))
    return chain(f, values, rotations, unit)


def blocks(f: Differentiated, num_samples: int, num_rotations: int) -> tuple[int, int]:
    """How many samples, and how many rotations of each, `tangents` takes at once within the memory budget."""
    # a state of the device, its amplitudes, the shifted ones and what is made of them
    per_state = 2 * (f.device.state_bytes(f.num_qubits, 1) + 48 * 2**f.num_qubits)
    states = max(int(f.budget // per_state), 1)
    if states >= num_rotations:
        return max(min(states // max(num_rotations, 1), num_samples), 1), max(num_rotations, 1)
    return 1, states


def angle_values(f: Differentiated, values: FloatArray) -> FloatArray:
    """Parameters of the unrolled function (B, ...): an angle for each rotation, then the encoded features."""
    angles = f.angle_map.evaluate(values)[:, f.unrolled.source]
    return angles if f.encoding is None else np.hstack([angles, f.encoding.features.evaluate(values)])
