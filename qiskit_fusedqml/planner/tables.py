"""Coefficient tables: how a tape's coefficients follow from angles, and angles from what a caller gives.

`qiskit_fusedqml.devices.reference_coefficients` has the mathematics. Tables know no device; compiled code reads them on
the CPU, kernels on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, Int64Array
from ..ir.expressions import Formula

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PLAIN, FACTORED, CARRIER = 0, 1, 2
"""Kinds of shared pairs: as they are, with the larger of cosine and sine taken out, and with others' put back."""


@dataclass(frozen=True, eq=False)
class CSRRows:
    """``constant + sum weight * source`` in CSR form, a row a number.

    Attributes:
        start: Start of each row in ``index`` and ``weight``, and the end of the last one.
        index: The sources.
        weight: Their weights.
        constant: The constant of each row.
    """

    start: Int64Array
    index: Int64Array
    weight: FloatArray
    constant: FloatArray

    @classmethod
    def sorted(
        cls, rows: NDArray[np.integer], index: NDArray[np.integer], weight: FloatArray, constant: FloatArray
    ) -> CSRRows:
        """From terms "weight * source" with the row of each, ascending."""
        start = np.searchsorted(rows, np.arange(len(constant) + 1)).astype(np.int64)
        return cls(start, index.astype(np.int64), weight, constant)

    def __len__(self) -> int:
        return len(self.constant)

    def with_sources(self, first: int, end: int | None = None) -> NDArray[np.bool_]:
        """Which rows have a source from ``first`` on, before ``end`` if there is one."""
        chosen = self.index >= first if end is None else (self.index >= first) & (self.index < end)
        found = np.zeros(len(self), dtype=bool)
        found[np.repeat(np.arange(len(self)), np.diff(self.start))[chosen]] = True
        return found

    def sparse(self, num_sources: int) -> csr_array:
        """The weights as a matrix (rows, sources)."""
        from scipy.sparse import csr_array

        return csr_array((self.weight, self.index, self.start), shape=(len(self), num_sources))

    @property
    def arrays(self) -> tuple[Int64Array, Int64Array, FloatArray, FloatArray]:
        """The arrays in the order of the compiled module."""
        return self.start, self.index, self.weight, self.constant


NO_ROWS = CSRRows.sorted(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
class RotationSequences:
    """Sequences of single-qubit gates in time order.

    Attributes:
        start: Start of each sequence, and the end of the last one.
        axis: Axis of each gate, 0 to 2 for X, Y, Z.
        source: The angle each gate takes, or -1.
        constant: A constant added to it.
    """

    start: Int64Array
    axis: Int64Array
    source: Int64Array
    constant: FloatArray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def arrays(self) -> tuple[Int64Array, Int64Array, Int64Array, FloatArray]:
        """The arrays in the order of the compiled module."""
        return self.start, self.axis, self.source, self.constant


NO_SEQUENCES = RotationSequences(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


@dataclass(frozen=True, eq=False)
class ScaleTable:
    """Which factors were taken out where.

    Attributes:
        factored: Pair index of each factored rotation, in order of its carrier.
        starts: Start of each carrier's stretch in ``factored``.
        carrier_pair: Pair index of each carrier that is a rotation, or -1.
        carrier_diag: Scale index of each carrier that is a diagonal, or -1.
        order: For each scaling operation in tape order, ``pair index`` or ``num_pairs + scale index``.
        overlap_position: For each overlap, the number of scaling operations up to and including its own.
    """

    factored: Int64Array
    starts: Int64Array
    carrier_pair: Int64Array
    carrier_diag: Int64Array
    order: Int64Array
    overlap_position: Int64Array


@dataclass(frozen=True, eq=False)
class CoefficientTables:
    """How a tape's coefficients follow from angles.

    Sources of shared rows are the A angles followed by (alpha, beta, gamma) of each sequence; sources of batched rows
    are the A' batched angles. An overlap index of -1 means that no gradient is wanted.

    Attributes:
        num_angles: Number of angles A.
        num_batched: Number of batched angles A'.
        num_scales: Number of diagonals' K.
        pairs: Angles of the shared RY and Pauli rotations, their kinds (PLAIN, FACTORED, CARRIER) and overlaps.
        batched_pairs: Angles and overlaps of the batched ones.
        terms: Angles and overlaps of the shared diagonal terms.
        batched_terms: Of the batched ones.
        sequences: Sequences given by Euler angles, their overlaps (E, 4) <X>, <Y>, <Z> after beta's rotation and <Z>
            before it, the signs (E, 4) of these (a diagonal reports on the linear part of a functional whose constant
            has been moved into the angle), and the pairs (E,) of the rotations.
        matrices: Sequences applied as shared matrices, and their overlaps (U, 3).
        batched_matrices: Sequences applied as one matrix a sample, and their overlaps (U', 3).
        scales: The factors taken out.
        dense: The constant dense matrices.
    """

    num_angles: int
    num_batched: int
    num_scales: int
    pairs: tuple[CSRRows, Int64Array, Int64Array]
    batched_pairs: tuple[CSRRows, Int64Array]
    terms: tuple[CSRRows, Int64Array]
    batched_terms: tuple[CSRRows, Int64Array]
    sequences: tuple[RotationSequences, Int64Array, FloatArray, Int64Array]
    matrices: tuple[RotationSequences, Int64Array]
    batched_matrices: tuple[RotationSequences, Int64Array]
    scales: ScaleTable
    dense: tuple[NDArray[np.complex128], ...]

    @property
    def num_sequences(self) -> int:
        """Number of rotation sequences given by Euler angles."""
        return len(self.sequences[0])

    @property
    def pair_kinds(self) -> Int64Array:
        """Kinds of the shared pairs: PLAIN, FACTORED, CARRIER."""
        return self.pairs[1]

    @property
    def num_overlaps(self) -> int:
        """Number of overlaps S."""
        return len(self.scales.overlap_position)


@dataclass(frozen=True, eq=False)
class AngleTables:
    """Angles from values, in an affine way.

    Attributes:
        num_shared: Number F of values that all samples share.
        num_batched: Number F' of values that each sample has.
        shared: The A shared angles, from the shared values.
        from_shared: What the shared values contribute to the A' batched angles, constants included.
        from_batched: What the sample's values add to them.
    """

    num_shared: int
    num_batched: int
    shared: CSRRows
    from_shared: CSRRows
    from_batched: CSRRows

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The fields as compiled code takes them."""
        rows = self.shared.arrays, self.from_shared.arrays, self.from_batched.arrays
        return self.num_shared, self.num_batched, *rows


@dataclass(frozen=True, eq=False)
class Expressions:
    """Values that are expressions of others: G of one form.

    Attributes:
        formula: The form, in k variables.
        shared: (k, G) the parameters that take the variables' places, -1 where it differs from sample to sample.
        batched: (k, G) the columns of the sample's values there, -1 elsewhere.
    """

    formula: Formula
    shared: Int64Array
    batched: Int64Array


@dataclass(frozen=True, eq=False)
class BindingTables:
    """All the way from P parameters, of which V differ from sample to sample, to coefficients.

    The shared values of ``angles`` are the parameters and the shared expressions, its batched values the batched
    parameters and the batched expressions.

    Attributes:
        batched_parameters: (V,) the parameters that differ from sample to sample.
        num_parameters: Number of parameters P.
        shared_expressions: Expressions of parameters that all samples share.
        batched_expressions: Expressions that differ from sample to sample.
        angles: From values to angles.
        coefficients: From angles to coefficients.
    """

    batched_parameters: Int64Array
    num_parameters: int
    shared_expressions: tuple[Expressions, ...]
    batched_expressions: tuple[Expressions, ...]
    angles: AngleTables
    coefficients: CoefficientTables
