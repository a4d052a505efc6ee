"""From angles to the coefficients of a `PauliTape`, and from overlaps back to gradients of the angles, in NumPy.

Not intended to be fast. If `qiskit_fusedqml.devices.pauli_vector.compiled.CompiledPauliCoefficientMap` disagrees with
this module, that one is wrong; what depends on parameters of channels is made here for both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from copy import copy
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ...arrays import FloatArray, IntArray
from ...ir.channels import Channel
from ...planner.pauli_vector.tables import CHANNEL, AffineSequences, PauliTables, TurnAngles
from ...planner.pauli_vector.tape import Affine, Pair, PauliTape, Transfer, Turn
from ...planner.tables import AngleTables
from .. import CoefficientMap
from . import PauliCoefficients
from .angles import AffineAngles
from .channels import (
    StrengthError,
    depends_on_angles,
    inverse_affine,
    inverse_pairs,
    log_kappa,
    log_kappa_of_pairs,
    pair_channels,
    pair_slopes,
    pair_table,
    slopes,
    transfer,
)
from .sequences import bind_sequences, pull_sequences

LARGEST_KAPPA = 20.0
"""Operations with a larger kappa are not undone: the state before them is kept."""

IDENTITY = np.eye(3, 4, 1)
"""The affine map that does nothing."""

NO_PAIR = np.array([1.0] * 16 + [0.0] * 2)
"""The table of a pair that does nothing."""


class PauliBound(NamedTuple):
    """Coefficients, and what the pullback needs of the values they were made of.

    Attributes:
        coefficients: The coefficients.
        angles: The shared angles (A,) by slot; those of batched slots are not used.
        batched: The batched angles (B, A').
        maps: The one-qubit channels' maps (C, 3, 4).
        log_kappas: log10 of what undoing each operation of the tape may multiply errors by, in order.
    """

    coefficients: PauliCoefficients
    angles: FloatArray
    batched: FloatArray
    maps: FloatArray
    log_kappas: FloatArray


LARGEST_LOG = 1e3
"""log10 of more than any float."""


class Channels(NamedTuple):
    """What depends on parameters of channels only.

    Attributes:
        maps: (C, 3, 4) the channels that sequences name.
        pairs: As of `PauliCoefficients`.
        transfers: As of `PauliCoefficients`.
        inverse_pairs: As of `PauliCoefficients`.
        inverse_transfers: As of `PauliCoefficients`.
        held: Which of the shared sequences are not undone, (R,).
        batched_held: Which of the batched ones are not, (R',).
        log_kappas: As of `PauliBound`.
    """

    maps: FloatArray
    pairs: FloatArray
    transfers: tuple[FloatArray, ...]
    inverse_pairs: FloatArray
    inverse_transfers: tuple[FloatArray, ...]
    held: NDArray[np.bool_]
    batched_held: NDArray[np.bool_]
    log_kappas: FloatArray


NO_OVERLAP = 1e-12
"""What an infinite slope may be multiplied by: an observable that sees nothing of it has the limit of the others."""


def infinite(slot: int) -> StrengthError:
    """Say that a derivative is infinite."""
    return StrengthError(
        "values are those of the limit, but the derivative is infinite where a channel loses all coherence, as damping "
        "of strength 1 does. For gradients stay below it",
        (slot,),
    )


class Slope(NamedTuple):
    """The derivative by a parameter of channels: a sum over equal channels or operations.

    Attributes:
        of_channels: Whether it is that of the maps of channels; else of operations.
        slot: The parameter.
        places: Numbers of the channels, or where the operations' overlaps begin, -1 for none.
        slope: The derivative of a map (12,), or of what the overlaps are derivatives by.
    """

    of_channels: bool
    slot: int
    places: IntArray
    slope: FloatArray


class PauliCoefficientMap(CoefficientMap):
    """See `CoefficientMap`.

    Args:
        tables: The tables.
        tape: The tape, for the places of its overlaps.
    """

    def __init__(self, tables: PauliTables, tape: PauliTape) -> None:
        self.tables = tables
        self.angles: AngleTables | None = None
        self.before: AffineAngles | None = None
        self.places, self._is_undone = _Places(tape, tables), tape.num_overlaps > 0
        self._channels = _Varying.of(tables.channels, lambda channel: (channel,), transfer)
        self._pairs = _Varying.of(tables.pairs, pair_channels, pair_table)
        self._transfers = _Varying.of(tables.transfers, lambda channel: (channel,), transfer)
        varies = self._channels.groups or self._pairs.groups or self._transfers.groups
        self.constant = None if varies else self.channels_at(np.zeros(tables.num_angles))

    @property
    def log_kappas(self) -> FloatArray | None:
        """`PauliBound.log_kappas`, or None where they depend on angles."""
        return None if self.constant is None else self.constant.log_kappas

    @override
    def over(self, angles: AngleTables) -> PauliCoefficientMap:
        other = copy(self)
        other.angles, other.before = angles, AffineAngles(angles)
        return other

    @override
    def bind(self, shared: FloatArray, batched: FloatArray) -> PauliBound | None:
        """See `CoefficientMap.bind`.

        Raises:
            InvalidInputError: If a parameter of a channel is outside its range.
        """
        angles, own = self.before.evaluate(shared, batched) if self.before else (shared, batched)
        if not (np.isfinite(angles).all() and np.isfinite(own).all()):
            return None
        own = np.ascontiguousarray(own)
        channels = self.constant or self.channels_at(angles)
        tables = self.tables
        affine = bind_sequences(tables.affine, angles, channels.maps)
        batched_affine = bind_sequences(tables.batched_affine, own, channels.maps)
        coefficients = PauliCoefficients(
            affine,
            batched_affine,
            channels.pairs,
            _turns(tables.turns, angles),
            _turns(tables.batched_turns, own),
            channels.transfers,
            *self._undone(affine, batched_affine, channels),
            channels.inverse_pairs,
            channels.inverse_transfers,
        )
        return PauliBound(coefficients, angles, own, channels.maps, channels.log_kappas)

    def _undone(self, affine: FloatArray, batched: FloatArray, channels: Channels) -> tuple[FloatArray, FloatArray]:
        """The inverses of affine maps; what is never undone, as there are no overlaps, needs none."""
        if not self._is_undone:
            return affine, batched
        if batched.size:
            batched = np.moveaxis(_inverses(np.moveaxis(batched, -1, 1), channels.batched_held), 1, -1)
        return _inverses(affine, channels.held), batched

    @override
    def pullback(
        self, bound: PauliBound, overlaps: FloatArray, *, per_sample: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        by_sample = overlaps.ndim == 2
        shared = overlaps.sum(axis=0) if by_sample and not per_sample else overlaps
        by_angle, by_map = pull_sequences(
            self.tables.affine, bound.angles, bound.maps, _gathered(shared, self.places.affine, (3, 4))
        )
        by_own = None
        if by_sample:
            by_own, by_map_of_samples = pull_sequences(
                self.tables.batched_affine,
                bound.batched,
                bound.maps,
                _gathered(overlaps, self.places.batched_affine, (3, 4)),
            )
            by_map = by_map + (by_map_of_samples if per_sample else by_map_of_samples.sum(axis=0))
            _pull_turns(self.tables.batched_turns, _gathered(overlaps, self.places.batched_turns), by_own)
        if len(self.places.turns):
            _pull_turns(self.tables.turns, _gathered(shared, self.places.turns), by_angle)
        self._pull_channels(bound.angles, by_map, shared, by_angle)
        return self.before.pullback(by_angle, by_own, per_sample=per_sample) if self.before else (by_angle, by_own)

    def _pull_channels(
        self, angles: FloatArray, by_map: FloatArray, overlaps: FloatArray, by_angle: FloatArray
    ) -> None:
        """Add the derivatives by parameters of channels."""
        for of_channels, slot, places, slope in self.slopes(angles):
            if of_channels:
                total = by_map[..., places, :, :].sum(axis=-3).reshape(*by_map.shape[:-3], 12)
            else:
                total = _gathered(overlaps, places, slope.shape).sum(axis=-2)
            poles = np.isinf(slope)
            if poles.any() and np.abs(total[..., poles]).max() > NO_OVERLAP:
                raise infinite(slot)
            by_angle[..., slot] += total @ np.where(poles, 0.0, slope)

    def slopes(self, angles: FloatArray) -> Iterator[Slope]:
        """The derivatives by parameters of channels at angles (A,)."""
        tables, places = self.tables, self.places
        for numbers in self._channels.groups:
            for slot, slope in slopes(tables.channels[numbers[0]], angles):
                yield Slope(True, slot, numbers, slope[1:].reshape(12))
        for numbers in self._pairs.groups:
            for slot, slope in pair_slopes(tables.pairs[numbers[0]], angles):
                yield Slope(False, slot, places.pairs[numbers], slope)
        for numbers in self._transfers.groups:
            for slot, slope in slopes(tables.transfers[numbers[0]], angles):
                yield Slope(False, slot, places.transfers[numbers], slope.reshape(-1))

    def channels_at(self, angles: FloatArray) -> Channels:
        """What depends on parameters of channels, at angles (A,).

        Raises:
            InvalidInputError: If a parameter is outside its range.
        """
        tables = self.tables
        channels = self._channels.at(lambda number: transfer(tables.channels[number], angles))
        pairs = np.array(self._pairs.at(lambda number: pair_table(tables.pairs[number], angles))).reshape(-1, 18)
        transfers = tuple(self._transfers.at(lambda number: transfer(tables.transfers[number], angles)))
        by_channel = log_kappa(channels)
        parts = (
            _of_sequences(tables.affine, by_channel),
            _of_sequences(tables.batched_affine, by_channel),
            log_kappa_of_pairs(pairs),
            log_kappa(transfers),
        )
        held, batched_held, held_pairs, held_transfers = (part > np.log10(LARGEST_KAPPA) for part in parts)
        undone = pairs.copy()
        undone[held_pairs] = NO_PAIR
        inverses = [np.eye(len(t)) if k else np.linalg.inv(t) for t, k in zip(transfers, held_transfers, strict=True)]
        maps = np.array(channels).reshape(-1, 4, 4)[:, 1:]
        log_kappas = np.concatenate([*parts, [0.0]])[self.places.order]
        undo = inverse_pairs(undone)
        return Channels(maps, pairs, transfers, undo, tuple(inverses), held, batched_held, log_kappas)  # type: ignore[arg-type]


class _Places:
    """Where overlaps are, -1 for none, and each operation's number among the affine maps, pairs, transfers, turns."""

    def __init__(self, tape: PauliTape, tables: PauliTables) -> None:
        counts = {
            "affine": len(tables.affine.starts) - 1,
            "batched_affine": len(tables.batched_affine.starts) - 1,
            "pairs": len(tables.pairs),
            "transfers": len(tables.transfers),
            "turns": len(tables.turns.slots),
            "batched_turns": len(tables.batched_turns.slots),
        }
        first = np.cumsum([0, *counts.values()])
        offsets = dict(zip(counts, first[:-1].tolist(), strict=True))
        found = {name: np.full(count, -1, dtype=np.intp) for name, count in counts.items()}
        order = []
        for operation in (operation for block in tape.blocks for operation in block.operations):
            kind = {Affine: "affine", Pair: "pairs", Transfer: "transfers", Turn: "turns"}[type(operation)]
            if isinstance(operation, Affine | Turn) and operation.batched:
                kind = f"batched_{kind}"
            found[kind][operation.coefficient] = operation.overlap
            # turns have no kappa: they share the entry after all others
            order.append(first[4] if isinstance(operation, Turn) else offsets[kind] + operation.coefficient)
        self.affine, self.batched_affine = found["affine"], found["batched_affine"]
        self.pairs, self.transfers = found["pairs"], found["transfers"]
        self.turns, self.batched_turns = found["turns"], found["batched_turns"]
        self.order: IntArray = np.array(order, dtype=np.intp)


class _Varying(NamedTuple):
    """Items (channels or pairs) and those of them that depend on angles.

    Attributes:
        constants: The value of each item, None where it depends on angles.
        groups: Items by number, those that are equal at all angles together.
    """

    constants: list[FloatArray | None]
    groups: tuple[IntArray, ...]

    @classmethod
    def of(
        cls, items: Sequence[Any], parts: Callable[[Any], Sequence[Channel]], value: Callable[[Any, FloatArray], Any]
    ) -> _Varying:
        """Of items, the channels of each, and an item's value at angles."""
        groups: dict[Hashable, list[int]] = {}
        constants: list[FloatArray | None] = []
        for number, item in enumerate(items):
            varies = any(map(depends_on_angles, parts(item)))
            constants.append(None if varies else value(item, np.zeros(0)))
            if varies:
                groups.setdefault(_key(item), []).append(number)
        return cls(constants, tuple(np.array(numbers) for numbers in groups.values()))

    def at(self, value: Callable[[int], FloatArray]) -> list[FloatArray]:
        """The values of all items, by that of each group's first."""
        found = list(self.constants)
        for numbers in self.groups:
            made = value(int(numbers[0]))
            for number in numbers:
                found[number] = made
        return cast("list[FloatArray]", found)


def _key(item: Any) -> Hashable:
    """Equal for channels and pairs that are equal at all angles."""
    if isinstance(item, Channel):
        return id(item.family), id(item.matrix), item.slots, item.constants
    return tuple(map(_key, item)) if isinstance(item, tuple) else item


def _of_sequences(sequences: AffineSequences, by_channel: FloatArray) -> FloatArray:
    """The sums (R,) of a number of each channel over the channels of each sequence."""
    is_channel = sequences.axes == CHANNEL
    numbers = np.zeros(len(sequences.axes))
    # infinite ones (resets) would leave differences of sums that are no numbers
    numbers[is_channel] = np.minimum(by_channel[sequences.slots[is_channel]], LARGEST_LOG)
    sums = np.concatenate([[0.0], np.cumsum(numbers)])
    return np.asarray(sums[sequences.starts[1:]] - sums[sequences.starts[:-1]])


def _inverses(maps: FloatArray, held: NDArray[np.bool_]) -> FloatArray:
    """The inverses of affine maps (R, ..., 3, 4), the identity for those that are held."""
    if not maps.size:
        return maps
    maps = maps.copy()
    maps[held] = IDENTITY
    return inverse_affine(maps)


def _turns(turns: TurnAngles, angles: FloatArray) -> FloatArray:
    """(cos, sin) of turns at angles (A,) or (B, A'): (T, 2) or (T, 2, B)."""
    if not len(turns.slots):
        return np.zeros((0, 2, *angles.shape[:-1]))
    own = (
        np.where(turns.slots >= 0, angles[..., turns.slots], 0.0)
        if angles.shape[-1]
        else np.zeros((*angles.shape[:-1], len(turns.slots)))
    )
    own = (own * turns.weights + turns.constants).T
    return np.ascontiguousarray(np.stack([np.cos(own), np.sin(own)], axis=1))


def _pull_turns(turns: TurnAngles, overlaps: FloatArray, by_angle: FloatArray) -> None:
    """Add the derivatives (..., T) by turns to those (..., A) by angles."""
    depends = np.flatnonzero(turns.slots >= 0)
    for number in depends:
        by_angle[..., turns.slots[number]] += turns.weights[number] * overlaps[..., number]


def _gathered(overlaps: FloatArray, places: IntArray, shape: tuple[int, ...] = ()) -> FloatArray:
    """The overlaps (..., *places, *shape) that begin at places; zeros for places -1."""
    size = prod(shape)
    numbers = places[..., None] + np.arange(size)
    found = (
        overlaps[..., np.where(places[..., None] < 0, 0, numbers)]
        if overlaps.shape[-1]
        else np.zeros((*overlaps.shape[:-1], *numbers.shape))
    )
    found = np.where(places[..., None] < 0, 0.0, found)
    return found.reshape(*overlaps.shape[:-1], *places.shape, *shape)
