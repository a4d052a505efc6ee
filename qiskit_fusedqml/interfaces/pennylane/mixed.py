"""Mixed states: what is measured of them, and circuits with channels on batches of samples.

Expectation values, variances and probabilities are read off the values of Pauli sums, everything else off the density
matrix of the wires it is about. A density matrix has cotangents G with ``dL = Re sum conj(G) d rho``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from pennylane.measurements import ExpectationMP, ProbabilityMP, StateMP, VarianceMP
from typing_extensions import override

from ...arrays import ComplexArray, FloatArray
from ...devices.pauli_vector.states import outcome_probabilities
from ...engine.density_gradients import density_matrices, density_vjp, first_cotangents, pull_densities
from ...engine.options import EngineOptions
from ...engine.program_function import ProgramFunction
from ...ir.observables import PauliSum, PauliTerm
from .circuits import Circuit
from .measurements import Measured, OfStates, Processed, Wires
from .observables import pauli_sum, sparse_matrix
from .readout import basis_of, flipped, misread, misread_square
from .simulation import Arguments, Simulation


@dataclass(frozen=True)
class OutcomesOfWords:
    """Probabilities of the outcomes of k Pauli letters: a Walsh transform of the values of all their products.

    Attributes:
        first: The number of the first product among the sums, the identity.
        kept: What each product is multiplied by, (2**k,), as some bits are misread.
    """

    first: int
    kept: FloatArray

    reads_sums: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.kept.shape

    def value(self, values: FloatArray) -> FloatArray:
        """From values (R, n_sums) to (R, 2**k)."""
        return np.clip(outcome_probabilities(self.kept * values[:, self._own]), 0.0, 1.0)

    def pull(self, cotangents: FloatArray, _values: FloatArray, into: FloatArray) -> None:
        """Add the cotangents (R, 2**k) to those of the sums (R, n_sums)."""
        into[:, self._own] += self.kept * outcome_probabilities(cotangents)

    def jacobian(self, jacobian: Any, _values: Any) -> FloatArray:
        """From the sums' derivatives (R, n_sums, P) to (R, 2**k, P)."""
        own = (self.kept[:, None] * jacobian[:, self._own]).swapaxes(1, 2)
        flat = outcome_probabilities(own.reshape(-1, len(self.kept)))
        return flat.reshape(own.shape).swapaxes(1, 2)

    @property
    def _own(self) -> slice:
        return slice(self.first, self.first + len(self.kept))


class OfDensity(OfStates):
    """A measurement that is read off the density matrix of some of the wires in order."""

    def __init__(self, own: Sequence[Hashable], wires: Wires) -> None:
        self._chosen = [wires.index(wire) for wire in own]
        self._rest = [k for k in range(len(wires)) if k not in self._chosen]
        self._num_wires = len(wires)

    def _reduced(self, density: ComplexArray) -> ComplexArray:
        """Density matrices (R, 2**k, 2**k) of the own wires, of those of all."""
        return np.asarray(np.einsum("raibi->rab", self._parted(density)))

    def _spread(self, cotangents: ComplexArray) -> ComplexArray:
        """Cotangents of density matrices of all wires, of those of the own wires."""
        size = 2**self._num_wires
        result = np.zeros((len(cotangents), size, size), dtype=np.complex128)
        parted = self._parted(result)
        for k in range(parted.shape[2]):
            parted[:, :, k, :, k] = cotangents
        order = [*self._chosen, *self._rest]
        places = np.argsort([*order, *(self._num_wires + k for k in order)])
        cube = parted.reshape(-1, *(2,) * (2 * self._num_wires))
        return np.moveaxis(cube, 1 + places, range(1, cube.ndim)).reshape(result.shape)

    def _parted(self, density: ComplexArray) -> ComplexArray:
        """As (R, 2**k, 2**m, 2**k, 2**m) with the own k wires apart from the m others."""
        order = [*self._chosen, *self._rest]
        cube = density.reshape(-1, *(2,) * (2 * self._num_wires))
        axes = [1 + k for k in order] + [1 + self._num_wires + k for k in order]
        own, others = 2 ** len(self._chosen), 2 ** len(self._rest)
        return np.moveaxis(cube, axes, range(1, cube.ndim)).reshape(-1, own, others, own, others)


class Density(OfDensity):
    """The density matrix itself."""

    is_complex = True

    def __init__(self, measurement: Any, wires: Wires) -> None:
        own = measurement.wires.labels or wires
        super().__init__(own, wires)
        self.shape = (2 ** len(own),) * 2

    def value(self, density: ComplexArray) -> ComplexArray:
        """From density matrices (R, 2**n, 2**n) to those of the own wires."""
        return self._reduced(density)

    def pull(self, cotangents: ComplexArray, _density: ComplexArray) -> ComplexArray:
        """The framework's cotangents c mean ``dL = Re sum c d rho``."""
        return self._spread(np.conj(cotangents).reshape(-1, *self.shape))


class Outcomes(OfDensity):
    """Probabilities of the outcomes of an observable that is no Pauli word."""

    def __init__(self, measurement: Any, wires: Wires, misreading: float) -> None:
        own = measurement.wires.labels
        super().__init__(own, wires)
        self._basis = basis_of(measurement.diagonalizing_gates(), measurement.wires)
        self._misreading, self._count = misreading, len(own)
        self.shape = (2 ** len(own),)

    def value(self, density: ComplexArray) -> FloatArray:
        """From density matrices (R, 2**n, 2**n) to (R, 2**k)."""
        rotated = self._basis @ self._reduced(density) @ self._basis.conj().T
        return flipped(np.einsum("raa->ra", rotated).real, self._misreading, self._count)

    def pull(self, cotangents: FloatArray, _density: ComplexArray) -> ComplexArray:
        """From cotangents (R, 2**k) to those of the density matrices."""
        own = flipped(np.real(cotangents), self._misreading, self._count)
        return self._spread(self._basis.conj().T @ (own[:, :, None] * self._basis))


class MomentOfDensity(OfStates):
    """The expectation value or variance of an observable that has no Pauli sum."""

    def __init__(self, measurement: Any, wires: Wires) -> None:
        matrix = sparse_matrix(measurement.obs, wires)
        self._powers = [matrix.tocoo()]
        if isinstance(measurement, VarianceMP):
            self._powers.append((matrix @ matrix).tocoo())

    def value(self, density: ComplexArray) -> FloatArray:
        """From density matrices (R, 2**n, 2**n) to (R,)."""
        means = self._means(density)
        return means[0] if len(means) == 1 else means[1] - means[0] ** 2

    def pull(self, cotangents: FloatArray, density: ComplexArray) -> ComplexArray:
        """From cotangents (R,) to those of the density matrices."""
        means, own = self._means(density), np.real(cotangents)
        factors = [own] if len(means) == 1 else [-2.0 * means[0] * own, own]
        result = np.zeros_like(density)
        for power, factor in zip(self._powers, factors, strict=True):
            result[:, power.row, power.col] += factor[:, None] * power.data
        return result

    def _means(self, density: ComplexArray) -> list[FloatArray]:
        return [(density[:, power.col, power.row] @ power.data).real for power in self._powers]


class MixedMeasured(Measured):
    """All measurements of a circuit with mixed states; arguments as of `Measured`.

    Args:
        misreading: The probability that a bit is misread.

    Attributes:
        read: The qubits whose density matrix is needed, the first one its lowest bit.
    """

    def __init__(self, operations: Sequence[Any], measurements: Sequence[Any], order: Wires, misreading: float) -> None:
        self._misreading = misreading
        self.read: tuple[int, ...] = ()
        super().__init__(operations, measurements, order)

    @override
    def _circuit(self, operations: Sequence[Any], order: Wires, read: set[Hashable]) -> Circuit:
        return Circuit(operations, order, read, mixed=True)

    @override
    def _read_wires(self, read: set[Hashable]) -> Wires:
        wires = tuple(wire for wire in self.circuit.wires if wire in read)
        self.read = tuple(self.circuit.qubit[wire] for wire in reversed(wires))
        return wires

    @override
    def _of_sums(self, measurement: Any, qubits: Mapping[Hashable, int]) -> Any:
        if not isinstance(measurement, ProbabilityMP):
            return super()._of_sums(measurement, qubits)
        letters = _letters(measurement, [*qubits])
        if letters is None:
            return None
        first = len(self.sums)
        for chosen in product((False, True), repeat=len(letters)):
            x = z = 0
            for (wire, letter), is_there in zip(letters, chosen, strict=True):
                bit = 1 << qubits[wire] if is_there else 0
                x |= bit if letter in "XY" else 0
                z |= bit if letter in "YZ" else 0
            self.sums.append(PauliSum(len(qubits), (PauliTerm(1.0, x, z),)))
        lengths = np.bitwise_count(np.arange(2 ** len(letters)))
        return OutcomesOfWords(first, (1.0 - 2.0 * self._misreading) ** lengths)

    @override
    def _sums_of(self, measurement: Any, qubits: Mapping[Hashable, int]) -> tuple[Any, ...]:
        if not self._misreading:
            return super()._sums_of(measurement, qubits)
        moments: Sequence[Callable[[Any, float], Any]] = (misread, misread_square)
        count = 1 if isinstance(measurement, ExpectationMP) else 2
        return tuple(pauli_sum(moment(measurement.obs, self._misreading), qubits) for moment in moments[:count])

    @override
    def _of_states(self, measurement: Any, wires: Wires) -> Any:
        if isinstance(measurement, StateMP):
            return Density(measurement, wires)
        if isinstance(measurement, ProbabilityMP) and measurement.obs is not None:
            return Outcomes(measurement, wires, self._misreading)
        if isinstance(measurement, ExpectationMP | VarianceMP) and measurement.obs is not None:
            return MomentOfDensity(measurement, wires)
        return Processed(measurement, wires)


def _letters(measurement: Any, wires: Sequence[Hashable]) -> list[tuple[Hashable, str]] | None:
    """Wires and the letters that are measured there; None if it is anything else that is measured."""
    obs = measurement.obs
    if obs is None:
        if measurement.mv is not None or measurement.eigvals() is not None:
            return None
        return [(wire, "Z") for wire in measurement.wires.labels or wires]
    sentence = obs.pauli_rep
    if sentence is None or len(sentence) != 1 or getattr(obs, "has_overlapping_wires", False):
        return None
    (word,) = sentence
    return [(wire, word.get(wire, "Z")) for wire in obs.wires.labels]


class MixedSimulation(Simulation):
    """A circuit with its measurements of mixed states; arguments as of `Simulation`, and the misreading."""

    def __init__(
        self,
        operations: Sequence[Any],
        measurements: Sequence[Any],
        order: tuple[Any, ...],
        options: EngineOptions,
        misreading: float = 0.0,
    ) -> None:
        self._misreading = misreading
        super().__init__(operations, measurements, order, options)

    @override
    def _measured(self, operations: Sequence[Any], measurements: Sequence[Any], order: tuple[Any, ...]) -> Measured:
        return MixedMeasured(operations, measurements, order, self._misreading)

    @override
    def _states(self, f: ProgramFunction, given: Arguments) -> ComplexArray:
        return density_matrices(f, self._read, **given)

    @override
    def _states_vjp(self, f: ProgramFunction, given: Arguments) -> tuple[ComplexArray, Any]:
        return density_vjp(f, self._read, **given)

    @override
    def _states_derivatives(
        self, f: ProgramFunction, given: Arguments, wanted: Sequence[int], cotangents: Any, count: int
    ) -> FloatArray:
        return pull_densities(f, self._read, **given, wrt=wanted, cotangents=cotangents, count=count)

    @override
    def _start_cotangents(
        self, f: ProgramFunction, given: Arguments, of_sums: FloatArray | None, of_states: ComplexArray | None
    ) -> ComplexArray:
        matrices = first_cotangents(f, self._read, **given, cotangents=of_sums, of_densities=of_states)
        # d Tr(M |psi><psi|) = 2 Re <psi| M |d psi>
        return np.asarray(2.0 * np.einsum("rij,rj->ri", matrices, np.atleast_2d(given["initial_states"])))

    @property
    def _read(self) -> tuple[int, ...]:
        assert isinstance(self.measured, MixedMeasured)
        return self.measured.read
