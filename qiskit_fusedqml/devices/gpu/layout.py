"""Where the coefficients of a tape lie in the arrays that kernels read, and packing them there.

One array of reals holds the shared numbers (pairs, scales, 2x2 matrices, dense matrices), then those that differ from
sample to sample, each of them B in a row. Diagonal angles theta are kept as u = theta / (2 pi), reduced to |u| <= 1:
a phase is exp(-1j pi sum +-u), and sums of small numbers stay accurate in single precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from .. import Coefficients

SHARED = {"pairs": 2, "scales": 1, "matrices": 8}
"""Reals of each shared coefficient, in the order of the kernels; dense matrices follow."""

BATCHED = {"batched_pairs": 2, "batched_matrices": 8, "batched_angles": 1}
"""The same of each that differs from sample to sample, for one sample."""

KINDS = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales")
"""All of them: `Coefficients` without dense matrices."""

MOST_ENTRIES = 1 << 28
"""Entries have 32-bit numbers, and tables of so many are four gigabytes of doubles."""

TABLE_WORDS = 5
"""Of a table's record."""

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
        counts = {kind: len(getattr(c, kind)) for kind in KINDS}
        dense = tuple(len(matrix).bit_length() - 1 for matrix in c.dense)
        return cls(counts, dense, max(getattr(c, kind).shape[-1] for kind in BATCHED))

    def places(self) -> tuple[dict[str | int, int], int]:
        """Where each kind begins among those made on the device (`Values` in the kernels), and the end.

        ``~k`` is place k among the dense matrices of the coefficient map, which are found by number.
        """
        ends = accumulate((2 * 4**k for k in self.dense), initial=0)
        places: dict[str | int, int] = {index: ~first for index, first in enumerate(ends)}
        end = 0
        for kind, width in (("angles", 1), *SHARED.items(), *BATCHED.items()):
            places[kind] = end
            end += width * self.counts[kind] * (self.batch if kind in BATCHED else 1)
        return places, end


class NumberLayout:
    """Numbers the coefficients that the operations of a tape use. All are reserved before one is looked up.

    Attributes:
        counts: Number of each kind but dense matrices.
        num_entries: Entries of all tables.
        tables: For each table [first entry, d, number of terms, where they begin, index of a scale or -1].
        terms: The terms of all tables, two words each.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self._dense: dict[int, int] = {}
        self.num_entries = 0
        self.tables: list[int] = []
        self.terms: list[int] = []

    def reserve(self, kind: str, count: int, *, batched: bool = False) -> None:
        """Say that there must be so many coefficients of a kind."""
        kind = f"batched_{kind}" if batched else kind
        self.counts[kind] = max(self.counts[kind], count)

    def reserve_dense(self, coefficient: int, num_qubits: int) -> None:
        """Say that there must be a dense matrix."""
        self._dense[coefficient] = num_qubits

    def index(self, kind: str, coefficient: int, *, batched: bool = False) -> int:
        """Index of a coefficient's numbers, among the shared or the batched ones."""
        kind = f"batched_{kind}" if batched else kind
        return self._first[kind] + (BATCHED[kind] if batched else SHARED[kind]) * coefficient

    def dense(self, coefficient: int) -> int:
        """Index of a dense matrix."""
        return self._first[coefficient]

    def table(self, dimension: int, terms: Sequence[int], scale: int = -1) -> int:
        """First entry of a new table; the number at ``scale``, if that is not -1, multiplies it.

        It is a multiple of the table's size, so that adding to it is the same as XOR.

        Args:
            dimension: The d bits of an entry's number.
            terms: For each term a mask over these bits, with bit d as its constant, and the position of its angle.
            scale: Index of a number or -1.
        """
        size = 1 << dimension
        first = -(-self.num_entries // size) * size
        if first + size > MOST_ENTRIES:
            raise InvalidInputError(f"The tape's diagonals need more than {MOST_ENTRIES} entries of tables on a GPU.")
        self.tables += [first, dimension, len(terms) // 2, len(self.terms), scale]
        self.terms += terms
        self.num_entries = first + size
        return first

    @cached_property
    def num_shared(self) -> int:
        """How many reals all samples share, dense matrices included."""
        return sum(count for key, count in self._parts if key not in BATCHED)

    @cached_property
    def num_batched(self) -> int:
        """How many reals each sample has."""
        return sum(count for key, count in self._parts if key in BATCHED)

    @cached_property
    def _parts(self) -> list[tuple[str | int, int]]:
        """The numbers of each part in order: kinds by name, dense matrices by number; batched ones for one sample."""
        shared, batched = ([(k, width * self.counts[k]) for k, width in kinds.items()] for kinds in (SHARED, BATCHED))
        return [*shared, *((index, 2 * 4**k) for index, k in sorted(self._dense.items())), *batched]

    @cached_property
    def _first(self) -> dict[str | int, int]:
        """Where each part begins, among the shared or the batched numbers."""
        ends = accumulate((count for _, count in self._parts), initial=0)
        return {
            key: end - (self.num_shared if key in BATCHED else 0)
            for (key, _), end in zip(self._parts, ends, strict=False)
        }

    def check(self, sizes: Sizes, batch: int) -> None:
        """Raise InvalidInputError if coefficients of these sizes do not fit the tape or the state."""
        for kind, count in self.counts.items():
            if sizes.counts[kind] < count:
                raise InvalidInputError(f"The tape needs {count} {kind.replace('_', ' ')}, got {sizes.counts[kind]}.")
            if count and sizes.batch != batch and kind in BATCHED:
                raise InvalidInputError(
                    f"The {kind.replace('_', ' ')} have {sizes.batch} values; the state holds {batch} samples and one "
                    "value for each is expected."
                )
        matrices = max(self._dense, default=-1) + 1
        if len(sizes.dense) < matrices:
            raise InvalidInputError(f"The tape needs {matrices} dense matrices, got {len(sizes.dense)}.")
        for index, k in self._dense.items():
            if sizes.dense[index] != k:
                found = 2 ** sizes.dense[index]
                raise InvalidInputError(f"Dense matrix {index} has shape {(found, found)}; {(2**k, 2**k)} is expected.")

    def pieces(self, sizes: Sizes) -> NDArray[np.int64]:
        """All numbers, shared and batched, out of those made on the device: [first number, its place, count]."""
        places, _ = sizes.places()
        pieces, first = [], 0
        for key, count in self._parts:
            total = count * sizes.batch if key in BATCHED else count
            if total:
                pieces.append((first, places[key], total))
            first += total
        return np.array(pieces, np.int64).reshape(-1, 3)

    def pack(self, coefficients: Coefficients, real: type[np.floating]) -> NDArray[np.floating]:
        """All numbers, shared and batched."""
        parts: list[NDArray[Any]] = [
            coefficients.dense[key] if isinstance(key, int) else getattr(coefficients, key)[: self.counts[key]]
            for key, _ in self._parts
        ]
        parts[-1] = turns(parts[-1])
        return np.concatenate([np.ravel(_reals(part)) for part in parts]).astype(real)


def turns(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """theta / (2 pi), reduced to |u| <= 1 where it would lose accuracy otherwise."""
    if not angles.size or np.abs(angles).max() <= _MODERATE:
        u = angles / (2 * np.pi)
        return np.asarray(u - 2 * np.round(u / 2))
    return np.asarray(np.arctan2(np.sin(angles / 2), np.cos(angles / 2)) / np.pi)


def _reals(array: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers, or real and imaginary parts along a new axis behind a matrix's own (and before the samples)."""
    return np.stack([array.real, array.imag], axis=min(3, array.ndim)) if np.iscomplexobj(array) else array
