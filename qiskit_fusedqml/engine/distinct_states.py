"""Trajectories of Pauli noise as few states: those whose angles have the same signs are one, frames being put aside.

A frame turns the signs of Pauli strings and the outcomes of measurements; so observables are taken as their strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray
from ..ir.observables import PauliSum, PauliTerm, z_masks
from .pauli_frames import Masks, Trajectories

MAX_STRINGS = 256
"""Observables of more Pauli strings, in all, stay whole; frames are then emptied before they are measured."""

MAX_CONTROLS = 4
"""Observables with more projectors in a term stay whole, too."""


class Strings(NamedTuple):
    """K observables as sums of K' Pauli strings.

    Attributes:
        sums: The strings, each as an observable of its own with the weight 1.
        x: (K',) their masks.
        z: (K',)
        weights: (K', K) what each string counts in each observable.
    """

    sums: tuple[PauliSum, ...]
    x: IntArray
    z: IntArray
    weights: FloatArray

    @classmethod
    def of(cls, observables: Sequence[PauliSum]) -> Strings | None:
        """The strings of observables, or None where they are too many."""
        found: dict[tuple[int, int], FloatArray] = {}
        for k, observable in enumerate(observables):
            for term in observable.terms:
                if term.ctrl_mask.bit_count() > MAX_CONTROLS:
                    return None
                for z, weight in z_masks(term):
                    found.setdefault((term.x, z), np.zeros(len(observables)))[k] += weight
            if len(found) > MAX_STRINGS:
                return None
        n = observables[0].num_qubits if observables else 0
        sums = tuple(PauliSum(n, (PauliTerm(1.0, x, z),)) for x, z in found)
        masks = np.array(list(found), dtype=np.intp).reshape(-1, 2)
        weights = np.array(list(found.values())).reshape(len(found), len(observables))
        return cls(sums, masks[:, 0], masks[:, 1], weights)

    def signs(self, drawn: Trajectories) -> FloatArray:
        """The signs (N, K') that frames give to the strings."""
        x, z = self.x.astype(np.uint64), self.z.astype(np.uint64)
        both = np.bitwise_count(drawn.x[:, None] & z) + np.bitwise_count(drawn.z[:, None] & x)
        return np.asarray(1.0 - 2.0 * (both & 1))


class DistinctStates(NamedTuple):
    """N trajectories, and the U states among them that are not the one without an error.

    Attributes:
        signs: (U, R) of the angles of each state, the first ones to differ first.
        first: (U,) the first angle whose sign is turned, ascending.
        state_of: (N,) the state of each trajectory, from 1 on; 0 is the one without an error.
        string_signs: (N, K') of the observables' strings.
        x: (N,) masks of the frames.
        weights: (N,) what each trajectory counts.
    """

    signs: NDArray[np.int8]
    first: IntArray
    state_of: IntArray
    string_signs: FloatArray
    x: Masks
    weights: FloatArray

    @classmethod
    def of(cls, trajectories: Trajectories, string_signs: FloatArray, weights: FloatArray) -> DistinctStates:
        """Equal states found."""
        rows, first, state_of = distinct(trajectories.signs)
        return cls(trajectories.signs[rows], first, state_of, string_signs, trajectories.x, weights)

    @property
    def counts(self) -> FloatArray:
        """What each state's strings count, (1 + U, K')."""
        result = np.zeros((1 + len(self.signs), self.string_signs.shape[1]))
        np.add.at(result, self.state_of, self.weights[:, None] * self.string_signs)
        return result


def distinct(signs: NDArray[np.int8], kinds: IntArray | None = None) -> tuple[IntArray, IntArray, IntArray]:
    """The distinct rows of signs (N, R) that are not all 1.

    Args:
        signs: 1 or -1.
        kinds: (N,) numbers; rows of different kinds are different.

    Returns:
        Where each of the U distinct rows occurs, the first sign of each that is -1, ascending, and for each of the N
        rows its place among them plus 1, or 0 where all signs are 1.
    """
    turned = signs < 0
    first = np.where(turned.any(axis=1), turned.argmax(axis=1), turned.shape[1])
    numbers = (first,) if kinds is None else (first, kinds)
    keys = [number.astype(">u4").view(np.uint8).reshape(-1, 4) for number in numbers]
    joined = np.concatenate([*keys, np.packbits(turned, axis=1)], axis=1)
    _, rows, number = np.unique(joined.view(f"V{joined.shape[1]}").reshape(-1), return_index=True, return_inverse=True)
    count = int(np.searchsorted(first[rows], turned.shape[1]))
    return rows[:count], first[rows[:count]], np.where(number < count, number + 1, 0)
