"""The records that a sweep reads: flat integers, functionals restated on places.

The formats are described beside the kernels that read them, in ``cuda_src``; `operations` writes those of operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...planner.gf2 import pull
from .constants import RECORDS
from .layout import NumberLayout
from .windows import Shape, Window

EXCHANGE, FLUSH, TURN, UNITARY, PAULI, PHASE, DIAGONAL, MEASURE, DENSE = range(len(RECORDS))
"""`Kind` in the kernels."""

PLAIN_TURN = TURN | 1 << 4
"""A layer of RYs on all register bits, each with a functional of its own bit and the tile's, measured or not undone."""

MAX_KEPT = 64
"""Overlaps that a block keeps in shared memory before they are flushed."""


LANE_BITS = 5
"""A warp has 32 lanes."""


@dataclass
class Writer:
    """Writes the records of one sweep and numbers its overlaps; warps that work alone write theirs where they belong.

    Attributes:
        shape: The layout.
        numbers: Where coefficients lie.
        words: All records.
        forward: Where the records of the forward sweep begin.
        backward: Where those of the backward sweep begin, in forward order.
        slots: The tape's overlap for each slot of the sweep.
        first_slot: First slot of the stretch between two flushes.
        capacity: Overlaps of the longest such stretch.
        window: The current window.
        layer: Where the last record begins, if it is a layer of RYs, its highest register bit, and whether it is
            undone.
    """

    shape: Shape
    numbers: NumberLayout
    words: list[int] = field(default_factory=list)
    forward: list[int] = field(default_factory=list)
    backward: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    first_slot: int = 0
    capacity: int = 0
    window: Window = field(default_factory=Window)
    layer: tuple[int, int, bool] | None = None
    _opening: int = -1

    def enter(self, window: Window, addresses: Sequence[Sequence[int]] | None, undone: bool) -> None:
        """Go to a window; ``addresses``, on either side (`transposition`), is None for the first one."""
        self.close_stretch()
        self.window = window
        if addresses is not None:
            sides = [(side, 0) for side in addresses]
            self._opening = self.record(EXCHANGE, [0, 0, 0, *self.addresses(*sides)], undone=undone)

    def begin_stretch(self) -> None:
        """Begin another stretch of kept overlaps. Backwards, its flush comes after what it keeps."""
        if not self.shape.warp:
            self.close_stretch()
            self._opening = self.record(FLUSH, [0, 0], undone=True, only_undone=True)

    def close_stretch(self) -> None:
        """End a stretch: its overlaps are flushed by the record that began it, an exchange or a flush."""
        count = len(self.slots) - self.first_slot
        if self._opening >= 0:
            self.words[self._opening + 1 : self._opening + 3] = [self.first_slot, count]
        self.capacity = max(self.capacity, count)
        self.first_slot = len(self.slots)
        self._opening = -1

    def vectors(self) -> int:
        """Write the current window's vectors; where they begin."""
        self.words = padded(self.words)
        start = len(self.words)
        self.words += self.addresses((self.window.vectors, 0))
        return start

    def addresses(self, *sides: tuple[Sequence[int], int]) -> list[int]:
        """`Addresses` in the kernels, on each side from the vector of each bit of a place and what is added to all.

        Those of the registers; what is added plus what each lane's number makes of its bits; what each warp's number
        makes of its; what the tile's number makes of its bits, five at a time. Sums are XORs.
        """
        w, t = self.shape.register_qubits, self.shape.dimension
        steps, entries = [], []
        for vectors, first in sides:
            steps += padded(vectors[:w])
            lanes = min(t - w, LANE_BITS)
            sums = [first ^ each for each in _sums(vectors[w : w + lanes])]
            if not self.shape.warp:
                sums += _sums(vectors[w + lanes : t])
            for k in range(t, len(vectors), LANE_BITS):
                sums += _sums(vectors[k : k + LANE_BITS])
            entries.append(sums)
        return padded([*steps, *(each for entry in zip(*entries, strict=True) for each in entry)])

    def has_room(self, count: int) -> bool:
        """Whether the stretch takes so many overlaps more."""
        return self.shape.warp or not count or len(self.slots) - self.first_slot + count <= MAX_KEPT

    def slot(self, overlaps: Sequence[int]) -> int:
        """The number by which a record keeps its overlaps: within the stretch, or for lone warps within the sweep."""
        if not self.has_room(len(overlaps)):
            self.begin_stretch()
        slot = len(self.slots) - (0 if self.shape.warp else self.first_slot)
        self.slots.extend(overlaps)
        return slot

    def record(self, head: int, words: Sequence[int], *, undone: bool, only_undone: bool = False) -> int:
        """Write a record for the forward sweep, and if it is undone for the backward sweep; where it begins."""
        self.words = padded(self.words)
        start, self.layer = len(self.words), None
        self.words += (head, *words)
        if not only_undone:
            self.forward.append(start)
        if undone:
            self.backward.append(start)
        return start

    def bit(self, x: int) -> int:
        """The register bit of a flip."""
        return self.window.vectors[: self.shape.register_qubits].index(x)

    def functional(self, functional: int) -> int:
        """A functional on the places of the current window."""
        n = self.shape.num_qubits
        return pull(functional, self.window.vectors) | functional >> n << n


def padded(words: Sequence[int]) -> list[int]:
    """With zeros up to a multiple of four words: those that kernels read at once."""
    return [*words, *[0] * (-len(words) % 4)]


def _sums(vectors: Sequence[int]) -> list[int]:
    """The sums of all subsets of vectors, by the number whose bits say which."""
    sums = [0]
    for vector in vectors:
        sums += [each ^ vector for each in sums]
    return sums
