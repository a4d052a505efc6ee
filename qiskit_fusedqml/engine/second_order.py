"""Second order: Hessian-vector products and the quantum geometric tensor.

Both are exact. An expectation value is, in the angle of one rotation, a trigonometric polynomial: of frequency 1, or
with controls of frequencies 1/2 and 1. So is its gradient, whose derivative along that angle is therefore a fixed
combination of gradients at shifted angles (Wierichs et al. 2022, arXiv:2107.12390). All shifts are samples of one
batch: a product with the Hessian is one forward and one backward sweep over 2 samples (4 with controls) for each
rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import ComplexArray, FloatArray, IntArray, consecutive, real_array
from ..errors import InvalidInputError, UnsupportedInstructionError
from .parameters import checked_cotangents
from .program_function import ProgramFunction


def hessian_product(
    f: ProgramFunction, x: ArrayLike | None, w: ArrayLike, v: ArrayLike, cotangents: ArrayLike | None = None
) -> FloatArray:
    """``H v`` with ``H = d^2 L / dw^2``, L being ``sum cotangents * values``; exact.

    For a loss that is not linear in the values add the Gauss-Newton term, ``J.T @ (loss'' * (J @ v))`` with J of
    `ProgramFunction.jacobian`.

    With the angles theta(w) of the rotations, ``H v = J^T H_theta J v + sum_r dL/dtheta_r (d^2 theta_r / dw^2) v``.

    x and w (num_weights,) are as of `ProgramFunction.values`, v and the product (num_weights,), the cotangents
    (B, n_obs), ones if None.

    Raises:
        InvalidInputError: If a shape is wrong, or weights train amplitudes.
    """
    memory, is_curved = f.memory_of_device, bool(f.angle_map.groups)
    if memory is not None and is_curved and (memory.is_on_device(x) or memory.is_on_device(w)):
        given: list[Any] = [
            memory.to_host(array) if memory.is_on_device(array) else array for array in (x, w, v, cotangents)
        ]
        return cast(FloatArray, memory.from_host(hessian_product(f, *given)))
    batch, columns = f.read(x, w, on_host=False), f.indices("weights")
    take = memory.take if memory is not None and batch.on_device else real_array
    vector, expected = take(v, "v"), (f.num_weights,)
    if batch.per_sample or vector.shape != expected:
        raise InvalidInputError(
            f"w and v have shapes {tuple(np.shape(w))} and {tuple(vector.shape)}; {expected} is expected."
        )
    shape = (batch.batch, f.num_observables)
    cotangents = np.ones(shape) if cotangents is None else checked_cotangents(cotangents, shape, memory)
    if f.passes.encodes(columns):
        raise InvalidInputError(
            "Hessians are available for weights of gates; some of these are amplitudes of the initial state. Make "
            "them inputs."
        )
    points, values = _ShiftedPoints(f, columns), batch.full()
    result = np.zeros(f.num_weights, like=values)
    for row, cotangent in zip(values, take(cotangents, "cotangents"), strict=True):
        result += points.product(row, vector, cotangent)
        if is_curved:  # the angles themselves are curved
            result += _curvature(f, row, np.pad(vector, (f.num_inputs, 0)), cotangent)[columns]
    return result


class _ShiftedPoints:
    """The points of the shift rules of all rotations that depend on some parameters, the last ones of a function."""

    def __init__(self, f: ProgramFunction, columns: IntArray) -> None:
        self._f, self._columns = f, columns
        chosen = f.unrolled.depending_on(columns)
        places, shifts, self._weights = f.unrolled.shifts(chosen)
        self._slots = f.unrolled.source[chosen[places]]
        self._offsets = np.zeros((len(shifts), len(f.unrolled.source)))
        self._offsets[np.arange(len(shifts)), chosen[places]] = shifts

    def product(self, values: FloatArray, vector: FloatArray, cotangents: FloatArray) -> FloatArray:
        """``J^T H_theta J v`` at some values (P,): H_theta J v are gradients at the points, weighted by J v."""
        direction = np.concatenate([np.zeros(self._f.num_inputs, like=vector), vector])
        moved = self._f.angle_map.tangent(values, direction)[np.asarray(self._slots, like=values)]
        lengths = moved * np.asarray(self._weights, like=values)
        offsets = np.asarray(self._offsets, like=values)
        if isinstance(lengths, np.ndarray):  # on a device, the host would have to wait to know
            offsets, lengths = offsets[lengths != 0], lengths[lengths != 0]
        if not len(lengths):
            return np.zeros(len(vector), like=vector)
        points = np.concatenate([np.tile(values, (len(lengths), 1)), offsets], axis=1)
        gradients = self._f.unrolled.shifted.value_and_vjp(None, points, lengths[:, None] * cotangents)[2]
        total: FloatArray = gradients[:, consecutive(self._columns, like=gradients)].astype(np.float64).sum(axis=0)
        return total


def _curvature(f: ProgramFunction, values: FloatArray, direction: FloatArray, cotangents: FloatArray) -> FloatArray:
    """What the angles' own second derivatives add to a product with the Hessian, (P,)."""
    angles = f.unrolled.angles(values[None])
    _, _, gradients = f.unrolled.function.value_and_vjp(None, angles, cotangents[None])
    source = f.unrolled.source
    by_angle = np.zeros(f.angle_map.num_angles)
    np.add.at(by_angle, source, gradients[0, : len(source)])
    return f.angle_map.curvature(values, direction, by_angle)


def geometric_tensor(
    f: ProgramFunction, values: ArrayLike, wanted: Sequence[int], *, phase_fix: bool = True
) -> NDArray[np.complex128]:
    """``<d_i psi|d_j psi>``, by default minus ``<d_i psi|psi><psi|d_j psi>``.

    The derivatives of the state are made in blocks that fit the memory budget; a pair of blocks is one matrix product.

    Args:
        f: The function.
        values: Parameter values (P,) of one sample, inputs first.
        wanted: Indices (n,) of the parameters.
        phase_fix: Whether the second term is taken off.

    Returns:
        The tensor (n, n), Hermitian; 4 times its real part is the quantum Fisher information.

    Raises:
        InvalidInputError: If what is wanted are amplitudes of the initial state.
    """
    if f.device.cost_model.global_qubits:
        raise UnsupportedInstructionError(
            "The geometric tensor takes all derivatives of the state at once, which ranks that share one do not have. "
            "Values, gradients, Jacobians, Hessian products, probabilities and shots are there; leave comm=... out for "
            "the tensor."
        )
    row = np.asarray(values, np.float64)[None, :]
    columns = np.asarray(wanted, np.intp)
    if f.passes.encodes(columns):
        raise InvalidInputError(
            "The geometric tensor is available for parameters of gates; some of those wanted are amplitudes of the "
            "initial state. Leave them out of parameters."
        )
    psi = f.unrolled.states(row)[0]
    size = max(f.budget // (64 * 2**f.num_qubits), 1)
    parts = [slice(first, first + size) for first in range(0, len(columns), size)]
    tensor = np.empty((len(columns), len(columns)), np.complex128)
    phases = np.empty(len(columns), np.complex128)
    for k, left in enumerate(parts):
        bras = _derivatives(f, row, columns[left]).conj()
        phases[left] = bras @ psi
        tensor[left, left] = bras @ bras.conj().T
        for right in parts[k + 1 :]:
            tensor[left, right] = bras @ _derivatives(f, row, columns[right]).T
            tensor[right, left] = tensor[left, right].conj().T
    return tensor - np.outer(phases, phases.conj()) if phase_fix else tensor


def _derivatives(f: ProgramFunction, row: FloatArray, columns: IntArray) -> ComplexArray:
    """The state's derivatives (n, 2**num_qubits) with respect to some parameters at one sample (1, P)."""
    chosen = f.unrolled.depending_on(columns)
    slopes = f.unrolled.slopes(row, chosen)[0][:, columns]
    result = np.zeros((len(columns), 2**f.num_qubits), np.complex128)
    _, block = f.unrolled.blocks(1, len(chosen))
    for first in range(0, len(chosen), block):
        part = slice(first, first + block)
        result += slopes[part].T @ f.unrolled.tangents(row, chosen[part])[0]
    return result
