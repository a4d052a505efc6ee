"""Forward mode: every rotation's angle as a parameter of its own, and the states half a turn on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...arrays import ComplexArray, FloatArray
from ...ir.angles import AngleMap
from ...ir.program import Instruction, Program, Rotation
from .adjoint import AdjointStates


class Rotations:
    """The parametrised rotations of a program, counted in program order.

    Attributes:
        source: The slot each rotation takes its angle from, (R,).
        controlled: Which of them have controls, (R,).

    Args:
        states: The program with its parameters.
    """

    def __init__(self, states: AdjointStates) -> None:
        self._states = states
        unrolled, self.source, self.controlled = _unroll(states.program)
        count, encoding = len(self.source), states.encoding
        if encoding is not None:  # its features follow the angles
            features = len(encoding.positions)
            encoding = replace(encoding, features=_identity(count + features, np.arange(count, count + features)))
            count += features
        self._engine = states.sibling(unrolled, _identity(count, np.arange(len(self.source))), encoding)

    def depending_on(self, parameters: NDArray[np.intp]) -> NDArray[np.intp]:
        """The parametrised rotations that depend on any of these parameters, counted in program order."""
        return np.flatnonzero(self._states.angle_map.depends_on(parameters)[self.source])

    def tangents(self, values: FloatArray, rotations: NDArray[np.intp]) -> ComplexArray:
        """Derivatives (B, R, 2**n) of the state with respect to the angles of some rotations.

        Args:
            values: Parameter values (B, P), inputs first.
            rotations: Which of the program's parametrised rotations, counted in program order.
        """
        count = len(rotations)
        controlled = np.flatnonzero(self.controlled[rotations])
        points = np.repeat(self._values(values)[:, None], count + len(controlled), axis=1)
        points[:, np.arange(count), rotations] += np.pi
        points[:, count + np.arange(len(controlled)), rotations[controlled]] -= np.pi
        states = self._engine.statevector(None, points.reshape(-1, points.shape[-1]))
        states = states.reshape(len(values), count + len(controlled), -1)
        tangents = 0.5 * states[:, :count]
        tangents[:, controlled] = 0.5 * tangents[:, controlled] - 0.25 * states[:, count:]
        return tangents

    def chain(self, values: FloatArray, rotations: NDArray[np.intp], derivatives: FloatArray) -> FloatArray:
        """From derivatives (B, ..., R) with respect to rotations' angles to those (B, ..., P) of the parameters."""
        by_angle = np.zeros((*derivatives.shape[:-1], self._states.angle_map.num_angles))
        np.add.at(np.moveaxis(by_angle, -1, 0), self.source[rotations], np.moveaxis(derivatives, -1, 0))
        middle = (1,) * (derivatives.ndim - 2)
        return self._states.angle_map.pullback(values.reshape(len(values), *middle, -1), by_angle)

    def slopes(self, values: FloatArray, rotations: NDArray[np.intp]) -> FloatArray:
        """Derivatives (B, R, P) of some rotations' angles with respect to the parameters."""
        unit = np.broadcast_to(np.eye(len(rotations)), (len(values), len(rotations), len(rotations)))
        return self.chain(values, rotations, unit)

    def shifted_gradients(
        self, values: FloatArray, rotations: NDArray[np.intp], shifts: FloatArray, cotangents: FloatArray
    ) -> FloatArray:
        """Gradients in the angles of all rotations, (S, R), at S points: one rotation's angle shifted at each.

        Args:
            values: One row (P,) of parameter values.
            rotations: The rotation (S,) shifted at each point.
            shifts: By how much (S,).
            cotangents: (S, n_obs).
        """
        points = np.repeat(self._values(values[None]), len(rotations), axis=0)
        points[np.arange(len(rotations)), rotations] += shifts
        _, _, gradients = self._engine.value_and_vjp(None, points, cotangents)
        return np.asarray(gradients, np.float64)

    def curvature(self, values: FloatArray, direction: FloatArray, cotangents: FloatArray) -> FloatArray:
        """What the angles' own second derivatives add to a product with the Hessian, (P,).

        Args:
            values: One row (P,) of parameter values.
            direction: The vector (P,).
            cotangents: (n_obs,).
        """
        _, _, gradients = self._engine.value_and_vjp(None, self._values(values[None]), cotangents[None])
        by_angle = np.zeros(self._states.angle_map.num_angles)
        np.add.at(by_angle, self.source, gradients[0, : len(self.source)])
        return self._states.angle_map.curvature(values, direction, by_angle)

    def state_at(self, values: FloatArray) -> ComplexArray:
        """Final amplitudes (B, 2**n) at parameter values (B, P), inputs first."""
        return self._engine.statevector(None, self._values(values))

    def blocks(self, num_samples: int, num_rotations: int) -> tuple[int, int]:
        """How many samples, and how many rotations of each, `tangents` takes at once within the memory budget."""
        # a state of the device, its amplitudes, the shifted ones and what is made of them
        per_state = 2 * (self._states.device.state_bytes(self._states.num_qubits, 1) + 48 * 2**self._states.num_qubits)
        states = max(int(self._states.budget // per_state), 1)
        if states >= num_rotations:
            return max(min(states // max(num_rotations, 1), num_samples), 1), max(num_rotations, 1)
        return 1, states

    def _values(self, values: FloatArray) -> FloatArray:
        """Parameters (B, ...) of the engine: an angle for each rotation, then the encoded features."""
        angles = self._states.angle_map.evaluate(values)[:, self.source]
        return (
            angles
            if self._states.encoding is None
            else np.hstack([angles, self._states.encoding.features.evaluate(values)])
        )


def _unroll(program: Program) -> tuple[Program, NDArray[np.intp], NDArray[np.bool_]]:
    """The program with a slot for every parametrised rotation, the slots they had, and which have controls."""
    instructions: list[Instruction] = []
    source: list[int] = []
    controlled: list[bool] = []
    for instruction in program.instructions:
        if isinstance(instruction, Rotation) and instruction.slot >= 0:
            instructions.append(instruction._replace(slot=len(source)))
            source.append(instruction.slot)
            controlled.append(bool(instruction.ctrl_mask))
        else:
            instructions.append(instruction)
    unrolled = replace(program, num_angles=len(source), instructions=tuple(instructions))
    return unrolled, np.array(source, np.intp), np.array(controlled, bool)


def _identity(num_parameters: int, columns: NDArray[np.intp]) -> AngleMap:
    """Angles that are some of the parameters."""
    count = len(columns)
    return AngleMap(num_parameters, np.zeros(count), np.arange(count), columns, np.ones(count))
