"""From grouped elements to a tape and the recipe of its coefficients."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..coefficients import CARRIER, FACTORED, PLAIN, Recipe, Rows, Runs, ScaleTable
from ..plan import RY, U2, Block, Dense, Diag, Factor, Functional, Map, Operation, Pauli, Tape, bits
from .elements import ALPHA, Angle, Blend, Block2k, Elements, Term, Turn
from .schedule import Group

Z_AFTER, Z_BEFORE = 2, 3
"""Columns of a run's overlaps after <X> and <Y>: of the diagonals with alpha and with gamma."""

LONGEST_STRETCH = 64
"""Rotations whose cosines are taken out before they are put back: amplitudes grow by 2**32 at most on the way, and
their products by 2**64, which single precision holds."""

FEWEST_BEFORE = 6
"""Where the sweep back could stop, a diagonal is undone for the sake of <Z> only if that many <X> are saved by it: ten
multiply-adds against two each."""


class _Coefficients:
    """Coefficients of one kind (pairs or terms): an angle and an overlap each; shared and batched ones apart."""

    def __init__(self) -> None:
        self.angles: tuple[list[Angle], list[Angle]] = ([], [])
        self.overlaps: tuple[list[int], list[int]] = ([], [])

    def add(self, angle: Angle, batched: bool, overlap: int) -> int:
        self.angles[batched].append(angle)
        self.overlaps[batched].append(overlap)
        return len(self.angles[batched]) - 1


class Emitter:
    """Numbers coefficients and overlaps while operations are written down in forward order.

    Args:
        elements: What `collect` found.
        num_angles: Length A of the angle vector.
        batched_slots: The batched slots in ascending order; batched sources are positions in it.
        wanted_slots: Slots whose gradients are wanted.
        table_qubits: Largest number of functionals that index one diagonal table.
    """

    def __init__(
        self,
        elements: Elements,
        num_angles: int,
        batched_slots: Sequence[int],
        wanted_slots: frozenset[int],
        table_qubits: int,
    ) -> None:
        self.elements = elements
        self.num_angles = num_angles
        self.batched_index = {slot: position for position, slot in enumerate(batched_slots)}
        self.wanted = wanted_slots
        self.table_qubits = table_qubits
        self.n = elements.frame.num_qubits
        self.num_overlaps = 0
        self.pairs = _Coefficients()
        self.terms = _Coefficients()
        self.blends: tuple[list[Blend], list[Blend]] = ([], [])
        self.blend_overlaps: tuple[list[int], list[int]] = ([], [])
        blended = {e.run.index for e in elements.elements if isinstance(e, Blend)}
        self.turned_runs = [run for run in elements.runs if run.index not in blended]
        self.run_position = {run.index: position for position, run in enumerate(self.turned_runs)}
        self.run_overlaps = np.full((len(self.turned_runs), 4), -1, np.int64)
        self.run_signs = np.ones((len(self.turned_runs), 4))
        self.run_pairs = np.full(len(self.turned_runs), -1, np.int64)
        self.dense: list[NDArray[np.complex128]] = []
        self.scaling = _Scaling()

    def block(self, group: Group) -> Block:
        """The operations of one block in order."""
        operations: list[Operation] = []
        for step in group.steps:
            members = [self.elements.elements[index] for index in step]
            terms = [member for member in members if isinstance(member, Term)]
            if terms:
                operations.append(self._diag(terms))
            for member in members:
                match member:
                    case Turn():
                        operations.append(self._turn(member))
                    case Blend():
                        operations.append(self._blend(member))
                    case Block2k():
                        self.dense.append(member.matrix)
                        operations.append(Dense(member.xs, member.ws, len(self.dense) - 1))
        return Block(group.tile, tuple(self.scaling.carry(operations)))

    def tape(self, blocks: Sequence[Block], spread_qubits: int) -> Tape:
        """The tape; blocks before the first wanted gradient are not undone."""
        trimmed = []
        seen = False
        for block in blocks:
            undo_from = 0
            if not seen:
                wanted = (k for k, op in enumerate(block.operations) if not isinstance(op, Map) and op.overlap >= 0)
                undo_from = next(wanted, len(block.operations))
                seen = undo_from < len(block.operations)
            trimmed.append(replace(block, undo_from=undo_from))
        return Tape(self.n, tuple(trimmed), self.elements.frame, self.num_overlaps, spread_qubits)

    def recipe(self, blocks: Sequence[Block]) -> Recipe:
        """The recipe that goes with the emitted blocks."""
        kinds = np.zeros(len(self.pairs.angles[0]), np.int64)
        scales = self.scaling.table(blocks, len(kinds), self.num_overlaps, kinds)
        pair_overlaps, term_overlaps = self.pairs.overlaps, self.terms.overlaps
        return Recipe(
            num_angles=self.num_angles,
            num_batched=len(self.batched_index),
            num_scales=self.scaling.num_scales,
            pairs=(self._rows(self.pairs, batched=False), kinds, _indices(pair_overlaps[0])),
            batched_pairs=(self._rows(self.pairs, batched=True), _indices(pair_overlaps[1])),
            terms=(self._rows(self.terms, batched=False), _indices(term_overlaps[0])),
            batched_terms=(self._rows(self.terms, batched=True), _indices(term_overlaps[1])),
            runs=(
                Runs.build([[gate[:3] for gate in run.gates] for run in self.turned_runs]),
                self.run_overlaps,
                self.run_signs,
                self.run_pairs,
            ),
            blends=(
                Runs.build([[gate[:3] for gate in blend.run.gates] for blend in self.blends[0]]),
                _triples(self.blend_overlaps[0]),
            ),
            batched_blends=(
                Runs.build([[self._batched_gate(gate) for gate in blend.run.gates] for blend in self.blends[1]]),
                _triples(self.blend_overlaps[1]),
            ),
            scales=scales,
            dense=tuple(self.dense),
        )

    def _rows(self, kept: _Coefficients, *, batched: bool) -> Rows:
        def entry(angle: Angle) -> tuple[float, list[tuple[int, float]]]:
            if batched:
                return angle.constant, [(self.batched_index[slot], weight) for slot, weight in angle.slots]
            euler = [(self._euler_source(source), float(sign)) for source, sign in angle.euler]
            return angle.constant, angle.slots + euler

        return Rows.build(entry(angle) for angle in kept.angles[batched])

    def _euler_source(self, source: int) -> int:
        return self.num_angles + 3 * self.run_position[source // 3] + source % 3

    def _batched_gate(self, gate: tuple[int, int, float, int]) -> tuple[int, int, float]:
        axis, slot, constant, _ = gate
        return axis, self.batched_index[slot] if slot >= 0 else -1, constant

    def _new_overlaps(self, count: int) -> int:
        first = self.num_overlaps
        self.num_overlaps += count
        return first

    def _wants(self, angle: Angle) -> bool:
        return any(slot in self.wanted for slot, _ in angle.slots)

    def _run_wants(self, gates: Sequence[tuple[int, int, float, int]]) -> bool:
        return any(gate[1] in self.wanted for gate in gates)

    def _turn(self, turn: Turn) -> RY | Pauli:
        mixed = turn.run is not None and self._run_wants(turn.run.gates)
        direct = self._wants(turn.angle)
        overlap = self._new_overlaps(2 if mixed else 1) if mixed or direct else -1
        coefficient = self.pairs.add(turn.angle, turn.batched, overlap if direct else -1)
        x_optional = False
        if turn.run is not None and mixed:
            run = self.run_position[turn.run.index]
            self.run_overlaps[run, :2] = overlap + 1, overlap
            self.run_pairs[run] = coefficient
            x_optional = bool(self.run_overlaps[run, Z_BEFORE] >= 0)
        if turn.side >= 0:
            count = 2 if mixed else int(direct)
            return RY(turn.x, turn.side, coefficient, turn.batched, overlap, count, x_optional)
        return Pauli(turn.x, turn.z, turn.power, turn.controls, coefficient, turn.batched, overlap)

    def _blend(self, blend: Blend) -> U2:
        overlap = self._new_overlaps(3) if self._run_wants(blend.run.gates) else -1
        batched = blend.run.batched
        self.blends[batched].append(blend)
        self.blend_overlaps[batched].append(overlap)
        return U2(blend.x, blend.side, len(self.blends[batched]) - 1, batched, overlap)

    def _diag(self, terms: Sequence[Term]) -> Diag:
        functionals: list[Functional] = []
        overlaps: dict[int, int] = {}
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
                self.run_overlaps[run, which] = overlaps[position]
                self.run_signs[run, which] = sign
        factors = tuple(
            factor
            for batched in (False, True)
            for factor in self._factors([k for k, term in enumerate(terms) if term.batched == batched], terms, overlaps)
        )
        return Diag(factors, -1, min(overlaps.values(), default=-1), tuple(functionals))

    def _reports(self, term: Term) -> list[tuple[int, int, int]]:
        """The runs that want <Z> of a term's functional: position, column of the run's overlaps, sign."""
        return [
            (self.run_position[source // 3], Z_AFTER if source % 3 == ALPHA else Z_BEFORE, sign)
            for source, sign in term.angle.euler
            if self._run_wants(self.elements.runs[source // 3].gates)
        ]

    def _factors(self, members: list[int], terms: Sequence[Term], overlaps: dict[int, int]) -> Iterator[Factor]:
        """Split terms into factors: fill one with all terms its functionals span, then open the next."""
        while members:
            space = _Coordinates(self.table_qubits)
            masks: list[int] = []
            rest: list[int] = []
            first = -1
            for position in members:
                term = terms[position]
                mask = space.coordinates(term.functional)
                if mask is None:
                    rest.append(position)
                    continue
                masks.append(mask)
                overlap = overlaps.get(position, -1) if self._wants(term.angle) else -1
                index = self.terms.add(term.angle, term.batched, overlap)
                first = index if first < 0 else first
            yield Factor(tuple(space.basis), tuple(masks), first, terms[members[0]].batched)
            members = rest


class _Coordinates:
    """Coordinates of functionals with respect to a growing basis of at most ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.basis: list[Functional] = []
        self.pivots: dict[int, tuple[int, int]] = {}

    def coordinates(self, functional: Functional) -> int | None:
        """The mask of basis elements that sum to a functional; None if it does not fit any more."""
        mask = 0
        while functional:
            pivot = self.pivots.get(functional.bit_length())
            if pivot is None:
                if len(self.basis) == self.limit:
                    return None
                return self._extend(functional, mask)
            functional ^= pivot[0]
            mask ^= pivot[1]
        return mask

    def _extend(self, rest: int, mask: int) -> int:
        own = 1 << len(self.basis)
        original = rest
        for j in bits(mask):
            original ^= self.basis[j]
        self.basis.append(original)
        self.pivots[rest.bit_length()] = (rest, own ^ mask)
        return own


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
                if isinstance(operation, Map):
                    continue
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
    return isinstance(operation, RY | Pauli) and not operation.batched and not getattr(operation, "controls", ())


def _pair(operation: Operation) -> int:
    assert isinstance(operation, RY | Pauli)
    return operation.coefficient


def _indices(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _triples(firsts: Sequence[int]) -> NDArray[np.int64]:
    """Three consecutive overlaps each; -1 where there are none."""
    first = np.array(firsts, np.int64).reshape(-1, 1)
    return np.where(first >= 0, first + np.arange(3), -1)
