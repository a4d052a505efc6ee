"""Batches that collapse: samples that differ only in the kets that a tape starts from.

With these kets r_b, the tape's matrix T and the bras o_k of K observables, ::

    values[b, k] = <T^T o_k, r_b>,    d sum_bk c[b, k] values[b, k] = sum_k <o_k, dT sum_b c[b, k] r_b>:

one sweep of K bras gives all values, and one joint sweep of K bras and K kets the gradient, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...arrays import FloatArray
from ...planner.pauli_vector.segments import PauliSegment
from . import PauliCoefficients, PauliDevice, PauliObservables, PauliState


@dataclass(slots=True)
class CollapsedBra:
    """What the joint sweep takes.

    Attributes:
        bras: The K bras at the tape's beginning.
        kept: Bras that were kept, those that are needed first at the end.
        kets: The K kets ``sum_b c[b, k] r_b``.
    """

    bras: PauliState
    kept: list[PauliState]
    kets: PauliState


class CollapsedKet:
    """The final kets of a batch, given by what the tape starts from.

    Args:
        kets: The first kets r_b.
        num_qubits: Number of qubits.
        segments: The tape in pieces, in order.
        coefficients: Its coefficients.
    """

    def __init__(
        self, kets: PauliState, num_qubits: int, segments: Sequence[PauliSegment], coefficients: PauliCoefficients
    ) -> None:
        self._kets, self._num_qubits = kets, num_qubits
        self._segments, self._coefficients = segments, coefficients
        self._pulled: tuple[PauliObservables, PauliState, list[PauliState]] | None = None

    def copied(self) -> CollapsedKet:
        """Another one of the same kets, which are not changed."""
        return CollapsedKet(self._kets, self._num_qubits, self._segments, self._coefficients)

    def evolved(self, device: PauliDevice) -> PauliState:
        """The final kets."""
        kets = device.copy(self._kets)
        for segment in self._segments:
            device.forward(segment.tape, self._coefficients, kets)
        return kets

    def expectation(self, device: PauliDevice, observables: PauliObservables) -> FloatArray:
        """Values (B, K)."""
        self._pulled = (observables, *self._pull(device, observables))
        return device.products(self._pulled[1], self._kets)

    def bra(self, device: PauliDevice, observables: PauliObservables, cotangents: FloatArray) -> CollapsedBra:
        """What `joint` takes, for cotangents (B, K)."""
        pulled, self._pulled = self._pulled, None
        bras, kept = pulled[1:] if pulled and pulled[0] is observables else self._pull(device, observables)
        return CollapsedBra(bras, kept, device.combine(self._kets, cotangents))

    def joint(self, device: PauliDevice, bra: CollapsedBra) -> list[FloatArray]:
        """The overlaps of each piece, summed over the batch."""
        overlaps = []
        for position, segment in enumerate(self._segments):
            after = bra.kept.pop() if self._is_kept_after(position) else None
            bras = after if segment.held else bra.bras
            overlaps.append(device.joint(segment.tape, self._coefficients, bra.kets, bras, per_sample=False))
            bra.bras = bra.bras if after is None else after
        return overlaps

    def _pull(self, device: PauliDevice, observables: PauliObservables) -> tuple[PauliState, list[PauliState]]:
        """The observables as bras at the tape's beginning, and the bras kept on the way there."""
        bras = device.bra(self._num_qubits, len(observables.starts) - 1, observables, None)
        kept = []
        for position in reversed(range(len(self._segments))):
            if self._is_kept_after(position):
                kept.append(device.copy(bras))
            device.backward_bra(self._segments[position].tape, self._coefficients, bras)
        return bras, kept

    def _is_kept_after(self, position: int) -> bool:
        """Whether the joint sweep goes on from bras that were kept, after a piece."""
        last = position == len(self._segments) - 1
        return self._segments[position].held or (not last and self._segments[position + 1].kept)
