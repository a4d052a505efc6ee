"""What a circuit's measurements return, and how their derivatives go back to the state.

A measurement is read off one of two things: the values of Pauli sums, which the device takes without any amplitude
leaving it (expectation values and variances), or the amplitudes (everything else). Each has a `value` and, where it is
differentiable, a way back: cotangents of the sums, or g with ``dL = Re sum conj(g) d amplitudes``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import QuantumFunctionError
from pennylane.measurements import ExpectationMP, ProbabilityMP, StateMP, VarianceMP

from ...ir.observables import PauliSum
from .observables import pauli_sum, sparse_matrix, squared_sum

Floats = NDArray[np.float64]
Complexes: TypeAlias = NDArray[np.complexfloating]
Wires: TypeAlias = tuple[Hashable, ...]


@dataclass(frozen=True)
class Expectation:
    """An expectation value, one of the sums."""

    index: int

    shape: ClassVar[tuple[int, ...]] = ()

    def value(self, values: Floats) -> Floats:
        """From values (R, n_sums) to (R,)."""
        return values[:, self.index]

    def pull(self, cotangents: Floats, _values: Floats, into: Floats) -> None:
        """Add the cotangents (R,) to those of the sums (R, n_sums)."""
        into[:, self.index] += cotangents

    def jacobian(self, jacobian: Any, _values: Any) -> Floats:
        """From the sums' derivatives (R, n_sums, P) to (R, P)."""
        return np.asarray(jacobian[:, self.index])


@dataclass(frozen=True)
class Variance:
    """``<O^2> - <O>^2``."""

    index: int
    square: int

    shape: ClassVar[tuple[int, ...]] = ()

    def value(self, values: Floats) -> Floats:
        """See `Expectation.value`."""
        return values[:, self.square] - values[:, self.index] ** 2

    def pull(self, cotangents: Floats, values: Floats, into: Floats) -> None:
        """See `Expectation.pull`."""
        into[:, self.square] += cotangents
        into[:, self.index] -= 2.0 * values[:, self.index] * cotangents

    def jacobian(self, jacobian: Any, values: Any) -> Floats:
        """See `Expectation.jacobian`."""
        mean = values[:, self.index, None]
        return np.asarray(jacobian[:, self.square] - 2.0 * mean * jacobian[:, self.index])


class Moments:
    """The expectation value or variance of an observable that has no Pauli sum."""

    shape: tuple[int, ...] = ()

    def __init__(self, measurement: Any, wires: Wires) -> None:
        self._matrix = sparse_matrix(measurement.obs, wires)
        self._is_variance = isinstance(measurement, VarianceMP)

    def value(self, amplitudes: Complexes) -> Floats:
        """From amplitudes (R, 2**n) to (R,)."""
        image = self._image(amplitudes)
        mean = _overlaps(amplitudes, image)
        return _overlaps(image, image) - mean**2 if self._is_variance else mean

    def pull(self, cotangents: Floats, amplitudes: Complexes) -> Complexes:
        """From cotangents (R,) to those (R, 2**n) of the amplitudes."""
        image = self._image(amplitudes)
        if self._is_variance:
            image = self._image(image) - 2.0 * _overlaps(amplitudes, image)[:, None] * image
        return 2.0 * cotangents[:, None] * image

    def _image(self, amplitudes: Complexes) -> Complexes:
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

    def value(self, amplitudes: Complexes) -> Floats:
        """From amplitudes (R, 2**n) to (R, 2**k)."""
        tensor = self._rotated(amplitudes)
        weights = (tensor.real**2 + tensor.imag**2).sum(axis=self._rest, keepdims=True)
        ordered = np.moveaxis(weights, self._axes, range(1, 1 + len(self._axes)))
        return np.asarray(ordered.reshape(len(amplitudes), -1), dtype=np.float64)

    def pull(self, cotangents: Floats, amplitudes: Complexes) -> Complexes:
        """From cotangents (R, 2**k) to those (R, 2**n) of the amplitudes."""
        width = len(self._axes)
        spread = cotangents.reshape(-1, *(2,) * width, *(1,) * (self._num_wires - width))
        spread = np.moveaxis(spread, range(1, 1 + width), self._axes)
        tensor: Complexes = 2.0 * spread * self._rotated(amplitudes)
        for matrix, axes in reversed(self._gates):
            tensor = _applied(matrix.conj().T, axes, tensor)
        return tensor.reshape(amplitudes.shape)

    def _rotated(self, amplitudes: Complexes) -> Complexes:
        tensor = amplitudes.reshape(-1, *(2,) * self._num_wires)
        for matrix, axes in self._gates:
            tensor = _applied(matrix, axes, tensor)
        return tensor


class FinalState:
    """The amplitudes themselves."""

    def __init__(self, wires: Wires) -> None:
        self.shape = (2 ** len(wires),)

    def value(self, amplitudes: Complexes) -> Complexes:
        """The amplitudes (R, 2**n)."""
        return amplitudes

    def pull(self, cotangents: Complexes, _amplitudes: Complexes) -> Complexes:
        """The framework's cotangents c mean ``dL = Re sum c d amplitudes``."""
        return np.conj(cotangents)


class Processed:
    """Anything that the framework reads off a state by itself."""

    shape: tuple[int, ...] = ()

    def __init__(self, measurement: Any, wires: Wires) -> None:
        self._measurement = measurement
        self._wires = qml.wires.Wires(wires)

    def value(self, amplitudes: Complexes) -> Any:
        """From amplitudes (R, 2**n) to (R, ...)."""
        return np.asarray(self._measurement.process_state(amplitudes, self._wires))

    def pull(self, _cotangents: Any, _amplitudes: Complexes) -> Complexes:
        """There is none.

        Raises:
            QuantumFunctionError: Always.
        """
        raise QuantumFunctionError(
            f"The gradient of {self._measurement} is taken by the framework from the gradient of the state: call the "
            "device through a QNode or qml.execute, whose preprocessing does so."
        )


FromSums: TypeAlias = Expectation | Variance
FromAmplitudes: TypeAlias = Moments | Probabilities | FinalState | Processed


def is_differentiable(measurement: Any) -> bool:
    """Whether the device differentiates a measurement; else the framework does, from the state."""
    if isinstance(measurement, ExpectationMP | VarianceMP):
        return measurement.obs is not None
    if isinstance(measurement, ProbabilityMP):
        return measurement.obs is not None or (measurement.mv is None and measurement.eigvals() is None)
    return type(measurement) is StateMP


class Measured:
    """All measurements of a circuit.

    Args:
        measurements: The framework's.
        wires: The wires in order.
        qubits: From wires to qubits.

    Attributes:
        sums: The Pauli sums whose values are needed.
        parts: The measurements in order.
    """

    def __init__(self, measurements: Sequence[Any], wires: Wires, qubits: Mapping[Hashable, int]) -> None:
        self._sums: list[PauliSum] = []
        self._qubits = qubits
        self.parts: list[FromSums | FromAmplitudes] = [self._part(m, wires) for m in measurements]
        self.sums = tuple(self._sums)

    @cached_property
    def reads_amplitudes(self) -> bool:
        """Whether amplitudes are needed."""
        return any(not isinstance(part, FromSums) for part in self.parts)

    def results(self, values: Any, amplitudes: Complexes | None) -> list[Any]:
        """Every measurement's result, (R, ...) each."""
        return [part.value(_given(values) if isinstance(part, FromSums) else _given(amplitudes)) for part in self.parts]

    def pull(
        self, cotangents: Sequence[Any], values: Any, amplitudes: Complexes | None
    ) -> tuple[Floats | None, Complexes | None]:
        """From cotangents (R, ...) of every measurement to those of sums and amplitudes, None for what is not read."""
        of_sums = None if values is None else np.zeros(values.shape)
        of_amplitudes: Complexes | None = None
        for part, own in zip(self.parts, cotangents, strict=True):
            if isinstance(part, FromSums):
                part.pull(np.real(own), _given(values), _given(of_sums))
            else:
                bra = part.pull(own, _given(amplitudes))
                of_amplitudes = bra if of_amplitudes is None else of_amplitudes + bra
        return of_sums, of_amplitudes

    def _part(self, measurement: Any, wires: Wires) -> FromSums | FromAmplitudes:
        if not is_differentiable(measurement):
            return Processed(measurement, wires)
        if isinstance(measurement, ProbabilityMP):
            return Probabilities(measurement, wires)
        return FinalState(wires) if isinstance(measurement, StateMP) else self._moments(measurement, wires)

    def _moments(self, measurement: Any, wires: Wires) -> FromSums | FromAmplitudes:
        found = pauli_sum(measurement.obs, self._qubits)
        if found is None:
            return Moments(measurement, wires)
        if isinstance(measurement, ExpectationMP):
            return Expectation(self._index(found))
        square = squared_sum(found)
        if square is None:
            return Moments(measurement, wires)
        return Variance(self._index(found), self._index(square))

    def _index(self, observable: PauliSum) -> int:
        self._sums.append(observable)
        return len(self._sums) - 1


def _given(array: Any) -> Any:
    assert array is not None
    return array


def _overlaps(left: Complexes, right: Complexes) -> Floats:
    """Real parts of ``<left|right>`` by row."""
    return np.asarray(np.einsum("ri,ri->r", left.conj(), right).real, dtype=np.float64)


def _applied(matrix: Complexes, axes: Sequence[int], tensor: Complexes) -> Complexes:
    """A matrix on some axes of a tensor, the first one its highest bit."""
    width = len(axes)
    gate = matrix.reshape((2,) * (2 * width))
    result = np.tensordot(gate, tensor, axes=(range(width, 2 * width), axes))
    return np.moveaxis(result, range(width), axes)
