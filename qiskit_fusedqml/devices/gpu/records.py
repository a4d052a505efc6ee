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

    def enter(self, window: Window, addresses: Sequence[int] | None, undone: bool) -> None:
        """Go to a window; ``addresses`` is None for the first one."""
        self.close_stretch()
        self.window = window
        if addresses is not None:
            self._opening = self.record(EXCHANGE, [0, 0, *self.addresses(addresses)], undone=undone)

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
        start = len(self.words)
        self.words += self.addresses(self.window.vectors)
        return start

    def addresses(self, vectors: Sequence[int], first: int = 0) -> list[int]:
        """`Addresses` in the kernels, from the vector of each bit of a place, or of the tile's part of it.

        Those of the registers; ``first`` plus what each lane's number makes of its bits; what each warp's number makes
        of its; those of the tile's number. Sums are XORs.
        """
        w, t = self.shape.register_qubits, self.shape.dimension
        lanes = min(t - w, LANE_BITS)
        entries = [first ^ each for each in _sums(vectors[w : w + lanes])]
        if not self.shape.warp:
            entries += _sums(vectors[w + lanes : t])
        return [*vectors[:w], *entries, *vectors[t:]]

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


def _sums(vectors: Sequence[int]) -> list[int]:
    """The sums of all subsets of vectors, by the number whose bits say which."""
    sums = [0]
    for vector in vectors:
        sums += [each ^ vector for each in sums]
    return sums
