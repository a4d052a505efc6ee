"""Data in the amplitudes: an initial state whose entries are parameters.

``RawFeatureVector`` circuits load 2**k features as the amplitudes of k qubits, divided by their norm. No gate does
that; it is the program's initial state, one a sample, and its derivative is that of the normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from ..errors import InvalidInputError
from .angles import AngleMap


@dataclass(frozen=True, eq=False)
class AmplitudeEncoding:
    """The normalised vector of 2**k features as the state of k qubits.

    Attributes:
        qubits: The k qubits; bit j of a feature's index is ``qubits[j]``.
        constants: The features that are numbers, (2**k,), 0 where there is a parameter.
        positions: Indices (m,) of the features that depend on parameters.
        features: From the program's parameters to these m features.
    """

    qubits: tuple[int, ...]
    constants: FloatArray
    positions: NDArray[np.intp]
    features: AngleMap

    def states(
        self, values: FloatArray, num_qubits: int, others: NDArray[np.complex128] | None
    ) -> NDArray[np.complex128]:
        """The program's initial states.

        Args:
            values: Parameter values, (P,) or (B, P).
            num_qubits: Number of qubits n of the program.
            others: Amplitudes (2**n,) of the other qubits, with ``|0>`` on these; None for ``|0...0>``.

        Returns:
            Amplitudes (2**n,) or (B, 2**n).

        Raises:
            InvalidInputError: If all features of a sample are 0.
        """
        normalised, _, _ = self._normalised(values)
        base = _zero_state(num_qubits) if others is None else others
        occupied = np.flatnonzero(base)
        states = np.zeros((*normalised.shape[:-1], 2**num_qubits), dtype=np.complex128)
        # the qubits' bits are 0 in every occupied index, so the two sets of bits do not meet
        states[..., occupied[:, None] | self._indices()] = base[occupied][:, None] * normalised[..., None, :]
        return states

    def pullback(
        self, values: FloatArray, bras: NDArray[np.complex128], others: NDArray[np.complex128] | None
    ) -> FloatArray:
        """Derivatives with respect to the parameters.

        Args:
            values: Parameter values, (P,) or (B, P).
            bras: (B, 2**n) g such that the function changes by ``Re sum conj(g) d state``.
            others: As of `states`.

        Returns:
            Derivatives (B, P).
        """
        normalised, norms, exponents = self._normalised(values)
        base = _zero_state(bras.shape[-1].bit_length() - 1) if others is None else others
        occupied = np.flatnonzero(base)
        parts = bras.conj()[..., occupied[:, None] | self._indices()] * base[occupied][:, None]
        slopes = parts.sum(axis=-2).real
        # d(v / |v|) = (dv - v (v . dv) / |v|^2) / |v|
        slopes = (slopes - normalised * (normalised * slopes).sum(axis=-1, keepdims=True)) / norms
        return self.features.pullback(values, np.ldexp(slopes, -exponents)[..., self.positions])

    def _vectors(self, values: FloatArray) -> FloatArray:
        vectors = np.empty((*values.shape[:-1], len(self.constants)))
        vectors[...] = self.constants
        vectors[..., self.positions] = self.features.evaluate(values)
        return vectors

    def _normalised(self, values: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.intc]]:
        """The features divided by their norms ``norms * 2**exponents``, whatever their squares are.

        The powers of two are exact, and bring the largest feature of a sample to between 1/2 and 1.
        """
        vectors = self._vectors(values)
        largest, exponents = np.frexp(np.abs(vectors).max(axis=-1, keepdims=True))
        if not largest.all():
            where = f" of sample {int(np.argmin(largest))}" if vectors.ndim > 1 else ""
            raise InvalidInputError(
                f"The amplitudes{where} are all 0, which is no quantum state; leave such samples out."
            )
        vectors = np.ldexp(vectors, -exponents)
        norms: FloatArray = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors / norms, norms, exponents

    def _indices(self) -> NDArray[np.intp]:
        """The index each feature's bits make among the program's qubits."""
        features = np.arange(len(self.constants), dtype=np.intp)
        indices = np.zeros_like(features)
        for j, qubit in enumerate(self.qubits):
            indices |= (features >> j & 1) << qubit
        return indices


def _zero_state(num_qubits: int) -> NDArray[np.complex128]:
    state = np.zeros(2**num_qubits, dtype=np.complex128)
    state[0] = 1.0
    return state
