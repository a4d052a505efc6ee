"""How well a backward sweep undoes noise."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import FloatArray, joined
from ..devices import State
from ..devices.pauli_vector.device import MixedStateDevice
from ..errors import UnsupportedInstructionError
from ..planner.pauli_vector.segments import first_undone, piece
from .mixed_sweeps import MixedSweeps
from .parameters import ParameterBatch, first_parameters
from .program_function import ProgramFunction
from .strengths import by_piece

STATES = 7
"""States that are held at once: the ket, a bra, the start, and two vectors to compare in double precision."""


def undo_error(f: ProgramFunction, x: ArrayLike | None = None, w: ArrayLike | None = None) -> FloatArray:
    """How far undoing leads from where it should: a certificate for gradients of programs with noise.

    The Pauli vectors r of a forward sweep are undone back to the first parameter. Wherever a state was kept on the way,
    and at the end, the error is ``max |r' - r|``, where ``|r| <= 1``; the largest one is given. Gradients of the
    parameters there have errors of this size relative to the largest gradient possible, all others smaller ones.
    x and w are as of `ProgramFunction.values`.

    Returns:
        The error of each sample, (B,).

    Raises:
        UnsupportedInstructionError: For a program without noise, and for trajectories.
    """
    if f.sampled is not None or not isinstance(f.device, MixedStateDevice):
        reason = "it is estimated from trajectories" if f.sampled is not None else "it has no noise"
        raise UnsupportedInstructionError(
            f"undo_error says how well noise is undone for exact gradients of a program; of this one none is: {reason}."
        )
    if f.strengths is not None and (pieces := f.strengths.pieces(x, w)):
        return by_piece(partial(undo_error, f), pieces, x, w)
    parameters = f.read(x, w)
    sweeps = f.plans.planned(f.passes.request(parameters, first_parameters(f.angle_map.num_parameters)))
    assert isinstance(sweeps, MixedSweeps)
    return joined([_undo_error(f, f.device, sweeps, part) for part in f.memory.chunks(parameters, STATES, sweeps)])


def _undo_error(
    f: ProgramFunction, device: MixedStateDevice, sweeps: MixedSweeps, parameters: ParameterBatch
) -> FloatArray:
    residuals, ket = f.passes.forward(sweeps, parameters)
    kept, coefficients, inner = list(residuals.checkpoints), residuals.bound.bound.coefficients, device.inner

    def difference(one: State, other: State) -> FloatArray:
        return np.asarray(np.abs(inner.vectors(one) - inner.vectors(other)).max(axis=1))

    error = np.zeros(parameters.batch)
    for segment in reversed(residuals.segments):
        before = kept.pop() if segment.kept else None
        if not segment.held:
            device.backward(segment.tape, coefficients, ket, device.copy(ket), per_sample=False)
        if before is not None:
            error = error if segment.held else np.maximum(error, difference(ket, before))
            ket = before
    start = device.allocate(sweeps.tape, parameters.batch, parameters.initial_states)
    device.forward(piece(sweeps.tape, 0, first_undone(sweeps.tape)), coefficients, start)
    return np.maximum(error, difference(ket, start))
