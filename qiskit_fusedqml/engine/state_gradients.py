"""Derivatives of final amplitudes, in reverse mode: backward sweeps with other bras than ``sum_k c_k O_k |psi>``.

With ``g`` such that a real function of the state changes by ``dL = Re sum_i conj(g_i) d psi_i``, a backward sweep with
``bra = g / 2`` gives dL for every angle, one sweep a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import ComplexArray, FloatArray
from ..devices import State
from ..errors import FusedQMLError, InvalidInputError
from .memory import KET_AND_AMPLITUDES, KET_COPY_BRA_AMPLITUDES
from .parameters import ParameterBatch
from .program_function import Gradients, InitialStates, ProgramFunction
from .sweeps import Sweeps

Bras = Callable[[ComplexArray], Iterator[ComplexArray]]
"""From final amplitudes (b, 2**n) to one bra (b, 2**n) after the other, half the cotangents of `state_vjp`."""


def state_vjp(
    f: ProgramFunction, x: ArrayLike | None, w: ArrayLike | None, initial_states: InitialStates = None
) -> tuple[ComplexArray, Callable[[ArrayLike], Gradients]]:
    """Final amplitudes psi(x, w) and a pullback g -> dx, dw with ``dL = Re sum conj(g) d psi``.

    As `ProgramFunction.vjp`, but for amplitudes and complex g (B, 2**n).
    """

    def bra(sweeps: Sweeps, cotangents: ComplexArray) -> State:
        return f.passes.state(sweeps, 0.5 * cotangents)

    return states_vjp(f, f.read(x, w, initial_states), f.device.amplitudes, bra, keep_phase=True)


def states_vjp(
    f: ProgramFunction,
    parameters: ParameterBatch,
    read: Callable[[State, Any], ComplexArray],
    bra: Callable[[Sweeps, ComplexArray], State],
    *,
    keep_phase: bool,
) -> tuple[ComplexArray, Callable[[ArrayLike], Gradients]]:
    """What is read off final states (B, ...), and a pullback g -> dx, dw with ``dL = Re sum conj(g) d states``.

    Args:
        f: The function.
        parameters: The samples.
        read: From final states and their frame to arrays (b, ...).
        bra: From cotangents (b, ...) of these to bras.
        keep_phase: Whether global phases matter.
    """
    passes = f.passes
    sweeps = f.plans.sweeps(passes.request(parameters, f.trained, keep_phase=keep_phase))
    states = KET_COPY_BRA_AMPLITUDES << sweeps.is_real  # bras are complex, and make real kets so
    chunks = f.memory.chunks(parameters, states, sweeps)
    forwards = (passes.forward(sweeps, chunk, states) for chunk in chunks)
    held = [next(forwards)] if len(chunks) == 1 else []  # else computed again
    found = np.concatenate([read(ket, sweeps.frame) for _, ket in held or forwards])
    unused = [held.pop() if held else None]

    def pullback(cotangents: ArrayLike) -> Gradients:
        if not unused:
            raise FusedQMLError(
                "This pullback was called before; each belongs to one backward sweep. Call state_vjp again."
            )
        checked = _checked_bras(cotangents, found.shape)

        def own(chunk: ParameterBatch, _: State) -> State:
            return bra(sweeps, checked[chunk.first : chunk.first + chunk.batch])

        return f.pull(chunks, sweeps, states, unused.pop(), own)

    return found, pullback


def local_amplitudes(
    f: ProgramFunction, x: ArrayLike | None = None, w: ArrayLike | None = None
) -> tuple[NDArray[np.int64], ComplexArray]:
    """The final amplitudes that this rank holds, of a state that several share; all of them in one process.

    Returns:
        The basis states (2**l,) of the simulated qubits, and their amplitudes (B, 2**l).
    """
    parameters = f.read(x, w)
    if not f.device.cost_model.global_qubits:
        return np.arange(2**f.num_qubits), f.passes.amplitudes(parameters)
    sweeps = f.plans.sweeps(f.passes.request(parameters, keep_phase=True))
    device: Any = f.device
    parts = [
        device.local_amplitudes(f.passes.forward(sweeps, chunk)[1], sweeps.frame)
        for chunk in f.memory.chunks(parameters, KET_AND_AMPLITUDES)
    ]
    return parts[0][0], np.concatenate([part for _, part in parts])


def overlap_jacobian(
    f: ProgramFunction, x: ArrayLike | None, w: ArrayLike | None, wrt: str | Sequence[int] = "weights"
) -> NDArray[np.complex128]:
    """``2 <psi| O_k |d psi / d theta_p>``, (B, n_obs, n); the real part is `ProgramFunction.jacobian`."""
    observables = f.observables or ()

    def bras(sweeps: Sweeps, chunk: ParameterBatch, ket: State) -> Iterator[State]:
        # Im <1j bra| P |ket> = -Re <bra| P |ket>, which is 2 Im <bra| d psi>
        ones = np.ones((chunk.batch, 1))
        for observable in observables:
            image = f.device.amplitudes(
                f.device.apply_observables(ket, sweeps.frame, (observable,), ones), sweeps.frame
            )
            yield from (f.passes.state(sweeps, factor * image) for factor in (1.0, 1j))

    parts = f.passes.derivatives(f.read(x, w), f.indices(wrt), bras, 2 * f.num_observables)
    return parts[:, 0::2] + 1j * parts[:, 1::2]


def pull_bras(
    f: ProgramFunction,
    x: ArrayLike | None,
    w: ArrayLike | None,
    wrt: str | Sequence[int],
    bras: Bras,
    count: int,
    initial_states: InitialStates = None,
) -> FloatArray:
    """Derivatives (B, count, n) of real functions of the state, one backward sweep each, from a bra of each.

    The other arguments are those of `ProgramFunction.jacobian`.
    """

    def states(sweeps: Sweeps, _: ParameterBatch, ket: State) -> Iterator[State]:
        return (f.passes.state(sweeps, bra) for bra in bras(f.device.amplitudes(ket, sweeps.frame)))

    return f.passes.derivatives(f.read(x, w, initial_states), f.indices(wrt), states, count)


def initial_state_cotangents(
    f: ProgramFunction,
    x: ArrayLike | None,
    w: ArrayLike | None,
    initial_states: InitialStates,
    cotangents: FloatArray | None,
    bras: ComplexArray | None,
) -> ComplexArray:
    """From cotangents of the values (B, n_obs) and of the final amplitudes (B, 2**n) to those of the initial ones.

    Both kinds of amplitudes have cotangents g with ``dL = Re sum conj(g) d amplitudes``: what is linear goes back as
    the program undone.
    """
    parameters = f.read(x, w, initial_states)
    if cotangents is not None:
        sweeps = f.plans.sweeps(f.passes.request(parameters, keep_phase=True))
        _, ket = f.passes.forward(sweeps, parameters)
        image = f.device.apply_observables(ket, sweeps.frame, f.observables or (), cotangents)
        of_values = 2.0 * f.device.amplitudes(image, sweeps.frame)
        bras = of_values if bras is None else of_values + bras
    assert bras is not None
    return f.passes.inverse.evolve(parameters, bras)


def undo(f: ProgramFunction, w: ArrayLike, amplitudes: ComplexArray) -> ComplexArray:
    """The inverse of a program without inputs, at weights (B, num_weights), applied to amplitudes (B, 2**n).

    Raises:
        InvalidInputError: If the program starts from amplitudes of its own, which cannot be undone.
    """
    if f.encoding is not None or f.program.initial_state is not None:
        raise InvalidInputError(
            "The circuit begins with given amplitudes, which cannot be undone; gates are needed for that."
        )
    return f.passes.inverse.evolve(f.read(None, w), amplitudes)


def _checked_bras(cotangents: ArrayLike, shape: tuple[int, ...]) -> ComplexArray:
    array = np.asarray(cotangents, dtype=np.complex128)
    if array.shape != shape:
        raise InvalidInputError(f"Cotangents have shape {array.shape}; {shape} (samples, amplitudes) is expected.")
    if not np.isfinite(array).all():
        raise InvalidInputError("Cotangents hold NaN or infinite numbers.")
    return array
