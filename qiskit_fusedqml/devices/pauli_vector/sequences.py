"""Sequences of rotations and channels of one qubit as affine maps, and their derivatives, in plain NumPy.

With factors F_k, (4, 4) transfer matrices in time order, a sequence is ``T = F_m ... F_1``. From the overlaps
``M[a, b] = dE/dT[a, b]`` follows, with the products L_k = F_m ... F_(k+1) and R_k = F_(k-1) ... F_1, ::

    dE = <dF_k, L_k^T M R_k^T>                                (sum over all entries)

for each factor. Compiled code computes the same from the same tables.
"""

from __future__ import annotations

import numpy as np

from ...arrays import FloatArray
from ...ir.channels import PLANES, rotation
from ...planner.pauli_vector.tables import CHANNEL, AffineSequences


def rotation_derivative(axis: int, angles: FloatArray) -> FloatArray:
    """Their derivatives by the angles."""
    first, second = PLANES[axis]
    result = np.zeros((*np.shape(angles), 4, 4))
    result[..., first, first] = result[..., second, second] = -np.sin(angles)
    result[..., second, first] = np.cos(angles)
    result[..., first, second] = -np.cos(angles)
    return result


def whole(maps: FloatArray) -> FloatArray:
    """Affine maps (..., 3, 4) as transfer matrices (..., 4, 4)."""
    top = np.broadcast_to(np.eye(1, 4), (*maps.shape[:-2], 1, 4))
    return np.concatenate([top, maps], axis=-2)


def bind_sequences(sequences: AffineSequences, angles: FloatArray, maps: FloatArray) -> FloatArray:
    """The affine maps of sequences.

    Args:
        sequences: R sequences.
        angles: Angles (A,) by slot, or (B, A') by position among the batched slots.
        maps: (C, 3, 4) the channels that sequences name.

    Returns:
        (R, 3, 4), or (R, 3, 4, B).
    """
    found = [
        _product(_factors(sequences, number, angles, maps), angles.shape[:-1])[..., 1:, :]
        for number in range(len(sequences.starts) - 1)
    ]
    stacked = np.stack(found) if found else np.zeros((0, *angles.shape[:-1], 3, 4))
    return stacked if angles.ndim == 1 else np.ascontiguousarray(np.moveaxis(stacked, 1, -1))


def pull_sequences(
    sequences: AffineSequences, angles: FloatArray, maps: FloatArray, overlaps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Derivatives by the factors of sequences.

    Args:
        sequences: R sequences.
        angles: As of `bind_sequences`.
        maps: As of `bind_sequences`.
        overlaps: M of each sequence, (..., R, 3, 4), with the batch before R for batched sequences; zero where no
            gradient is wanted.

    Returns:
        Derivatives (..., A) by the angles and (..., C, 3, 4) by the channels' maps.
    """
    leading = overlaps.shape[:-3]
    by_angle, by_map = np.zeros((*leading, angles.shape[-1])), np.zeros((*leading, len(maps), 3, 4))
    for number in range(len(sequences.starts) - 1):
        factors = _factors(sequences, number, angles, maps)
        inner = np.concatenate([np.zeros((*leading, 1, 4)), overlaps[..., number, :, :]], axis=-2)
        befores = [np.broadcast_to(np.eye(4), factors[0].shape)]
        for factor in factors[:-1]:
            befores.append(factor @ befores[-1])
        for k in range(len(factors) - 1, -1, -1):
            inside = inner @ befores[k].swapaxes(-1, -2)
            position = sequences.starts[number] + k
            axis, slot = sequences.axes[position], sequences.slots[position]
            if axis == CHANNEL:
                by_map[..., slot, :, :] += inside[..., 1:, :]
            elif slot >= 0:
                slope = rotation_derivative(axis, _angle(sequences, position, angles))
                by_angle[..., slot] += sequences.weights[position] * (slope * inside).sum(axis=(-1, -2))
            inner = factors[k].swapaxes(-1, -2) @ inner
    return by_angle, by_map


def _factors(sequences: AffineSequences, number: int, angles: FloatArray, maps: FloatArray) -> list[FloatArray]:
    """The factors (..., 4, 4) of a sequence in time order."""
    found = []
    for position in range(sequences.starts[number], sequences.starts[number + 1]):
        axis, slot = sequences.axes[position], sequences.slots[position]
        if axis == CHANNEL:
            found.append(np.broadcast_to(whole(maps[slot]), (*angles.shape[:-1], 4, 4)))
        else:
            found.append(rotation(axis, _angle(sequences, position, angles)))
    return found


def _angle(sequences: AffineSequences, position: int, angles: FloatArray) -> FloatArray:
    """The angle (...) of a rotation."""
    slot = sequences.slots[position]
    turned = angles[..., slot] if slot >= 0 else np.zeros(angles.shape[:-1])
    return np.asarray(sequences.weights[position] * turned + sequences.angles[position])


def _product(factors: list[FloatArray], leading: tuple[int, ...]) -> FloatArray:
    result = np.broadcast_to(np.eye(4), (*leading, 4, 4))
    for factor in factors:
        result = factor @ result
    return result
