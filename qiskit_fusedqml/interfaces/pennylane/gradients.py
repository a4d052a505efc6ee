"""Cotangents as the framework gives them, and gradients as it wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .circuits import Circuit, Reading
from .measurements import Measured
from .rows import Numbers, Rows

Floats = NDArray[np.float64]


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
            return shape[0]
    return None


def pulled(rows: Rows, jacobians: Sequence[Any], cotangents: Sequence[Any]) -> tuple[Floats | None, Floats]:
    """Gradients of inputs and weights from Jacobians (R, ..., P) and cotangents (R, ...) of the measurements."""
    total = 0.0
    for jacobian, cotangent in zip(jacobians, cotangents, strict=True):
        count, columns = len(jacobian), jacobian.shape[-1]
        flat = jacobian.reshape(count, -1, columns)
        total = total + np.real(np.einsum("rs,rsp->rp", np.reshape(cotangent, (count, -1)), flat))
    gradients: Floats = np.asarray(total)
    if len(rows.tapes) > 1:
        return None, gradients
    inputs = [column for column in rows.key[0] if column >= 0]
    others = np.setdiff1d(np.arange(gradients.shape[1]), inputs)
    return gradients[:, inputs] if inputs else None, gradients[:, others].sum(axis=0)


def by_tape(
    circuit: Circuit, readings: Sequence[Reading], rows: Rows, gradients: tuple[Floats | None, Floats]
) -> list[tuple[Any, ...]]:
    """Gradients of inputs and weights as the framework wants them: for each tape, for each trainable parameter."""
    dx, dw = gradients
    if len(readings) == 1:
        return [_of_one(circuit, readings[0], rows, dx, dw)]
    answers = []
    for reading, numbers, place in zip(readings, rows.tapes, rows.slices(), strict=True):
        own, varying = dw[place], set(numbers.varying)
        answers.append(
            tuple(
                _zero(reading, position)
                if column is None
                else own[..., column]
                if column in varying or numbers.size is None
                else own[:, column].sum()
                for position, column in _trainable(circuit, reading)
            )
        )
    return answers


def jacobian_by_tape(
    circuit: Circuit, readings: Sequence[Reading], rows: Rows, jacobians: Sequence[Any]
) -> list[Any]:
    """Jacobians (R, ..., P) of the measurements as the framework wants them."""
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


def _of_one(circuit: Circuit, reading: Reading, rows: Rows, dx: Floats | None, dw: Floats) -> tuple[Any, ...]:
    inputs = rows.key[0]
    if not inputs and circuit.is_plain and len(reading.tape.trainable_params) == len(dw):
        return tuple(dw)
    weight_of = {column: k for k, column in enumerate(sorted(set(range(len(circuit.columns))) - set(inputs)))}
    input_of = {column: k for k, column in enumerate(inputs)}
    return tuple(
        _zero(reading, position)
        if column is None
        else dw[weight_of[column]]
        if column in weight_of
        else (dx[:, input_of[column]] if dx is not None else _zero(reading, position))
        for position, column in _trainable(circuit, reading)
    )


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
