"""Terminal measurements: from outcomes of qubits to values of classical bits, which may be misread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from .classical import WIDEST_FIXED


@dataclass(frozen=True, eq=False)
class Confusion:
    """A readout error of some classical bits.

    Attributes:
        clbits: The k bits; bit j of the indices below is ``clbits[j]``.
        probabilities: ``probabilities[i, j]`` is that of reading j where the outcome is i, (2**k, 2**k).
    """

    clbits: tuple[int, ...]
    probabilities: FloatArray

    def applied(self, values: FloatArray, clbits: Sequence[int], *, transposed: bool = False) -> FloatArray:
        """What is read, of what there is, or the transposed map.

        Args:
            values: Probabilities (..., 2**c); bit j of the last index is ``clbits[j]``.
            clbits: All c bits.
            transposed: From derivatives with respect to what is read to those with respect to what there is.
        """
        count, leading = len(clbits), values.ndim - 1
        axes = [leading + count - 1 - list(clbits).index(clbit) for clbit in reversed(self.clbits)]
        ends = range(-len(axes), 0)
        moved = np.moveaxis(values.reshape(*values.shape[:-1], *(2,) * count), axes, ends)
        mapped = moved.reshape(-1, len(self.probabilities)) @ (
            self.probabilities.T if transposed else self.probabilities
        )
        return np.moveaxis(mapped.reshape(moved.shape), ends, axes).reshape(values.shape)

    def drawn(self, values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Values (shots,) of the classical bits as they are read, at random."""
        limits = np.cumsum(self.probabilities, axis=1)[self._outcomes(values)]
        read = (rng.random(len(values))[:, None] * limits[:, -1:] >= limits[:, :-1]).sum(axis=1)
        return self._written(values, read)

    def counts_drawn(
        self, values: NDArray[Any], counts: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Distinct values, ascending, as they are read, and how often, of values (D,) that occur so often."""
        read = rng.multinomial(counts, self.probabilities[self._outcomes(values)])
        place, outcome = np.nonzero(read)
        found, number = np.unique(self._written(values[place], outcome), return_inverse=True)
        totals = np.zeros(len(found), dtype=np.int64)
        np.add.at(totals, number, read[place, outcome])
        return found, totals

    def _outcomes(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """The k bits of each value as an index."""
        bits = (((values >> clbit & 1) << k for k, clbit in enumerate(self.clbits)), np.zeros_like(values))
        return np.asarray(sum(*bits), dtype=np.intp)

    def _written(self, values: NDArray[Any], outcomes: NDArray[np.intp]) -> NDArray[Any]:
        """Values with an index in place of the k bits."""
        for k, clbit in enumerate(self.clbits):
            bit = 1 << clbit
            values = np.where((outcomes >> k & 1).astype(bool), values | bit, values & ~bit)
        return values


def misreading(clbit: int, flips: tuple[float, float]) -> Confusion:
    """One bit that is read as 1 where it is 0, and as 0 where it is 1, with these probabilities."""
    return Confusion((clbit,), np.array([[1 - flips[0], flips[0]], [flips[1], 1 - flips[1]]]))


@dataclass(frozen=True)
class Measurement:
    """Where outcomes go: pairs (qubit, clbit), the number of classical bits, and how they are misread."""

    pairs: tuple[tuple[int, int], ...]
    num_clbits: int
    readout: tuple[Confusion, ...] = ()

    @property
    def qubits(self) -> list[int]:
        """The k measured qubits, ascending."""
        return sorted({qubit for qubit, _ in self.pairs})

    def outcomes(self) -> NDArray[Any]:
        """The value (2**k,) of the classical bits for each outcome of the measured qubits; they are distinct."""
        place = {qubit: k for k, qubit in enumerate(self.qubits)}
        return clbit_values(len(place), [(place[qubit], clbit) for qubit, clbit in self.pairs])

    @property
    def clbits(self) -> list[int]:
        """The c classical bits that may be 1, ascending: those that are written, and those that are misread."""
        return sorted({clbit for _, clbit in self.pairs}.union(*(each.clbits for each in self.readout)))

    def values_read(self) -> NDArray[Any]:
        """The values (2**c,) of the classical bits that may be read."""
        return clbit_values(len(self.clbits), [*enumerate(self.clbits)])

    def read(self, probabilities: FloatArray) -> FloatArray:
        """The probabilities (..., 2**c) of `values_read`, from those (..., 2**k) of the measured qubits' outcomes."""
        result = np.zeros((*probabilities.shape[:-1], 2 ** len(self.clbits)))
        result[..., self._columns()] = probabilities
        for each in self.readout:
            result = each.applied(result, self.clbits)
        return result

    def read_all(self, probabilities: FloatArray) -> FloatArray:
        """The probabilities (..., 2**num_clbits) of all values, from those (..., 2**k) of the qubits' outcomes."""
        result = np.zeros((*probabilities.shape[:-1], 2**self.num_clbits))
        if self.readout:
            result[..., self.values_read()] = self.read(probabilities)
        else:
            result[..., self.outcomes()] = probabilities
        return result

    def read_pulled(self, cotangents: FloatArray) -> FloatArray:
        """The transposed map of `read`, of derivatives with respect to probabilities: (..., 2**c) to (..., 2**k)."""
        for each in reversed(self.readout):
            cotangents = each.applied(cotangents, self.clbits, transposed=True)
        return cotangents[..., self._columns()]

    def misread(self, values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Values (shots,) of the classical bits, each shot misread at random."""
        for each in self.readout:
            values = each.drawn(values, rng)
        return values

    def _columns(self) -> NDArray[Any]:
        """The place of each outcome of the measured qubits among `values_read`."""
        bit, place = {clbit: j for j, clbit in enumerate(self.clbits)}, {q: k for k, q in enumerate(self.qubits)}
        return clbit_values(len(place), [(place[qubit], bit[clbit]) for qubit, clbit in self.pairs])

    def of_basis_states(self, num_qubits: int) -> NDArray[np.intp]:
        """The outcome of the measured qubits (2**n,) for each basis state."""
        return clbit_values(num_qubits, [(qubit, k) for k, qubit in enumerate(self.qubits)])


def clbit_values(num_bits: int, pairs: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """The classical value for each index (2**num_bits,) whose bit ``pairs[j][0]`` goes to clbit ``pairs[j][1]``.

    Values of more than 63 bits are Python's integers.
    """
    indices = np.arange(2**num_bits, dtype=np.intp)
    is_wide = any(clbit >= WIDEST_FIXED for _, clbit in pairs)
    values = np.zeros(len(indices), dtype=object if is_wide else np.intp)
    for bit, clbit in pairs:
        values |= (indices >> bit & 1).astype(values.dtype) << clbit
    return values
