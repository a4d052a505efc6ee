"""The compiled `CoefficientMap`, so that a step of a small circuit is not spent in Python.

The mathematics is in `qiskit_fusedqml.devices.reference_coefficients`; ``devices/native/coefficient_map.cpp`` computes
the same from the same tables.
"""

from __future__ import annotations

from typing_extensions import override

from ..arrays import FloatArray
from ..planner.tables import AngleTables, CoefficientTables
from . import CoefficientMap, _native


class CompiledCoefficientMap(CoefficientMap):
    """See `CoefficientMap`.

    Args:
        tables: The tables.

    Attributes:
        compiled: The tables and the map before them, in compiled code.
    """

    def __init__(self, tables: CoefficientTables) -> None:
        t = self.tables = tables
        self.angles: AngleTables | None = None
        scales = t.scales
        self.compiled = _native.CoefficientMap(
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
            sequences=t.sequences[0].arrays,
            sequence_overlaps=t.sequences[1].reshape(-1),
            sequence_signs=t.sequences[2].reshape(-1),
            sequence_pairs=t.sequences[3],
            matrices=t.matrices[0].arrays,
            matrix_overlaps=t.matrices[1].reshape(-1),
            batched_matrices=t.batched_matrices[0].arrays,
            batched_matrix_overlaps=t.batched_matrices[1].reshape(-1),
            factored=scales.factored,
            stretch_start=scales.starts,
            carrier_pair=scales.carrier_pair,
            carrier_diag=scales.carrier_diag,
            scale_order=scales.order,
            overlap_position=scales.overlap_position,
            dense=list(t.dense),
        )

    @override
    def over(self, angles: AngleTables) -> CompiledCoefficientMap:
        other = object.__new__(CompiledCoefficientMap)
        other.tables, other.angles, other.compiled = self.tables, angles, self.compiled.over(*angles.numbers)
        return other

    @override
    def bind(self, shared: FloatArray, batched: FloatArray) -> _native.Bound | None:
        return self.compiled.bind(shared, batched)

    @override
    def pullback(
        self, bound: _native.Bound, overlaps: FloatArray, *, per_sample: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        if overlaps.ndim == 1:
            return self.compiled.pull_sums(bound, overlaps), None
        return self.compiled.pull_samples(bound, overlaps, per_sample)
