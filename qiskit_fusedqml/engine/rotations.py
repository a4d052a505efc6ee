"""Derivatives in forward mode: every rotation's angle as a parameter of its own.

It needs no new sweep, as a rotation's derivative is the rotation itself half a turn on, ::

    d psi / d theta = psi(theta + pi) / 2                             without controls,
    d psi / d theta = (psi(theta + pi) - psi(theta - pi)) / 4         with controls,

exactly, because ``cos(theta/2) - 1j sin(theta/2) P`` is differentiated by the shift and what the controls leave alone
cancels. So the derivatives of a state are one batch of states, and likewise those of expectation values, which are
trigonometric polynomials of the angle, one batch of values at shifted angles (Wierichs et al. 2022, arXiv:2107.12390).
Rotations are the program's R parametrised ones, counted in program order.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray, IntArray
from ..ir.angles import AngleMap
from ..ir.encoding import AmplitudeEncoding
from .parameters import ParameterBatch
from .transforms import with_offsets

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


class Unrolled:
    """A program in the angles of its rotations; values (B, P) are those of its own parameters, inputs first.

    Attributes:
        function: The program as a `ProgramFunction` of an angle for each rotation, then the encoding's features.
        source: The slot each rotation takes its angle from, (R,).
        controlled: Which of them have controls, (R,).
    """

    def __init__(
        self,
        function: Any,
        source: IntArray,
        controlled: NDArray[np.bool_],
        angle_map: AngleMap,
        encoding: AmplitudeEncoding | None,
    ) -> None:
        self.function, self.source, self.controlled = function, source, controlled
        self._angle_map, self._encoding = angle_map, encoding

    def depending_on(self, parameters: IntArray) -> IntArray:
        """The rotations that depend on any of these parameters."""
        return np.flatnonzero(self._angle_map.depends_on(parameters)[self.source])

    @cached_property
    def shifted(self) -> Any:
        """The program as a function of its own parameters and of what is added to each rotation's angle, (P + R,)."""
        f, own = self.function, self._angle_map.select(self.source)
        angle_map, encoding = with_offsets(own, self._encoding)
        return type(f)(f.program, angle_map, f.observables, f.options, encoding=encoding)

    def angles(self, values: FloatArray) -> FloatArray:
        """The function's parameters (B, ...): an angle for each rotation, then the encoded features."""
        angles = self._angle_map.evaluate(values)[:, self.source]
        return angles if self._encoding is None else np.hstack([angles, self._encoding.features.evaluate(values)])

    def states(self, values: FloatArray) -> ComplexArray:
        """Final amplitudes (B, 2**n)."""
        states: ComplexArray = self.function.statevector(None, self.angles(values))
        return states

    def tangents(self, values: FloatArray, rotations: IntArray) -> ComplexArray:
        """Derivatives (B, R', 2**n) of the state with respect to the angles of some rotations (R',)."""
        count, batch = len(rotations), len(values)
        controlled = np.flatnonzero(self.controlled[rotations])
        points = np.repeat(self.angles(values)[:, None], count + len(controlled), axis=1)
        points[:, np.arange(count), rotations] += np.pi
        points[:, count + np.arange(len(controlled)), rotations[controlled]] -= np.pi
        states: ComplexArray = self.function.statevector(None, points.reshape(-1, points.shape[-1]))
        states = states.reshape(batch, count + len(controlled), -1)
        tangents = 0.5 * states[:, :count]
        tangents[:, controlled] = 0.5 * tangents[:, controlled] - 0.25 * states[:, count:]
        return tangents

    def shifts(self, rotations: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
        """The points of the shift rules: which of the rotations is shifted, by how much, and the value's weight."""
        rules = [
            (place, shift, weight)
            for place, has_controls in enumerate(self.controlled[rotations].tolist())
            for shift, weight in (CONTROLLED_SHIFTS if has_controls else PLAIN_SHIFTS)
        ]
        places, *columns = zip(*rules, strict=True) if rules else ((), (), ())
        shifts, weights = (np.array(column, np.float64) for column in columns)
        return np.array(places, np.intp), shifts, weights

    def value_jacobian(self, parameters: ParameterBatch, wanted: IntArray) -> FloatArray | None:
        """Derivatives (B, n_obs, n) of the values; None where backward sweeps cost less."""
        chosen, count = self.depending_on(wanted), self.function.num_observables
        controlled = int(self.controlled[chosen].sum())
        num_points = len(PLAIN_SHIFTS) * (len(chosen) - controlled) + len(CONTROLLED_SHIFTS) * controlled
        if not num_points or num_points > SHIFTS_OF_BACKWARD * count:
            return None
        values, states = parameters.full(), parameters.initial_states
        result = np.empty((len(values), count, len(wanted)))
        size = max(self._room // (8 * count * max(self._angle_map.num_angles, len(wanted))), 1)
        for first in range(0, len(values), size):
            part = slice(first, first + size)
            initial = states if states is None or states.ndim == 1 else states[part]
            by_angle = self._value_derivatives(values[part], chosen, initial)
            result[part] = self.chain(values[part], chosen, by_angle)[..., wanted]
        return result

    def chain(self, values: FloatArray, rotations: IntArray, derivatives: FloatArray) -> FloatArray:
        """From derivatives (B, ..., R') with respect to rotations' angles to those (B, ..., P) of the parameters."""
        by_angle = np.zeros((*derivatives.shape[:-1], self._angle_map.num_angles))
        np.add.at(np.moveaxis(by_angle, -1, 0), self.source[rotations], np.moveaxis(derivatives, -1, 0))
        middle = (1,) * (derivatives.ndim - 2)
        return self._angle_map.pullback(values.reshape(len(values), *middle, -1), by_angle)

    def slopes(self, values: FloatArray, rotations: IntArray) -> FloatArray:
        """Derivatives (B, R', P) of some rotations' angles with respect to the parameters."""
        unit = np.broadcast_to(np.eye(len(rotations)), (len(values), len(rotations), len(rotations)))
        return self.chain(values, rotations, unit)

    def blocks(self, num_samples: int, num_rotations: int) -> tuple[int, int]:
        """How many samples, and how many rotations of each, `tangents` takes at once within the memory budget."""
        f = self.function
        # a state of the device, its amplitudes, the shifted ones and what is made of them
        per_state = 2 * (f.device.state_bytes(f.num_qubits, 1) + 48 * 2**f.num_qubits)
        states = max(int(f.budget // per_state), 1)
        if states >= num_rotations:
            return max(min(states // max(num_rotations, 1), num_samples), 1), max(num_rotations, 1)
        return 1, states

    @property
    def _room(self) -> int:
        return min(SHIFTED_BYTES, int(self.function.budget) // 4)

    def _value_derivatives(
        self, values: FloatArray, rotations: IntArray, initial_states: NDArray[np.complex128] | None
    ) -> FloatArray:
        """Derivatives (B, n_obs, R') of the values with respect to the angles of some rotations (R',)."""
        places, shifts, weights = self.shifts(rotations)
        angles, num_observables = self.angles(values), self.function.num_observables
        result = np.zeros((len(rotations), len(values), num_observables))
        of_states = 16 << self.function.num_qubits if initial_states is not None and initial_states.ndim == 2 else 0
        size = max(self._room // (of_states + 8 * (angles.shape[1] + num_observables)), 1)
        for first in range(0, len(values) * len(shifts), size):
            samples, points = np.divmod(np.arange(first, min(first + size, len(values) * len(shifts))), len(shifts))
            shifted = angles[samples]
            shifted[np.arange(len(samples)), rotations[places[points]]] += shifts[points]
            initial = initial_states if initial_states is None or not of_states else initial_states[samples]
            found = self.function.values(None, shifted, initial_states=initial)
            np.add.at(result, (places[points], samples), weights[points, None] * found)
        return result.transpose(1, 2, 0)
