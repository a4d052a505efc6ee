"""Density matrices of programs with channels, and derivatives of what is read off them.

With G such that a real function of the density matrix of some qubits changes by ``dL = Re sum_ij conj(G_ij) d rho_ij``,
a backward sweep gives dL for every angle, one sweep a function, as in `qiskit_fusedqml.engine.state_gradients`. The
qubits are given as a sequence, the first one the lowest bit of the matrix's indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import ComplexArray, FloatArray, joined
from ..devices import State
from ..devices.pauli_vector.device import MixedStateDevice
from .memory import KET
from .mixed_sweeps import MixedSweeps
from .parameters import ParameterBatch
from .program_function import Gradients, InitialStates, ProgramFunction
from .state_gradients import states_vjp
from .strengths import by_piece, vjp_by_piece
from .sweeps import Sweeps

Cotangents = Callable[[ComplexArray], Iterator[ComplexArray]]
"""From density matrices (b, 2**k, 2**k) to one G (b, 2**k, 2**k) after the other."""


def density_matrices(
    f: ProgramFunction,
    qubits: Sequence[int],
    x: ArrayLike | None = None,
    w: ArrayLike | None = None,
    initial_states: InitialStates = None,
) -> ComplexArray:
    """The density matrices (B, 2**k, 2**k) of k qubits. Initial states may be amplitudes or Pauli vectors."""
    if f.strengths is not None and (pieces := f.strengths.pieces(x, w)):
        return by_piece(partial(density_matrices, f, qubits), pieces, x, w, initial_states=initial_states)
    parameters, device = f.read(x, w, initial_states), _device(f)
    _check_size(f, qubits, parameters.batch)
    sweeps = f.plans.sweeps(f.passes.request(parameters))
    kets = (f.passes.forward(sweeps, chunk)[1] for chunk in f.memory.chunks(parameters, KET))
    return joined([device.density_matrices(ket, sweeps.frame, qubits) for ket in kets])


def density_vjp(
    f: ProgramFunction,
    qubits: Sequence[int],
    x: ArrayLike | None = None,
    w: ArrayLike | None = None,
    initial_states: InitialStates = None,
) -> tuple[ComplexArray, Callable[[ArrayLike], Gradients]]:
    """As `density_matrices`, and a pullback G -> dx, dw as of `ProgramFunction.vjp`."""
    if f.strengths is not None and (pieces := f.strengths.pieces(x, w)):
        found: Any = vjp_by_piece(partial(density_vjp, f, qubits), pieces, x, w, initial_states=initial_states)
        return found  # type: ignore[no-any-return]
    parameters, device = f.read(x, w, initial_states), _device(f)
    _check_size(f, qubits, parameters.batch)

    def bra(sweeps: Sweeps, cotangents: ComplexArray) -> State:
        return device.bra_of_densities(sweeps.frame, qubits, cotangents)

    return states_vjp(
        f, parameters, lambda ket, frame: device.density_matrices(ket, frame, qubits), bra, keep_phase=False
    )


def pull_densities(
    f: ProgramFunction,
    qubits: Sequence[int],
    x: ArrayLike | None,
    w: ArrayLike | None,
    wrt: str | Sequence[int],
    cotangents: Cotangents,
    count: int,
    initial_states: InitialStates = None,
) -> FloatArray:
    """Derivatives (B, count, n) of real functions of the density matrices, one backward sweep each."""
    if f.strengths is not None and (pieces := f.strengths.pieces(x, w)):
        own = partial(pull_densities, f, qubits, wrt=wrt, cotangents=cotangents, count=count)
        return by_piece(own, pieces, x, w, initial_states=initial_states)
    device = _device(f)

    def bras(sweeps: Sweeps, _: ParameterBatch, ket: State) -> Iterator[State]:
        densities = device.density_matrices(ket, sweeps.frame, qubits)
        return (device.bra_of_densities(sweeps.frame, qubits, own) for own in cotangents(densities))

    return f.passes.derivatives(f.read(x, w, initial_states), f.indices(wrt), bras, count, keep_phase=False)


def first_cotangents(
    f: ProgramFunction,
    qubits: Sequence[int],
    x: ArrayLike | None,
    w: ArrayLike | None,
    initial_states: InitialStates,
    cotangents: FloatArray | None,
    of_densities: ComplexArray | None,
) -> ComplexArray:
    """Matrices (B, 2**n, 2**n) M with ``dL = Tr(M d rho_0)`` for the states that the program starts from.

    From cotangents of the values (B, n_obs) and of the density matrices of some qubits.
    """
    if f.strengths is not None and (pieces := f.strengths.pieces(x, w)):
        return by_piece(
            partial(first_cotangents, f, qubits),
            pieces,
            x,
            w,
            initial_states=initial_states,
            cotangents=cotangents,
            of_densities=of_densities,
        )
    parameters, device = f.read(x, w, initial_states), _device(f)
    sweeps = f.plans.planned(f.passes.request(parameters))
    assert isinstance(sweeps, MixedSweeps)
    coefficients = sweeps.bind(parameters).bound.coefficients
    total: ComplexArray | None = None
    bras = []
    if cotangents is not None:
        bras.append(device.apply_observables(None, sweeps.frame, f.observables or (), cotangents))
    if of_densities is not None:
        bras.append(device.bra_of_densities(sweeps.frame, qubits, of_densities))
    for bra in bras:
        own = device.first_cotangents(sweeps.tape, coefficients, bra)
        total = own if total is None else total + own
    assert total is not None
    return total


def _device(f: ProgramFunction) -> MixedStateDevice:
    assert isinstance(f.device, MixedStateDevice)
    return f.device


def _check_size(f: ProgramFunction, qubits: Sequence[int], batch: int) -> None:
    f.memory.check_output(batch * np.dtype(np.complex128).itemsize << 2 * len(qubits), "density matrices")
