"""Ordering items into levels and grouping them into blocks.

An `Item` is what may be moved as a whole: an element of the planner, or a gate of a circuit in the transpiler pass.
Two items may change places when all their Pauli generators commute. A generator is a 2n-bit integer ``x | z << n``.
`levels` puts each element as early as that allows, diagonal ones on even levels and flipping ones on odd levels, so
that the diagonals of a whole layer meet in one place. `group` cuts the resulting order into blocks, each confined to
a subspace of flip vectors (the tile), taking from later levels whatever commutes with all that was left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .frame import Vector
from .gf2 import Span

PATIENCE = 8
"""`group` stops looking ahead after this many times n items in a row that could not be taken."""

WORTHWHILE = 8
"""A block on a small support that does not enlarge it is a pass of its own for this many items or more."""

STRETCH = 64
"""`levels` passes over this many levels at once if none of them touches an item's qubits."""


class Item(NamedTuple):
    """What the scheduler moves.

    Attributes:
        generators: Pauli strings ``x | z << n`` that generate what the item does.
        vectors: The flip vectors that its block's tile must hold.
        diagonal: Whether it is diagonal, so that it waits for others of its kind.
        alone: Whether it must have a block of its own.
    """

    generators: tuple[int, ...]
    vectors: tuple[Vector, ...]
    diagonal: bool = False
    alone: bool = False


def levels(items: Sequence[Item], n: int) -> list[list[int]]:
    """Indices of the items by level, in program order within a level; levels alternate diagonal and flipping."""
    table: list[list[int]] = []
    swapped: list[list[int]] = []
    # which bits the levels touch, alone and in stretches: levels far below are passed over quickly
    touched: list[int] = []
    stretches: list[int] = []
    low = (1 << n) - 1
    for index, (generators, _, diagonal, _) in enumerate(items):
        support = 0
        for g in generators:
            support |= (g | g >> n) & low
        level = len(table) - 1
        while level >= 0:
            if not stretches[level // STRETCH] & support:
                level = level // STRETCH * STRETCH - 1
            elif touched[level] & support and (level & 1 or not diagonal) and _meets(swapped[level], generators):
                break
            else:
                level -= 1
        level += 1
        if (level & 1) == diagonal:
            level += 1
        while len(table) <= level:
            table.append([])
            swapped.append([])
            touched.append(0)
        if len(stretches) * STRETCH < len(table):
            stretches.append(0)
        table[level].append(index)
        touched[level] |= support
        stretches[level // STRETCH] |= support
        swapped[level].extend([g >> n | (g & low) << n for g in generators])
    return table


def _meets(swapped: list[int], generators: tuple[int, ...]) -> bool:
    """Whether a generator anticommutes with one of the (swapped) others."""
    for g in generators:
        for other in swapped:
            # this is where planning spends its time: a loop, as a generator expression takes twice as long
            if (other & g).bit_count() & 1:
                return True
    return False


@dataclass(slots=True)
class Group:
    """One block to be: the tile, and the items' indices in steps that are all diagonal or all flipping."""

    tile: tuple[Vector, ...]
    steps: list[list[int]]


def group(items: Sequence[Item], n: int, tile_limit: int, supports: Sequence[int] = ()) -> list[Group]:
    """Cut the items into blocks.

    Args:
        items: The items.
        n: Number of qubits.
        tile_limit: Most dimensions of a tile.
        supports: For items that begin with ``|0...0>``: dimensions, ascending, that the span of all tiles so far shall
            not exceed while there is something to do inside. Blocks on a small support are nearly free.
    """
    table = levels(items, n)
    if tile_limit >= n and not supports and not any(item.alone for item in items):
        return [Group(tuple(1 << q for q in range(n)), [level for level in table if level])]
    return group_in_order(items, [index for level in table for index in level], n, tile_limit, supports)


def group_in_order(
    items: Sequence[Item], order: Sequence[int], n: int, tile_limit: int, supports: Sequence[int] = ()
) -> list[Group]:
    """As `group`, of items in an order that their commuting allows: what comes first is taken first."""
    remaining = list(order)
    groups: list[Group] = []
    support = Span()
    for most in (*supports, n):
        while remaining:
            picker = _Picker(items, n, tile_limit, support if most < n else None, most)
            rest = picker.pick(remaining)
            tile = picker.tile.basis()
            if most < n and not (tile and (_grows(support, tile) or len(remaining) - len(rest) >= WORTHWHILE)):
                break
            remaining = rest
            groups.append(Group(tile, picker.steps))
            for vector in tile:
                support.add(vector)
    return groups


def _grows(support: Span, tile: tuple[Vector, ...]) -> bool:
    return any(vector not in support for vector in tile)


class _Picker:
    """Fills one block greedily.

    Diagonal items wait until a flip that does not commute with one of them is taken; then all that wait go first,
    together. With a support, its sum with the tile has at most ``most`` dimensions.
    """

    def __init__(self, items: Sequence[Item], n: int, tile_limit: int, support: Span | None, most: int) -> None:
        self.items = items
        self.support = support
        self.most = most
        self.n = n
        self.low = (1 << n) - 1
        self.tile_limit = tile_limit
        self.tile = Span()
        self.steps: list[list[int]] = []
        self.waiting: list[int] = []
        self.waiting_signs: list[int] = []
        self.closed = False
        # what the items left behind generate, in echelon form by highest bit, and the same swapped
        self.left: dict[int, int] = {}
        self.left_swapped: list[int] = []

    def pick(self, remaining: list[int]) -> list[int]:
        """Take what fits from ``remaining``; return the rest in order."""
        taken: set[int] = set()
        idle = 0
        stop = len(remaining)
        for position, index in enumerate(remaining):
            if self._take(index):
                taken.add(index)
                idle = 0
                continue
            idle += 1
            if self.closed or idle > PATIENCE * self.n or len(self.left) == 2 * self.n:
                stop = position + 1
                break
        if len(taken) == len(remaining) or not self.steps:
            # nothing is left that the waiting ones could join, or nothing else can be done before them
            self._flush()
        done = {index for step in self.steps for index in step}
        return [index for index in remaining[:stop] if index not in done] + remaining[stop:]

    def _take(self, index: int) -> bool:
        generators, vectors, diagonal, alone = self.items[index]
        if self.closed or (self.left_swapped and _meets(self.left_swapped, generators)):
            self._leave(generators)
            return False
        if diagonal:
            self.waiting.append(index)
            self.waiting_signs.extend(g >> self.n for g in generators)
            return True
        if alone:
            if self.steps or self.waiting:
                self._leave(generators)
                return False
            self.closed = True
        elif not self._fits(vectors):
            self._leave(generators)
            return False
        for vector in vectors:
            self.tile.add(vector)
        if _meets(self.waiting_signs, vectors):
            self._flush()
        if self.steps and not self.items[self.steps[-1][0]].diagonal:
            self.steps[-1].append(index)
        else:
            self.steps.append([index])
        return True

    def _fits(self, vectors: tuple[Vector, ...]) -> bool:
        if not self.tile.fits(vectors, self.tile_limit):
            return False
        return self.support is None or self.support.fits((*self.tile.basis(), *vectors), self.most)

    def _flush(self) -> None:
        if self.waiting:
            self.steps.append(self.waiting)
            self.waiting, self.waiting_signs = [], []

    def _leave(self, generators: tuple[int, ...]) -> None:
        left = self.left
        for g in generators:
            rest = g
            while rest and (pivot := left.get(rest.bit_length())):
                rest ^= pivot
            if rest:
                left[rest.bit_length()] = rest
                self.left_swapped.append(rest >> self.n | (rest & self.low) << self.n)
