"""From grouped elements to a tape and the tables of its coefficients."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .elements import (
    ALPHA,
    Angle,
    DenseElement,
    Elements,
    PauliRotation,
    U2Element,
    ZRotation,
)
from .frame import Functional
from .gf2 import Span
from .schedule import Group
from .tables import (
    CARRIER,
    FACTORED,
    PLAIN,
    CoefficientTables,
    CSRRows,
    RotationSequences,
    ScaleTable,
)
from .tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape

Z_AFTER, Z_BEFORE = 2, 3
"""Columns of a run's overlaps after <X> and <Y>: of the diagonals with alpha and with gamma."""

LONGEST_STRETCH = 64
"""Rotations whose cosines are taken out before they are put back: amplitudes grow by 2**32 at most on the way, and
their products by 2**64, which single precision holds."""

FEWEST_BEFORE = 6
"""Where the sweep back could stop, a diagonal is undone for the sake of <Z> only if that many <X> are saved by it: ten
multiply-adds against two each."""


_NO_INDICES, _NO_NUMBERS = np.empty(0, np.int64), np.empty(0)
_NO_ROWS = CSRRows(np.zeros(1, np.int64), _NO_INDICES, _NO_NUMBERS, _NO_NUMBERS)
_NO_RUNS = RotationSequences(np.zeros(1, np.int64), _NO_INDICES, _NO_INDICES, _NO_NUMBERS)


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

    def rows(self) -> CSRRows:
        if not self.constant:
            return _NO_ROWS
        return CSRRows(*map(np.array, (self.start, self.index, self.weight, self.constant)))


class _RunTable:
    """RotationSequences, and ``width`` overlaps each, as plain numbers."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.start, self.axis, self.source, self.overlaps = array("q", [0]), array("q"), array("q"), array("q")
        self.constant = array("d")

    def __len__(self) -> int:
        return len(self.start) - 1

    def add(self, gates: Iterable[tuple[int, int, float]], overlaps: Sequence[int]) -> int:
        """Append one of gates (axis, source, constant); returns its number."""
        for axis, source, constant in gates:
            self.axis.append(axis)
            self.source.append(source)
            self.constant.append(constant)
        self.start.append(len(self.axis))
        self.overlaps.extend(overlaps)
        return len(self) - 1

    def runs(self) -> RotationSequences:
        if not len(self):
            return _NO_RUNS
        return RotationSequences(*map(np.array, (self.start, self.axis, self.source, self.constant)))

    def all_overlaps(self) -> NDArray[np.int64]:
        return np.array(self.overlaps, np.int64).reshape(-1, self.width)


class Emitter:
    """Numbers coefficients and overlaps while operations are written down in forward order.

    Args:
        num_qubits: Number of qubits n.
        num_angles: Length A of the angle vector.
        batched_slots: The batched slots in ascending order; batched sources are positions in it.
        wanted_slots: Slots whose gradients are wanted.
        table_qubits: Largest number of functionals that index one diagonal table.
    """

    def __init__(
        self,
        num_qubits: int,
        num_angles: int,
        batched_slots: Sequence[int],
        wanted_slots: frozenset[int],
        table_qubits: int,
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
        self.blends = (_RunTable(3), _RunTable(3))
        self.turned_runs = _RunTable(4)
        self.run_signs, self.run_pairs = array("d"), array("q")
        self.run_position: dict[int, int] = {}
        self.dense: list[NDArray[np.complex128]] = []
        self.scaling = _Scaling()

    def begin(self, elements: Elements) -> None:
        """Go on to the next window; nothing of the last one is kept but numbers."""
        self.elements = elements
        blended = {e.run.index for e in elements.elements if isinstance(e, U2Element)}
        turned = [run for run in elements.runs if run.index not in blended]
        self.run_position = {run.index: self.turned_runs.add(run.gates, (-1, -1, -1, -1)) for run in turned}
        self.run_signs.extend([1.0] * 4 * len(turned))
        self.run_pairs.extend([-1] * len(turned))

    def block(self, group: Group) -> Block:
        """The operations of one block in order."""
        operations: list[Operation] = []
        for step in group.steps:
            members = [self.elements.elements[index] for index in step]
            terms = [member for member in members if isinstance(member, ZRotation)]
            if terms:
                operations.append(self._diag(terms))
            for member in members:
                match member:
                    case PauliRotation():
                        operations.append(self._turn(member))
                    case U2Element():
                        operations.append(self._blend(member))
                    case DenseElement():
                        self.dense.append(member.matrix)
                        operations.append(Dense(member.xs, member.ws, len(self.dense) - 1))
        return Block(group.tile, tuple(self.scaling.carry(operations)))

    def tape(self, blocks: Sequence[Block], lane_qubits: int) -> Tape:
        """The tape; blocks before the first wanted gradient are not undone."""
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
        pairs, terms, blends = self.pairs, self.terms, self.blends
        kinds = np.zeros(len(pairs[0].constant), np.int64)
        scales = self.scaling.table(blocks, len(kinds), self.num_overlaps, kinds)
        return CoefficientTables(
            num_angles=self.num_angles,
            num_batched=len(self.batched_index),
            num_scales=self.scaling.num_scales,
            pairs=(pairs[0].rows(), kinds, _indices(pairs[0].overlaps)),
            batched_pairs=(pairs[1].rows(), _indices(pairs[1].overlaps)),
            terms=(terms[0].rows(), _indices(terms[0].overlaps)),
            batched_terms=(terms[1].rows(), _indices(terms[1].overlaps)),
            sequences=(
                self.turned_runs.runs(),
                self.turned_runs.all_overlaps(),
                np.array(self.run_signs).reshape(-1, 4),
                _indices(self.run_pairs),
            ),
            matrices=(blends[0].runs(), blends[0].all_overlaps()),
            batched_matrices=(blends[1].runs(), blends[1].all_overlaps()),
            scales=scales,
            dense=tuple(self.dense),
        )

    def _add(self, tables: tuple[_AngleTable, _AngleTable], angle: Angle, batched: bool, overlap: int) -> int:
        if batched:
            sources = [(self.batched_index[slot], weight) for slot, weight in angle.slots]
        else:
            sources = angle.slots
            if angle.euler:
                sources = sources + [(self._euler_source(source), float(sign)) for source, sign in angle.euler]
        return tables[batched].add(angle.constant, sources, overlap)

    def _euler_source(self, source: int) -> int:
        return self.num_angles + 3 * self.run_position[source // 3] + source % 3

    def _batched_gate(self, gate: tuple[int, int, float]) -> tuple[int, int, float]:
        axis, slot, constant = gate
        return axis, self.batched_index[slot] if slot >= 0 else -1, constant

    def _new_overlaps(self, count: int) -> int:
        first = self.num_overlaps
        self.num_overlaps += count
        return first

    def _wants(self, angle: Angle) -> bool:
        return bool(self.wanted) and any(slot in self.wanted for slot, _ in angle.slots)

    def _run_wants(self, gates: Sequence[tuple[int, int, float]]) -> bool:
        return bool(self.wanted) and any(gate[1] in self.wanted for gate in gates)

    def _turn(self, turn: PauliRotation) -> RY | Pauli:
        mixed = turn.run is not None and self._run_wants(turn.run.gates)
        direct = self._wants(turn.angle)
        overlap = self._new_overlaps(2 if mixed else 1) if mixed or direct else -1
        coefficient = self._add(self.pairs, turn.angle, turn.batched, overlap if direct else -1)
        x_optional = False
        if turn.run is not None and mixed:
            run = self.run_position[turn.run.index]
            self.turned_runs.overlaps[4 * run], self.turned_runs.overlaps[4 * run + 1] = overlap + 1, overlap
            self.run_pairs[run] = coefficient
            x_optional = self.turned_runs.overlaps[4 * run + Z_BEFORE] >= 0
        if turn.side >= 0:
            count = 2 if mixed else int(direct)
            return RY(turn.x, turn.side, coefficient, turn.batched, overlap, count, x_optional)
        return Pauli(turn.x, turn.z, turn.power, turn.controls, coefficient, turn.batched, overlap)

    def _blend(self, blend: U2Element) -> U2:
        overlap = self._new_overlaps(3) if self._run_wants(blend.run.gates) else -1
        batched = blend.run.batched
        gates = map(self._batched_gate, blend.run.gates) if batched else blend.run.gates
        triple = (overlap, overlap + 1, overlap + 2) if overlap >= 0 else (-1, -1, -1)
        return U2(blend.x, blend.side, self.blends[batched].add(gates, triple), batched, overlap)

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
            for run, which, sign in reports[position]:
                self.turned_runs.overlaps[4 * run + which] = overlaps[position]
                self.run_signs[4 * run + which] = sign

    def _reports(self, term: ZRotation) -> list[tuple[int, int, int]]:
        """The runs that want <Z> of a term's functional: position, column of the run's overlaps, sign."""
        return [
            (self.run_position[source // 3], Z_AFTER if source % 3 == ALPHA else Z_BEFORE, sign)
            for source, sign in term.angle.euler
            if self._run_wants(self.elements.runs[source // 3].gates)
        ]

    def _factors(self, members: list[int], terms: Sequence[ZRotation], overlaps: dict[int, int]) -> Iterator[Factor]:
        """Split terms into factors: fill one with all terms its functionals span, then open the next."""
        while members:
            span, basis = Span(), []
            masks: list[int] = []
            rest: list[int] = []
            first = -1
            for position in members:
                term = terms[position]
                mask = span.coordinates(term.functional)
                if mask is None:
                    if span.dimension == self.table_qubits:
                        rest.append(position)
                        continue
                    mask = 1 << span.dimension
                    span.add(term.functional)
                    basis.append(term.functional)
                masks.append(mask)
                overlap = overlaps.get(position, -1) if self._wants(term.angle) else -1
                index = self._add(self.terms, term.angle, term.batched, overlap)
                first = index if first < 0 else first
            yield Factor(tuple(basis), tuple(masks), first, terms[members[0]].batched)
            members = rest


class _Scaling:
    """Gives factored rotations their carriers, block by block."""

    def __init__(self) -> None:
        self.num_scales = 0
        self.stretches: list[tuple[list[int], int, int]] = []

    def carry(self, operations: Sequence[Operation]) -> list[Operation]:
        """The operations with the K of diagonals numbered.

        A rotation is carried by the next diagonal of the block, else by the previous one. Of more than
        `LONGEST_STRETCH` in a row, and where there is no diagonal, the last one carries the others.
        """
        result = list(operations)
        diagonals = [k for k, operation in enumerate(operations) if isinstance(operation, Diag)]
        gaps: list[list[int]] = [
            [] for _ in range(len(diagonals) + 1)
        ]  # rotations before each diagonal, and at the end
        for k, operation in enumerate(operations):
            if _is_factorable(operation):
                gaps[bisect_left(diagonals, k)].append(_pair(operation))
        last = gaps.pop()
        if not diagonals or len(last) > LONGEST_STRETCH:
            last = self._carry_themselves(last, 0)
        carried = [self._carry_themselves(pairs, LONGEST_STRETCH) for pairs in gaps]
        if carried:
            carried[-1] += last
        for carrier, pairs in zip(diagonals, carried, strict=True):
            if pairs:
                diag = operations[carrier]
                assert isinstance(diag, Diag)
                result[carrier] = replace(diag, scale=self.num_scales)
                self.stretches.append((pairs, -1, self.num_scales))
                self.num_scales += 1
        return result

    def _carry_themselves(self, pairs: list[int], rest: int) -> list[int]:
        """Give rotations in a row carriers of their own until at most ``rest`` are left, which are returned."""
        while len(pairs) > rest:
            stretch, pairs = pairs[:LONGEST_STRETCH], pairs[LONGEST_STRETCH:]
            if len(stretch) > 1:
                self.stretches.append((stretch[:-1], stretch[-1], -1))
        return pairs

    def table(self, blocks: Sequence[Block], num_pairs: int, num_overlaps: int, kinds: NDArray[np.int64]) -> ScaleTable:
        """The numbered scaling operations; fills in the kinds of the shared pairs."""
        for pairs, carrier, _ in self.stretches:
            kinds[pairs] = FACTORED
            if carrier >= 0:
                kinds[carrier] = CARRIER
        order: list[int] = []
        positions = np.zeros(num_overlaps, np.int64)
        for block in blocks:
            for operation in block.operations:
                if _is_factorable(operation) and kinds[_pair(operation)] != PLAIN:
                    order.append(_pair(operation))
                elif isinstance(operation, Diag) and operation.scale >= 0:
                    order.append(num_pairs + operation.scale)
                if operation.overlap >= 0:
                    positions[operation.overlap : operation.overlap + operation.num_overlaps] = len(order)
        lengths = [len(pairs) for pairs, _, _ in self.stretches]
        return ScaleTable(
            factored=_indices([p for pairs, _, _ in self.stretches for p in pairs]),
            starts=_indices([0, *np.cumsum(lengths)[:-1]] if lengths else []),
            carrier_pair=_indices([carrier for _, carrier, _ in self.stretches]),
            carrier_diag=_indices([scale for _, _, scale in self.stretches]),
            order=_indices(order),
            overlap_position=positions,
        )


def _is_factorable(operation: Operation) -> bool:
    if isinstance(operation, RY):
        return not operation.batched
    return isinstance(operation, Pauli) and not operation.batched and not operation.controls


def _pair(operation: Operation) -> int:
    assert isinstance(operation, (RY, Pauli))
    return operation.coefficient


def _indices(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
