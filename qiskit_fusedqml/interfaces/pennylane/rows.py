"""The numbers of tapes of one structure as rows of one batch, and results as the framework wants them.

Where there is one tape, its broadcast parameters are the engine's inputs, and the others are weights shared by all
samples. Where there are several, every sample of every tape is a row with weights of its own; columns that are equal in
all rows are found by the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from scipy.sparse import issparse

from .circuits import Circuit, Reading

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """The numbers of one tape.

    Attributes:
        values: (n_columns,), 0 where samples differ.
        varying: The columns in which samples differ, ascending.
        inputs: Their values (B, n_varying), or None for none.
        states: Amplitudes (B, 2**n) or (1, 2**n) to start from, or None.
        size: The batch size B, or None for a tape without broadcasting.
        by_row: Whether gradients are wanted sample by sample, as `jax.vmap` does, also of what samples share.
    """

    values: Floats
    varying: tuple[int, ...]
    inputs: Floats | None
    states: Complexes | None
    size: int | None
    by_row: bool

    def lane(self, columns: int | NDArray[np.intp]) -> Any:
        """Where columns, one or several of a kind, are among those in which samples differ; None if they are not."""
        if not self.varying:
            return None
        found = np.searchsorted(self.varying, columns)
        first, column = (int(np.ravel(part)[0]) for part in (found, columns))
        return found if first < len(self.varying) and self.varying[first] == column else None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The numbers of tapes of one structure.

    Attributes:
        key: What the engine depends on: columns that are inputs, columns that are trained, whether states are given.
        inputs: (R, n_in) or None.
        weights: (n_w,), or (R, n_w) for several tapes.
        states: Amplitudes (R, 2**n) or (1, 2**n) to start from, or None.
        tapes: The tapes' own numbers.
        trains_states: Whether the gradient of the states is wanted.
    """

    key: tuple[tuple[int, ...], tuple[int, ...], bool]
    inputs: Floats | None
    weights: Floats
    states: Complexes | None
    tapes: tuple[Numbers, ...]
    trains_states: bool = False

    @property
    def by_row(self) -> bool:
        """Whether every row has weights of its own."""
        return self.weights.ndim == 2

    @property
    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for equal numbers."""
        arrays = (self.inputs, self.weights, self.states)
        sizes = tuple(numbers.size for numbers in self.tapes)
        return self.key, self.trains_states, sizes, *(None if array is None else array.tobytes() for array in arrays)

    def slices(self) -> list[int | slice]:
        """Where in the batch each tape is; a single row as a number."""
        places: list[int | slice] = []
        start = 0
        for numbers in self.tapes:
            places.append(start if numbers.size is None else slice(start, start + numbers.size))
            start += numbers.size or 1
        return places


def gather(circuit: Circuit, readings: Sequence[Reading], *, gradients: bool = False) -> Rows:
    """The numbers of tapes of one structure.

    Args:
        circuit: Their circuit.
        readings: The tapes.
        gradients: Whether gradients of the trainable parameters are wanted.
    """
    trained: tuple[int, ...] = ()
    trains_states = False
    if gradients:
        places = frozenset(reading.place(index) for reading in readings for index in reading.tape.trainable_params)
        trained = circuit.trained(places)
        trains_states = circuit.has_amplitudes and 0 in places and bool(readings[0].operations[0].data)
    tapes = tuple(_numbers(circuit, reading) for reading in readings)
    key_rest = (trained, circuit.has_amplitudes)
    if len(tapes) > 1 or tapes[0].by_row:
        weights = np.concatenate([_matrix(numbers) for numbers in tapes])
        states = None
        if circuit.has_amplitudes:
            states = np.concatenate([np.broadcast_to(t.states, (t.size or 1, t.states.shape[1])) for t in tapes])  # type: ignore[union-attr,arg-type]
        return Rows(((), *key_rest), None, weights, states, tapes, trains_states)
    (numbers,) = tapes
    varying, inputs, weights = numbers.varying, numbers.inputs, numbers.values
    if varying:
        weights = weights[circuit.rest(varying)]
    elif numbers.size is not None:  # only the states differ: a column that no angle depends on
        varying, inputs = (-1,), np.zeros((numbers.size, 1))
    return Rows((varying, *key_rest), inputs, weights, numbers.states, tapes, trains_states)


def split(rows: Rows, results: Sequence[Any]) -> list[Any]:
    """Results (R, ...) of every measurement, tape by tape: an array, or a tuple of several measurements' arrays."""
    answers = []
    for place in rows.slices():
        own = tuple(result[place] for result in results)
        answers.append(own[0] if len(own) == 1 else own)
    return answers


def _numbers(circuit: Circuit, reading: Reading) -> Numbers:
    layout = reading.layout
    by_row = layout is not None and any(
        np.ndim(own) > n for own, n in zip(reading.data, layout.dimensions, strict=True)
    )
    values, lanes = _in_order(circuit, reading.data) if layout is None else _by_layout(circuit, reading)
    varying, inputs = _side_by_side(lanes)
    size = None if inputs is None else len(inputs)
    states = None
    if circuit.has_amplitudes:
        states, is_batched = _states(circuit, reading)
        size = len(states) if size is None and is_batched else size
    return Numbers(values, varying, inputs, states, size, by_row)


Lanes = list[tuple[Sequence[int] | NDArray[np.intp], Any]]
"""Columns in which samples differ, with their values (n_columns, B)."""


def _in_order(circuit: Circuit, data: Sequence[Any]) -> tuple[Floats, Lanes]:
    """The columns' values from parameters in order."""
    if circuit.is_plain:
        columns = data[: len(circuit.columns)]
    else:
        columns = [_value(data[column.position], column.bit) for column in circuit.columns]
    varying = [k for k, value in enumerate(columns) if getattr(value, "ndim", 0)]
    lanes: Lanes = []
    if varying:
        columns = list(columns)
        lanes = [([k], np.real(columns[k])[None]) for k in varying]
        for k in varying:
            columns[k] = 0.0
    return np.asarray(np.array(columns).real, dtype=np.float64), lanes


def _by_layout(circuit: Circuit, reading: Reading) -> tuple[Floats, Lanes]:
    """The columns' values from parameters of which some are stacked."""
    assert reading.layout is not None
    values = np.zeros(len(circuit.columns))
    lanes: Lanes = []
    for place, number in zip(reading.layout.positions, reading.data, strict=True):
        if not isinstance(place, int):
            columns = circuit.columns_together(place)
            if np.ndim(number) > 1:
                lanes.append((columns, np.real(number)))
            else:
                values[columns] = np.real(number)
            continue
        for k in circuit.columns_at(place):
            value = np.asarray(_value(number, circuit.columns[k].bit))
            if value.ndim:
                lanes.append(([k], np.real(value)[None]))
            else:
                values[k] = value.real
    return values, lanes


def _value(number: Any, bit: int) -> Any:
    return number if bit < 0 else np.pi * np.asarray(number, dtype=np.float64)[..., bit]


def _side_by_side(lanes: Lanes) -> tuple[tuple[int, ...], Floats | None]:
    """All columns in which samples differ, ascending, and their values (B, n_columns)."""
    if not lanes:
        return (), None
    sizes = sorted({np.shape(values)[1] for _, values in lanes})
    if len(sizes) > 1:
        raise ValueError(f"Broadcast parameters have {sizes[0]} and {sizes[1]} entries; equal numbers are expected.")
    columns = np.concatenate([own for own, _ in lanes])
    order = np.argsort(columns)
    inputs = np.concatenate([values for _, values in lanes])[order].T
    return tuple(columns[order].tolist()), np.ascontiguousarray(inputs, dtype=np.float64)


def _states(circuit: Circuit, reading: Reading) -> tuple[Complexes, bool]:
    """Amplitudes (B, 2**n) or (1, 2**n), and whether they differ from sample to sample."""
    preparation = reading.operations[0]
    if not preparation.data:
        vector = preparation.state_vector(wire_order=qml.wires.Wires(circuit.wires))
        return np.asarray(vector, dtype=np.complex128).reshape(1, -1), False
    given = reading.data[0]
    amplitudes = given.toarray().reshape(-1) if issparse(given) else np.asarray(given)
    rows = np.atleast_2d(amplitudes)
    states = np.zeros((len(rows), 2**circuit.num_qubits), dtype=np.complex128)
    states[:, circuit.places(preparation.wires.labels)] = rows
    return states, amplitudes.ndim > 1


def _matrix(numbers: Numbers) -> Floats:
    """The columns' values (B, n_columns), or (1, n_columns) without broadcasting."""
    result = np.tile(numbers.values, (numbers.size or 1, 1))
    if numbers.inputs is not None:
        result[:, numbers.varying] = numbers.inputs
    return result
