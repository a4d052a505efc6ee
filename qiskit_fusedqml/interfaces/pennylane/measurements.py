"""What a circuit's measurements return, and how their derivatives go back to the state.

A measurement is read off one of two things: the values of Pauli sums, which the device takes without any amplitude
leaving it (`SumMoment`), or the amplitudes (everything else). Each has a `value` and, where it is differentiable, a
`pull`: to cotangents of the sums, or to g with ``dL = Re sum conj(g) d amplitudes``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pennylane as qml
from pennylane.exceptions import QuantumFunctionError
from pennylane.measurements import ExpectationMP, ProbabilityMP, StateMP, VarianceMP

from ...arrays import ComplexArray, FloatArray
from ...ir.observables import PauliSum
from .circuits import Circuit, all_qubits
from .observables import pauli_sum, sparse_matrix, squared_sum

Wires: TypeAlias = tuple[Hashable, ...]


@dataclass(frozen=True)
class SumMoment:
    """``<O>``, or the variance ``<O^2> - <O>^2``.

    Attributes:
        index: The number of O among the sums.
        square: The number of O^2, or None for the expectation value.
    """

    index: int
    square: int | None = None

    shape: ClassVar[tuple[int, ...]] = ()
    reads_sums: ClassVar[bool] = True

    def value(self, values: FloatArray) -> FloatArray:
        """From values (R, n_sums) to (R,)."""
        mean = values[:, self.index]
        return mean if self.square is None else values[:, self.square] - mean**2

    def pull(self, cotangents: FloatArray, values: FloatArray, into: FloatArray) -> None:
        """Add the cotangents (R,) to those of the sums (R, n_sums)."""
        if self.square is not None:
            into[:, self.square] += cotangents
            cotangents = -2.0 * values[:, self.index] * cotangents
        into[:, self.index] += cotangents

    def jacobian(self, jacobian: Any, values: Any) -> FloatArray:
        """From the sums' derivatives (R, n_sums, P) to (R, P)."""
        own = np.asarray(jacobian[:, self.index])
        return own if self.square is None else jacobian[:, self.square] - 2.0 * values[:, self.index, None] * own


class OfStates:
    """A measurement that is read off the states.

    Attributes:
        shape: The shape of its result.
        is_complex: Whether the result is.
    """

    shape: tuple[int, ...] = ()
    reads_sums: ClassVar[bool] = False
    is_complex: ClassVar[bool] = False


class Moment(OfStates):
    """The expectation value or variance of an observable that has no Pauli sum."""

    def __init__(self, measurement: Any, wires: Wires) -> None:
        self._matrix = sparse_matrix(measurement.obs, wires)
        self._is_variance = isinstance(measurement, VarianceMP)

    def value(self, amplitudes: ComplexArray) -> FloatArray:
        """From amplitudes (R, 2**n) to (R,)."""
        image = self._image(amplitudes)
        mean = _overlaps(amplitudes, image)
        return _overlaps(image, image) - mean**2 if self._is_variance else mean

    def pull(self, cotangents: FloatArray, amplitudes: ComplexArray) -> ComplexArray:
        """From cotangents (R,) to those (R, 2**n) of the amplitudes."""
        image = self._image(amplitudes)
        if self._is_variance:
            image = self._image(image) - 2.0 * _overlaps(amplitudes, image)[:, None] * image
        return 2.0 * cotangents[:, None] * image

    def _image(self, amplitudes: ComplexArray) -> ComplexArray:
        return np.asarray((self._matrix @ amplitudes.T).T)


class Probabilities(OfStates):
    """Probabilities of the outcomes of wires, or of an observable's eigenvectors."""

    def __init__(self, measurement: Any, wires: Wires) -> None:
        chosen = measurement.wires.labels or wires
        self._axes = [1 + wires.index(wire) for wire in chosen]
        self._rest = tuple(1 + k for k, wire in enumerate(wires) if wire not in set(chosen))
        self._num_wires = len(wires)
        self._gates = [
            (np.asarray(gate.matrix(), dtype=np.complex128), [1 + wires.index(wire) for wire in gate.wires.labels])
            for gate in measurement.diagonalizing_gates()
        ]
        self.shape = (2 ** len(chosen),)

    def value(self, amplitudes: ComplexArray) -> FloatArray:
        """From amplitudes (R, 2**n) to (R, 2**k)."""
        tensor = self._rotated(amplitudes)
        weights = (tensor.real**2 + tensor.imag**2).sum(axis=self._rest, keepdims=True)
        ordered = np.moveaxis(weights, self._axes, range(1, 1 + len(self._axes)))
        return np.asarray(ordered.reshape(len(amplitudes), -1), dtype=np.float64)

    def pull(self, cotangents: FloatArray, amplitudes: ComplexArray) -> ComplexArray:
        """From cotangents (R, 2**k) to those (R, 2**n) of the amplitudes."""
        width = len(self._axes)
        spread = cotangents.reshape(-1, *(2,) * width, *(1,) * (self._num_wires - width))
        spread = np.moveaxis(spread, range(1, 1 + width), self._axes)
        tensor: ComplexArray = 2.0 * spread * self._rotated(amplitudes)
        for matrix, axes in reversed(self._gates):
            tensor = _applied(matrix.conj().T, axes, tensor)
        return tensor.reshape(amplitudes.shape)

    def _rotated(self, amplitudes: ComplexArray) -> ComplexArray:
        tensor = amplitudes.reshape(-1, *(2,) * self._num_wires)
        for matrix, axes in self._gates:
            tensor = _applied(matrix, axes, tensor)
        return tensor


class FinalState(OfStates):
    """The amplitudes themselves, or those of some wires, all others being in ``|0>``."""

    is_complex = True

    def __init__(self, measurement: Any, wires: Wires) -> None:
        own = measurement.wires.labels or wires
        self._rest = tuple(0 if wire not in set(own) else slice(None) for wire in wires)
        self._cube = (2,) * len(wires)
        self.shape = (2 ** len(own),)

    def value(self, amplitudes: ComplexArray) -> ComplexArray:
        """The amplitudes (R, 2**k)."""
        return amplitudes.reshape(-1, *self._cube)[:, *self._rest].reshape(len(amplitudes), -1)

    def pull(self, cotangents: ComplexArray, amplitudes: ComplexArray) -> ComplexArray:
        """The framework's cotangents c mean ``dL = Re sum c d amplitudes``."""
        result = np.zeros((len(amplitudes), *self._cube), dtype=np.complex128)
        place = result[:, *self._rest]
        place[...] = np.conj(cotangents).reshape(place.shape)
        return result.reshape(amplitudes.shape)


class Processed(OfStates):
    """Anything that the framework reads off a state by itself."""

    def __init__(self, measurement: Any, wires: Wires) -> None:
        self._measurement, self._wires = measurement, wires

    def value(self, states: ComplexArray) -> Any:
        """From amplitudes (R, 2**n) or density matrices (R, 2**n, 2**n) to (R, ...)."""
        return np.asarray(read_by_framework(self._measurement, states, self._wires, mixed=states.ndim == 3))

    def pull(self, _cotangents: Any, _states: ComplexArray) -> ComplexArray:
        """There is none.

        Raises:
            QuantumFunctionError: Always.
        """
        raise QuantumFunctionError(
            f"The gradient of {self._measurement} is taken by the framework from the gradient of the state: call the "
            "device through a QNode or qml.execute, whose preprocessing does so."
        )


def read_by_framework(measurement: Any, states: Any, wires: Sequence[Hashable], *, mixed: bool) -> Any:
    """What the framework reads off amplitudes or, if mixed, density matrices of wires in order."""
    # some measurements take their wires for the numbers of axes
    own = measurement.map_wires({wire: k for k, wire in enumerate(wires)})
    process = own.process_density_matrix if mixed else own.process_state
    return process(states, qml.wires.Wires(range(len(wires))))


def is_differentiable(measurement: Any) -> bool:
    """Whether the device differentiates a measurement; else the framework does, from the state."""
    if isinstance(measurement, ExpectationMP | VarianceMP):
        return measurement.obs is not None
    if isinstance(measurement, ProbabilityMP):
        return measurement.obs is not None or (measurement.mv is None and measurement.eigvals() is None)
    return type(measurement) is StateMP


class Measured:
    """All measurements of a circuit on wires in order.

    Attributes:
        circuit: The circuit on the wires that are acted on or whose amplitudes are needed.
        sums: The Pauli sums whose values are needed.
        parts: The measurements in order.
        reads_states: Whether states are needed, of a `Measured` itself as amplitudes.
    """

    def __init__(self, operations: Sequence[Any], measurements: Sequence[Any], order: Wires) -> None:
        self.sums: list[PauliSum] = []
        qubits = all_qubits(order)
        of_sums = [self._of_sums(measurement, qubits) for measurement in measurements]
        read: set[Hashable] = set()
        for measurement, part in zip(measurements, of_sums, strict=True):
            if part is None:
                read.update(measurement.wires.labels or order)
        self.circuit = self._circuit(operations, order, read)
        self.sums = [self.circuit.active.observable(each) for each in self.sums]
        pairs = zip(measurements, of_sums, strict=True)
        wires = self._read_wires(read)
        self.parts = [part or self._of_states(measurement, wires) for measurement, part in pairs]
        self.reads_states = not all(part.reads_sums for part in self.parts)

    def _circuit(self, operations: Sequence[Any], order: Wires, read: set[Hashable]) -> Circuit:
        return Circuit(operations, order, read)

    def _read_wires(self, _read: set[Hashable]) -> Wires:
        """The wires of the states that are read, in order."""
        return self.circuit.wires

    def results(self, values: Any, states: Any) -> list[Any]:
        """Every measurement's result, (R, ...) each, from values (R, n_sums) and states (R, ...)."""
        return [part.value(values if part.reads_sums else states) for part in self.parts]

    def pull(
        self, cotangents: Sequence[Any], values: Any, states: Any
    ) -> tuple[FloatArray | None, ComplexArray | None]:
        """From cotangents (R, ...) of every measurement to those of sums and states, None for what is not read."""
        of_sums: Any = None if values is None else np.zeros(values.shape)
        of_states: ComplexArray | None = None
        for part, own in zip(self.parts, cotangents, strict=True):
            if part.reads_sums:
                part.pull(np.real(own), values, of_sums)
            else:
                bra = part.pull(own, states)
                of_states = bra if of_states is None else of_states + bra
        return of_sums, of_states

    def _of_sums(self, measurement: Any, qubits: Mapping[Hashable, int]) -> Any:
        """A measurement that is read off Pauli sums, which are added to those needed; None for another."""
        if not isinstance(measurement, ExpectationMP | VarianceMP) or measurement.obs is None:
            return None
        found = self._sums_of(measurement, qubits)
        if found[-1] is None:
            return None
        first = len(self.sums)
        self.sums += found
        return SumMoment(*range(first, len(self.sums)))

    def _sums_of(self, measurement: Any, qubits: Mapping[Hashable, int]) -> tuple[Any, ...]:
        """An observable and, for its variance, its square, the last one None if they cannot be Pauli sums."""
        found = pauli_sum(measurement.obs, qubits)
        if found is None or isinstance(measurement, ExpectationMP):
            return (found,)
        return found, squared_sum(found)

    def _of_states(self, measurement: Any, wires: Wires) -> Any:
        """A measurement that is read off the states of wires."""
        if not is_differentiable(measurement):
            return Processed(measurement, wires)
        if isinstance(measurement, ProbabilityMP):
            return Probabilities(measurement, wires)
        return FinalState(measurement, wires) if isinstance(measurement, StateMP) else Moment(measurement, wires)


def _overlaps(left: ComplexArray, right: ComplexArray) -> FloatArray:
    """Real parts of ``<left|right>`` by row."""
    return np.asarray(np.einsum("ri,ri->r", left.conj(), right).real, dtype=np.float64)


def _applied(matrix: ComplexArray, axes: Sequence[int], tensor: ComplexArray) -> ComplexArray:
    """A matrix on some axes of a tensor, the first one its highest bit."""
    width = len(axes)
    gate = matrix.reshape((2,) * (2 * width))
    result = np.tensordot(gate, tensor, axes=(range(width, 2 * width), axes))
    return np.moveaxis(result, range(width), axes)
