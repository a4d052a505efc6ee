"""From angles to tape coefficients and from overlaps back to angle gradients.

A `CoefficientMap` is made by the planner together with the tape. Its tables say, as index arrays, which angle feeds
which
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

Scales. A shared rotation is applied with its larger factor, cosine or sine, taken out (`qiskit_fusedqml.planner.tape`),
so overlaps are measured on a ket and a bra that are both off by a known factor; the pullback divides by its square.
"""

from __future__ import annotations

from copy import copy

from ..arrays import FloatArray
from ..planner.tables import AngleTables, CoefficientTables
from . import Bound, _native


class CoefficientMap:
    """How a tape's coefficients follow from angles, see the module's docstring.

    Its values are the angles themselves until `over` puts an affine map before them.

    Args:
        tables: The tables.

    Attributes:
        tables: The same.
        angles: The map before them, None for angles that are the values themselves.
        compiled: The tables and the map before them, in compiled code.
    """

    def __init__(self, tables: CoefficientTables) -> None:
        t = self.tables = tables
        self.angles: AngleTables | None = None
        scales = t.scales
        self.compiled = _native.Recipe(
            num_angles=t.num_angles,
            num_batched=t.num_batched,
            num_overlaps=t.num_overlaps,
            num_scales=t.num_scales,
            pairs=t.pairs[0].arrays,
            kinds=t.pairs[1],
            pair_overlaps=t.pairs[2],
            batched_pairs=t.batched_pairs[0].arrays,
            batched_pair_overlaps=t.batched_pairs[1],
            terms=t.terms[0].arrays,
            term_overlaps=t.terms[1],
            batched_terms=t.batched_terms[0].arrays,
            batched_term_overlaps=t.batched_terms[1],
            runs=t.runs[0].arrays,
            run_overlaps=t.runs[1].reshape(-1),
            run_signs=t.runs[2].reshape(-1),
            run_pairs=t.runs[3],
            blends=t.blends[0].arrays,
            blend_overlaps=t.blends[1].reshape(-1),
            batched_blends=t.batched_blends[0].arrays,
            batched_blend_overlaps=t.batched_blends[1].reshape(-1),
            factored=scales.factored,
            stretch_start=scales.starts,
            carrier_pair=scales.carrier_pair,
            carrier_diag=scales.carrier_diag,
            scale_order=scales.order,
            overlap_position=scales.overlap_position,
            dense=list(t.dense),
        )

    def over(self, angles: AngleTables) -> CoefficientMap:
        """The same recipe from other values than the angles themselves."""
        other = copy(self)
        other.angles = angles
        rows = (angles.shared.arrays, angles.batched_base.arrays, angles.batched_row.arrays)
        other.compiled = self.compiled.over(angles.num_base, angles.num_row, *rows)
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
