"""Tapes for Pauli vectors in pieces: where states are kept because undoing noise would amplify errors.

Undoing an operation multiplies errors of the ket by up to kappa. A state is kept wherever the product of kappas since
the last one would exceed a limit. An operation whose own kappa is large is *held*: a piece of its own, not undone; its
overlaps are taken with the ket that was kept before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ...arrays import FloatArray
from .tape import PauliOperation, PauliTape


@dataclass(frozen=True, slots=True, eq=False)
class PauliSegment:
    """A piece of a tape.

    Attributes:
        tape: Its operations; overlaps are numbered from 0.
        kept: Whether the state before it is to be kept.
        held: Whether it is one operation that is not undone.
    """

    tape: PauliTape
    kept: bool = False
    held: bool = False


def cut(
    tape: PauliTape, log_kappas: FloatArray, checkpoints: int = 0, *, limit: float, largest: float
) -> tuple[PauliSegment, ...]:
    """Cut a tape by the kappas of its operations.

    Args:
        tape: The tape.
        log_kappas: log10 of kappa of each operation, in order.
        checkpoints: Number of states that are kept besides, evenly spaced over what is undone.
        limit: Largest sum of these between two states that are kept.
        largest: Largest one that is undone at all.
    """
    first = first_undone(tape)
    undone = len(log_kappas) - first
    keeps = {first + undone * k // (checkpoints + 1) for k in range(1, checkpoints + 1)} - {0}
    places, total = {0} | keeps, 0.0
    for position in range(first, len(log_kappas)):
        kappa = log_kappas[position]
        if kappa > largest:
            keeps.add(position)
            places |= {position, position + 1}
            total = 0.0
        elif total + kappa > limit or position in keeps:
            keeps.add(position)
            places.add(position)
            total = kappa
        else:
            total += kappa
    if places == {0}:
        return (PauliSegment(tape),)
    ends = [*sorted(place for place in places if place < len(log_kappas)), len(log_kappas)]
    return tuple(
        PauliSegment(piece(tape, start, stop), start in keeps, bool(start >= first and log_kappas[start] > largest))
        for start, stop in pairwise(ends)
    )


def first_undone(tape: PauliTape) -> int:
    """The number of the first operation that the backward sweep undoes."""
    position = 0
    for block in tape.blocks:
        if block.undo_from < len(block.operations):
            return position + block.undo_from
        position += len(block.operations)
    return position


def piece(tape: PauliTape, start: int, stop: int) -> PauliTape:
    """Operations ``start`` to ``stop`` of a tape, their overlaps numbered from 0."""
    blocks = []
    position = 0
    for block in tape.blocks:
        low, high = max(start - position, 0), min(stop - position, len(block.operations))
        if low < high:
            undo_from = min(max(block.undo_from - low, 0), high - low)
            blocks.append(replace(block, operations=block.operations[low:high], undo_from=undo_from))
        position += len(block.operations)
    measured = [o for block in blocks for o in block.operations if o.overlap >= 0]
    first = min((operation.overlap for operation in measured), default=0)

    def moved(operations: Sequence[PauliOperation]) -> tuple[PauliOperation, ...]:
        return tuple(replace(o, overlap=o.overlap - first) if o.overlap >= 0 else o for o in operations)

    pieces = tuple(replace(block, operations=moved(block.operations)) for block in blocks)
    return replace(tape, blocks=pieces, num_overlaps=sum(operation.num_overlaps for operation in measured))
