"""The blocks of a tape as flat integers, which compiled code writes and reads.

=========  ===========================================================================================================
tape       num_qubits, lane_qubits, num_overlaps, number of blocks; the blocks
block      number of the tile's vectors, these; of the support's, these, or -1; undo_from, number of operations; these
`Diag`     1, number of factors, scale, number of functionals, overlap, the functionals, the factors
factor     number of the basis, this; number of terms, these; first, batched
`RY`       2, x, w, batched, coefficient, num_overlaps, overlap, x_optional
`U2`       3, x, w, batched, coefficient, overlap
`Pauli`    4, x, z, power, number of controls, these, batched, coefficient, overlap
`Dense`    5, number of qubits k, the k of xs, the k of ws, coefficient, overlap
=========  ===========================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, overload

import numpy as np
from typing_extensions import override

from ..arrays import Int64Array
from .tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape

_HEADER = 4


class BlockSize(NamedTuple):
    """Of a block: dimension of its tile, number of operations, `Block.undo_from`."""

    tile: int
    operations: int
    undo_from: int


def sizes_of(tape: Tape) -> Sequence[BlockSize]:
    """The sizes of the blocks."""
    if isinstance(tape.blocks, WrittenBlocks):
        return tape.blocks.sizes
    return [BlockSize(len(block.tile), len(block.operations), block.undo_from) for block in tape.blocks]


def words_of(tape: Tape) -> Int64Array:
    """The tape as integers."""
    header = (tape.num_qubits, tape.lane_qubits, tape.num_overlaps, len(tape.blocks))
    if isinstance(tape.blocks, WrittenBlocks) and tuple(tape.blocks.words[:_HEADER].tolist()) == header:
        return tape.blocks.words
    numbers = list(header)
    for block in tape.blocks:
        support = (-1,) if block.support is None else (len(block.support), *block.support)
        numbers += (len(block.tile), *block.tile, *support, block.undo_from, len(block.operations))
        for operation in block.operations:
            numbers += _words_of_operation(operation)
    return np.fromiter(numbers, dtype=np.int64)


class WrittenBlocks(Sequence[Block]):
    """Blocks by the words of their tape; they are made when one is asked for.

    Attributes:
        words: The words.
        sizes: The sizes of the blocks.
    """

    def __init__(self, words: Int64Array, sizes: Sequence[BlockSize]) -> None:
        self.words = words
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Block]: ...
    @override
    def __getitem__(self, index: int | slice) -> Block | Sequence[Block]:
        return self._blocks[index]

    @override
    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def __eq__(self, other: object) -> bool:
        return self._blocks == (other._blocks if isinstance(other, WrittenBlocks) else other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _blocks(self) -> tuple[Block, ...]:
        return _Reader(self.words).blocks()


def _words_of_operation(operation: Operation) -> tuple[int, ...]:
    match operation:
        case Diag(factors, scale, overlap, functionals):
            tables = ((len(f.basis), *f.basis, len(f.terms), *f.terms, f.first, int(f.batched)) for f in factors)
            return (1, len(factors), scale, len(functionals), overlap, *functionals, *chain.from_iterable(tables))
        case RY(x, w, coefficient, batched, overlap, num_overlaps, x_optional):
            return (2, x, w, int(batched), coefficient, num_overlaps, overlap, int(x_optional))
        case U2(x, w, coefficient, batched, overlap):
            return (3, x, w, int(batched), coefficient, overlap)
        case Pauli(x, z, power, controls, coefficient, batched, overlap):
            return (4, x, z, power, len(controls), *controls, int(batched), coefficient, overlap)
        case Dense(xs, ws, coefficient, overlap):
            return (5, len(xs), *xs, *ws, coefficient, overlap)


class _Reader:
    """Reads blocks from the words of a tape."""

    def __init__(self, words: Int64Array) -> None:
        self._words: list[Any] = words.tolist()
        self._at = 3

    def blocks(self) -> tuple[Block, ...]:
        return tuple([self._block() for _ in range(self._next())])

    def _next(self) -> int:
        self._at += 1
        return int(self._words[self._at - 1])

    def _take(self, count: int) -> tuple[int, ...]:
        self._at += count
        return tuple(self._words[self._at - count : self._at])

    def _several(self) -> tuple[int, ...]:
        """Some words after their number."""
        return self._take(self._next())

    def _block(self) -> Block:
        tile = self._several()
        dimension = self._next()
        support = None if dimension < 0 else self._take(dimension)
        undo_from, count = self._take(2)
        return Block(tile, tuple([self._operation() for _ in range(count)]), undo_from, support)

    def _operation(self) -> Operation:
        kind = self._next()
        if kind == 1:
            count, scale, measured, overlap = self._take(4)
            functionals = self._take(measured)
            return Diag(tuple([self._factor() for _ in range(count)]), scale, overlap, functionals)
        if kind == 2:
            x, w, batched, coefficient, num_overlaps, overlap, x_optional = self._take(7)
            return RY(x, w, coefficient, bool(batched), overlap, num_overlaps, bool(x_optional))
        if kind == 3:
            x, w, batched, coefficient, overlap = self._take(5)
            return U2(x, w, coefficient, bool(batched), overlap)
        if kind == 4:
            x, z, power = self._take(3)
            controls = self._several()
            batched, coefficient, overlap = self._take(3)
            return Pauli(x, z, power, controls, coefficient, bool(batched), overlap)
        width = self._next()
        return Dense(self._take(width), self._take(width), *self._take(2))

    def _factor(self) -> Factor:
        basis, terms = self._several(), self._several()
        first, batched = self._take(2)
        return Factor(basis, terms, first, bool(batched))
