"""Cotangents as the framework gives them, and gradients as it wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import QuantumFunctionError

from ...arrays import ComplexArray, FloatArray
from .circuits import Circuit
from .measurements import Measured
from .samples import SampleBatch, TapeParameters, unwrapped
from .tapes import ParsedTape


class Gradients(NamedTuple):
    """Gradients of a function of the results with respect to the columns.

    Attributes:
        shared: (n_columns,) summed over all samples, or None.
        per_sample: (R, n_columns), or None where no sample's own is wanted. Without ``shared`` all columns count, else
            only those in which samples differ.
        states: (R, 2**n) g with ``dL = Re sum conj(g) d states``, or None.
    """

    shared: FloatArray | None
    per_sample: FloatArray | None
    states: ComplexArray | None = None


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


def stacked_cotangents(measured: Measured, batch: SampleBatch, cotangents: Sequence[Any]) -> list[list[Any]] | None:
    """Cotangents of tapes that are stacked along a leading axis, one after the other; None without such an axis."""
    parts = _by_part(measured, cotangents)
    is_batched = batch.tapes[0][1].size is not None
    for k, part in enumerate(measured.parts):
        shape = np.shape(parts[0][k])
        if len(shape) > len(part.shape) + is_batched:
            return [[unwrapped([own[j] for own in tape]) for tape in parts] for j in range(shape[0])]
    return None


def cotangent_arrays(measured: Measured, batch: SampleBatch, cotangents: Sequence[Any]) -> list[Any]:
    """Cotangents of tapes as arrays (R, ...), one for each measurement."""
    tapes = _by_part(measured, cotangents)
    sizes = [numbers.size or 1 for _, numbers, _ in batch.tapes]
    result = []
    for k, part in enumerate(measured.parts):
        own = [_spread(tape[k], (size, *part.shape), part.shape) for tape, size in zip(tapes, sizes, strict=True)]
        result.append(own[0] if len(own) == 1 else np.concatenate(own))
    return result


def _by_part(measured: Measured, cotangents: Sequence[Any]) -> Sequence[Sequence[Any]]:
    return [(tape,) for tape in cotangents] if len(measured.parts) == 1 else cotangents


def _spread(cotangent: Any, expected: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    array = np.asarray(cotangent)
    if array.shape == shape or (array.size == 1 and array.shape != expected):
        return np.broadcast_to(array.reshape((1,) * (len(expected) - array.ndim) + array.shape), expected)
    return array.reshape(expected)


def contracted(jacobians: Sequence[Any], cotangents: Sequence[Any]) -> Gradients:
    """Gradients from Jacobians (R, ..., P) and cotangents (R, ...) of the measurements."""
    total = 0.0
    for jacobian, cotangent in zip(jacobians, cotangents, strict=True):
        flat = jacobian.reshape(len(jacobian), -1, jacobian.shape[-1])
        total = total + np.real(np.einsum("rs,rsp->rp", np.reshape(cotangent, flat.shape[:2]), flat))
    return Gradients(None, np.asarray(total))


def gradients_by_tape(batch: SampleBatch, gradients: Gradients) -> list[Entries]:
    """Gradients as the framework wants them: for each tape, for each trainable parameter."""
    answers = []
    for tape, numbers, place in batch.tapes:
        own = None if gradients.per_sample is None else gradients.per_sample[place]
        shared = gradients.shared
        if shared is None:
            assert own is not None
            shared = own if own.ndim == 1 else own.sum(axis=0)
        states = None if gradients.states is None else np.atleast_2d(gradients.states[place])
        found = [
            _entry(batch.circuit, tape, numbers, Gradients(shared, own, states), k) for k in tape.tape.trainable_params
        ]
        answers.append(Entries(found))
    return answers


def _entry(circuit: Circuit, tape: ParsedTape, numbers: TapeParameters, own: Gradients, index: int) -> Any:
    """The gradient of one of a tape's numbers, of the number's shape."""
    place = tape.place(index)
    columns = circuit.columns_of(place)
    if columns is None:
        if own.states is None or place != 0:
            return np.zeros(_shape(tape, numbers, index))
        return _of_states(circuit, tape, own.states, per_sample=numbers.per_sample)
    assert own.shared is not None
    if numbers.per_sample:
        return own.per_sample[:, columns]  # type: ignore[index]
    return own.per_sample[:, columns].T if numbers.is_batched(columns) else own.shared[columns]  # type: ignore[index]


def _of_states(circuit: Circuit, tape: ParsedTape, cotangents: Any, *, per_sample: bool) -> Any:
    """The gradient of a preparation's amplitudes, which are some of those of the whole state."""
    own = cotangents[:, circuit.amplitudes_of(tape.layout.operations[0].wires.labels)]
    own = own.conj() if np.iscomplexobj(tape.prepared) else own.real
    return own if per_sample or np.ndim(tape.prepared) > 1 else own.sum(axis=0)


def _shape(tape: ParsedTape, numbers: TapeParameters, index: int) -> tuple[int, ...]:
    """The shape of the gradient of what is no angle."""
    if index >= len(tape.data):
        return tuple(np.shape(tape.tape.get_parameters(trainable_only=False)[index]))
    shape = tuple(np.shape(tape.data[index]))
    if numbers.per_sample and tape.layout.dimensions is not None and len(shape) == tape.layout.dimensions[index]:
        return numbers.size or 1, *shape
    return shape


def jacobians_by_tape(batch: SampleBatch, jacobians: Sequence[Any]) -> list[list[list[Any]]]:
    """Jacobians (R, ..., P) of the measurements: for each tape, measurement and trainable parameter (..., *shape).

    Raises:
        QuantumFunctionError: If amplitudes of the initial state are trainable.
    """
    if batch.trains_states:
        raise QuantumFunctionError(
            "Jacobians with respect to the amplitudes of a state preparation are taken row by row, through "
            "vector-Jacobian products: leave grad_on_execution as it is, and call the device through a QNode, or pass "
            "device_vjp=True to qml.execute."
        )
    return [
        [
            [_jacobian_entry(batch.circuit, own[place], tape, numbers, k) for k in tape.tape.trainable_params]
            for own in jacobians
        ]
        for tape, numbers, place in batch.tapes
    ]


def _jacobian_entry(circuit: Circuit, own: Any, tape: ParsedTape, numbers: TapeParameters, index: int) -> Any:
    """The Jacobian (..., *shape) with respect to one of a tape's numbers."""
    columns = circuit.columns_of(tape.place(index))
    if columns is None:
        return np.zeros((*own.shape[:-1], *_shape(tape, numbers, index)), dtype=own.dtype)
    slopes = own[..., columns]
    if not numbers.is_batched(columns):
        return slopes
    size = len(slopes)  # sample b depends on entry b alone
    full = np.zeros((*slopes.shape, size), dtype=own.dtype)
    full[np.arange(size), ..., np.arange(size)] = slopes
    return full


def along(results: Any, jacobians: Sequence[Sequence[Any]], tangents: Sequence[Any]) -> Any:
    """How the results of a tape change along tangents, by its Jacobians as of `jacobians_by_tape`."""
    directions = [np.real(tangent) for tangent in tangents]
    parts = []
    for result, entries in zip(results if len(jacobians) > 1 else (results,), jacobians, strict=True):
        changes = (np.tensordot(entry, own, np.ndim(own)) for entry, own in zip(entries, directions, strict=True))
        parts.append(sum(changes, start=np.zeros_like(result)[()]))
    return unwrapped(parts)
