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
    if rows.by_row:
        return Gradients(None, gradients)
    inputs = [column for column in rows.key[0] if column >= 0]
    others = np.setdiff1d(np.arange(gradients.shape[1]), inputs)
    return Gradients(gradients[:, inputs] if inputs else None, gradients[:, others].sum(axis=0))


def by_tape(circuit: Circuit, readings: Sequence[Reading], rows: Rows, gradients: Gradients) -> list[Entries]:
    """Gradients as the framework wants them: for each tape, for each trainable parameter."""
    answers = []
    for reading, numbers, place in zip(readings, rows.tapes, rows.slices(), strict=True):
        own = _by_column(circuit, rows, numbers, gradients, place)
        states = None if gradients.states is None else np.atleast_2d(gradients.states[place])
        entries = [_entry(circuit, reading, numbers, own, states, index) for index in reading.tape.trainable_params]
        answers.append(Entries(entries))
    return answers


def _by_column(
    circuit: Circuit, rows: Rows, numbers: Numbers, gradients: Gradients, place: int | slice
) -> tuple[Floats, Any]:
    """A tape's gradients: (n_columns,) of what its samples share, and (B, n) of the columns in which they differ."""
    if rows.by_row:
        own = gradients.weights[place]
        if numbers.size is None:
            return own, None
        return own.sum(axis=0), own if numbers.by_row else own[:, numbers.varying]
    if not numbers.varying:
        return gradients.weights, None
    shared = np.zeros(len(circuit.columns))
    shared[circuit.rest(numbers.varying)] = gradients.weights
    return shared, gradients.inputs


def _entry(
    circuit: Circuit,
    reading: Reading,
    numbers: Numbers,
    own: tuple[Floats, Any],
    states: Any,
    index: int,
) -> Any:
    """The gradient of one of a tape's numbers, of the number's shape."""
    place, (shared, lanes) = reading.place(index), own
    columns = circuit.columns_of(place)
    if columns is not None:
        if numbers.by_row:
            return lanes[:, columns]
        lane = numbers.lane(columns)
        return shared[columns] if lane is None else lanes[:, lane].T
    if states is not None and place == 0:
        return _of_states(circuit, reading, states, by_row=numbers.by_row)
    return _zero(reading, index, numbers)


def _of_states(circuit: Circuit, reading: Reading, cotangents: Any, *, by_row: bool) -> Any:
    """The gradient of a preparation's amplitudes, which are some of those of the whole state."""
    data = reading.data[0]
    own = cotangents[:, circuit.places(reading.operations[0].wires.labels)]
    own = own.conj() if np.iscomplexobj(data) else own.real
    return own if by_row or np.ndim(data) > 1 else own.sum(axis=0)


def jacobian_by_tape(circuit: Circuit, readings: Sequence[Reading], rows: Rows, jacobians: Sequence[Any]) -> list[Any]:
    """Jacobians (R, ..., P) of the measurements as the framework wants them.

    Raises:
        QuantumFunctionError: If amplitudes of the initial state are trainable.
    """
    _check_angles(rows)
    answers = []
    for reading, numbers, place in zip(readings, rows.tapes, rows.slices(), strict=True):
        parts = []
        for jacobian in jacobians:
            own = jacobian[place]
            wanted = reading.tape.trainable_params
            entries = [_jacobian_entry(circuit, own, reading, index, numbers) for index in wanted]
            parts.append(entries[0] if len(entries) == 1 else tuple(entries))
        answers.append(parts[0] if len(parts) == 1 else tuple(parts))
    return answers


def pushed(
    circuit: Circuit, readings: Sequence[Reading], rows: Rows, jacobians: Sequence[Any], tangents: Sequence[Any]
) -> list[Any]:
    """What Jacobians (R, ..., P) make of tapes' tangents, each with an entry a trainable parameter.

    Raises:
        QuantumFunctionError: If amplitudes of the initial state are trainable.
    """
    _check_angles(rows)
    answers = []
    for reading, numbers, place, own in zip(readings, rows.tapes, rows.slices(), tangents, strict=True):
        directions = np.zeros((numbers.size or 1, len(circuit.columns)))
        for index, tangent in zip(reading.tape.trainable_params, own, strict=True):
            columns = circuit.columns_of(reading.place(index))
            if columns is not None:
                directions[:, columns] = np.real(tangent).T
        spread = directions[0] if numbers.size is None else directions
        parts = [_along(jacobian[place], spread) for jacobian in jacobians]
        answers.append(parts[0] if len(parts) == 1 else tuple(parts))
    return answers


def _along(jacobian: Any, directions: Floats) -> Any:
    """From (..., P) and (P,), or (B, ..., P) and (B, P), to (...) or (B, ...)."""
    if directions.ndim == 1:
        return jacobian @ directions
    return np.einsum("b...p,bp->b...", jacobian, directions)


def _check_angles(rows: Rows) -> None:
    if rows.trains_states:
        raise QuantumFunctionError(
            "Jacobians with respect to the amplitudes of a state preparation are taken row by row, through "
            "vector-Jacobian products: leave grad_on_execution as it is, and call the device through a QNode, or pass "
            "device_vjp=True to qml.execute."
        )


def _jacobian_entry(circuit: Circuit, own: Any, reading: Reading, index: int, numbers: Numbers) -> Any:
    """The Jacobian (..., *shape) with respect to one of a tape's numbers."""
    columns = circuit.columns_of(reading.place(index))
    if columns is None:
        return np.zeros((*own.shape[:-1], *np.shape(_zero(reading, index, numbers))), dtype=own.dtype)
    slopes = own[..., columns]
    if numbers.lane(columns) is None:
        return slopes
    size = len(slopes)  # sample b depends on entry b alone
    full = np.zeros((*slopes.shape, size), dtype=own.dtype)
    full[np.arange(size), ..., np.arange(size)] = slopes
    return full


def _zero(reading: Reading, index: int, numbers: Numbers) -> Any:
    """The gradient of what is no angle."""
    if index >= len(reading.data):
        return np.zeros(np.shape(reading.tape.get_parameters(trainable_only=False)[index]))
    shape = np.shape(reading.data[index])
    if numbers.by_row and reading.layout is not None and len(shape) == reading.layout.dimensions[index]:
        return np.zeros((numbers.size or 1, *shape))
    return np.zeros(shape)


def _spread(cotangent: Any, size: int | None, shape: tuple[int, ...]) -> Any:
    expected = (size or 1, *shape)
    array = np.asarray(cotangent)
    if array.shape == shape or (array.size == 1 and array.shape != expected):
        return np.broadcast_to(array.reshape((1,) * (len(expected) - array.ndim) + array.shape), expected)
    return array.reshape(expected)
