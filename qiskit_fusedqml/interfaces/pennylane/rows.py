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
        columns: The columns' values: numbers, or arrays (B,).
        states: Amplitudes (B, 2**n) or (1, 2**n) to start from, or None.
        size: The batch size B, or None for a tape without broadcasting.
        varying: The columns that hold arrays.
    """

    columns: Sequence[Any]
    states: Complexes | None
    size: int | None
    varying: tuple[int, ...]


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
        positions = set().union(*(reading.tape.trainable_params for reading in readings))
        trained = circuit.trained(positions)
        trains_states = circuit.has_amplitudes and 0 in positions and bool(readings[0].operations[0].data)
    tapes = tuple(_numbers(circuit, reading) for reading in readings)
    key_rest = (trained, circuit.has_amplitudes)
    if len(tapes) > 1:
        weights = np.concatenate([_matrix(numbers) for numbers in tapes])
        states = None
        if circuit.has_amplitudes:
            states = np.concatenate([np.broadcast_to(t.states, (t.size or 1, t.states.shape[1])) for t in tapes])  # type: ignore[union-attr,arg-type]
        return Rows(((), *key_rest), None, weights, states, tapes, trains_states)
    (numbers,) = tapes
    varying, values = numbers.varying, numbers.columns
    if not varying and numbers.size is not None:  # only the states differ: a column that no angle depends on
        return Rows(
            ((-1,), *key_rest), np.zeros((numbers.size, 1)), _vector(values), numbers.states, tapes, trains_states
        )
    inputs = np.stack([np.real(values[k]) for k in varying], axis=1) if varying else None
    if varying:
        values = [value for k, value in enumerate(values) if k not in set(varying)]
    return Rows((varying, *key_rest), inputs, _vector(values), numbers.states, tapes, trains_states)


def split(rows: Rows, results: Sequence[Any]) -> list[Any]:
    """Results (R, ...) of every measurement, tape by tape: an array, or a tuple of several measurements' arrays."""
    answers = []
    for place in rows.slices():
        own = tuple(result[place] for result in results)
        answers.append(own[0] if len(own) == 1 else own)
    return answers


def _numbers(circuit: Circuit, reading: Reading) -> Numbers:
    data = reading.data
    if circuit.is_plain:
        columns = data[: len(circuit.columns)]
    else:
        columns = [
            data[c.position] if c.bit < 0 else np.pi * np.asarray(data[c.position], dtype=np.float64)[..., c.bit]
            for c in circuit.columns
        ]
    varying = tuple([k for k, value in enumerate(columns) if getattr(value, "ndim", 0)])
    size = len(columns[varying[0]]) if varying else None
    for k in varying:
        if len(columns[k]) != size:
            raise ValueError(
                f"Broadcast parameters have {size} and {len(columns[k])} entries; equal numbers are expected."
            )
    if not circuit.has_amplitudes:
        return Numbers(columns, None, size, varying)
    states, is_batched = _states(circuit, reading)
    return Numbers(columns, states, len(states) if size is None and is_batched else size, varying)


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
    count = numbers.size or 1
    if not numbers.varying:
        return np.broadcast_to(_vector(numbers.columns), (count, len(numbers.columns)))
    result = np.empty((count, len(numbers.columns)))
    for k, value in enumerate(numbers.columns):
        result[:, k] = np.real(value)
    return result


def _vector(values: Sequence[Any]) -> Floats:
    array = np.array(values)
    return np.asarray(array.real, dtype=np.float64)
