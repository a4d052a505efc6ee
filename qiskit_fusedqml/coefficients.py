"""From angles to tape coefficients and from overlaps back to angle gradients.

A `Recipe` is made by the planner together with the tape. It holds, as index arrays, which angle feeds which
coefficient; both directions run in compiled code (``devices/native/recipe.cpp``), so that a step of a small circuit
is not spent in Python.

Single-qubit runs. A run of gates about X, Y and Z multiplies to ``U = RZ(alpha) RY(beta) RZ(gamma)``. Only beta's
rotation is applied to pairs of amplitudes; alpha and gamma join the diagonals. The gradients of all gates of the run
follow from
``g = (<X>, <Y>, <Z>)`` at one point: with V the product of everything between gate k and that point, gate k about
axis a gives
``(R(V) e_a) . g``, R being the rotation SU(2) -> SO(3). (Derivatives with respect to Euler angles would be singular
at beta = 0.) A rotation by beta turns Z towards X, so <X> follows from <Z> before and after it, which the diagonals
around it give for next to nothing; it is measured only where sin(beta) is small (`RY.is_steep`).

Scales. A shared rotation is applied with its larger factor, cosine or sine, taken out (`qiskit_fusedqml.plan`), so
overlaps are measured on a ket and a bra that are both off by a known factor; the pullback divides by its square.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .devices import Bound, _native

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

PLAIN, FACTORED, CARRIER = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Sparse rows "constant + sum weight * source".

    Attributes:
        start: Start of each row in ``index`` and ``weight``, and the end of the last one.
        index: The sources.
        weight: Their weights.
        constant: The constant of each row.
    """

    start: IntArray
    index: IntArray
    weight: FloatArray
    constant: FloatArray

    @classmethod
    def sorted(
        cls, rows: NDArray[np.integer], index: NDArray[np.integer], weight: FloatArray, constant: FloatArray
    ) -> Rows:
        """From terms "weight * source" with the row of each, ascending."""
        start = np.searchsorted(rows, np.arange(len(constant) + 1)).astype(np.int64)
        return cls(start, index.astype(np.int64), weight, constant)

    def __len__(self) -> int:
        return len(self.constant)

    @property
    def arrays(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """The arrays in the order of the compiled module."""
        return self.start, self.index, self.weight, self.constant


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of single-qubit gates in time order.

    Attributes:
        start: Start of each run, and the end of the last one.
        axis: Axis of each gate, 0 to 2 for X, Y, Z.
        source: The angle each gate takes, or -1.
        constant: A constant added to it.
    """

    start: IntArray
    axis: IntArray
    source: IntArray
    constant: FloatArray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def arrays(self) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
        """The arrays in the order of the compiled module."""
        return self.start, self.axis, self.source, self.constant


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

    factored: IntArray
    starts: IntArray
    carrier_pair: IntArray
    carrier_diag: IntArray
    order: IntArray
    overlap_position: IntArray


class Recipe:
    """How a tape's coefficients follow from angles, see the module's docstring.

    Its values are the angles themselves until `over` puts an affine map before them.
    Sources of shared rows are the A angles followed by (alpha, beta, gamma) of each run; sources of batched rows are
    the A' batched angles. An overlap index of -1 means that no gradient is wanted.

    Args:
        num_angles: Number of angles A.
        num_batched: Number of batched angles A'.
        num_scales: Number of diagonals' K.
        pairs: Angles of the shared RY and Pauli rotations, their kinds (PLAIN, FACTORED, CARRIER) and overlaps.
        batched_pairs: Angles and overlaps of the batched ones.
        terms: Angles and overlaps of the shared diagonal terms.
        batched_terms: Of the batched ones.
        runs: The runs turned into Euler angles, their overlaps (E, 4) <X>, <Y>, <Z> after beta's rotation and <Z>
            before it, the signs (E, 4) of these (a diagonal reports on the linear part of a functional whose constant
            has been moved into the angle), and the pairs (E,) of the rotations.
        blends: Runs applied as shared matrices, and their overlaps (U, 3).
        batched_blends: Runs applied as one matrix a sample, and their overlaps (U', 3).
        scales: The factors taken out.
        dense: The constant dense matrices.

    Attributes:
        num_runs: Number of runs turned into Euler angles.
        pair_kinds: Kinds of the shared pairs.
        compiled: The tables and the map before them, in compiled code.
    """

    def __init__(
        self,
        *,
        num_angles: int,
        num_batched: int,
        num_scales: int,
        pairs: tuple[Rows, IntArray, IntArray],
        batched_pairs: tuple[Rows, IntArray],
        terms: tuple[Rows, IntArray],
        batched_terms: tuple[Rows, IntArray],
        runs: tuple[Runs, IntArray, FloatArray, IntArray],
        blends: tuple[Runs, IntArray],
        batched_blends: tuple[Runs, IntArray],
        scales: ScaleTable,
        dense: tuple[NDArray[np.complex128], ...],
    ) -> None:
        self.num_runs = len(runs[0])
        self.pair_kinds = pairs[1]
        self.compiled = _native.Recipe(
            num_angles=num_angles,
            num_batched=num_batched,
            num_overlaps=len(scales.overlap_position),
            num_scales=num_scales,
            pairs=pairs[0].arrays,
            kinds=pairs[1],
            pair_overlaps=pairs[2],
            batched_pairs=batched_pairs[0].arrays,
            batched_pair_overlaps=batched_pairs[1],
            terms=terms[0].arrays,
            term_overlaps=terms[1],
            batched_terms=batched_terms[0].arrays,
            batched_term_overlaps=batched_terms[1],
            runs=runs[0].arrays,
            run_overlaps=runs[1].reshape(-1),
            run_signs=runs[2].reshape(-1),
            run_pairs=runs[3],
            blends=blends[0].arrays,
            blend_overlaps=blends[1].reshape(-1),
            batched_blends=batched_blends[0].arrays,
            batched_blend_overlaps=batched_blends[1].reshape(-1),
            factored=scales.factored,
            stretch_start=scales.starts,
            carrier_pair=scales.carrier_pair,
            carrier_diag=scales.carrier_diag,
            scale_order=scales.order,
            overlap_position=scales.overlap_position,
            dense=list(dense),
        )

    def over(self, num_base: int, num_row: int, shared: Rows, batched_base: Rows, batched_row: Rows) -> Recipe:
        """The same recipe from other values than the angles themselves, in an affine way.

        Args:
            num_base: Number F of values that all samples share.
            num_row: Number F' of values that each sample has.
            shared: The A shared angles, from the base.
            batched_base: What the base contributes to the A' batched angles, constants included.
            batched_row: What the sample's row adds to them.
        """
        other = copy(self)
        other.compiled = self.compiled.over(num_base, num_row, shared.arrays, batched_base.arrays, batched_row.arrays)
        return other

    def bind(self, base: FloatArray, rows: FloatArray) -> Bound | None:
        """Coefficients and what `pullback` needs later, or None if an angle is not finite.

        Args:
            base: (F,) the values that all samples share: the A angles unless `over` says otherwise.
            rows: (B, F') the others: the A' batched angles unless `over` says otherwise.
        """
        return self.compiled.bind(base, rows)

    def pullback(
        self, bound: Bound, overlaps: FloatArray, *, per_row: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradients of the base and of the rows.

        Args:
            bound: What `bind` gave.
            overlaps: (S,) summed over the batch, or (B, S).
            per_row: Whether the gradient of the base is wanted row by row; overlaps are (B, S) then.

        Returns:
            The gradient of the base, (F,) or (B, F) if ``per_row``, and of the rows, (B, F'); None for overlaps summed
            over the batch, which say nothing about them.
        """
        if overlaps.ndim == 1:
            return self.compiled.pull_sums(bound, overlaps), None
        return self.compiled.pull_rows(bound, overlaps, per_row)
