"""Squared overlaps of many states: states in batches, overlaps in matrix products, both within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....arrays import ComplexArray, FloatArray
from ....engine.states import DifferentiableStates

States = Callable[[FloatArray], ComplexArray]

CHUNK_BYTES = 2**20
"""States are made in pieces of at most this size."""

PRODUCT_ROWS = 2048
"""Overlaps are taken in squares of at most this side, so that the product itself needs little memory."""


def state_function(engine: DifferentiableStates, weights: FloatArray | None = None) -> States:
    """From samples (N, num_inputs), or rows of weights if none are given, to their states (N, 2**n)."""
    if weights is None:
        return lambda rows: engine.statevector(None, rows)
    return lambda samples: engine.statevector(samples if engine.num_inputs else None, weights)


def blocks(engine: DifferentiableStates, count: int) -> list[slice]:
    """Stretches of samples of which two, and what it takes to make them, fit the memory budget."""
    size = max(engine.budget // (128 * 2**engine.num_qubits), 1)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class Planes(NamedTuple):
    """Amplitudes (N, 2**n) in two parts, as real matrix products want them."""

    real: NDArray[np.floating]
    imag: NDArray[np.floating]


def planes(states: States, x: FloatArray, num_qubits: int) -> Planes:
    """The states of some samples, made some at a time: memory that is used again need not be got from the system."""
    step = max(CHUNK_BYTES // (16 * 2**num_qubits), 1)
    first = states(x[:step])
    made = Planes(*(np.empty((len(x), first.shape[1]), first.real.dtype) for _ in range(2)))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        amplitudes = states(x[rows]) if start else first
        made.real[rows], made.imag[rows] = amplitudes.real, amplitudes.imag
    return made


def gram(engine: DifferentiableStates, states: States, x: FloatArray, y: FloatArray | None) -> FloatArray:
    """Squared overlaps (N, M); if y is None, (N, N) with a diagonal of ones."""
    if y is not None:
        return rectangle(engine, states, x, engine, states, y)
    parts = blocks(engine, len(x))
    kernel = np.empty((len(x), len(x)))
    for k, left in enumerate(parts):
        bras = planes(states, x[left], engine.num_qubits)
        square_overlaps(bras, bras, kernel[left, left])
        for right in parts[k + 1 :]:
            square_overlaps(bras, planes(states, x[right], engine.num_qubits), kernel[left, right])
            kernel[right, left] = kernel[left, right].T
    np.fill_diagonal(kernel, 1.0)
    return kernel


def rectangle(
    left_engine: DifferentiableStates,
    left_states: States,
    x: FloatArray,
    right_engine: DifferentiableStates,
    right_states: States,
    y: FloatArray,
) -> FloatArray:
    """Squared overlaps (N, M) of states made block by block."""
    kernel = np.empty((len(x), len(y)))
    for left in blocks(left_engine, len(x)):
        bras = planes(left_states, x[left], left_engine.num_qubits)
        for right in blocks(right_engine, len(y)):
            kets = planes(right_states, y[right], right_engine.num_qubits)
            square_overlaps(bras, kets, kernel[left, right])
    return kernel


def square_overlaps(bras: Planes, kets: Planes, kernel: FloatArray) -> None:
    """Squared overlaps, written into ``kernel``; those of a set with itself in half the multiplications.

    ``|<a|b>|**2`` is ``(Re a . Re b + Im a . Im b)**2 + (Re a . Im b - Im a . Re b)**2``, of which the first bracket is
    symmetric in a and b and the second one antisymmetric.
    """
    same = bras is kets
    for i in range(0, len(bras.real), PRODUCT_ROWS):
        for j in range(i if same else 0, len(kets.real), PRODUCT_ROWS):
            rows, columns = slice(i, i + PRODUCT_ROWS), slice(j, j + PRODUCT_ROWS)
            even = bras.real[rows] @ kets.real[columns].T
            even += bras.imag[rows] @ kets.imag[columns].T
            odd = bras.real[rows] @ kets.imag[columns].T
            odd -= odd.T if same and i == j else bras.imag[rows] @ kets.real[columns].T
            even *= even
            odd *= odd
            np.add(even, odd, out=kernel[rows, columns])
            if same and i != j:
                kernel[columns, rows] = kernel[rows, columns].T


def products(bras: ComplexArray, kets: ComplexArray) -> Iterator[tuple[tuple[slice, slice], ComplexArray]]:
    """Overlaps ``<bra_i|ket_j>``, some at a time, with their place in the whole."""
    for i in range(0, len(bras), PRODUCT_ROWS):
        left = bras[i : i + PRODUCT_ROWS].conj()
        for j in range(0, len(kets), PRODUCT_ROWS):
            rows, columns = slice(i, i + PRODUCT_ROWS), slice(j, j + PRODUCT_ROWS)
            yield (rows, columns), left @ kets[columns].T


def squares(overlaps: ComplexArray) -> FloatArray:
    """Squared moduli, in double precision."""
    return np.asarray(overlaps.real**2 + overlaps.imag**2, np.float64)


def pull_states(
    engine: DifferentiableStates, weights: FloatArray, x: FloatArray, y: FloatArray, cotangents: FloatArray
) -> FloatArray:
    """The gradient of ``sum c_ij |<x_i|y_j>|**2`` with respect to the weights, as far as the states of x carry it.

    ``d |<x|y>|**2 = 2 Re(<x|y> <y|dx>)``, so the state x_i has the cotangent ``2 sum_j c_ij conj(<x_i|y_j>) y_j``.
    """
    states, gradient = state_function(engine, weights), np.zeros(len(weights))
    for left in blocks(engine, len(x)):
        bras, pullback = engine.state_vjp(x[left] if engine.num_inputs else None, weights)
        slopes = np.zeros(bras.shape, np.complex128)
        for right in blocks(engine, len(y)):
            kets = states(y[right])
            for (rows, columns), overlaps in products(bras, kets):
                slopes[rows] += (2.0 * cotangents[left, right][rows, columns] * overlaps.conj()) @ kets[columns]
        gradient += pullback(slopes)[1]
    return gradient


def pair_fidelities(
    engines: Sequence[DifferentiableStates], sides: Sequence[tuple[FloatArray, NDArray[np.intp]]]
) -> FloatArray:
    """Fidelities of zipped pairs: by all overlaps where most are wanted, else pair by pair."""
    (x, left), (y, right) = sides
    of_x, of_y = (state_function(engine) for engine in engines)
    if 4 * len(left) >= len(x) * len(y):
        return rectangle(engines[0], of_x, x, engines[1], of_y, y)[left, right]
    result = np.empty(len(left))
    for part in blocks(engines[0], len(left)):
        result[part] = squares(np.einsum("pi,pi->p", of_x(x[left[part]]).conj(), of_y(y[right[part]])))
    return result


def local_fidelities(
    engines: Sequence[DifferentiableStates], sides: Sequence[tuple[FloatArray, NDArray[np.intp]]]
) -> FloatArray:
    """For zipped pairs the mean over the qubits of finding 0 after the first circuit and the second one undone."""
    (x, left), (y, right) = sides
    first, second = engines
    ones = np.bitwise_count(np.arange(2**first.num_qubits, dtype=np.uint64))
    result = np.empty(len(left))
    for part in blocks(first, len(left)):
        states = second.undo(y[right[part]], first.statevector(None, x[left[part]]))
        result[part] = squares(states) @ (1.0 - ones / first.num_qubits)
    return result
