"""Where the coefficients of a tape lie in the arrays that kernels read, and packing them there.

One array of reals holds the shared numbers (pairs, scales, 2x2 matrices, dense matrices), then those that differ from
sample to sample, each of them B in a row. Diagonal angles theta are kept as u = theta / (2 pi), reduced to |u| <= 1:
a phase is exp(-1j pi sum +-u), and sums of small numbers stay accurate in single precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...planner.tape import RY, U2, Dense, Diag, Factor, Operation, Pauli
from .. import Coefficients

SHARED = {"pairs": 2, "scales": 1, "matrices": 8}
"""Reals of each shared coefficient, in the order of the kernels; dense matrices follow."""

BATCHED = {"batched_pairs": 2, "batched_matrices": 8, "batched_angles": 1}
"""The same of each that differs from sample to sample, for one sample."""

_KINDS = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales")

_MODERATE = 64.0
"""Angles up to here lose nothing when they are divided by 2 pi."""


@dataclass(frozen=True)
class Sizes:
    """How many coefficients there are; see `devices.Coefficients` for their kinds.

    Attributes:
        counts: Number of each kind but dense matrices.
        dense: Number of qubits of each dense matrix.
        batch: Samples of the batched ones.
    """

    counts: Mapping[str, int]
    dense: tuple[int, ...]
    batch: int

    @classmethod
    def of(cls, c: Coefficients) -> Sizes:
        """Those of the host."""
        counts = {kind: len(getattr(c, kind)) for kind in _KINDS}
        dense = tuple(len(matrix).bit_length() - 1 for matrix in c.dense)
        return cls(counts, dense, max(getattr(c, kind).shape[-1] for kind in BATCHED))

    def places(self) -> tuple[dict[str, int], int]:
        """Where each kind begins among those made on the device (`Values` in the kernels), and the end."""
        places, end = {}, 0
        for kind, width in (("angles", 1), *SHARED.items(), *BATCHED.items()):
            places[kind] = end
            end += width * self.counts[kind] * (self.batch if kind in BATCHED else 1)
        return places, end


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
        self._counts = dict.fromkeys(_KINDS, 0)
        self._dense: dict[int, int] = {}
        for operation in operations:
            if isinstance(operation, Dense):
                self._dense[operation.coefficient] = len(operation.xs)
            for kind, count in _uses(operation):
                self._counts[kind] = max(self._counts[kind], count)
        self._dense = dict(sorted(self._dense.items()))
        self._first, position = {}, 0
        for kind, width in SHARED.items():
            self._first[kind] = position
            position += width * self._counts[kind]
        self._first_dense = {}
        for index, k in self._dense.items():
            self._first_dense[index] = position
            position += 2 * 4**k
        self.num_shared, position = position, 0
        for kind, width in BATCHED.items():
            self._first[kind] = position
            position += width * self._counts[kind]
        self.num_batched = position
        self.num_angles = self._counts["angles"]
        self.num_entries = 0
        self.tables: list[int] = []
        self.terms: list[int] = []

    def index(self, kind: str, coefficient: int, *, batched: bool = False) -> int:
        """Index of a coefficient's numbers, among the shared or the batched ones."""
        if batched:
            kind = f"batched_{kind}"
        return self._first[kind] + (BATCHED[kind] if batched else SHARED[kind]) * coefficient

    def dense(self, coefficient: int) -> int:
        """Index of a dense matrix."""
        return self._first_dense[coefficient]

    def table(self, factor: Factor) -> int:
        """First entry of a new table for a shared factor."""
        size, first = 1 << len(factor.basis), self.num_entries
        self.tables += [first, len(factor.basis), len(factor.terms), len(self.terms), factor.first]
        self.terms += factor.terms
        self.num_entries = first + size
        return first

    def check(self, sizes: Sizes, batch: int) -> None:
        """Raise InvalidInputError if coefficients of these sizes do not fit the tape or the state."""
        dense = ("dense matrices", max(self._dense, default=-1) + 1, len(sizes.dense))
        kinds = ((kind.replace("_", " "), count, sizes.counts[kind]) for kind, count in self._counts.items())
        for name, count, given in (*kinds, dense):
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
        """All numbers, shared and batched, out of those made on the device: [first number, where it is, count].

        ``~k`` is place k among the dense matrices of the coefficient map.
        """
        places, _ = sizes.places()
        dense = np.cumsum([0, *(2 * 4**k for k in sizes.dense)])
        parts = [(places[kind], width * self._counts[kind]) for kind, width in SHARED.items()]
        parts += [(~dense[index], 2 * 4**k) for index, k in self._dense.items()]
        parts += [(places[kind], width * self._counts[kind] * sizes.batch) for kind, width in BATCHED.items()]
        present = [(place, count) for place, count in parts if count]
        firsts = np.cumsum([0, *(count for _, count in present)])
        return np.array([(first, *part) for first, part in zip(firsts, present, strict=False)], np.int64).reshape(-1, 3)

    def pack(self, coefficients: Coefficients, real: type[np.floating]) -> NDArray[np.floating]:
        """All numbers, shared and batched."""
        parts = [getattr(coefficients, kind)[: self._counts[kind]] for kind in SHARED]
        parts += [coefficients.dense[index] for index in self._dense]
        parts += [getattr(coefficients, kind)[: self._counts[kind]] for kind in BATCHED]
        parts[-1] = turns(parts[-1])
        return np.concatenate([np.ravel(_reals(part)) for part in parts]).astype(real)


def _uses(operation: Operation) -> Iterator[tuple[str, int]]:
    """The kinds of coefficients that an operation uses, and how many of each there must be."""
    match operation:
        case RY() | Pauli():
            yield "batched_pairs" if operation.batched else "pairs", operation.coefficient + 1
        case U2():
            yield "batched_matrices" if operation.batched else "matrices", operation.coefficient + 1
        case Diag():
            yield "scales", operation.scale + 1
            for factor in operation.factors:
                yield "batched_angles" if factor.batched else "angles", factor.first + len(factor.terms)


def turns(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """theta / (2 pi), reduced to |u| <= 1 where it would lose accuracy otherwise."""
    if not angles.size or np.abs(angles).max() <= _MODERATE:
        u = angles / (2 * np.pi)
        return np.asarray(u - 2 * np.round(u / 2))
    return np.asarray(np.arctan2(np.sin(angles / 2), np.cos(angles / 2)) / np.pi)


def _reals(array: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers, or real and imaginary parts along a new axis behind a matrix's own (and before the samples)."""
    return np.stack([array.real, array.imag], axis=min(3, array.ndim)) if np.iscomplexobj(array) else array
