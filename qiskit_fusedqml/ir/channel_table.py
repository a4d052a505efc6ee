"""CHANNELS: the transfer matrix of each parametrised channel, and its derivatives. A channel is a row.

Most are of one of two forms. Mixtures are affine in their parameters: ``T = T_0 + sum_j p_j D_j``. Relaxation of one
qubit has four numbers that are not 0, functions of the parameters::

    T = diag(1, a, a, c) + d |Z><I|     transverse and longitudinal contraction a and c, drift d.

`powered` makes a family of one constant channel: its powers T**s, noise of s times the strength.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import TypeAlias

import numpy as np

from ..arrays import FloatArray
from ..errors import InvalidInputError
from .channels import Channel, ChannelFamily, channel_problem, pauli_matrices

POWER = "power"
"""The name of the families that `powered` makes."""

_Number: TypeAlias = FloatArray | float
"""A parameter (...), or a constant."""

_Bounds: TypeAlias = Mapping[str, tuple[float, float]]

_ROUNDING = 1e-9
"""By how much parameters may leave their ranges: those that are computed do, in their last digits."""


def _out_of_bounds(name: str, bounds: _Bounds, *values: _Number) -> str | None:
    """The first parameter that is outside of its range."""
    for (parameter, (low, high)), value in zip(bounds.items(), values, strict=True):
        numbers = np.ravel(value)
        outside = numbers[~((numbers >= low - _ROUNDING) & (numbers <= high + _ROUNDING))]
        if len(outside):
            return f"{parameter} of {name} is {outside[0]:.6g}; {low:g} to {high:g} is allowed"
    return None


def _mixture_problem(name: str, bounds: _Bounds, *values: _Number) -> str | None:
    """As `_out_of_bounds`, of probabilities that together are at most 1."""
    total = np.ravel(sum(np.asarray(value) for value in values))
    if (total > 1 + _ROUNDING).any():
        return f"{' + '.join(bounds)} of {name} is {total.max():.6g}; at most 1 is allowed"
    return _out_of_bounds(name, bounds, *values)


# Mixtures


def _mixture(name: str, constant: FloatArray, slopes: Mapping[str, FloatArray], highest: float = 1.0) -> ChannelFamily:
    """``T = constant + sum_j p_j slopes[j]`` for p_j from 0 to ``highest``, and a sum of at most that."""
    directions = np.stack(list(slopes.values()))
    bounds = dict.fromkeys(slopes, (0.0, highest))

    def transfer(*values: FloatArray) -> FloatArray:
        weights = np.stack(np.broadcast_arrays(*values), axis=-1)
        result: FloatArray = constant + np.einsum("...j,jab->...ab", weights, directions)
        return result

    def derivatives(*values: FloatArray) -> FloatArray:
        shape = np.broadcast_shapes(*(np.shape(value) for value in values))
        return np.broadcast_to(
            directions.reshape(len(directions), *(1,) * len(shape), *constant.shape),
            (len(directions), *shape, *constant.shape),
        )

    problem = _out_of_bounds if len(slopes) == 1 else _mixture_problem
    num_qubits = (len(constant).bit_length() - 1) // 2
    return ChannelFamily(name, num_qubits, tuple(slopes), transfer, derivatives, partial(problem, name, bounds))


def _pauli_signs(string: int, num_qubits: int) -> FloatArray:
    """The transfer matrix of a Pauli string, by its number: 1 where strings commute with it, -1 where not."""
    strings = pauli_matrices(num_qubits)
    signs = np.einsum("ij,ajk,kl,ali->a", strings[string], strings, strings[string], strings, optimize=True).real
    return np.diag(signs / 2**num_qubits)


def _pauli_errors(name: str, num_qubits: int, letters: Sequence[str]) -> ChannelFamily:
    """Pauli strings, as Qiskit writes them, each with a probability ``p_<string>``."""
    one = np.eye(4**num_qubits)
    number = {"".join(label): k for k, label in enumerate(product("IXYZ", repeat=num_qubits))}
    return _mixture(name, one, {f"p_{s}": _pauli_signs(number[s], num_qubits) - one for s in letters})


def _depolarizing(name: str, num_qubits: int) -> ChannelFamily:
    """``rho -> (1 - p) rho + p 1/2**k``, for p up to 4**k / (4**k - 1), where the identity has no share left."""
    size = 4**num_qubits
    slope = -np.eye(size)
    slope[0, 0] = 0.0
    return _mixture(name, np.eye(size), {"p": slope}, size / (size - 1))


def _flip(name: str, string: int) -> ChannelFamily:
    return _mixture(name, np.eye(4), {"p": _pauli_signs(string, 1) - np.eye(4)})


def _reset() -> ChannelFamily:
    """``rho -> (1 - p0 - p1) rho + p0 |0><0| + p1 |1><1|``."""
    to_zero, to_one = -np.eye(4), -np.eye(4)
    to_zero[0, 0] = to_one[0, 0] = 0.0
    to_zero[3, 0], to_one[3, 0] = 1.0, -1.0
    return _mixture("reset_error", np.eye(4), {"p0": to_zero, "p1": to_one})


# Relaxation

_Numbers: TypeAlias = tuple[_Number, _Number, _Number]
"""(a, c, d), or their derivatives with respect to one parameter."""


def _relaxation(
    name: str,
    bounds: _Bounds,
    numbers: Callable[..., _Numbers],
    slopes: Callable[..., Sequence[_Numbers]],
    problem: Callable[..., str | None] | None = None,
) -> ChannelFamily:
    """``diag(1, a, a, c) + d |Z><I|``.

    Args:
        name: The family's name.
        bounds: The parameters and their ranges.
        numbers: From the parameters (...) to (a, c, d).
        slopes: From the same to their derivatives with respect to each parameter.
        problem: What else may be wrong with parameters.
    """

    def placed(values: _Numbers, shape: tuple[int, ...], first: float) -> FloatArray:
        matrix = np.zeros((*shape, 4, 4))
        matrix[..., 0, 0] = first
        matrix[..., 1, 1] = matrix[..., 2, 2] = values[0]
        matrix[..., 3, 3], matrix[..., 3, 0] = values[1:]
        return matrix

    def transfer(*values: FloatArray) -> FloatArray:
        return placed(numbers(*values), np.broadcast_shapes(*map(np.shape, values)), 1.0)

    def derivatives(*values: FloatArray) -> FloatArray:
        shape = np.broadcast_shapes(*map(np.shape, values))
        return np.stack([placed(each, shape, 0.0) for each in slopes(*values)])

    def found(*values: _Number) -> str | None:
        outside = _out_of_bounds(name, bounds, *values)
        return outside if outside or problem is None else problem(*values)

    return ChannelFamily(name, 1, tuple(bounds), transfer, derivatives, found)


def _damping(amplitude: _Number, phase: _Number, excited: _Number) -> _Numbers:
    """Amplitude damping towards the share ``excited`` of ``|1>``, and phase damping, as Aer has them together."""
    return _root(1 - amplitude - phase), 1 - amplitude, (1 - 2 * excited) * amplitude


def _damping_slopes(amplitude: _Number, phase: _Number, excited: _Number) -> tuple[_Numbers, ...]:
    with np.errstate(divide="ignore"):  # the slope is infinite where all coherence is lost
        root = -0.5 / _root(1 - amplitude - phase)
    return (root, -1.0, 1 - 2 * excited), (root, 0.0, 0.0), (0.0, 0.0, -2 * amplitude)


def _root(number: _Number) -> FloatArray:
    """The square root of a number that may be negative by its rounding."""
    return np.asarray(np.sqrt(np.maximum(number, 0.0)))


def _damping_problem(name: str, amplitude: _Number, phase: _Number, *_rest: _Number) -> str | None:
    total = np.ravel(np.asarray(amplitude) + phase)
    if (total <= 1 + _ROUNDING).all():
        return None
    return f"gamma + lam of {name} is {total.max():.6g}; at most 1 is allowed"


def _thermal(t1: _Number, t2: _Number, time: _Number, excited: _Number) -> _Numbers:
    kept = np.exp(-time / t1)
    return np.exp(-time / t2), kept, (1 - 2 * excited) * (1 - kept)


def _thermal_slopes(t1: _Number, t2: _Number, time: _Number, excited: _Number) -> tuple[_Numbers, ...]:
    a, c, drift = np.exp(-time / t2), np.exp(-time / t1), 1 - 2 * excited
    by_t1, by_time = c * time / np.square(t1), -c / t1
    return (
        (0.0, by_t1, -drift * by_t1),
        (a * time / np.square(t2), 0.0, 0.0),
        (-a / t2, by_time, -drift * by_time),
        (0.0, 0.0, -2 * (1 - c)),
    )


def _thermal_problem(t1: _Number, t2: _Number, *_rest: _Number) -> str | None:
    for name, time in (("t1", t1), ("t2", t2)):
        if not np.all(np.asarray(time) > 0):
            return f"{name} of thermal_relaxation is {np.min(time):.6g}; a time above 0 is allowed"
    first, second = np.broadcast_arrays(t1, t2)
    beyond = second > (2 + _ROUNDING) * first  # not by their ratio: both may be infinite
    if not beyond.any():
        return None
    return f"t2 of thermal_relaxation is {(second[beyond] / first[beyond]).max():.6g} t1; at most 2 t1 is allowed"


_SHARE = (0.0, 1.0)
_TIME = (0.0, np.inf)

_ROWS = (
    _flip("bit_flip", 1),
    _flip("bit_phase_flip", 2),
    _flip("phase_flip", 3),
    _pauli_errors("pauli", 1, "XYZ"),
    _pauli_errors("pauli2", 2, [a + b for a in "IXYZ" for b in "IXYZ" if a + b != "II"]),
    _depolarizing("depolarizing", 1),
    _depolarizing("depolarizing2", 2),
    _reset(),
    _relaxation(
        "amplitude_damping",
        {"gamma": _SHARE},
        lambda gamma: _damping(gamma, 0.0, 0.0),
        lambda gamma: _damping_slopes(gamma, 0.0, 0.0)[:1],
    ),
    _relaxation(
        "phase_damping",
        {"lam": _SHARE},
        lambda lam: _damping(0.0, lam, 0.0),
        lambda lam: _damping_slopes(0.0, lam, 0.0)[1:2],
    ),
    _relaxation(
        "generalized_amplitude_damping",
        {"gamma": _SHARE, "excited": _SHARE},
        lambda gamma, excited: _damping(gamma, 0.0, excited),
        lambda gamma, excited: _damping_slopes(gamma, 0.0, excited)[::2],
    ),
    _relaxation(
        "phase_amplitude_damping",
        {"gamma": _SHARE, "lam": _SHARE, "excited": _SHARE},
        _damping,
        _damping_slopes,
        partial(_damping_problem, "phase_amplitude_damping"),
    ),
    _relaxation(
        "thermal_relaxation",
        {"t1": _TIME, "t2": _TIME, "time": _TIME, "excited": _SHARE},
        _thermal,
        _thermal_slopes,
        _thermal_problem,
    ),
)

CHANNELS: dict[str, ChannelFamily] = {row.name: row for row in _ROWS}
"""Name -> family. Errors of one kind:

- ``bit_flip``, ``bit_phase_flip``, ``phase_flip``: X, Y or Z with probability p; ``pauli`` X, Y and Z with
  probabilities p_X, p_Y, p_Z, ``pauli2`` the 15 strings of two qubits, the second qubit's letter first;
- ``depolarizing``, ``depolarizing2``: ``rho -> (1 - p) rho + p 1/2**k``, as `depolarizing_error` of qiskit-aer;
- ``reset_error``: to ``|0>`` with probability p0, to ``|1>`` with p1;
- ``amplitude_damping``, ``phase_damping``, ``generalized_amplitude_damping``, ``phase_amplitude_damping``: decay with
  probability gamma towards the share ``excited`` of ``|1>``, dephasing lam, as the errors of qiskit-aer;
- ``thermal_relaxation``: for a time, at T1 and T2 <= 2 T1, all in one unit, towards the share ``excited`` of ``|1>``.
"""


# Powers


def powered(matrix: FloatArray) -> ChannelFamily:
    """The powers ``T**s``, s >= 0, of a channel: noise of s times the strength, where noise adds up over time.

    ``T**s = exp(s log T)`` and its derivative is ``log(T) T**s``. A channel whose logarithm is not real has none (one
    that forgets a state altogether, say), and `ChannelFamily.problem` says so; it says as well where a power between
    integers is no channel.
    """
    base = np.ascontiguousarray(matrix, dtype=np.float64)
    logarithm = _logarithm(base)

    def transfer(scale: FloatArray) -> FloatArray:
        return _power(logarithm, scale)

    def derivatives(scale: FloatArray) -> FloatArray:
        return (logarithm @ transfer(scale))[None]

    def problem(scale: _Number) -> str | None:
        outside = _out_of_bounds("noise", {"the scale": _TIME}, scale)
        if outside is not None or np.isinf(scale).any():
            return outside or "the scale of noise is inf; a finite one is allowed"
        if not np.isfinite(logarithm).all():
            return (
                "noise that has no real logarithm is scaled by whole numbers only, which are no parameters; this one "
                "forgets or flips what it acts on"
            )
        for number in np.unique(np.ravel(scale)):
            found = None if float(number).is_integer() else channel_problem(transfer(number))
            if found is not None:
                return f"noise to the power {number:.6g} is no channel: {found}"
        return None

    num_qubits = (len(base).bit_length() - 1) // 2
    return ChannelFamily(POWER, num_qubits, ("scale",), transfer, derivatives, problem, base)


def _logarithm(matrix: FloatArray) -> FloatArray:
    """The real logarithm; NaN where there is none."""
    from scipy.linalg import logm

    diagonal = np.diagonal(matrix)
    if not (matrix - np.diag(diagonal)).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.diag(np.log(diagonal))
    values = np.linalg.eigvals(matrix)
    if (np.abs(values) < 1e-12).any() or ((values.real < 0) & (np.abs(values.imag) < 1e-12)).any():
        return np.full(matrix.shape, np.nan)
    return np.ascontiguousarray(np.real(logm(matrix)))


def _power(logarithm: FloatArray, scale: _Number) -> FloatArray:
    from scipy.linalg import expm

    exponents = np.asarray(scale)[..., None, None] * logarithm
    diagonal = np.diagonal(logarithm)
    if not (logarithm - np.diag(diagonal)).any():
        entries = np.exp(np.asarray(scale)[..., None] * diagonal)
        result: FloatArray = entries[..., None] * np.eye(len(logarithm))
        return result
    return np.asarray(expm(exponents))


def family_named(name: str, base: FloatArray | None) -> ChannelFamily:
    """The row of `CHANNELS`, or the powers of a base.

    Raises:
        InvalidInputError: If there is no such family.
    """
    if name not in CHANNELS and (name != POWER or base is None):
        raise InvalidInputError(f"A channel is of the family {name!r}, which is unknown.")
    return CHANNELS[name] if base is None else powered(base)


# by name, as functions cannot be pickled
copyreg.pickle(ChannelFamily, lambda family: (family_named, (family.name, family.base)))


def named_channel(
    qubits: tuple[int, ...],
    name: str,
    slots: tuple[int, ...],
    constants: tuple[float, ...],
    entries: FloatArray | None,
) -> Channel:
    """The channel of the `Channel.parts` and entries, None for none.

    Raises:
        InvalidInputError: If there is no such family.
    """
    return Channel(qubits, None, family_named(name, entries), slots, constants) if name else Channel(qubits, entries)
