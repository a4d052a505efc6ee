"""`MixedStateDevice`: a device for Pauli vectors behind the interface that the engine asks of all devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...arrays import ComplexArray, FloatArray
from ...errors import FusedQMLError
from ...ir.observables import PauliSum
from ...planner.cost import CostModel
from ...planner.pauli_vector.observables import entries, z_strings
from .. import Device
from ..checks import check_initial_state, check_qubits
from ..observables import ObservableCache
from . import PauliCoefficients, PauliDevice, PauliObservables, PauliState
from .collapsed import CollapsedKet
from .states import densities, outcome_probabilities, strings, vectors_of_amplitudes, vectors_of_density

AnyTape: TypeAlias = Any
"""A `PauliTape`, where other devices take a `Tape`."""

AnyFrame: TypeAlias = Any
"""A `PauliFrame`, likewise."""


class MixedStateDevice(Device):
    """Runs programs with noise; states are Pauli vectors.

    Args:
        inner: The device that runs their tapes.
        precision: "double" or "single".

    Attributes:
        inner: The same.
    """

    def __init__(self, inner: PauliDevice, precision: str = "double") -> None:
        self.inner = inner
        self.name = inner.name
        self.coefficient_map = inner.coefficient_map
        self.cost_model = CostModel(
            tile_qubits=inner.tile_bits, amplitude_bytes=8 if precision == "single" else 16, threads=1
        )
        self._observables = ObservableCache(_observables)

    @override
    def allocate(self, tape: AnyTape, batch: int, initial_state: NDArray[np.complex128] | None) -> PauliState:
        """See `Device.allocate`; real arrays (B, 4**n) are Pauli vectors by string, as of `vectors`."""
        size = 2**tape.num_qubits
        vectors: Any = initial_state
        if initial_state is not None and initial_state.shape[-1] != size * size:
            check_initial_state(initial_state, tape.num_qubits, batch)
            vectors = vectors_of_amplitudes(np.atleast_2d(initial_state))
            vectors = vectors[0] if initial_state.ndim == 1 else vectors
        return self.inner.allocate(tape.num_qubits, batch, vectors)

    @override
    def copy(self, state: PauliState) -> PauliState:
        return state.copied() if isinstance(state, CollapsedKet) else self.inner.copy(state)

    @override
    def forward(self, tape: AnyTape, coefficients: PauliCoefficients, ket: PauliState) -> None:
        self.inner.forward(tape, coefficients, ket)

    @override
    def backward(
        self, tape: AnyTape, coefficients: PauliCoefficients, ket: PauliState, bra: PauliState, *, per_sample: bool
    ) -> FloatArray:
        return self.inner.backward(tape, coefficients, ket, bra, per_sample=per_sample)

    @override
    def expectation(self, ket: PauliState, frame: AnyFrame, sums: Sequence[PauliSum]) -> FloatArray:
        observables = self._observables.form(frame, sums)
        if isinstance(ket, CollapsedKet):
            return ket.expectation(self.inner, observables)
        return self.inner.expectation(ket, observables)

    @override
    def apply_observables(
        self, ket: PauliState, frame: AnyFrame, sums: Sequence[PauliSum], cotangents: FloatArray
    ) -> PauliState:
        observables = self._observables.form(frame, sums)
        if isinstance(ket, CollapsedKet):
            return ket.bra(self.inner, observables, cotangents)
        return self.inner.bra(len(frame.qubits), len(cotangents), observables, cotangents)

    @override
    def amplitudes(self, ket: PauliState, frame: AnyFrame) -> ComplexArray:
        raise FusedQMLError("A mixed state has no amplitudes; ask for values, probabilities or the density matrix.")

    @override
    def probabilities(self, ket: PauliState, frame: AnyFrame, qubits: Sequence[int]) -> FloatArray:
        check_qubits(qubits, len(frame.qubits))
        rows = z_strings(frame, qubits)
        return np.clip(outcome_probabilities(self.inner.rows(self._evolved(ket), rows)), 0.0, 1.0)

    def bra_of_outcomes(
        self, batch: int, frame: AnyFrame, qubits: Sequence[int], weights: NDArray[np.generic]
    ) -> PauliState:
        """The bras of ``sum weights[o] * (probability of outcome o)`` for weights (2**k,), as of `probabilities`."""
        rows = z_strings(frame, qubits)
        # the probabilities are a Walsh transform of the entries, and so is its transpose
        cotangents = outcome_probabilities(weights[None].astype(np.float64))
        each = PauliObservables(np.arange(len(rows) + 1), rows, np.ones(len(rows)))
        return self.inner.bra(len(frame.qubits), batch, each, np.repeat(cotangents, batch, axis=0))

    def vectors(self, ket: PauliState, frame: AnyFrame) -> FloatArray:
        """The Pauli vectors (B, 4**n) by string, as of `strings`."""
        return self.inner.vectors(self._evolved(ket))[:, strings(frame)]

    def density_matrices(
        self, ket: PauliState, frame: AnyFrame, qubits: Sequence[int] | None = None
    ) -> NDArray[np.complex128]:
        """The density matrices (B, 2**k, 2**k) of k qubits, bit j of an index being ``qubits[j]``; by default all."""
        rows = strings(frame, qubits)
        return densities(self.inner.rows(self._evolved(ket), rows))

    def bra_of_densities(self, frame: AnyFrame, qubits: Sequence[int], cotangents: ComplexArray) -> PauliState:
        """The bras of ``Re sum conj(cotangents) * rho`` for cotangents (B, 2**k, 2**k) of `density_matrices`."""
        rows, size = strings(frame, qubits), cotangents.shape[1]
        # rho is Hermitian, and a sum of F over its entries divided by 2**k
        own = vectors_of_density(0.5 * (cotangents + cotangents.conj().swapaxes(1, 2))) / size
        each = PauliObservables(np.arange(len(rows) + 1), rows, np.ones(len(rows)))
        return self.inner.bra(len(frame.qubits), len(cotangents), each, own)

    def first_cotangents(self, tape: AnyTape, coefficients: PauliCoefficients, bra: PauliState) -> ComplexArray:
        """Matrices (B, 2**n, 2**n) M with ``dL = Tr(M d rho)`` for the states that the tape starts from.

        The bras, those of final states, are pulled back in place.
        """
        self.inner.backward_bra(tape, coefficients, bra)
        matrices: ComplexArray = densities(self.inner.vectors(bra)) * 2**tape.num_qubits
        return matrices

    @override
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        return self.inner.state_bytes(num_qubits, batch)

    @override
    def memory_budget(self) -> int:
        return self.inner.memory_budget()

    def _evolved(self, ket: PauliState) -> PauliState:
        return ket.evolved(self.inner) if isinstance(ket, CollapsedKet) else ket


def _observables(frame: AnyFrame, sums: Sequence[PauliSum]) -> PauliObservables:
    return PauliObservables(*entries(frame, sums))
