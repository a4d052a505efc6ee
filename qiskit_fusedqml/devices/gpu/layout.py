"""Where the coefficients of a tape lie in the arrays that kernels read, and packing them there.

One array of reals holds the shared numbers (pairs, scales, 2x2 matrices, dense matrices), then those that differ from
sample to sample, each of them B in a row. Diagonal angles theta are kept as u = theta / (2 pi), reduced to |u| <= 1:
a phase is exp(-1j pi sum +-u), and sums of small numbers stay accurate in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...planner.tape import (
    RY,
    U2,
    Dense,
    Diag,
    Factor,
    Operation,
    Pauli,
)
from .. import Coefficients

_MODERATE = 64.0
"""Angles up to here lose nothing when they are divided by 2 pi."""


class Sizes(NamedTuple):
    """How many coefficients there are; see `devices` for their kinds.

    Attributes:
        dense: Number of qubits of each dense matrix.
        batch: Samples of the batched ones.
    """

    pairs: int
    batched_pairs: int
    matrices: int
    batched_matrices: int
    angles: int
    batched_angles: int
    scales: int
    dense: tuple[int, ...]
    batch: int

    @classmethod
    def of(cls, c: Coefficients) -> Sizes:
        """Those of the host."""
        return cls(
            *(len(c.pairs), len(c.batched_pairs), len(c.matrices), len(c.batched_matrices), len(c.angles)),
            *(len(c.batched_angles), len(c.scales), tuple(len(matrix).bit_length() - 1 for matrix in c.dense)),
            max(c.batched_pairs.shape[-1], c.batched_matrices.shape[-1], c.batched_angles.shape[-1]),
        )


class NumberLayout:
    """Numbers the coefficients that the operations of a tape use.

    Args:
        operations: All operations of the tape.

    Attributes:
        num_shared: Shared numbers.
        num_batched: Numbers for each sample.
        num_entries: Entries of all tables.
        tables: For each table [first entry, d, number of terms, first term, first angle].
        terms: The terms of all tables.
        num_angles: Shared diagonal angles.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._pairs, self._matrices, self._angles, self._scales = [0, 0], [0, 0], [0, 0], 0
        self._dense: dict[int, int] = {}
        for operation in operations:
            self._count(operation)
        self._first_scale = 2 * self._pairs[0]
        self._first_matrix = self._first_scale + self._scales
        position = self._first_matrix + 8 * self._matrices[0]
        self._dense_start: dict[int, int] = {}
        for index in sorted(self._dense):
            self._dense_start[index] = position
            position += 2 * 4 ** self._dense[index]
        self.num_shared = position
        self.num_batched = 2 * self._pairs[1] + 8 * self._matrices[1] + self._angles[1]
        self.num_angles = self._angles[0]
        self.num_entries = 0
        self.tables: list[int] = []
        self.terms: list[int] = []

    def _count(self, operation: Operation) -> None:
        match operation:
            case RY() | Pauli():
                counts, index, batched = self._pairs, operation.coefficient, operation.batched
            case U2():
                counts, index, batched = self._matrices, operation.coefficient, operation.batched
            case Diag():
                self._scales = max(self._scales, operation.scale + 1)
                for factor in operation.factors:
                    stop = factor.first + len(factor.terms)
                    self._angles[factor.batched] = max(self._angles[factor.batched], stop)
                return
            case Dense():
                self._dense[operation.coefficient] = len(operation.xs)
                return
        counts[batched] = max(counts[batched], index + 1)

    def pair(self, coefficient: int, *, batched: bool) -> int:
        """Index of a pair, among the shared or the batched numbers."""
        del batched  # both begin with the pairs
        return 2 * coefficient

    def scale(self, index: int) -> int:
        """Index of a diagonal's K."""
        return self._first_scale + index

    def matrix(self, coefficient: int, *, batched: bool) -> int:
        """Index of a 2x2 matrix."""
        return (2 * self._pairs[1] if batched else self._first_matrix) + 8 * coefficient

    def dense(self, coefficient: int) -> int:
        """Index of a dense matrix."""
        return self._dense_start[coefficient]

    def batched_angle(self, first: int) -> int:
        """Index of a batched diagonal angle."""
        return 2 * self._pairs[1] + 8 * self._matrices[1] + first

    def table(self, factor: Factor) -> int:
        """First entry of a new table for a shared factor."""
        size, first = 1 << len(factor.basis), self.num_entries
        self.tables += [first, len(factor.basis), len(factor.terms), len(self.terms), factor.first]
        self.terms += factor.terms
        self.num_entries = first + size
        return first

    def check(self, sizes: Sizes, batch: int) -> None:
        """Raise InvalidInputError if coefficients of these sizes do not fit the tape or the state."""
        needed = (
            ("pairs", self._pairs[0], sizes.pairs),
            ("batched pairs", self._pairs[1], sizes.batched_pairs),
            ("matrices", self._matrices[0], sizes.matrices),
            ("batched matrices", self._matrices[1], sizes.batched_matrices),
            ("angles", self._angles[0], sizes.angles),
            ("batched angles", self._angles[1], sizes.batched_angles),
            ("scales", self._scales, sizes.scales),
            ("dense matrices", max(self._dense, default=-1) + 1, len(sizes.dense)),
        )
        for name, count, given in needed:
            if given < count:
                raise InvalidInputError(f"The tape needs {count} {name}, got {given}.")
            if name.startswith("batched") and count and sizes.batch != batch:
                raise InvalidInputError(
                    f"The {name} have {sizes.batch} values; the state holds {batch} samples and one value for "
                    "each is expected."
                )
        for index, k in self._dense.items():
            if sizes.dense[index] != k:
                found = 2 ** sizes.dense[index]
                raise InvalidInputError(f"Dense matrix {index} has shape {(found, found)}; {(2**k, 2**k)} is expected.")

    def pieces(self, sizes: Sizes) -> NDArray[np.int64]:
        """All numbers, shared and batched, out of those of a recipe, as rows [first number, where it is, count].

        ``~k`` is place k among the dense matrices of the recipe; see `Values` in the kernels for the others.
        """
        starts = np.cumsum([0, sizes.angles, 2 * sizes.pairs, sizes.scales, 8 * sizes.matrices])
        own = np.cumsum([starts[-1], 2 * sizes.batched_pairs * sizes.batch, 8 * sizes.batched_matrices * sizes.batch])
        dense = np.cumsum([0, *(2 * 4**k for k in sizes.dense)])
        parts = [
            (starts[1], 2 * self._pairs[0]),
            (starts[2], self._scales),
            (starts[3], 8 * self._matrices[0]),
            *((~dense[index], 2 * 4 ** self._dense[index]) for index in sorted(self._dense)),
            (own[0], 2 * self._pairs[1] * sizes.batch),
            (own[1], 8 * self._matrices[1] * sizes.batch),
            (own[2], self._angles[1] * sizes.batch),
        ]
        present = [(place, count) for place, count in parts if count]
        firsts = np.cumsum([0, *(count for _, count in present)])
        return np.array([(first, *part) for first, part in zip(firsts, present, strict=False)], np.int64).reshape(-1, 3)

    def pack(self, coefficients: Coefficients, real: type[np.floating]) -> NDArray[np.floating]:
        """All numbers, shared and batched."""
        c = coefficients
        parts = [
            c.pairs[: self._pairs[0]],
            c.scales[: self._scales],
            _parts(c.matrices[: self._matrices[0]], -1),
            *(_parts(c.dense[index], -1) for index in sorted(self._dense)),
            c.batched_pairs[: self._pairs[1]],
            _parts(c.batched_matrices[: self._matrices[1]], 3),
            turns(c.batched_angles[: self._angles[1]]),
        ]
        return np.concatenate([np.ravel(part) for part in parts]).astype(real)


def turns(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """theta / (2 pi), reduced to |u| <= 1 where it would lose accuracy otherwise."""
    if not angles.size or np.abs(angles).max() <= _MODERATE:
        u = angles / (2 * np.pi)
        return np.asarray(u - 2 * np.round(u / 2))
    return np.asarray(np.arctan2(np.sin(angles / 2), np.cos(angles / 2)) / np.pi)


def _parts(array: NDArray[np.complex128], axis: int) -> NDArray[np.float64]:
    """Real and imaginary parts along a new axis."""
    return np.stack([array.real, array.imag], axis=axis)
