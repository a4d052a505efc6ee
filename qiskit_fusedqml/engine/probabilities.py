"""Probabilities of groups of outcomes, and their derivatives by the cheaper of forward and reverse mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import ComplexArray, FloatArray, IntArray
from ..devices import State
from ..devices.pauli_vector.device import MixedStateDevice
from ..errors import UnsupportedInstructionError
from .parameters import ParameterBatch
from .program_function import ProgramFunction
from .state_gradients import pull_bras
from .sweeps import Sweeps

BACKWARD_COST = 3.0
"""A backward sweep moves two states and takes overlaps; in forward sweeps."""


def grouped_probabilities(
    f: ProgramFunction, x: ArrayLike | None, w: ArrayLike | None, groups: IntArray, num_groups: int
) -> FloatArray:
    """Sums (B, num_groups) of probabilities of outcomes.

    ``groups`` has the group of each of `reachable_outcomes`, or of each value of the classical bits; -1 for none.
    """
    parameters, labels = f.read(x, w), _labels(f, groups)
    if f.sampled is not None:
        values = _values(f)
        return _group_sums(f.sampled.probabilities(parameters, f.measurement)[:, values], labels, num_groups)
    result = np.zeros((parameters.batch, num_groups))
    for chunk, sweeps, ket in f.passes.final_states(parameters, f.passes.request(parameters), extra=1):
        marginal = f.device.probabilities(ket, sweeps.frame, f.measurement.qubits)
        marginal = f.measurement.read(marginal) if f.measurement.readout else marginal
        result[chunk.first : chunk.first + chunk.batch] = _group_sums(marginal, labels, num_groups)
    return result


def reachable_outcomes(f: ProgramFunction) -> tuple[NDArray[Any], IntArray]:
    """The values the classical bits can take, ascending, and the groups that number them.

    Values of more than 63 bits are Python's integers.
    """
    outcomes = np.sort(_values(f))
    return outcomes, np.arange(len(outcomes))


def _values(f: ProgramFunction) -> NDArray[Any]:
    """The values of the classical bits, in the order of the probabilities that follow from a state."""
    return f.measurement.values_read() if f.measurement.readout else f.measurement.outcomes()


def _labels(f: ProgramFunction, groups: IntArray) -> IntArray:
    """The group of each of `_values`."""
    outcomes = _values(f)
    if len(groups) != len(outcomes):
        return np.asarray(groups[outcomes])
    labels = np.empty_like(groups)
    labels[np.argsort(outcomes, kind="stable")] = groups
    return labels


def probability_jacobian(
    f: ProgramFunction,
    x: ArrayLike | None,
    w: ArrayLike | None,
    groups: IntArray,
    num_groups: int,
    wrt: str | Sequence[int] = "weights",
) -> FloatArray:
    """Derivatives (B, num_groups, n) of `grouped_probabilities`, by the cheaper of forward and reverse mode.

    Reverse mode is one backward sweep a group, forward mode one or two states a wanted rotation.
    """
    if f.sampled is not None:
        raise UnsupportedInstructionError(
            "Gradients of probabilities are not estimated from trajectories. Leave out trajectories= for exact ones, "
            "or ask for expectation values."
        )
    labels, wanted = _labels(f, groups), f.indices(wrt)
    if f.program.is_noisy:
        return _of_mixed_states(f, f.read(x, w), labels, num_groups, wanted)
    present = np.unique(labels[labels >= 0])
    chosen = f.unrolled.depending_on(wanted)
    num_states = len(chosen) + int(f.unrolled.controlled[chosen].sum())
    in_reverse = f.passes.encodes(wanted) or num_states > BACKWARD_COST * len(present)
    if in_reverse or f.measurement.readout:
        return _backward(f, x, w, labels, present, num_groups, wanted)
    labels = labels[f.measurement.of_basis_states(f.num_qubits)]
    return _forward(f, f.read(x, w).full(), labels, num_groups, wanted, chosen)


def _weights(f: ProgramFunction, labels: IntArray, group: int) -> FloatArray:
    """What each outcome of the measured qubits (2**k,) counts in the probability of a group."""
    inside = (labels == group).astype(np.float64)
    return f.measurement.read_pulled(inside) if f.measurement.readout else inside


def _of_mixed_states(
    f: ProgramFunction, parameters: ParameterBatch, labels: IntArray, num_groups: int, wanted: IntArray
) -> FloatArray:
    """A backward sweep a group; the probability of some outcomes is a sum of products of Z."""
    assert isinstance(f.device, MixedStateDevice)
    device, present = f.device, np.unique(labels[labels >= 0])

    def bras(sweeps: Sweeps, chunk: ParameterBatch, _: State) -> Iterator[State]:
        for group in present:
            yield device.bra_of_outcomes(chunk.batch, sweeps.frame, f.measurement.qubits, _weights(f, labels, group))

    found = f.passes.derivatives(parameters, wanted, bras, len(present), keep_phase=False)
    result = np.zeros((parameters.batch, num_groups, len(wanted)))
    result[:, present] = found
    return result


def _backward(
    f: ProgramFunction,
    x: ArrayLike | None,
    w: ArrayLike | None,
    labels: IntArray,
    present: IntArray,
    num_groups: int,
    wanted: IntArray,
) -> FloatArray:
    states = f.measurement.of_basis_states(f.num_qubits)

    def bras(amplitudes: ComplexArray) -> Iterator[ComplexArray]:
        return (_weights(f, labels, group)[states] * amplitudes for group in present)

    found = pull_bras(f, x, w, wanted.tolist(), bras, len(present))
    result = np.zeros((len(found), num_groups, len(wanted)))
    result[:, present] = found
    return result


def _forward(
    f: ProgramFunction, values: FloatArray, labels: IntArray, num_groups: int, wanted: IntArray, chosen: IntArray
) -> FloatArray:
    result = np.empty((len(values), num_groups, len(wanted)))
    samples, block = f.unrolled.blocks(len(values), len(chosen))
    for start in range(0, len(values), samples):
        part = values[start : start + samples]
        ket = f.unrolled.states(part)
        derivatives = np.empty((len(part), num_groups, len(chosen)))
        for first in range(0, len(chosen), block):
            tangents = f.unrolled.tangents(part, chosen[first : first + block])
            slopes = 2.0 * (ket.conj()[:, None] * tangents).real
            derivatives[..., first : first + block] = _group_sums(slopes, labels, num_groups).swapaxes(1, 2)
        result[start : start + samples] = f.unrolled.chain(part, chosen, derivatives)[..., wanted]
    return result


def _group_sums(values: FloatArray, labels: IntArray, num_groups: int) -> FloatArray:
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
