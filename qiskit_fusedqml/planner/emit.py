"""From grouped elements to a tape and the tables of its coefficients."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arrays import Int64Array
from .elements import (
    ALPHA,
    Angle,
    DenseElement,
    DiagonalElement,
    Elements,
    PauliRotation,
    RotationSequence,
    U2Element,
    ZRotation,
)
from .frame import Functional
from .gf2 import Span, combination
from .scaling import Scaling
from .schedule import Group
from .tables import CoefficientTables, CSRRows, RotationSequences
from .tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape

X_AFTER, Y_AFTER, Z_AFTER, Z_BEFORE = range(4)
"""Columns of a sequence's overlaps: after the rotation by beta <X>, <Y> and, with alpha's diagonal, <Z>; before it,
with gamma's diagonal, <Z>."""

FEWEST_BEFORE = 6
"""Where the backward sweep could stop, a diagonal is undone for the sake of <Z> only if it saves that many <X>: ten
multiply-adds against two each."""


class _AngleTable:
    """Angles of coefficients of one kind, and an overlap each, as plain numbers."""

    def __init__(self) -> None:
        self.start, self.index, self.overlaps = array("q", [0]), array("q"), array("q")
        self.weight, self.constant = array("d"), array("d")

    def add(self, constant: float, sources: Iterable[tuple[int, float]], overlap: int) -> int:
        """Append one; returns its number."""
        for source, weight in sources:
            self.index.append(source)
            self.weight.append(weight)
        self.start.append(len(self.index))
        self.constant.append(constant)
        self.overlaps.append(overlap)
        return len(self.constant) - 1

    def add_constants(self, constants: NDArray[np.float64]) -> int:
        """Append some that have no sources; returns the number of the first."""
        first = len(self.constant)
        self.start.extend([len(self.index)] * len(constants))
        self.constant.extend(constants)
        self.overlaps.extend([-1] * len(constants))
        return first

    def finished(self) -> tuple[CSRRows, Int64Array]:
        rows = CSRRows(*map(np.array, (self.start, self.index, self.weight, self.constant)))
        return rows, np.array(self.overlaps)


class _SequenceTable:
    """Rotation sequences, and ``width`` overlaps each, as plain numbers."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.start, self.axis, self.source, self.overlaps = array("q", [0]), array("q"), array("q"), array("q")
        self.constant = array("d")

    def add(self, gates: Iterable[tuple[int, int, float]], overlaps: Sequence[int]) -> int:
        """Append one of gates (axis, source, constant); returns its number."""
        for axis, source, constant in gates:
            self.axis.append(axis)
            self.source.append(source)
            self.constant.append(constant)
        self.start.append(len(self.axis))
        self.overlaps.extend(overlaps)
        return len(self.start) - 2

    def finished(self) -> tuple[RotationSequences, Int64Array]:
        sequences = RotationSequences(*map(np.array, (self.start, self.axis, self.source, self.constant)))
        return sequences, np.array(self.overlaps).reshape(-1, self.width)


class Emitter:
    """Numbers coefficients and overlaps while operations are written down in forward order.

    Args:
        num_qubits: Number of qubits n.
        num_angles: Length A of the angle vector.
        batched_slots: The batched slots in ascending order; batched sources are positions in it.
        wanted_slots: Slots whose gradients are wanted.
        table_qubits: Largest number of functionals that index one diagonal table.
        is_real: Whether every gate is real; diagonals then are, too: the phase of each is taken out.
        keep_phase: Whether these phases, together 1 or -1, are put back into the last diagonal.
    """

    def __init__(
        self,
        num_qubits: int,
        num_angles: int,
        batched_slots: Sequence[int],
        wanted_slots: frozenset[int],
        table_qubits: int,
        *,
        is_real: bool = False,
        keep_phase: bool = False,
    ) -> None:
        self.n = num_qubits
        self.num_angles = num_angles
        self.batched_index = {slot: position for position, slot in enumerate(batched_slots)}
        self.wanted = wanted_slots
        self.table_qubits = table_qubits
        self.num_overlaps = 0
        # shared and batched ones apart
        self.pairs = (_AngleTable(), _AngleTable())
        self.terms = (_AngleTable(), _AngleTable())
        self.matrices = (_SequenceTable(3), _SequenceTable(3))
        # sequences given by Euler angles: the signs of their overlaps, the pairs of beta's rotations
        self.sequences = _SequenceTable(4)
        self.signs, self.sequence_pairs = array("d"), array("q")
        # numbers in the table of the present window's sequences
        self.sequence_number: dict[int, int] = {}
        self.dense: list[NDArray[np.complex128]] = []
        self.scaling = Scaling()
        self.is_real, self.keep_phase = is_real, keep_phase
        # of real diagonals: twice the phase taken out so far, the term that takes it out of the last one
        self.phase, self.last_phase = 0.0, -1

    def begin(self, elements: Elements) -> None:
        """Go on to the next window; nothing of the last one is kept but numbers."""
        self.elements = elements
        matrices = {e.sequence.index for e in elements.elements if isinstance(e, U2Element)}
        by_angles = [sequence for sequence in elements.sequences if sequence.index not in matrices]
        self.sequence_number = {s.index: self.sequences.add(s.gates, (-1, -1, -1, -1)) for s in by_angles}
        self.signs.extend([1.0] * 4 * len(by_angles))
        self.sequence_pairs.extend([-1] * len(by_angles))

    def block(self, group: Group) -> Block:
        """The operations of one block in order."""
        operations: list[Operation] = []
        for step in group.steps:
            members = [self.elements.elements[index] for index in step]
            terms = [member for member in members if isinstance(member, ZRotation)]
            if self.is_real:
                terms = self._joined(terms, [m for m in members if isinstance(m, DiagonalElement) and not m.is_large])
            if terms:
                operations.append(self._diag(terms))
            for member in members:
                match member:
                    case PauliRotation():
                        operations.append(self._rotation(member))
                    case U2Element():
                        operations.append(self._u2(member))
                    case DenseElement():
                        self.dense.append(member.matrix)
                        operations.append(Dense(member.flips, member.sides, len(self.dense) - 1))
                    case DiagonalElement() if member.is_large or not self.is_real:
                        operations.append(self._diagonal(member))
        return Block(group.tile, tuple(self.scaling.carry(operations)))

    def tape(self, blocks: Sequence[Block], lane_qubits: int) -> Tape:
        """The tape; what comes before the first wanted gradient is not undone."""
        trimmed = []
        seen = False
        for block in blocks:
            undo_from = 0
            if not seen:
                wanted = (k for k, op in enumerate(block.operations) if op.overlap >= 0)
                undo_from = next(wanted, len(block.operations))
                seen = undo_from < len(block.operations)
            trimmed.append(replace(block, undo_from=undo_from))
        return Tape(self.n, tuple(trimmed), self.elements.frame, self.num_overlaps, lane_qubits)

    def tables(self, blocks: Sequence[Block]) -> CoefficientTables:
        """The tables that go with the emitted blocks."""
        if self.is_real and self.keep_phase and self.last_phase >= 0:
            self.terms[False].constant[self.last_phase] += self.phase
        rows, overlaps = self.pairs[False].finished()
        kinds = self.scaling.kinds(len(rows))
        return CoefficientTables(
            num_angles=self.num_angles,
            num_batched=len(self.batched_index),
            num_scales=self.scaling.num_scales,
            pairs=(rows, kinds, overlaps),
            batched_pairs=self.pairs[True].finished(),
            terms=self.terms[False].finished(),
            batched_terms=self.terms[True].finished(),
            sequences=(
                *self.sequences.finished(),
                np.array(self.signs).reshape(-1, 4),
                np.array(self.sequence_pairs),
            ),
            matrices=self.matrices[False].finished(),
            batched_matrices=self.matrices[True].finished(),
            scales=self.scaling.table(blocks, kinds, self.num_overlaps),
            dense=tuple(self.dense),
        )

    def _joined(self, terms: Sequence[ZRotation], elements: Sequence[DiagonalElement]) -> list[ZRotation]:
        """The Z strings of a step's diagonals, real together, each once; the first amplitude's phase is taken out."""
        angles: dict[Functional, float] = {}
        for term in terms:
            angles[term.functional] = angles.get(term.functional, 0.0) + term.angle.constant
        for element in elements:
            for mask, angle in zip(element.masks, element.angles.tolist(), strict=True):
                functional = combination(element.basis, mask)
                angles[functional] = angles.get(functional, 0.0) + angle
        if not angles:
            return []
        angles[0] = angles.get(0, 0.0) + self._taken_out(angles.values())
        return [ZRotation(functional, Angle(angle), False, ()) for functional, angle in angles.items()]

    def _diagonal(self, element: DiagonalElement) -> Diag:
        masks, angles = element.masks, element.angles
        if self.is_real:
            masks, angles = (*masks, 0), np.append(angles, self._taken_out(angles.tolist()))
        first = self.terms[False].add_constants(angles)
        self.last_phase = first + len(masks) - 1
        return Diag((Factor(element.basis, masks, first, batched=False),))

    def _taken_out(self, angles: Iterable[float]) -> float:
        """The angle that takes the phase of a real diagonal out, where all signs of its Z strings are 1."""
        phase = 0.0
        for angle in angles:
            phase += angle
        self.phase += phase
        return -phase

    def _rotation(self, rotation: PauliRotation) -> RY | Pauli:
        sequence = rotation.sequence
        mixed = sequence is not None and self._wants_any(sequence)
        direct = self._wants(rotation.angle)
        overlap = self._new_overlaps(2 if mixed else 1) if mixed or direct else -1
        coefficient = self._add(self.pairs, rotation.angle, rotation.batched, overlap if direct else -1)
        x_optional = False
        if sequence is not None and mixed:
            number = self.sequence_number[sequence.index]
            overlaps = self.sequences.overlaps
            overlaps[4 * number + X_AFTER], overlaps[4 * number + Y_AFTER] = overlap + 1, overlap
            self.sequence_pairs[number] = coefficient
            x_optional = overlaps[4 * number + Z_BEFORE] >= 0
        if rotation.side >= 0:
            count = 2 if mixed else int(direct)
            return RY(rotation.x, rotation.side, coefficient, rotation.batched, overlap, count, x_optional)
        return Pauli(rotation.x, rotation.z, rotation.power, rotation.controls, coefficient, rotation.batched, overlap)

    def _u2(self, element: U2Element) -> U2:
        sequence, batched = element.sequence, element.sequence.batched
        overlap = self._new_overlaps(3) if self._wants_any(sequence) else -1
        gates: Iterable[tuple[int, int, float]] = sequence.gates
        if batched:
            gates = ((axis, self.batched_index.get(slot, -1), constant) for axis, slot, constant in gates)
        overlaps = (overlap, overlap + 1, overlap + 2) if overlap >= 0 else (-1, -1, -1)
        return U2(element.x, element.side, self.matrices[batched].add(gates, overlaps), batched, overlap)

    def _diag(self, terms: Sequence[ZRotation]) -> Diag:
        functionals: list[Functional] = []
        overlaps: dict[int, int] = {}
        if self.wanted:
            self._measure(terms, functionals, overlaps)
        shared, batched = ([k for k, term in enumerate(terms) if term.batched == kind] for kind in (False, True))
        factors = (*self._factors(shared, terms, overlaps), *self._factors(batched, terms, overlaps))
        return Diag(factors, -1, min(overlaps.values(), default=-1), tuple(functionals))

    def _measure(self, terms: Sequence[ZRotation], functionals: list[Functional], overlaps: dict[int, int]) -> None:
        """Note which functionals' overlaps are wanted, and the overlap of each term that has one."""
        reports = [self._reports(term) for term in terms]
        direct = [self._wants(term.angle) for term in terms]
        before = sum(which == Z_BEFORE for report in reports for _, which, _ in report)
        if not self.num_overlaps and not any(direct) and before == sum(map(len, reports)) < FEWEST_BEFORE:
            reports = [[] for _ in terms]
        for position, term in enumerate(terms):
            if not reports[position] and not direct[position]:
                continue
            overlaps[position] = self._new_overlaps(1)
            functionals.append(term.functional)
            for number, which, sign in reports[position]:
                self.sequences.overlaps[4 * number + which] = overlaps[position]
                self.signs[4 * number + which] = sign

    def _reports(self, term: ZRotation) -> list[tuple[int, int, int]]:
        """The sequences that want <Z> of a term's functional: number, column of the sequence's overlaps, sign."""
        return [
            (self.sequence_number[source // 3], Z_AFTER if source % 3 == ALPHA else Z_BEFORE, sign)
            for source, sign in term.angle.euler
            if self._wants_any(self.elements.sequences[source // 3])
        ]

    def _factors(self, members: list[int], terms: Sequence[ZRotation], overlaps: dict[int, int]) -> Iterator[Factor]:
        """Split terms into factors: fill one with all terms its functionals span, then open the next."""
        while members:
            span = Span()
            basis: list[Functional] = []
            masks: list[int] = []
            rest: list[int] = []
            first = -1
            for position in members:
                term = terms[position]
                mask = span.coordinates(term.functional)
                if mask is None:
                    if len(basis) == self.table_qubits:
                        rest.append(position)
                        continue
                    mask = 1 << len(basis)
                    span.add(term.functional)
                    basis.append(term.functional)
                masks.append(mask)
                overlap = overlaps.get(position, -1) if self._wants(term.angle) else -1
                index = self._add(self.terms, term.angle, term.batched, overlap)
                if not term.functional:
                    self.last_phase = index
                first = index if first < 0 else first
            yield Factor(tuple(basis), tuple(masks), first, terms[members[0]].batched)
            members = rest

    def _add(self, tables: tuple[_AngleTable, _AngleTable], angle: Angle, batched: bool, overlap: int) -> int:
        """Append an angle's row to the shared or the batched table; returns its number."""
        sources = angle.slots
        if batched:
            sources = [(self.batched_index[slot], weight) for slot, weight in sources]
        elif angle.euler:
            sources = sources + [
                (self.num_angles + 3 * self.sequence_number[source // 3] + source % 3, float(sign))
                for source, sign in angle.euler
            ]
        return tables[batched].add(angle.constant, sources, overlap)

    def _new_overlaps(self, count: int) -> int:
        first = self.num_overlaps
        self.num_overlaps += count
        return first

    def _wants(self, angle: Angle) -> bool:
        return bool(self.wanted) and any(slot in self.wanted for slot, _ in angle.slots)

    def _wants_any(self, sequence: RotationSequence) -> bool:
        return bool(self.wanted) and any(slot in self.wanted for _, slot, _ in sequence.gates)
