"""From grouped elements to a `PauliTape` and the tables of its coefficients."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ...ir.channels import Channel
from ..schedule import Group
from . import structure
from .elements import (
    AffineElement,
    Angle,
    Element,
    Gate,
    PairElement,
    Sequence as OneQubitSequence,
    TransferElement,
    TurnElement,
)
from .sequences import joint
from .tables import CHANNEL, AffineSequences, PairFactors, PauliTables, TurnAngles
from .tape import Affine, Pair, PauliBlock, PauliFrame, PauliOperation, PauliTape, Transfer, Turn

_Entry = TypeVar("_Entry")


class _SequenceRows:
    """`AffineSequences` in the making."""

    def __init__(self) -> None:
        self.starts, self.axes, self.slots = array("q", [0]), array("q"), array("q")
        self.weights, self.angles = array("d"), array("d")

    def add(self, factors: Iterable[tuple[int, int, float, float]]) -> int:
        """Append a sequence of (axis, slot, weight, angle); returns its number."""
        for axis, slot, weight, angle in factors:
            self.axes.append(axis)
            self.slots.append(slot)
            self.weights.append(weight)
            self.angles.append(angle)
        self.starts.append(len(self.axes))
        return len(self.starts) - 2

    def finished(self) -> AffineSequences:
        return AffineSequences(*map(np.array, (self.starts, self.axes, self.slots, self.weights, self.angles)))


class _TurnRows:
    """`TurnAngles` in the making."""

    def __init__(self) -> None:
        self.slots, self.weights, self.constants = array("q"), array("d"), array("d")

    def add(self, slot: int, angle: Angle) -> int:
        """Append an angle; returns its number."""
        self.slots.append(slot)
        self.weights.append(angle.weight if slot >= 0 else 0.0)
        self.constants.append(angle.constant)
        return len(self.slots) - 1

    def finished(self) -> TurnAngles:
        return TurnAngles(*map(np.array, (self.slots, self.weights, self.constants)))


class PauliEmitter:
    """Numbers coefficients and overlaps while operations are written down in forward order.

    Constant coefficients that are equal have one number.
    """

    def __init__(self, num_angles: int, batched_slots: frozenset[int], wanted_slots: frozenset[int]) -> None:
        self.num_angles = num_angles
        self.batched_slots = sorted(batched_slots)
        self.batched_index = {slot: position for position, slot in enumerate(self.batched_slots)}
        self.wanted = wanted_slots
        self.num_overlaps = 0
        # shared and batched ones apart
        self.sequences = (_SequenceRows(), _SequenceRows())
        self.turns = (_TurnRows(), _TurnRows())
        self.channels: list[Channel] = []
        self.pairs: list[PairFactors] = []
        self.transfers: list[Channel] = []
        self.numbers: dict[Hashable, int] = {}

    def block(self, group: Group, elements: Sequence[Element]) -> PauliBlock:
        """The operations of one block in order."""
        operations = [self._operation(elements[index]) for step in group.steps for index in step]
        return PauliBlock(group.tile, tuple(operations))

    def tape(self, num_qubits: int, blocks: Sequence[PauliBlock], frame: PauliFrame) -> PauliTape:
        """The tape; what comes before the first wanted gradient is not undone."""
        trimmed: list[PauliBlock] = []
        seen = False
        for block in blocks:
            undo_from = 0
            if not seen:
                wanted = (k for k, operation in enumerate(block.operations) if operation.overlap >= 0)
                undo_from = next(wanted, len(block.operations))
                seen = undo_from < len(block.operations)
            trimmed.append(replace(block, undo_from=undo_from))
        return PauliTape(num_qubits, tuple(trimmed), frame, self.num_overlaps)

    def tables(self) -> PauliTables:
        """The tables that go with the emitted blocks."""
        return PauliTables(
            num_angles=self.num_angles,
            batched_slots=np.array(self.batched_slots, dtype=np.int64),
            affine=self.sequences[False].finished(),
            batched_affine=self.sequences[True].finished(),
            channels=tuple(self.channels),
            pairs=tuple(self.pairs),
            turns=self.turns[False].finished(),
            batched_turns=self.turns[True].finished(),
            transfers=tuple(self.transfers),
        )

    def _operation(self, element: Element) -> PauliOperation:
        match element:
            case AffineElement(qubit, sequence):
                coefficient, overlap = self._sequence(sequence), self._overlaps(sequence.slots, 12)
                return Affine(qubit, coefficient, bool(sequence.batched), overlap, sequence.unital)
            case PairElement(qubits):
                return Pair(qubits, self._pair(element), element.gains, self._overlaps(element.slots, 18))
            case TurnElement(x, side, z, y_of_string, angle, batched):
                slot = self.batched_index.get(angle.slot, -1) if batched else angle.slot
                coefficient = self.turns[batched].add(slot, angle)
                return Turn(x, side, z, y_of_string, coefficient, batched, self._overlaps(element.slots, 1))
            case TransferElement(qubits, channel):
                coefficient = self._number((structure.key(channel),), self.transfers, channel)
                return Transfer(qubits, coefficient, self._overlaps(element.slots, 16 ** len(qubits)))

    def _sequence(self, sequence: OneQubitSequence) -> int:
        rows = self.sequences[bool(sequence.batched)]
        factors = [self._factor(f, bool(sequence.batched)) for f in sequence.factors]
        if sequence.slots:
            return rows.add(factors)
        place = "sequence", tuple(factors)
        if place not in self.numbers:
            self.numbers[place] = rows.add(factors)
        return self.numbers[place]

    def _factor(self, factor: Gate | Channel, batched: bool) -> tuple[int, int, float, float]:
        if isinstance(factor, Channel):
            place = "channel", structure.key(factor)
            return CHANNEL, self._number(place, self.channels, factor), 0.0, 0.0
        axis, (slot, weight, constant) = factor
        return axis, self.batched_index[slot] if batched and slot >= 0 else slot, weight, constant

    def _pair(self, pair: PairElement) -> int:
        constant = [d for d in pair.diagonals if structure.is_constant(d)]
        diagonals = [d for d in pair.diagonals if not structure.is_constant(d)]
        if constant:
            total = constant[0]
            for diagonal in constant[1:]:
                total = joint(total, diagonal)
            diagonals.insert(0, total)
        factors = PairFactors(tuple(diagonals), *pair.shifts)
        if pair.slots:
            self.pairs.append(factors)
            return len(self.pairs) - 1
        shifts = (None if shift is None else structure.key(shift) for shift in pair.shifts)
        return self._number(("pair", tuple(map(structure.key, diagonals)), *shifts), self.pairs, factors)

    def _number(self, place: Hashable, table: list[_Entry], entry: _Entry) -> int:
        """The entry's number in a table; it is appended if there is no equal one."""
        if place not in self.numbers:
            self.numbers[place] = len(table)
            table.append(entry)
        return self.numbers[place]

    def _overlaps(self, slots: set[int], count: int) -> int:
        """The first of so many new overlaps, if one of the slots is wanted, or -1."""
        if slots.isdisjoint(self.wanted):
            return -1
        first = self.num_overlaps
        self.num_overlaps += count
        return first
