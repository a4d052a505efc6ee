"""Second order: Hessian-vector products and the quantum geometric tensor.

Both are exact. An expectation value is, in the angle of one rotation, a trigonometric polynomial: of frequency 1, or
with controls of frequencies 1/2 and 1. So is its gradient, whose derivative along that angle is therefore a fixed
combination of gradients at shifted angles (Wierichs et al. 2022, arXiv:2107.12390). All shifts are rows of one batch:
a product with the Hessian is one forward and one backward sweep over 2 rows (4 with controls) for each rotation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray, real_array
from ..errors import InvalidInputError
from .binding import checked_cotangents
from .states import DifferentiableStates

_PLAIN_SHIFTS = ((np.pi / 2, 0.5), (-np.pi / 2, -0.5))
_OUTER, _INNER = (np.sqrt(2) + 1) / (4 * np.sqrt(2)), (np.sqrt(2) - 1) / (4 * np.sqrt(2))
_CONTROLLED_SHIFTS = (
    (np.pi / 2, _OUTER),
    (-np.pi / 2, -_OUTER),
    (3 * np.pi / 2, -_INNER),
    (-3 * np.pi / 2, _INNER),
)


def hessian_product(
    program: DifferentiableStates, x: ArrayLike | None, w: ArrayLike, v: ArrayLike, cotangents: ArrayLike | None
) -> FloatArray:
    """The Hessian of ``sum cotangents * values`` with respect to the weights, times a vector.

    Args:
        program: The program.
        x: Inputs (B, num_inputs) or None.
        w: Weights (num_weights,).
        v: The vector (num_weights,).
        cotangents: (B, n_obs), ones if None.

    Returns:
        The product (num_weights,).

    Raises:
        InvalidInputError: If a shape is wrong, or weights train amplitudes.
    """
    weights, vector = real_array(w, "w"), real_array(v, "v")
    expected = (program.num_weights,)
    if weights.shape != expected or vector.shape != expected:
        raise InvalidInputError(f"w and v have shapes {weights.shape} and {vector.shape}; {expected} is expected.")
    values = program.rows(x, weights)
    shape = (len(values), program.num_observables)
    cotangents = np.ones(shape) if cotangents is None else checked_cotangents(cotangents, shape)
    columns = np.arange(program.num_inputs, program.num_inputs + program.num_weights)
    if program.encodes(columns):
        raise InvalidInputError(
            "Hessians are available for weights of gates; some of these are amplitudes of the initial state. Make "
            "them inputs."
        )
    rotations = program.rotations.depending_on(columns)
    slopes = program.rotations.slopes(values, rotations)[..., columns]  # (B, R, num_weights)
    result = np.zeros(program.num_weights)
    direction = np.zeros(program.angle_map.num_parameters)
    direction[columns] = vector
    for row, cotangent, slope in zip(values, cotangents, slopes, strict=True):
        along = slope @ vector
        moved = along != 0
        result += _angle_product(program, row, rotations[moved], along[moved], cotangent, rotations) @ slope
        if program.angle_map.groups:  # the angles themselves are curved
            result += program.rotations.curvature(row, direction, cotangent)[columns]
    return result


def _angle_product(
    program: DifferentiableStates,
    values: FloatArray,
    moved: NDArray[np.intp],
    direction: FloatArray,
    cotangents: FloatArray,
    rotations: NDArray[np.intp],
) -> FloatArray:
    """The Hessian in the angles of ``rotations`` times a direction along those of ``moved``."""
    shifts = [
        (rotation, shift, weight * length)
        for rotation, length in zip(moved.tolist(), direction.tolist(), strict=True)
        for shift, weight in (_CONTROLLED_SHIFTS if program.rotations.controlled[rotation] else _PLAIN_SHIFTS)
    ]
    if not shifts:
        return np.zeros(len(rotations))
    shifted = np.array([rotation for rotation, _, _ in shifts])
    by = np.array([shift for _, shift, _ in shifts])
    weights = np.array([weight for _, _, weight in shifts])
    gradients = program.rotations.shifted_gradients(values, shifted, by, weights[:, None] * cotangents)
    return np.asarray(gradients.sum(axis=0)[rotations])


def geometric_tensor(
    program: DifferentiableStates, values: ArrayLike, wanted: Sequence[int], *, phase_fix: bool = True
) -> NDArray[np.complex128]:
    """``<d_i psi|d_j psi>``, by default minus ``<d_i psi|psi><psi|d_j psi>``.

    The derivatives of the state are made in blocks that fit the memory budget; a pair of blocks is one matrix product.

    Args:
        program: The program.
        values: One row (P,) of parameter values, inputs first.
        wanted: Indices (n,) of the parameters.
        phase_fix: Whether the second term is taken off.

    Returns:
        The tensor (n, n), Hermitian; 4 times its real part is the quantum Fisher information.
    """
    row = np.asarray(values, np.float64)[None, :]
    columns = np.asarray(wanted, np.intp)
    if program.encodes(columns):
        raise InvalidInputError(
            "The geometric tensor is available for parameters of gates; some of those wanted are amplitudes of the "
            "initial state. Leave them out of parameters."
        )
    psi = program.rotations.state_at(row)[0]
    size = max(program.budget // (64 * 2**program.num_qubits), 1)
    parts = [slice(first, first + size) for first in range(0, len(columns), size)]
    tensor = np.empty((len(columns), len(columns)), np.complex128)
    phases = np.empty(len(columns), np.complex128)
    for k, left in enumerate(parts):
        bras = _derivatives(program, row, columns[left]).conj()
        phases[left] = bras @ psi
        tensor[left, left] = bras @ bras.conj().T
        for right in parts[k + 1 :]:
            tensor[left, right] = bras @ _derivatives(program, row, columns[right]).T
            tensor[right, left] = tensor[left, right].conj().T
    return tensor - np.outer(phases, phases.conj()) if phase_fix else tensor


def _derivatives(
    program: DifferentiableStates, row: FloatArray, columns: NDArray[np.intp]
) -> NDArray[np.complexfloating]:
    """The state's derivatives (n, 2**num_qubits) with respect to some parameters at one row (1, P)."""
    rotations = program.rotations.depending_on(columns)
    slopes = program.rotations.slopes(row, rotations)[0][:, columns]
    result = np.zeros((len(columns), 2**program.num_qubits), np.complex128)
    _, block = program.rotations.blocks(1, len(rotations))
    for first in range(0, len(rotations), block):
        part = slice(first, first + block)
        result += slopes[part].T @ program.rotations.tangents(row, rotations[part])[0]
    return result
