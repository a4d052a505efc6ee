"""Tapes of nothing but 2x2 matrices, which may differ from sample to sample and need not be unitary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .frame import Frame, Functional, Vector
from .gf2 import Span
from .tape import U2, Block, Tape


def matrices_tape(virtual_qubits: Sequence[tuple[Vector, Functional]], frame: Frame, tile_limit: int) -> Tape:
    """One batched matrix after the other, number k on ``virtual_qubits[k]``; it is for `Device.forward` only.

    Args:
        virtual_qubits: Vector and functional of each; qubits of frames between which no amplitude moves may be mixed.
        frame: The frame of the states.
        tile_limit: Largest dimension of a tile.
    """
    blocks: list[Block] = []
    n = frame.num_qubits
    # a state that is one tile is worked on where it lies
    whole = [1 << q for q in range(n)] if tile_limit >= n else []
    tile, operations = Span(whole), list[U2]()
    for number, (x, w) in enumerate(virtual_qubits):
        if not tile.fits([x], tile_limit):
            blocks.append(Block(tile.basis(), tuple(operations)))
            tile, operations = Span(), []
        tile.add(x)
        operations.append(U2(x, w, number, batched=True))
    if operations:
        blocks.append(Block(tile.basis(), tuple(operations)))
    return Tape(n, tuple(blocks), frame, 0)


def backwards(tape: Tape) -> Tape:
    """The same operations in reverse order."""
    blocks = (replace(block, operations=block.operations[::-1]) for block in reversed(tape.blocks))
    return replace(tape, blocks=tuple(blocks))
