"""Operations as the records that the sweeps read: flat integers, functionals restated on places.

The formats are described beside the kernels that read them, in ``cuda_src``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from ...ir.qubits import bits
from ...planner.gf2 import pull
from ...planner.tape import RY, U2, Dense, Diag, Factor, Pauli
from .layout import NumberLayout
from .windows import Window

EXCHANGE, FLUSH, TURN, UNITARY, PAULI, PHASE, DIAGONAL, MEASURE, DENSE = range(9)

MAX_KEPT = 64
"""Overlaps that a block keeps in shared memory before they are flushed."""


@dataclass
class Writer:
    """Writes the records of one sweep and numbers its overlaps.

    Attributes:
        num_qubits: Number of qubits n.
        warp: Whether warps work alone: overlaps are then written where they belong at once.
        numbers: Where coefficients lie.
        words: All records.
        forward: Where the records of the forward sweep begin.
        backward: Where those of the backward sweep begin, in forward order.
        slots: The tape's overlap for each slot of the sweep.
        first_slot: First slot of the stretch between two flushes.
        capacity: Overlaps of the longest such stretch.
        window: The current window.
    """

    num_qubits: int
    warp: bool
    numbers: NumberLayout
    words: list[int] = field(default_factory=list)
    forward: list[int] = field(default_factory=list)
    backward: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    first_slot: int = 0
    capacity: int = 0
    window: Window = field(default_factory=lambda: Window((), 0))
    _opening: int = -1

    def enter(self, window: Window, addresses: Sequence[int] | None, undone: bool) -> None:
        """Go to a window; ``addresses`` is None for the first one."""
        self.close_stretch()
        self.window = window
        if addresses is not None:
            self._opening = self._record(EXCHANGE, [0, 0, *addresses], undone=undone)

    def begin_stretch(self) -> None:
        """Begin another stretch of kept overlaps. Backwards, its flush comes after what it keeps."""
        if not self.warp:
            self.close_stretch()
            self._opening = self._record(FLUSH, [0, 0], undone=True, only_undone=True)

    def close_stretch(self) -> None:
        """End a stretch: its overlaps are flushed by the record that began it, an exchange or a flush."""
        count = len(self.slots) - self.first_slot
        if self._opening >= 0:
            self.words[self._opening + 1 : self._opening + 3] = [self.first_slot, count]
        self.capacity = max(self.capacity, count)
        self.first_slot = len(self.slots)
        self._opening = -1

    def rows(self) -> int:
        """Write the current window's rows; where they begin."""
        self.words.extend(self.window.vectors)
        return len(self.words) - self.num_qubits

    def turns(self, layer: Sequence[tuple[int, RY]], undone: bool) -> None:
        """RYs on different register bits, in ascending order."""
        wanted = [(op.overlap + k) for _, op in layer for k in range(op.num_overlaps) if undone and op.overlap >= 0]
        words = [0] * (1 + 3 * self.window.register_qubits)
        words[0] = self._slot(wanted)
        for bit, op in layer:
            count = op.num_overlaps if undone and op.overlap >= 0 else 0
            left_out = op.x_optional and not op.batched
            flags = 1 | op.batched << 1 | (count > 0) << 2 | (count > 1) << 3 | left_out << 4
            index = self.numbers.index("pairs", op.coefficient, batched=op.batched)
            words[1 + 3 * bit : 4 + 3 * bit] = [self._functional(op.w), index, flags]
        self._record(TURN, words, undone=undone)

    def unitary(self, op: U2, undone: bool) -> None:
        """A 2x2 matrix."""
        slot = self._slot(range(op.overlap, op.overlap + 3)) if undone and op.overlap >= 0 else -1
        index = self.numbers.index("matrices", op.coefficient, batched=op.batched)
        words = [slot, self._functional(op.w), index, int(op.batched)]
        self._record(UNITARY | self._bit(op.x) << 4, words, undone=undone)

    def pauli(self, op: Pauli, undone: bool) -> None:
        """A controlled Pauli rotation."""
        slot = self._slot([op.overlap]) if undone and op.overlap >= 0 else -1
        controls = [self._functional(f) for f in op.controls]
        index = self.numbers.index("pairs", op.coefficient, batched=op.batched)
        words = [slot, self._functional(op.z), index, int(op.batched), op.power, len(controls), *controls]
        self._record(PAULI | self._bit(op.x) << 4 if op.x else PHASE, words, undone=undone)

    def diagonal(self, op: Diag, undone: bool) -> None:
        """A diagonal and, behind it for the backward pass, its overlaps."""
        words = [-1 if op.scale < 0 else self.numbers.index("scales", op.scale), 0]
        factors = list(op.factors)
        while factors:
            words[1] += 1
            factor = factors.pop(0)
            if factor.batched:
                functionals = [self._term(factor.basis, term) for term in factor.terms]
                words += [1, self.numbers.index("angles", factor.first, batched=True), len(functionals), *functionals]
            elif factors and not factors[0].batched:
                other = factors.pop(0)
                columns = zip(self._columns(factor), self._columns(other), strict=True)
                tables = self.numbers.table(factor), self.numbers.table(other)
                words += [2, *tables, *(first | second << 16 for first, second in columns)]
            else:
                words += [0, self.numbers.table(factor), *self._columns(factor)]
        self._record(DIAGONAL, words, undone=undone)
        if undone and op.overlap >= 0:
            for first in range(0, len(op.overlap_functionals), MAX_KEPT):
                self._measure(op, first, min(first + MAX_KEPT, len(op.overlap_functionals)))

    def _columns(self, factor: Factor) -> list[int]:
        """What each bit of a place contributes to the number of a table's entry."""
        columns = [0] * self.num_qubits
        for j, functional in enumerate(factor.basis):
            for k in bits(pull(functional, self.window.vectors)):
                columns[k] |= 1 << j
        return columns

    def dense(self, op: Dense, inner: int, undone: bool) -> None:
        """A dense matrix, ``inner`` of whose index bits are register bits.

        Its overlaps are flushed as they come, so that no others may be kept at that time.
        """
        k, w = len(op.xs), self.window.register_qubits
        wanted = undone and op.overlap >= 0
        functionals = []
        for j, functional in enumerate(op.ws):
            own = 1 << (j if j < inner else w + j - inner)
            functionals.append(self._functional(functional) ^ own)
        if wanted:
            self.close_stretch()
        slot = len(self.slots) if wanted else -1
        self._record(DENSE | inner << 4, [k, self.numbers.dense(op.coefficient), slot, *functionals], undone=undone)
        if wanted:
            size = 1 << k
            order = product(range(size >> inner), range(size), range(1 << inner), range(2))
            entries = ((part * size + (h << inner | d)) * size + j for h, j, d, part in order)
            self.slots.extend(op.overlap + entry for entry in entries)
            self.capacity = max(self.capacity, 2 << inner)
            self.first_slot = len(self.slots)
            self.begin_stretch()

    def _measure(self, op: Diag, first: int, stop: int) -> None:
        """Overlaps of a diagonal, ordered by the register bits of their functionals."""
        size = 1 << self.window.register_qubits
        functionals = [(self._functional(op.overlap_functionals[k]), op.overlap + k) for k in range(first, stop)]
        functionals.sort(key=lambda pair: pair[0] & (size - 1))
        bounds = [sum(f & (size - 1) < i for f, _ in functionals) for i in range(size + 1)]
        slot = self._slot([overlap for _, overlap in functionals])
        self._record(MEASURE, [slot, *bounds, *(f for f, _ in functionals)], undone=True, only_undone=True)

    def _slot(self, overlaps: Sequence[int]) -> int:
        """The number by which a record keeps its overlaps: within the stretch, or for lone warps within the sweep."""
        if not self.warp and overlaps and len(self.slots) - self.first_slot + len(overlaps) > MAX_KEPT:
            self.begin_stretch()
        slot = len(self.slots) - (0 if self.warp else self.first_slot)
        self.slots.extend(overlaps)
        return slot

    def _record(self, head: int, words: Sequence[int], *, undone: bool, only_undone: bool = False) -> int:
        start = len(self.words)
        self.words += (head, *words)
        if not only_undone:
            self.forward.append(start)
        if undone:
            self.backward.append(start)
        return start

    def _bit(self, x: int) -> int:
        return self.window.vectors[: self.window.register_qubits].index(x)

    def _functional(self, functional: int) -> int:
        return pull(functional, self.window.vectors) | functional >> self.num_qubits << self.num_qubits

    def _term(self, basis: Sequence[int], term: int) -> int:
        functional = term >> len(basis) << self.num_qubits
        for j in bits(term & ((1 << len(basis)) - 1)):
            functional ^= basis[j]
        return self._functional(functional)
