"""What is read off a state over several ranks: marginal probabilities, outcomes of shots, logical indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from ..devices import Device, State
from ..planner.frame import Frame
from ..planner.gf2 import Span, annihilator, duals, pull
from .layouts import Layout

Keys = NDArray[np.uint64]


def logical_addresses(layout: Layout, frame: Frame, rank: int) -> Frame:
    """The logical index of each of a rank's addresses, as ``found.indices()``."""
    at = layout.indices(rank)
    n = frame.num_qubits
    columns = (pull(vector, frame.duals) for vector in at.columns)
    return Frame(tuple(columns), (), pull(at.offset | 1 << n, frame.duals))


def rank_outcome(layout: Layout, frame: Frame, qubits: Sequence[int], rank: int) -> int:
    """The outcome of qubits that have one value for all of a rank's amplitudes."""
    values = [layout.functional(frame.duals[q], rank) for q in qubits]
    assert not any(value & (1 << layout.num_local) - 1 for value in values)
    return sum((value >> layout.num_local) << j for j, value in enumerate(values))


def sampling_space(frame: Frame, qubits: Sequence[int]) -> tuple[int, ...]:
    """The local space in which all amplitudes of a rank have the same values of some qubits."""
    low = (1 << frame.num_qubits) - 1
    return tuple(annihilator([frame.duals[q] & low for q in qubits], frame.num_qubits))


def local_marginal(
    inner: Device, part: State, layout: Layout, frame: Frame, qubits: Sequence[int], rank: int
) -> FloatArray:
    """What a rank's amplitudes add to the marginal probabilities (B, 2**k).

    The qubits are functionals of the address; those that are independent there are the inner device's qubits, the
    others follow.
    """
    num_local = layout.num_local
    values = [layout.functional(frame.duals[q], rank) for q in qubits]
    low, span = (1 << num_local) - 1, Span()
    chosen = [value & low for value in values if span.add(value & low)]
    masks = [span.coordinates(value & low) or 0 for value in values]
    basis = [*chosen, *(1 << q for q in range(num_local) if span.add(1 << q))]
    inner_frame = Frame(tuple(duals(basis, num_local)), tuple(basis), 0)
    found = inner.probabilities(part, inner_frame, range(len(chosen)))
    if [1 << j for j in range(len(qubits))] == masks and not any(value >> num_local for value in values):
        return found
    images = (sum((mask >> i & 1) << j for j, mask in enumerate(masks)) for i in range(len(chosen)))
    constant = sum((value >> num_local) << j for j, value in enumerate(values))
    result = np.zeros((len(found), 1 << len(qubits)))
    result[:, Frame(tuple(images), (), constant).indices()] = found
    return result


def random_numbers(key: NDArray[np.uint64], shots: int) -> FloatArray:
    """The random numbers of a row of outcomes, as `SamplingDevice.sample` defines them."""
    return np.random.Generator(np.random.Philox(key=key)).random(shots)


def passed(sums: FloatArray, points: FloatArray) -> NDArray[np.int64]:
    """The entries at which running sums pass some points."""
    return np.minimum(np.searchsorted(sums, points, side="right"), len(sums) - 1).astype(np.int64)


def outcomes_of(table: FloatArray, shots: int, keys: Keys, states: NDArray[np.integer]) -> NDArray[np.int64]:
    """Outcomes (R, shots) from probabilities (B, 2**k) of all of them."""
    sums = np.cumsum(table, axis=1)
    return np.stack(
        [passed(sums[s], sums[s, -1] * random_numbers(key, shots)) for s, key in zip(states, keys, strict=True)]
    )


def own_outcomes(
    table: FloatArray, totals: FloatArray, place: int, shots: int, keys: Keys, states: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The outcomes (R, shots) that fall into a rank's share of the probabilities, and which these are.

    Args:
        table: (B, 2**m) the rank's probabilities.
        totals: (P, B) what the probabilities of each rank add up to, in the order of outcomes.
        place: The rank's place in that order.
        shots: Shots of each row.
        keys: Random numbers of each row.
        states: The state of each row.
    """
    before = np.cumsum(totals, axis=0)
    sums = np.cumsum(table, axis=1, out=table)
    found = np.zeros((len(states), shots), np.int64)
    is_own = np.zeros((len(states), shots), bool)
    for row, (s, key) in enumerate(zip(states, keys, strict=True)):
        points = before[-1, s] * random_numbers(key, shots)
        is_own[row] = passed(before[:, s], points) == place
        start = before[place - 1, s] if place else 0.0
        found[row, is_own[row]] = passed(sums[s], points[is_own[row]] - start)
    return found, is_own
