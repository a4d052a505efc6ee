"""Tapes in pieces: what runs between two places where a state may be kept.

A tape may be cut between any two blocks, and inside a block where ket and bra have their true scale: right after a
diagonal that another one follows, as factored rotations are carried by the next diagonal of their block
(`qiskit_fusedqml.planner.tape`), and after a rotation that carries others. Each piece is a tape of its own with its own
overlaps; those of the whole tape are theirs, one after the other. Devices need to know nothing about it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .stages import Stage
from .tables import CARRIER
from .tape import RY, Block, Diag, Operation, Pauli, Tape
from .words import sizes_of

LONGEST = 2048
"""Operations of one piece, about: the tables and sums a sweep works with stay small however deep the circuit is."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A piece of a tape.

    Attributes:
        tape: Its operations; overlaps are numbered from 0.
        kept: Whether the state before it is to be kept.
        undone: Whether the backward sweep has anything to do here.
    """

    tape: Tape
    kept: bool
    undone: bool


def cut(tape: Tape, kinds: NDArray[np.int64], checkpoints: int = 0) -> tuple[Segment, ...]:
    """Cut a tape into pieces of about the same number of operations, of those that are undone if there are any.

    Args:
        tape: The tape.
        kinds: Kinds of its shared pairs (`CoefficientTables.pair_kinds`).
        checkpoints: States to keep, evenly spaced; fewer where the tape cannot be cut that often.
    """
    total = sum(size.operations for size in sizes_of(tape))
    each = -(-total // (LONGEST * (checkpoints + 1)))
    places = _even_places(tape, kinds, (checkpoints + 1) * each) if checkpoints or total > LONGEST else []
    tapes = [_piece(tape, start, stop) for start, stop in pairwise((0, *places, total))] if places else [tape]
    return tuple(
        Segment(
            piece,
            kept=checkpoints > 0 and number > 0 and number % each == 0,
            undone=any(size.undo_from < size.operations for size in sizes_of(piece)),
        )
        for number, piece in enumerate(tapes)
    )


def num_places(tape: Tape, kinds: NDArray[np.int64]) -> int:
    """In how many places a tape may be cut."""
    return len(_places(tape, kinds)[0])


def _even_places(tape: Tape, kinds: NDArray[np.int64], pieces: int) -> list[int]:
    """Where to cut, as numbers of operations, evenly over what is undone."""
    allowed, first, total = _places(tape, kinds)
    chosen: set[int] = set()
    for number in range(1, pieces) if allowed else ():
        place = first + (total - first) * number / pieces
        at = min(bisect_left(allowed, place), len(allowed) - 1)
        if at and place - allowed[at - 1] < allowed[at] - place:
            at -= 1
        chosen.add(allowed[at])
    return sorted(chosen)


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
    """Operations ``start`` to ``stop`` of a tape, their overlaps numbered from 0."""
    blocks: list[Block] = []
    stages: dict[int, Stage] = {}
    position = 0
    for number, block in enumerate(tape.blocks):
        low, high = max(start - position, 0), min(stop - position, len(block.operations))
        if low < high:
            undo_from = min(max(block.undo_from - low, 0), high - low)
            if tape.stages:
                stage = bisect_right(tape.stages, number, key=lambda stage: stage.first) - 1
                stages.setdefault(stage, Stage(len(blocks), tape.stages[stage].local))
            blocks.append(replace(block, operations=block.operations[low:high], undo_from=undo_from))
        position += len(block.operations)
    measured = [operation for block in blocks for operation in block.operations if operation.overlap >= 0]
    first = min((operation.overlap for operation in measured), default=0)

    def moved(operation: Operation) -> Operation:
        return replace(operation, overlap=operation.overlap - first) if operation.overlap >= 0 else operation

    pieces = tuple(replace(block, operations=tuple(map(moved, block.operations))) for block in blocks)
    num_overlaps = sum(operation.num_overlaps for operation in measured)
    return replace(tape, blocks=pieces, num_overlaps=num_overlaps, stages=tuple(stages.values()))
