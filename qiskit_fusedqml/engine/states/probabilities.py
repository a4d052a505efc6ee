"""`DifferentiableStates`: probabilities and their derivatives on top of both modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arrays import ComplexArray, FloatArray
from ...devices import State
from ...ir.measurement import clbit_values
from .adjoint import AdjointStates
from .rotations import Rotations

BACKWARD_COST = 3.0
"""A backward sweep moves two states and takes overlaps; in forward sweeps."""


class DifferentiableStates(AdjointStates):
    """A program with derivatives of amplitudes and probabilities; arguments as of `AdjointStates`."""

    @cached_property
    def rotations(self) -> Rotations:
        """The program in the angles of its rotations."""
        return Rotations(self)

    def grouped_probabilities(
        self, x: ArrayLike | None, w: ArrayLike | None, groups: NDArray[np.intp], num_groups: int
    ) -> FloatArray:
        """Sums (B, num_groups) of probabilities: outcome v of the clbits belongs to ``groups[v]``, -1 to none."""
        parameters = self._parameters(x, w)
        binding = self.plans.binding(parameters.varying, self._nothing, parameters.batch, keep_phase=False)
        measured = sorted({qubit for qubit, _ in self.measurement.pairs})
        labels = groups[clbit_values(len(measured), [(measured.index(q), c) for q, c in self.measurement.pairs])]
        result = np.zeros((parameters.batch, num_groups))
        start = 0
        for rows, sweeps, ket in self._passes(parameters, binding, extra=1):
            marginal = self.device.probabilities(ket, sweeps.frame, measured)
            result[start : start + rows.batch] = _group_sums(marginal, labels, num_groups)
            start += rows.batch
        return result

    def reachable_outcomes(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The values the classical bits can take, ascending, and the groups that number them."""
        outcomes = np.unique(clbit_values(self.num_qubits, self.measurement.pairs))
        groups = np.full(2**self.measurement.num_clbits, -1, np.intp)
        groups[outcomes] = np.arange(len(outcomes))
        return outcomes, groups

    def probability_jacobian(
        self,
        x: ArrayLike | None,
        w: ArrayLike | None,
        groups: NDArray[np.intp],
        num_groups: int,
        wrt: str | Sequence[int] = "weights",
    ) -> FloatArray:
        """Derivatives (B, num_groups, n) of `grouped_probabilities`, by the cheaper of forward and reverse mode.

        Reverse mode is one backward sweep a group, forward mode one or two states a wanted rotation.
        """
        labels = groups[clbit_values(self.num_qubits, self.measurement.pairs)]
        present = np.unique(labels[labels >= 0])
        wanted = self._wrt(wrt)
        rotations = self.rotations.depending_on(wanted)
        num_states = len(rotations) + int(self.rotations.controlled[rotations].sum())
        if self.encodes(wanted) or num_states > BACKWARD_COST * len(present):
            return self._probabilities_backward(x, w, labels, present, num_groups, wanted)
        return self._probabilities_forward(x, w, labels, num_groups, wanted, rotations)

    def _probabilities_backward(
        self,
        x: ArrayLike | None,
        w: ArrayLike | None,
        labels: NDArray[np.intp],
        present: NDArray[np.intp],
        num_groups: int,
        wanted: NDArray[np.intp],
    ) -> FloatArray:
        def bras(ket: State, frame: Any, _batch: int) -> Iterator[ComplexArray]:
            amplitudes = self.device.amplitudes(ket, frame)
            for group in present:
                yield (labels == group) * amplitudes

        result = np.zeros((self._parameters(x, w).batch, num_groups, len(wanted)))
        result[:, present] = self.pull_bras(x, w, wanted.tolist(), bras, len(present))
        return result

    def _probabilities_forward(
        self,
        x: ArrayLike | None,
        w: ArrayLike | None,
        labels: NDArray[np.intp],
        num_groups: int,
        wanted: NDArray[np.intp],
        rotations: NDArray[np.intp],
    ) -> FloatArray:
        values = self.rows(x, w)
        result = np.empty((len(values), num_groups, len(wanted)))
        samples, block = self.rotations.blocks(len(values), len(rotations))
        for start in range(0, len(values), samples):
            part = values[start : start + samples]
            ket = self.rotations.state_at(part)
            derivatives = np.empty((len(part), num_groups, len(rotations)))
            for first in range(0, len(rotations), block):
                tangents = self.rotations.tangents(part, rotations[first : first + block])
                slopes = 2.0 * (ket.conj()[:, None] * tangents).real
                derivatives[..., first : first + block] = _group_sums(slopes, labels, num_groups).swapaxes(1, 2)
            result[start : start + samples] = self.rotations.chain(part, rotations, derivatives)[..., wanted]
        return result


def _group_sums(values: FloatArray, labels: NDArray[np.intp], num_groups: int) -> FloatArray:
    """Sums (..., num_groups) of the last axis by label; entries labelled -1 are left out."""
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    present, starts = np.unique(labels[order], return_index=True)
    result = np.zeros((*values.shape[:-1], num_groups))
    if len(present) == len(order):
        result[..., present] = values[..., order]
    elif len(order):
        result[..., present] = np.add.reduceat(values[..., order], starts, axis=-1)
    return result
