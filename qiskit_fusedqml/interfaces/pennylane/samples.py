"""The numbers of tapes of one structure as one batch of samples, and results as the framework wants them.

Where there is one tape, its broadcast parameters are the engine's inputs, and the others are weights shared by all
samples. Where there are several, every sample of every tape has weights of its own; columns that are equal in all of
them are found by the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from scipy.sparse import issparse

from ...arrays import FloatArray, IntArray, real_array
from ...devices.pauli_vector.states import vectors_of_density
from .circuits import Circuit
from .tapes import ParsedTape


@dataclass(frozen=True, slots=True, eq=False)
class TapeParameters:
    """The numbers of one tape.

    Attributes:
        shared: (n_columns,) their values, 0 where samples differ.
        batched: The columns in which samples differ, ascending.
        inputs: Their values (B, n_batched), or None for none.
        states: Amplitudes (B, 2**n) or (1, 2**n) to start from, or a Pauli vector (1, 4**n), or None.
        size: The batch size B, or None for a tape without broadcasting.
        per_sample: Whether gradients are wanted sample by sample, as `jax.vmap` does, also of what samples share.
    """

    shared: FloatArray
    batched: tuple[int, ...]
    inputs: FloatArray | None
    states: NDArray[np.complex128] | None
    size: int | None
    per_sample: bool

    def is_batched(self, columns: int | IntArray) -> bool:
        """Whether samples differ in columns, one or several of a kind."""
        return bool(self.batched) and int(np.ravel(columns)[0]) in self.batched

    def columns(self) -> FloatArray:
        """The columns' values (B, n_columns), or (1, n_columns) without broadcasting."""
        result = np.tile(self.shared, (self.size or 1, 1))
        if self.inputs is not None:
            result[:, self.batched] = self.inputs
        return result


class Pattern(NamedTuple):
    """What the engine depends on beside the circuit.

    Attributes:
        batched: The columns that are inputs, ascending.
        trained: The columns whose gradients are wanted, ascending.
    """

    batched: tuple[int, ...]
    trained: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SampleBatch:
    """The numbers of tapes of one structure.

    Attributes:
        circuit: Their circuit.
        pattern: Which columns are what.
        inputs: (R, n_in) or None.
        weights: (n_w,), or (R, n_w) for several tapes.
        states: Amplitudes (R, 2**n) or (1, 2**n) to start from, or None.
        tapes: The tapes with their own numbers, and where in the batch each is; a single sample as a number.
        trains_states: Whether the gradient of the states is wanted.
    """

    circuit: Circuit
    pattern: Pattern
    inputs: FloatArray | None
    weights: FloatArray
    states: NDArray[np.complex128] | None
    tapes: list[tuple[ParsedTape, TapeParameters, int | slice]]
    trains_states: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the engine's functions."""
        return {"x": self.inputs, "w": self.weights, "initial_states": self.states}

    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for equal numbers."""
        arrays = (self.inputs, self.weights, self.states)
        places = tuple(str(place) for _, _, place in self.tapes)
        return (
            self.pattern,
            self.trains_states,
            places,
            *(None if array is None else array.tobytes() for array in arrays),
        )


def gather(circuit: Circuit, tapes: Sequence[ParsedTape], *, gradients: bool = False) -> SampleBatch:
    """The numbers of tapes of one structure, with or without gradients of the trainable parameters."""
    trained: tuple[int, ...] = ()
    trains_states = False
    if gradients:
        places = frozenset(tape.place(index) for tape in tapes for index in tape.tape.trainable_params)
        trained = circuit.trained(places)
        trains_states = circuit.has_amplitudes and 0 in places and bool(tapes[0].layout.operations[0].data)
    own = [_parameters(circuit, tape) for tape in tapes]
    batched: tuple[int, ...] = ()
    inputs, weights, states = None, own[0].shared, own[0].states
    if len(own) > 1 or own[0].per_sample or not circuit.of_channels.isdisjoint(own[0].batched):
        weights = np.concatenate([numbers.columns() for numbers in own])
        if circuit.has_amplitudes:
            states = np.concatenate([np.broadcast_to(n.states, (n.size or 1, n.states.shape[1])) for n in own])  # type: ignore[union-attr,arg-type]
    elif own[0].batched:
        batched, inputs = own[0].batched, own[0].inputs
        weights = np.delete(weights, batched)
    placed = list(zip(tapes, own, _places(own), strict=True))
    return SampleBatch(circuit, Pattern(batched, trained), inputs, weights, states, placed, trains_states)


def unwrapped(parts: Sequence[Any]) -> Any:
    """A tuple as the framework wants it: one part by itself."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def by_tape(batch: SampleBatch, results: Sequence[Any]) -> list[Any]:
    """Results (R, ...) of every measurement, tape by tape: an array, or a tuple of several measurements' arrays."""
    return [unwrapped([result[place] for result in results]) for _, _, place in batch.tapes]


def _places(own: Sequence[TapeParameters]) -> list[int | slice]:
    starts = np.cumsum([0, *(numbers.size or 1 for numbers in own)]).tolist()
    return [
        start if numbers.size is None else slice(start, stop)
        for numbers, start, stop in zip(own, starts, starts[1:], strict=False)
    ]


def _parameters(circuit: Circuit, tape: ParsedTape) -> TapeParameters:
    shared = np.zeros(circuit.num_columns)
    batched: list[tuple[IntArray, Any]] = []
    for columns, values in _columns(circuit, tape):
        if values.ndim > 1:
            batched.append((columns, values))
        else:
            shared[columns] = values
    varying, inputs = _side_by_side(batched)
    size = None if inputs is None else len(inputs)
    states = None
    if circuit.has_amplitudes:
        states, is_batched = _states(circuit, tape)
        size = len(states) if size is None and is_batched else size
    return TapeParameters(shared, varying, inputs, states, size, tape.is_mapped)


def _columns(circuit: Circuit, tape: ParsedTape) -> list[tuple[IntArray, Any]]:
    """Columns and their values, (k,), or (k, B) where samples differ."""
    result = []
    single: dict[int, Any] = {}
    if circuit.num_bits:
        result.append((np.arange(circuit.num_bits), np.pi * np.asarray(tape.prepared, dtype=np.float64).T))
    for place, number in zip(tape.layout.positions, tape.data, strict=True):
        columns: Any = circuit.columns_of(place)
        if columns is None:
            continue
        if not isinstance(place, int):
            result.append((columns, _reals(number)))
        elif getattr(number, "ndim", 0):
            result.append((np.array([columns]), _reals(number)[None]))
        else:
            single[columns] = number
    if single:
        result.append((np.array(list(single)), _reals(list(single.values()))))
    return result


def _reals(values: Any) -> FloatArray:
    """Parameters of gates as float64; frameworks may give them as complex numbers.

    Raises:
        InvalidInputError: If they are no real numbers.
    """
    array: Any = np.asarray(values)
    if array.dtype.kind == "c" and not array.imag.any():
        array = array.real
    return real_array(array, "Parameters of gates", copy=False)


def _side_by_side(batched: Sequence[tuple[IntArray, Any]]) -> tuple[tuple[int, ...], FloatArray | None]:
    """All columns in which samples differ, ascending, and their values (B, n_columns)."""
    if not batched:
        return (), None
    sizes = sorted({values.shape[1] for _, values in batched})
    if len(sizes) > 1:
        raise ValueError(f"Broadcast parameters have {sizes[0]} and {sizes[1]} entries; equal numbers are expected.")
    columns = np.concatenate([own for own, _ in batched])
    order = np.argsort(columns)
    inputs = np.concatenate([values for _, values in batched])[order].T
    return tuple(columns[order].tolist()), np.ascontiguousarray(inputs, dtype=np.float64)


def _states(circuit: Circuit, tape: ParsedTape) -> tuple[Any, bool]:
    """Amplitudes (B, 2**n) or (1, 2**n), and whether they differ from sample to sample."""
    preparation = tape.layout.operations[0]
    if isinstance(preparation, qml.QubitDensityMatrix):
        return _pauli_vector(circuit, preparation, np.asarray(tape.prepared, dtype=np.complex128)), False
    if not preparation.data:
        vector = preparation.state_vector(wire_order=qml.wires.Wires(circuit.wires))
        return np.asarray(vector, dtype=np.complex128).reshape(1, -1), False
    given = tape.prepared
    amplitudes = given.toarray().reshape(-1) if issparse(given) else np.asarray(given)
    rows = np.atleast_2d(amplitudes)
    if not (np.isfinite(rows).all() and rows.any(axis=-1).all()):
        raise DeviceError(
            "The amplitudes of a state preparation are all 0, or not finite. Where the framework normalised them, the "
            "square of the norm was no number of the machine: divide the features by the largest one first."
        )
    states = np.zeros((len(rows), 2**circuit.num_qubits), dtype=np.complex128)
    states[:, circuit.amplitudes_of(preparation.wires.labels)] = rows
    return states, amplitudes.ndim > 1


def _pauli_vector(circuit: Circuit, preparation: Any, density: NDArray[np.complex128]) -> FloatArray:
    """The Pauli vector (1, 4**n) of a density matrix of some wires, with all others in ``|0>``."""
    size = 2 ** len(preparation.wires)
    if density.shape != (size, size):
        raise DeviceError(f"The density matrix has shape {density.shape}; ({size}, {size}) is expected.")
    if not (np.allclose(density, density.conj().T, atol=1e-8) and abs(np.trace(density) - 1.0) <= 1e-8):
        raise DeviceError("The density matrix to prepare must be Hermitian and have trace 1.")
    full = np.zeros((1, 2**circuit.num_qubits, 2**circuit.num_qubits), dtype=np.complex128)
    places = circuit.amplitudes_of(preparation.wires.labels)
    full[0, places[:, None], places] = density
    return vectors_of_density(full)
