"""Squared overlaps of many states: states in batches, overlaps in matrix products, both within a memory budget.

``|<phi(x)|phi(y)>|**2`` for N and M samples costs N + M simulations, not N * M circuits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arrays import ComplexArray, FloatArray
from ...engine.program_function import ProgramFunction
from ...engine.state_gradients import state_vjp, undo
from ...memory import BoundedCache

CHUNK_BYTES = 2**20
"""States are made in pieces of at most this size."""

PRODUCT_ROWS = 2048
"""Overlaps are taken in squares of at most this side, so that the product itself needs little memory."""


class CacheInfo(NamedTuple):
    """As of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class StateCache:
    """The states of samples, for one circuit with one set of trained values. Calls from several threads are safe.

    At most ``maxsize`` states are kept, of which some go at random; None for no bound.
    """

    def __init__(self, maxsize: int | None = None) -> None:
        self._maxsize = maxsize
        self._lock = threading.Lock()
        self._context: object = None
        self._kept: BoundedCache[bytes, NDArray[np.complexfloating]] = BoundedCache(
            2**62 if maxsize is None else maxsize
        )
        self._hits = self._misses = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are empty."""
        return type(self), (self._maxsize,)

    def get(self, context: object, samples: FloatArray, make: Callable[[FloatArray], ComplexArray]) -> ComplexArray:
        """The states (N, 2**n) of samples (N, num_features); ``make`` gives those that are not here.

        The context is what the states depend on besides; another one empties the cache.
        """
        keys = [sample.tobytes() for sample in samples]
        with self._lock:
            if context != self._context:
                self._context = context
                self._kept.clear()
            found = {key: self._kept.find(key) for key in keys}
            states = {key: state for key, state in found.items() if state is not None}
        missing = {key: position for position, key in enumerate(keys) if key not in states}
        if missing:  # copies, not views of the whole batch
            made = make(samples[[*missing.values()]])
            states.update((key, state.copy()) for key, state in zip(missing, made, strict=True))
        with self._lock:
            self._hits += len(keys) - len(missing)
            self._misses += len(missing)
            if context == self._context and self._maxsize != 0:
                for key in missing:
                    self._kept.put(key, states[key])
        return np.stack([states[key] for key in keys])

    def cache_info(self) -> CacheInfo:
        """The number of states here, and how many of those wanted were."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, self._maxsize, len(self._kept))

    def cache_clear(self) -> None:
        """Forget all states."""
        with self._lock:
            self._kept.clear()
            self._hits = self._misses = 0


class Side(NamedTuple):
    """The samples of one circuit of zipped pairs: the distinct ones, and each pair's place among them."""

    samples: FloatArray
    places: NDArray[np.intp]

    def of_pairs(self, part: slice) -> FloatArray:
        """The samples of some of the pairs, one by one."""
        return self.samples[self.places[part]]


class Planes(NamedTuple):
    """Amplitudes (N, 2**n) in two parts, as real matrix products want them."""

    real: NDArray[np.floating]
    imag: NDArray[np.floating]


@dataclass(frozen=True)
class States:
    """From samples (N, num_inputs) to their states (N, 2**n), simulated in batches.

    Attributes:
        engine: The circuit.
        weights: Trained values (num_weights,); if None, the samples (N, num_weights) are weights.
        cache: Keeps states from call to call, or None.
    """

    engine: ProgramFunction
    weights: FloatArray | None = None
    cache: StateCache | None = None

    def __call__(self, samples: FloatArray) -> ComplexArray:
        """The states, from the cache as far as they are there."""
        if self.weights is None:
            return self.engine.statevector(None, samples)
        if self.cache is None:
            return self._simulated(samples)
        return self.cache.get((self.engine, self.weights.tobytes()), samples, self._simulated)

    def blocks(self, count: int) -> list[slice]:
        """Stretches of samples of which two, and what it takes to make them, fit the memory budget."""
        size = max(self.engine.budget // (128 * 2**self.engine.num_qubits), 1)
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def planes(self, samples: FloatArray) -> Planes:
        """The states, made some at a time: memory that is used again need not be got from the system."""
        step = max(CHUNK_BYTES // (16 * 2**self.engine.num_qubits), 1)
        first = self(samples[:step])
        planes = Planes(*(np.empty((len(samples), first.shape[1]), first.real.dtype) for _ in range(2)))
        for start in range(0, len(samples), step):
            rows = slice(start, start + step)
            amplitudes = self(samples[rows]) if start else first
            planes.real[rows], planes.imag[rows] = amplitudes.real, amplitudes.imag
        return planes

    def pull(self, x: FloatArray, y: FloatArray, cotangents: FloatArray) -> FloatArray:
        """The gradient of ``sum c_ij |<x_i|y_j>|**2`` with respect to the weights, as far as the states of x carry it.

        ``d |<x|y>|**2 = 2 Re(<x|y> <y|dx>)``, so the state x_i has the cotangent ``2 sum_j c_ij conj(<x_i|y_j>) y_j``.
        """
        assert self.weights is not None
        gradient = np.zeros(len(self.weights))
        for left in self.blocks(len(x)):
            bras, pullback = state_vjp(self.engine, x[left] if self.engine.num_inputs else None, self.weights)
            slopes = np.zeros(bras.shape, np.complex128)
            for right in self.blocks(len(y)):
                kets = self._simulated(y[right])
                for rows, columns in _squares(len(bras), len(kets)):
                    overlaps = bras[rows].conj() @ kets[columns].T
                    slopes[rows] += (2.0 * cotangents[left, right][rows, columns] * overlaps.conj()) @ kets[columns]
            gradient += pullback(slopes)[1]
        return gradient

    def _simulated(self, samples: FloatArray) -> ComplexArray:
        return self.engine.statevector(samples if self.engine.num_inputs else None, self.weights)


def gram(states: States, x: FloatArray, y: FloatArray | None) -> FloatArray:
    """Squared overlaps (N, M) of the states of x and y; without y those of x, (N, N), with a diagonal of ones."""
    if y is not None:
        return rectangle(states, x, states, y)
    kernel, blocks = np.empty((len(x), len(x))), states.blocks(len(x))
    for k, rows in enumerate(blocks):
        bras = states.planes(x[rows])
        square_overlaps(bras, bras, kernel[rows, rows])
        for columns in blocks[k + 1 :]:
            square_overlaps(bras, states.planes(x[columns]), kernel[rows, columns])
            kernel[columns, rows] = kernel[rows, columns].T
    np.fill_diagonal(kernel, 1.0)
    return kernel


def rectangle(left: States, x: FloatArray, right: States, y: FloatArray) -> FloatArray:
    """Squared overlaps (N, M) of the states of x and y."""
    kernel = np.empty((len(x), len(y)))
    for rows in left.blocks(len(x)):
        bras = left.planes(x[rows])
        for columns in right.blocks(len(y)):
            square_overlaps(bras, right.planes(y[columns]), kernel[rows, columns])
    return kernel


def square_overlaps(bras: Planes, kets: Planes, kernel: FloatArray) -> None:
    """Squared overlaps, written into ``kernel``; those of a set with itself in half the multiplications.

    ``|<a|b>|**2`` is ``(Re a . Re b + Im a . Im b)**2 + (Re a . Im b - Im a . Re b)**2``, of which the first bracket is
    symmetric in a and b and the second one antisymmetric.
    """
    same = bras is kets
    for rows, columns in _squares(len(bras.real), len(kets.real)):
        if same and columns.start < rows.start:
            continue
        even = bras.real[rows] @ kets.real[columns].T
        even += bras.imag[rows] @ kets.imag[columns].T
        odd = bras.real[rows] @ kets.imag[columns].T
        odd -= odd.T if same and rows == columns else bras.imag[rows] @ kets.real[columns].T
        even *= even
        odd *= odd
        np.add(even, odd, out=kernel[rows, columns])
        if same and rows != columns:
            kernel[columns, rows] = kernel[rows, columns].T


def _squares(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the squares of a matrix that are multiplied at a time."""
    for i in range(0, height, PRODUCT_ROWS):
        for j in range(0, width, PRODUCT_ROWS):
            yield slice(i, i + PRODUCT_ROWS), slice(j, j + PRODUCT_ROWS)


def pair_fidelities(first: States, second: States, x: Side, y: Side) -> FloatArray:
    """Fidelities of zipped pairs: by all overlaps where most are wanted, else pair by pair."""
    if 4 * len(x.places) >= len(x.samples) * len(y.samples):
        return rectangle(first, x.samples, second, y.samples)[x.places, y.places]
    result = np.empty(len(x.places))
    for part in first.blocks(len(result)):
        overlaps = np.einsum("pi,pi->p", first(x.of_pairs(part)).conj(), second(y.of_pairs(part)))
        result[part] = (overlaps * overlaps.conj()).real
    return result


def local_fidelities(first: States, second: States, x: Side, y: Side, num_qubits: int) -> FloatArray:
    """For zipped pairs the mean over the qubits of finding 0 after the first circuit and the second one undone.

    Of so many qubits, those that have no amplitudes are found in 0.
    """
    ones = np.bitwise_count(np.arange(2**first.engine.num_qubits, dtype=np.uint64))
    result = np.empty(len(x.places))
    for part in first.blocks(len(result)):
        states = undo(second.engine, y.of_pairs(part), first(x.of_pairs(part)))
        result[part] = (states * states.conj()).real @ (1.0 - ones / num_qubits)
    return result
