"""Cotangents as the framework gives them, and gradients as it wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import QuantumFunctionError

from .circuits import Circuit, Reading
from .measurements import Measured
from .rows import Numbers, Rows
from .simulation import Gradients

Floats = NDArray[np.float64]


class Entries(tuple[Any, ...]):
    """Gradients of parameters that may be of several shapes.

    The framework's torch interface asks of every gradient what is left of it when NumPy squeezes it.
    """

    __slots__ = ()

    def squeeze(self, axis: Any = None) -> NDArray[Any]:
        """The entries as an array of objects."""
        result = np.empty(len(self), dtype=object)
        for k, entry in enumerate(self):  # an assignment of all would make one array where the shapes agree
            result[k] = entry
        return np.squeeze(result, axis=axis)


def cotangent_rows(measured: Measured, rows: Rows, cotangents: Sequence[Any]) -> list[Any]:
    """Cotangents of tapes as arrays (R, ...), one for each measurement."""
    single = len(measured.parts) == 1
    result = []
    for k, part in enumerate(measured.parts):
        own = [
            _spread(tape if single else tape[k], numbers.size, part.shape)
            for tape, numbers in zip(cotangents, rows.tapes, strict=True)
        ]
        result.append(own[0] if len(own) == 1 else np.concatenate(own))
    return result


def num_stacked(measured: Measured, numbers: Numbers, cotangents: Any) -> int | None:
    """How many cotangents of a tape are stacked along a leading axis, or None where there is no such axis."""
    single = len(measured.parts) == 1
    for k, part in enumerate(measured.parts):
        shape = np.shape(cotangents if single else cotangents[k])
        if len(shape) > len(part.shape) + (numbers.size is not None):
            return int(shape[0])
    return None


def pulled(rows: Rows, jacobians: Sequence[Any], cotangents: Sequence[Any]) -> Gradients:
    """Gradients of inputs and weights from Jacobians (R, ..., P) and cotangents (R, ...) of the measurements."""
    total = 0.0
    for jacobian, cotangent in zip(jacobians, cotangents, strict=True):
        count, columns = len(jacobian), jacobian.shape[-1]
        flat = jacobian.reshape(count, -1, columns)
        total = total + np.real(np.einsum("rs,rsp->rp", np.reshape(cotangent, (count, -1)), flat))
    gradients: Floats = np.asarray(total)
    if len(rows.tapes) > 1:
        return Gradients(None, gradients)
    inputs = [column for column in rows.key[0] if column >= 0]
    others = np.setdiff1d(np.arange(gradients.shape[1]), inputs)
    return Gradients(gradients[:, inputs] if inputs else None, gradients[:, others].sum(axis=0))


def by_tape(circuit: Circuit, readings: Sequence[Reading], rows: Rows, gradients: Gradients) -> list[Entries]:
    """Gradients as the framework wants them: for each tape, for each trainable parameter."""
    if len(readings) == 1 and not rows.key[0] and circuit.is_plain:
        positions = readings[0].tape.trainable_params
        if len(positions) == len(gradients.weights) == len(circuit.columns):
            return [Entries(gradients.weights)]
    columns = _by_column(circuit, rows, gradients)
    answers = []
    for reading, numbers, place in zip(readings, rows.tapes, rows.slices(), strict=True):
        own: list[Any] = []
        for position in reading.tape.trainable_params:
            column = circuit.column_of.get(position)
            if column is not None:
                values = columns[column]
                if np.ndim(values):  # by row: a batched tape's own parameters are shared by its samples
                    values = values[place]
                    values = values.sum() if values.ndim and column not in numbers.varying else values
                own.append(values)
            elif gradients.states is not None and position == 0:
                own.append(_of_states(circuit, reading, np.atleast_2d(gradients.states[place])))
            else:
                own.append(_zero(reading, position))
        answers.append(Entries(own))
    return answers


def _by_column(circuit: Circuit, rows: Rows, gradients: Gradients) -> list[Any]:
    """Each column's gradient: (R,), or () where all rows share it."""
    if len(rows.tapes) > 1:
        return list(gradients.weights.T)
    columns: list[Any] = [None] * len(circuit.columns)
    inputs = [column for column in rows.key[0] if column >= 0]
    others = [column for column in range(len(columns)) if column not in set(inputs)]
    for column, value in zip(others, gradients.weights, strict=True):
        columns[column] = value
    for k, column in enumerate(inputs):
        columns[column] = 0.0 if gradients.inputs is None else gradients.inputs[:, k]
    return columns


def _of_states(circuit: Circuit, reading: Reading, cotangents: Any) -> Any:
    """The gradient of a preparation's amplitudes, which are some of those of the whole state."""
    data = reading.data[0]
    own = cotangents[:, circuit.places(reading.operations[0].wires.labels)]
    own = own.conj() if np.iscomplexobj(data) else own.real
    return own if np.ndim(data) > 1 else own.sum(axis=0)


def jacobian_by_tape(circuit: Circuit, readings: Sequence[Reading], rows: Rows, jacobians: Sequence[Any]) -> list[Any]:
    """Jacobians (R, ..., P) of the measurements as the framework wants them.

    Raises:
        QuantumFunctionError: If amplitudes of the initial state are trainable.
    """
    if rows.trains_states:
        raise QuantumFunctionError(
            "Jacobians with respect to the amplitudes of a state preparation are taken row by row, through "
            "vector-Jacobian products: call the device through a QNode, or pass device_vjp=True to qml.execute."
        )
    answers = []
    for reading, numbers, place in zip(readings, rows.tapes, rows.slices(), strict=True):
        wanted = _trainable(circuit, reading)
        parts = []
        for jacobian in jacobians:
            own = jacobian[place]
            columns = [_jacobian_column(own, column, reading, position, numbers) for position, column in wanted]
            parts.append(columns[0] if len(columns) == 1 else tuple(columns))
        answers.append(parts[0] if len(parts) == 1 else tuple(parts))
    return answers


def _jacobian_column(own: Any, column: int | None, reading: Reading, position: int, numbers: Numbers) -> Any:
    if column is None:
        return np.zeros((*own.shape[:-1], *np.shape(_zero(reading, position))), dtype=own.dtype)
    slopes = own[..., column]
    if column not in numbers.varying:
        return slopes
    size = len(slopes)  # sample b depends on entry b alone
    full = np.zeros((size, *slopes.shape[1:], size), dtype=own.dtype)
    full[np.arange(size), ..., np.arange(size)] = slopes
    return full


def _trainable(circuit: Circuit, reading: Reading) -> list[tuple[int, int | None]]:
    return [(position, circuit.column_of.get(position)) for position in reading.tape.trainable_params]


def _zero(reading: Reading, position: int) -> Any:
    """The gradient of a parameter that is no angle."""
    if position < len(reading.data):
        return np.zeros(np.shape(reading.data[position]))
    return np.zeros(np.shape(reading.tape.get_parameters(trainable_only=False)[position]))


def _spread(cotangent: Any, size: int | None, shape: tuple[int, ...]) -> Any:
    expected = (size or 1, *shape)
    array = np.asarray(cotangent)
    if array.size == 1 and array.shape != expected:
        return np.broadcast_to(array.reshape((1,) * len(expected)), expected)
    return array.reshape(expected)
