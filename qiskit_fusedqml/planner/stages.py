"""Stages: one state over several ranks, in as few exchanges of amplitudes as the order of operations allows.

Of a state of n qubits each of 2**g ranks holds the 2**l amplitudes, l = n - g, of one coset of a *local space* L of
dimension l. It can apply every operation whose flips lie in L by itself: diagonals and controls outside L are constants
of the rank. A *stage* is a sequence of blocks with a common L. Where L becomes L', ``k = l - dim(L & L')`` dimensions
trade places, and each rank sends ``1 - 2**-k`` of its amplitudes to others.

The stages are groups as blocks are (`schedule.group`), with l for the tile's dimension. Which operations come first
among those that commute decides how many there are, so that several orders are tried (`stage_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..errors import InvalidInputError
from ..ir.qubits import bits
from .frame import Vector
from .gf2 import Span, intersection
from .schedule import Group, Item, group_in_order, levels

ORDERS = 32
"""Orders of the operations that are tried at most."""

ITEMS_TRIED = 32_000
"""Operations, in all orders together, that are: some tenths of a second."""

LOOK_AHEAD = 3
"""Stages whose tiles a local space prefers to hold where its own leaves room."""

Space = tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks that every rank can run on its own part of the state.

    Attributes:
        first: Number of the first block; the last one comes before the next stage's first.
        local: Reduced echelon basis of the local space, which holds the tiles of the blocks.
    """

    first: int
    local: Space


def stage_groups(items: Sequence[Item], n: int, num_local: int) -> list[Group]:
    """Cut the items into stages: groups whose flips span ``num_local`` dimensions at most.

    The first order is that of the levels; others prefer some of the qubits, drawn with a fixed seed. The one with the
    fewest amplitudes sent is taken. All flips together span D dimensions, so that ``sum k >= D - l``, and as one
    exchange of many dimensions sends less than several of few, nothing is below ``1 - 2**(l - D)``: there the search
    ends.
    """
    table = levels(items, n)
    found = group_in_order(items, [index for level in table for index in level], n, num_local)
    least = 1.0 - 2.0 ** -(Span(v for item in items for v in item.vectors).dimension - num_local)
    cost = _sent(found, n, num_local)
    rng = np.random.default_rng(0)
    for _ in range(min(ORDERS - 1, ITEMS_TRIED // max(len(items), 1))):
        if cost <= least:
            break
        preference: list[int] = rng.permutation(2 * n).tolist()
        first = [min((preference[b] for g in item.generators for b in bits(g)), default=0) for item in items]
        order = [index for level in table for index in sorted(level, key=first.__getitem__)]
        groups = group_in_order(items, order, n, num_local)
        other = _sent(groups, n, num_local)
        if other < cost:
            found, cost = groups, other
    return found


def _sent(groups: Sequence[Group], n: int, num_local: int) -> float:
    return sent_share(exchanged(local_spaces([g.tile for g in groups], n, num_local)))


def local_spaces(tiles: Sequence[Space], n: int, num_local: int, before: Space | None = None) -> list[Space]:
    """A local space for each stage, from the tile of the stage.

    What a tile leaves free is filled from the space before it, with what the next tiles need first, so that few
    dimensions are exchanged.
    """
    spaces: list[Space] = []
    for number, tile in enumerate(tiles):
        span = Span(tile)
        for following in tiles[number + 1 : number + 1 + LOOK_AHEAD]:
            if span.dimension < num_local:
                _fill(span, following if before is None else intersection(before, following, n), num_local)
        _fill(span, before or (), num_local)
        _fill(span, [1 << q for q in range(n)], num_local)
        before = span.basis()
        spaces.append(before)
    return spaces


def _fill(span: Span, vectors: Sequence[Vector], dimension: int) -> None:
    for vector in vectors:
        if span.dimension == dimension:
            return
        span.add(vector)


def exchanged(spaces: Sequence[Space]) -> list[int]:
    """The dimensions k that trade places between each space and the next."""
    return [Span((*one, *other)).dimension - len(one) for one, other in pairwise(spaces)]


def sent_share(sizes: Sequence[int]) -> float:
    """What a rank sends in exchanges of so many dimensions, in parts of the state that it holds."""
    return sum(1.0 - 2.0**-k for k in sizes)


def stages_of_blocks(tiles: Sequence[Space], n: int, num_local: int) -> tuple[Stage, ...]:
    """Stages of blocks in their order, from their tiles; a stage goes on as long as its tiles fit.

    Raises:
        InvalidInputError: If a tile is wider than the part of a rank.
    """
    firsts: list[int] = []
    spans: list[Span] = []
    for number, tile in enumerate(tiles):
        if len(tile) > num_local:
            raise InvalidInputError(
                f"A block works on {len(tile)} dimensions at once, and a rank holds {num_local} of {n}. "
                "Use fewer ranks."
            )
        if not spans or not spans[-1].fits(tile, num_local):
            firsts.append(number)
            spans.append(Span())
        for vector in tile:
            spans[-1].add(vector)
    spaces = local_spaces([span.basis() for span in spans], n, num_local)
    return tuple(Stage(first, space) for first, space in zip(firsts, spaces, strict=True))


def check_ranks(n: int, global_qubits: int, widest: int) -> None:
    """Refuse more ranks than a state can be divided among.

    Raises:
        InvalidInputError: If a rank would hold less than a matrix of ``widest`` qubits, or two amplitudes, needs.
    """
    most = n - max(widest, 1)
    if global_qubits > most:
        what = f", and its widest matrix acts on {widest} of them" if widest > 1 else ""
        raise InvalidInputError(
            f"{2**global_qubits} ranks are too many for a state of {n} qubits{what}: at most {2 ** max(most, 0)} can "
            "share it. Use fewer ranks, or split the communicator."
        )
