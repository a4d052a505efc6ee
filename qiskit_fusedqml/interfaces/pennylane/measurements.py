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


class Moment:
    """The expectation value or variance of an observable that has no Pauli sum."""

    shape: tuple[int, ...] = ()

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


class Probabilities:
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


class FinalState:
    """The amplitudes themselves, or those of some wires, all others being in ``|0>``."""

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


class Processed:
    """Anything that the framework reads off a state by itself."""

    shape: tuple[int, ...] = ()

    def __init__(self, measurement: Any, wires: Wires) -> None:
        self._measurement = measurement
        self._wires = qml.wires.Wires(wires)

    def value(self, amplitudes: ComplexArray) -> Any:
        """From amplitudes (R, 2**n) to (R, ...)."""
        return np.asarray(self._measurement.process_state(amplitudes, self._wires))

    def pull(self, _cotangents: Any, _amplitudes: ComplexArray) -> ComplexArray:
        """There is none.

        Raises:
            QuantumFunctionError: Always.
        """
        raise QuantumFunctionError(
            f"The gradient of {self._measurement} is taken by the framework from the gradient of the state: call the "
            "device through a QNode or qml.execute, whose preprocessing does so."
        )


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
        reads_amplitudes: Whether amplitudes are needed.
    """

    def __init__(self, operations: Sequence[Any], measurements: Sequence[Any], order: Wires) -> None:
        self.sums: list[PauliSum] = []
        qubits = all_qubits(order)
        moments = [self._sum_moment(measurement, qubits) for measurement in measurements]
        read: set[Hashable] = set()
        for measurement, moment in zip(measurements, moments, strict=True):
            if moment is None:
                read.update(measurement.wires.labels or order)
        self.circuit = Circuit(operations, order, read)
        self.sums = [self.circuit.active.observable(each) for each in self.sums]
        pairs = zip(measurements, moments, strict=True)
        self.parts = [moment or _of_amplitudes(measurement, self.circuit.wires) for measurement, moment in pairs]
        self.reads_amplitudes = not all(isinstance(part, SumMoment) for part in self.parts)

    def results(self, values: Any, amplitudes: Any) -> list[Any]:
        """Every measurement's result, (R, ...) each, from values (R, n_sums) and amplitudes (R, 2**n)."""
        return [part.value(values if isinstance(part, SumMoment) else amplitudes) for part in self.parts]

    def pull(
        self, cotangents: Sequence[Any], values: Any, amplitudes: Any
    ) -> tuple[FloatArray | None, ComplexArray | None]:
        """From cotangents (R, ...) of every measurement to those of sums and amplitudes, None for what is not read."""
        of_sums: Any = None if values is None else np.zeros(values.shape)
        of_amplitudes: ComplexArray | None = None
        for part, own in zip(self.parts, cotangents, strict=True):
            if isinstance(part, SumMoment):
                part.pull(np.real(own), values, of_sums)
            else:
                bra = part.pull(own, amplitudes)
                of_amplitudes = bra if of_amplitudes is None else of_amplitudes + bra
        return of_sums, of_amplitudes

    def _sum_moment(self, measurement: Any, qubits: Mapping[Hashable, int]) -> SumMoment | None:
        if not isinstance(measurement, ExpectationMP | VarianceMP) or measurement.obs is None:
            return None
        found = pauli_sum(measurement.obs, qubits)
        if found is None:
            return None
        needed: Any = (found,) if isinstance(measurement, ExpectationMP) else (found, squared_sum(found))
        if needed[-1] is None:
            return None
        first = len(self.sums)
        self.sums += needed
        return SumMoment(*range(first, len(self.sums)))


def _of_amplitudes(measurement: Any, wires: Wires) -> Moment | Probabilities | FinalState | Processed:
    """A measurement that is read off the amplitudes of wires."""
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
