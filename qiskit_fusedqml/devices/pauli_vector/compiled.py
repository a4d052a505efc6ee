"""The compiled `PauliCoefficientMap`, so that a step of a small circuit is not spent in Python.

The mathematics is in `coefficients`; ``devices/native/pauli_coefficients.cpp`` computes the same from the same tables.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from typing_extensions import override

from ...arrays import FloatArray
from ...planner.pauli_vector.tables import AffineSequences, PauliTables, TurnAngles
from ...planner.pauli_vector.tape import PauliTape
from ...planner.tables import AngleTables
from .. import _native
from .coefficients import NO_OVERLAP, Channels, PauliCoefficientMap, Slope, infinite


class CompiledPauliCoefficientMap(PauliCoefficientMap):
    """See `PauliCoefficientMap`; only what depends on parameters of channels is made in NumPy.

    Args:
        tables: The tables.
        tape: The tape, for the places of its overlaps.

    Attributes:
        compiled: The tables and the map before them, in compiled code.
    """

    def __init__(self, tables: PauliTables, tape: PauliTape) -> None:
        super().__init__(tables, tape)
        places = self.places
        self.compiled = _native.PauliCoefficientMap(
            num_angles=tables.num_angles,
            num_batched=len(tables.batched_slots),
            num_overlaps=tape.num_overlaps,
            num_channels=len(tables.channels),
            affine=_sequence_arrays(tables.affine),
            affine_overlaps=places.affine,
            batched_affine=_sequence_arrays(tables.batched_affine),
            batched_affine_overlaps=places.batched_affine,
            turns=_turn_arrays(tables.turns),
            turn_overlaps=places.turns,
            batched_turns=_turn_arrays(tables.batched_turns),
            batched_turn_overlaps=places.batched_turns,
        )
        self._compiled_constant = None if self.constant is None else _compiled(self.constant)

    @override
    def over(self, angles: AngleTables) -> CompiledPauliCoefficientMap:
        other = copy(self)
        other.angles = angles
        other.compiled = self.compiled.over(*angles.numbers)
        return other

    @override
    def bind(self, shared: FloatArray, batched: FloatArray) -> _native.PauliBound | None:  # type: ignore[override]
        channels = self._compiled_constant
        if channels is None:
            angles = self.compiled.shared_angles(shared)
            if not np.isfinite(angles).all():
                return None
            channels = _compiled(self.channels_at(angles))
        return self.compiled.bind(shared, batched, channels)

    @override
    def pullback(  # type: ignore[override]
        self, bound: _native.PauliBound, overlaps: FloatArray, *, per_sample: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        slopes = [] if self.constant is not None else list(self.slopes(bound.angles))
        found: tuple[FloatArray, FloatArray | None]
        if overlaps.ndim == 1:
            found = self.compiled.pull_sums(bound, overlaps, slopes), None
        else:
            found = self.compiled.pull_samples(bound, overlaps, per_sample, slopes)
        if slopes and not np.isfinite(found[0]).all():
            return self._without_poles(bound, overlaps, per_sample, slopes)
        return found

    def _without_poles(
        self, bound: _native.PauliBound, overlaps: FloatArray, per_sample: bool, slopes: list[Slope]
    ) -> tuple[FloatArray, FloatArray | None]:
        """The same where slopes are infinite, if nothing is multiplied by these."""

        def pulled(slopes: list[Slope]) -> tuple[FloatArray, FloatArray | None]:
            if overlaps.ndim == 1:
                return self.compiled.pull_sums(bound, overlaps, slopes), None
            return self.compiled.pull_samples(bound, overlaps, per_sample, slopes)

        without = pulled([])[0]
        for each in slopes:
            for entry in np.flatnonzero(np.isinf(each.slope)):
                only = each._replace(slope=np.eye(len(each.slope))[entry])
                if np.abs(pulled([only])[0] - without).max() > NO_OVERLAP:
                    raise infinite(each.slot)
        return pulled([each._replace(slope=np.where(np.isinf(each.slope), 0.0, each.slope)) for each in slopes])


def _compiled(channels: Channels) -> _native.PauliChannels:
    return _native.PauliChannels(*channels)


def _sequence_arrays(sequences: AffineSequences) -> tuple[object, ...]:
    return sequences.starts, sequences.axes, sequences.slots, sequences.weights, sequences.angles


def _turn_arrays(turns: TurnAngles) -> tuple[object, ...]:
    return turns.slots, turns.weights, turns.constants
