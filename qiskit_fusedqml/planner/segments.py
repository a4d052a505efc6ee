"""Tapes in pieces: what runs between two places where a state may be kept.

A tape may be cut between any two blocks, and inside a block where ket and bra have their true scale: right after a
diagonal that another one follows, as factored rotations are carried by the next diagonal of their block
(`qiskit_fusedqml.planner.tape`), and after a rotation that carries others. Each piece is a tape of its own with its own
overlaps; those of the whole tape are theirs, one after the other. Devices need to know nothing about it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .tables import CARRIER
from .tape import (
    RY,
    U2,
    Block,
    Dense,
    Diag,
    Operation,
    Pauli,
    Tape,
)

LONGEST = 2048
"""Operations of one piece, about: the tables and sums a sweep works with stay small however deep the circuit is."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A piece of a tape.

    Attributes:
        tape: Its operations; overlaps are numbered from 0.
        kept: Whether the state before it is to be kept.
        undone: Whether the sweep back has anything to do here.
    """

    tape: Tape
    kept: bool
    undone: bool


def _segment(tape: Tape, *, kept: bool) -> Segment:
    return Segment(tape, kept, any(block.undo_from < len(block.operations) for block in tape.blocks))


def cut(tape: Tape, kinds: NDArray[np.int64], checkpoints: int = 0) -> tuple[Segment, ...]:
    """Cut a tape into pieces of about the same number of operations, of those that the sweep back undoes if there are.

    Args:
        tape: The tape.
        kinds: Kinds of its shared pairs (`CoefficientTables.pair_kinds`).
        checkpoints: States to keep, evenly spaced; fewer where the tape cannot be cut that often.
    """
    total = sum(len(block.operations) for block in tape.blocks)
    each = -(-total // (LONGEST * (checkpoints + 1)))
    if total <= LONGEST and not checkpoints:
        return (_segment(tape, kept=False),)
    places = _spread(tape, kinds, (checkpoints + 1) * each)
    if not places:
        return (_segment(tape, kept=False),)
    tapes = [_piece(tape, start, stop) for start, stop in pairwise((0, *places, total))]
    return tuple(
        _segment(piece, kept=bool(checkpoints) and number % each == 0 and number > 0)
        for number, piece in enumerate(tapes)
    )


def num_places(tape: Tape, kinds: NDArray[np.int64]) -> int:
    """In how many places a tape may be cut."""
    return len(_places(tape, kinds)[0])


def _spread(tape: Tape, kinds: NDArray[np.int64], pieces: int) -> list[int]:
    """Where to cut, as numbers of operations, evenly over what is undone."""
    allowed, first, total = _places(tape, kinds)
    wanted = (first + (total - first) * number / pieces for number in range(1, pieces))
    found: dict[int, None] = {}
    for place in wanted:
        if not allowed:
            break
        at = min(bisect_left(allowed, place), len(allowed) - 1)
        if at and place - allowed[at - 1] < allowed[at] - place:
            at -= 1
        found[allowed[at]] = None
    return sorted(found)


def _places(tape: Tape, kinds: NDArray[np.int64]) -> tuple[list[int], int, int]:
    """Numbers of operations after which a tape may be cut, the first undone operation (or 0), and all operations."""
    places: list[int] = []
    first, total = -1, 0
    for block in tape.blocks:
        if first < 0 and block.undo_from < len(block.operations):
            first = total + block.undo_from
        diagonals = [k for k, operation in enumerate(block.operations) if isinstance(operation, Diag)]
        ends = diagonals[:-1] + [k for k, operation in enumerate(block.operations) if _carries(operation, kinds)]
        places += [total + k + 1 for k in sorted(ends)]
        total += len(block.operations)
        places.append(total)
    first = max(first, 0)
    return [place for place in dict.fromkeys(places) if first < place < total], first, total


def _carries(operation: Operation, kinds: NDArray[np.int64]) -> bool:
    pair = isinstance(operation, RY | Pauli) and not operation.batched
    return pair and bool(kinds[operation.coefficient] == CARRIER)  # type: ignore[union-attr]


def _piece(tape: Tape, start: int, stop: int) -> Tape:
    """Operations ``start`` to ``stop`` of a tape."""
    blocks: list[Block] = []
    position = 0
    for block in tape.blocks:
        end = position + len(block.operations)
        low, high = max(start, position), min(stop, end)
        if low < high:
            undo_from = min(max(block.undo_from - (low - position), 0), high - low)
            operations = block.operations[low - position : high - position]
            blocks.append(Block(block.tile, operations, undo_from))
        position = end
    measuring = [operation for block in blocks for operation in _measuring(block.operations)]
    first = min((operation.overlap for operation in measuring), default=0)
    count = sum(operation.num_overlaps for operation in measuring)
    moved = [replace(block, operations=tuple(_moved(block.operations, first))) for block in blocks]
    return replace(tape, blocks=tuple(moved), num_overlaps=count)


def _measuring(operations: Sequence[Operation]) -> Iterator[Diag | RY | U2 | Pauli | Dense]:
    return (operation for operation in operations if operation.overlap >= 0)


def _moved(operations: Sequence[Operation], first: int) -> Iterator[Operation]:
    """The operations with their overlaps numbered from ``first``."""
    for operation in operations:
        if operation.overlap < 0:
            yield operation
        else:
            yield replace(operation, overlap=operation.overlap - first)
