"""What a transfer matrix is made of: what it commutes with, whether it fits in a `Pair`, and its factors.

A channel that depends on angles is judged by some of its family's members; what these have, all have.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...arrays import FloatArray
from ...ir.channels import Channel, rotation
from .tape import PauliQubit

EPSILON = 1e-13
"""What a transfer matrix's entries may differ by where one is taken for another."""

_TRIALS = (1e-9, 0.021, 0.034, 40.0, 1e5)
"""Parameters of the members that stand for a family: small ones, as sums of them may be probabilities, and times in any
unit, as relaxation for a very short or long time is the same as none, or as a reset."""


def key(channel: Channel) -> Hashable:
    """Equal for channels with equal transfer matrices at all angles, on whatever qubits."""
    name = None if channel.family is None else channel.family.name
    return name, channel.entries.tobytes(), channel.slots, channel.constants


def members(channel: Channel) -> FloatArray:
    """The matrix, or members of the family, (S, 4**k, 4**k)."""
    if channel.family is None:
        assert channel.matrix is not None
        return channel.matrix[None]
    given = zip(channel.slots, channel.constants, strict=True)
    parameters = [
        np.array(_TRIALS) * (1 + 0.3 * j) if s >= 0 else np.full(len(_TRIALS), c) for j, (s, c) in enumerate(given)
    ]
    return channel.family.transfer(*parameters)


def is_constant(channel: Channel) -> bool:
    """Whether no angle changes it."""
    return all(slot < 0 for slot in channel.slots)


def fixed(channel: Channel) -> Channel:
    """The same channel, by its matrix if that is constant, on positions 0, 1, ... instead of qubits."""
    placed = replace(channel, qubits=tuple(range(len(channel.qubits))))
    if channel.family is None or not is_constant(channel):
        return placed
    return Channel(placed.qubits, np.array(members(channel)[0]))


@dataclass(frozen=True, slots=True)
class OneQubit:
    """What is known of a one-qubit channel.

    Attributes:
        identity: Whether it does nothing.
        shift: Whether ``T = diag(1, s_x, s_y, s_z)`` but for ``T[3, 0]``, what Z gains from I.
        gain: Whether ``T[3, 0]`` differs from 0.
        unital: Whether ``T[1:, 0]`` is 0.
        axes: Axes (0 to 2) of the rotations of this qubit that it commutes with.
        letters: Axes of the letters whose multi-qubit rotations, and controls, it commutes with.
    """

    identity: bool
    shift: bool
    gain: bool
    unital: bool
    axes: frozenset[int]
    letters: frozenset[int]


@lru_cache(maxsize=1024)
def one_qubit(channel: Channel) -> OneQubit:
    """Judge a one-qubit channel."""
    all_of_them = members(channel)
    off = all_of_them * (1 - np.eye(4))
    gain = not _vanishes(off[:, 3, 0])
    unital = _vanishes(off[:, :, 0])
    off[:, 3, 0] = 0
    turned = [rotation(axis, 1.0) for axis in range(3)]
    axes = frozenset(a for a, r in enumerate(turned) if _vanishes(all_of_them @ r - r @ all_of_them))
    letters = frozenset(a for a in axes if _vanishes(all_of_them[:, (0, a + 1)] - np.eye(4)[[0, a + 1]]))
    return OneQubit(_vanishes(all_of_them - np.eye(4)), _vanishes(off), gain, unital, axes, letters)


def _vanishes(matrix: FloatArray) -> bool:
    return bool(np.abs(matrix).max(initial=0.0) < EPSILON)


def is_diagonal(channel: Channel) -> bool:
    """Whether the transfer matrix is diagonal at all angles."""
    matrices = members(channel)
    return _vanishes(matrices * (1 - np.eye(matrices.shape[-1])))


class Factors(NamedTuple):
    """``T = (B (x) A) D`` of a two-qubit channel, A on the first qubit, or ``D (B (x) A)``; None is an identity."""

    diagonal: Channel | None
    first: Channel | None = None
    second: Channel | None = None
    diagonal_is_last: bool = False


@lru_cache(maxsize=256)
def factors(channel: Channel) -> Factors | None:
    """The factors of a two-qubit channel, or None where there are none.

    The blocks of the second qubit's I, and of the first's, give A and B; D is what is left of the columns, or of the
    rows, if it is a number for each.
    """
    if is_diagonal(channel):
        return Factors(channel)
    if not is_constant(channel):
        return None
    matrix = members(channel)[0].reshape(4, 4, 4, 4)  # b', a', b, a
    first, second = matrix[0, :, 0, :], matrix[:, 0, :, 0]
    product = np.kron(second, first)
    for last in (False, True):
        diagonal = _ratios(product, matrix.reshape(16, 16), axis=1 if last else 0)
        if diagonal is None:
            continue
        whole = Channel((0, 1), np.diag(diagonal))
        parts = (Channel((0,), np.array(first)), Channel((0,), np.array(second)))
        left, right = (None if one_qubit(part).identity else part for part in parts)
        return Factors(None if _vanishes(diagonal - 1) else whole, left, right, last)
    return None


def _ratios(product: FloatArray, matrix: FloatArray, axis: int) -> FloatArray | None:
    """Numbers (16,) that make the second matrix of the first one's columns (axis 0) or rows (axis 1), if there are."""
    norms = (product**2).sum(axis=axis)
    ratios = np.divide((product * matrix).sum(axis=axis), norms, out=np.ones(16), where=norms > EPSILON)
    scaled = product * (ratios[:, None] if axis else ratios)
    return ratios if _vanishes(scaled - matrix) else None


def composed(first: Channel, second: Channel) -> Channel:
    """A constant channel after another one."""
    return Channel(first.qubits, members(second)[0] @ members(first)[0])


@lru_cache(maxsize=256)
def swapped(channel: Channel) -> Channel:
    """A constant two-qubit channel, its qubits the other way round."""
    matrix = members(channel)[0].reshape(4, 4, 4, 4).transpose(1, 0, 3, 2).reshape(16, 16)
    return Channel((0, 1), np.ascontiguousarray(matrix))


def algebra(qubit: PauliQubit, bits: int) -> tuple[int, ...]:
    """The generators of all that one qubit can do: its vectors, and its functionals shifted by the length of both."""
    return qubit.x, qubit.z, qubit.x_bit << bits, qubit.z_bit << bits
