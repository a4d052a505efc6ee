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
        indices, amplitudes = self._placed(others)
        states = np.zeros((*normalised.shape[:-1], 2**num_qubits), dtype=np.complex128)
        states[..., indices] = amplitudes * normalised[..., None, :]
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
        indices, amplitudes = self._placed(others)
        slopes = (bras.conj()[..., indices] * amplitudes).sum(axis=-2).real
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

    def _placed(self, others: NDArray[np.complex128] | None) -> tuple[NDArray[np.intp], NDArray[np.complex128]]:
        """The index (M, 2**k) of each feature in each of the other qubits' M occupied states, and their amplitudes.

        The k qubits' bits are 0 in every occupied index. The amplitudes have the shape (M, 1).
        """
        features = np.arange(len(self.constants), dtype=np.intp)
        indices = np.zeros_like(features)
        for j, qubit in enumerate(self.qubits):
            indices |= (features >> j & 1) << qubit
        if others is None:
            return indices[None], np.ones((1, 1), dtype=np.complex128)
        occupied = np.flatnonzero(others)
        return occupied[:, None] | indices, others[occupied][:, None]
