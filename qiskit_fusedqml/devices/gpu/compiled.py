"""Tapes cut into launches: sweeps, each with its records.

A state of up to `Geometry.whole_qubits` qubits is one tile and its whole tape one sweep. Of a larger state each
block of the tape is a sweep over tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...planner.gf2 import Span, parity
from ...planner.tape import RY, U2, Dense, Diag, Operation, Pauli, Tape
from .layout import NumberLayout
from .records import Writer
from .runtime import Limits
from .windows import (
    Draft,
    Shape,
    Window,
    build,
    collect,
    is_coalesced,
    transposition,
    widened,
)

WARP_QUBITS = 8
"""Largest states of which several, or one, belong to a single warp."""

MAX_DENSE_QUBITS = 6
"""Largest matrices that the kernels apply."""

MAX_TABLE_QUBITS = 16
"""Numbers of a table's entries are half words."""

MAX_QUBITS = 30
"""Rows and functionals are 32-bit words."""

_RESERVE = 9 << 10
"""Bytes of shared memory kept for sums of overlaps."""

_NARROW_THREAD_BITS = 8
"""Threads of blocks that measure matrices, as a power of two."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of tiles for one precision on one device.

    Attributes:
        single: Single precision.
        whole_qubits: Largest states that are one tile.
        tile_qubits: Dimension of the tiles of larger states.
        largest_tile: Their largest dimension.
        limits: The device.
    """

    single: bool
    whole_qubits: int
    tile_qubits: int
    largest_tile: int
    limits: Limits

    @classmethod
    def of(cls, limits: Limits, single: bool) -> Geometry:
        """As large as shared memory and registers allow.

        Ket and bra of a tile are in registers, of which a multiprocessor has 256 KiB: half of them at most, so that
        there are some for the work. That is 2**13 amplitudes of 8 bytes, twice, by 512 threads of 128 registers; or
        2**12 of 16 bytes. Shared memory holds the ket, or ket and bra, on their way from one window to the next:
        64 KiB, or 128 KiB where a block may have that. A ket and a bra of 2**13 in double precision would fill the
        registers, and 256 KiB of shared memory, which no block may have (227 KiB on Hopper): they are cut into tiles.
        """
        largest = 13 if single else 12
        while (1 << largest) * (8 if single else 16) + _RESERVE > limits.shared_bytes:
            largest -= 1
        return cls(single, largest, min(largest, 12 if single else 11), largest, limits)

    def narrowed(self) -> Geometry:
        """For tapes that want overlaps of matrices: blocks of at most 256 threads, which then have more registers."""
        largest = min(self.largest_tile, _NARROW_THREAD_BITS + self.block_registers)
        whole, tile = min(self.whole_qubits, largest), min(self.tile_qubits, largest)
        return replace(self, whole_qubits=whole, tile_qubits=tile, largest_tile=largest)

    @property
    def block_registers(self) -> int:
        """Amplitudes in a thread's registers where a tile has a block to itself, as a power of two."""
        return 4 if self.single else 3

    @property
    def planned_tile(self) -> int:
        """Dimensions that a planner should fill: room is left for the rows of a sector of slow memory."""
        return self.largest_tile - self.sector_bits

    @property
    def amplitude_bytes(self) -> int:
        """Bytes of one amplitude."""
        return 8 if self.single else 16

    @property
    def sector_bits(self) -> int:
        """32 bytes are read at once from slow memory."""
        return 2 if self.single else 1

    def is_warp(self, num_qubits: int) -> bool:
        """Whether warps work alone."""
        return num_qubits <= WARP_QUBITS

    def shape(self, num_qubits: int, tile: Sequence[int] | None) -> Shape:
        """The layout of a sweep over tiles, or over whole states."""
        registers = min(num_qubits, 3) if self.is_warp(num_qubits) else self.block_registers
        if tile is None:
            vectors = tuple(1 << q for q in range(num_qubits))
        else:
            vectors = widened(tile, num_qubits, self.tile_qubits, self.largest_tile, self.sector_bits)
        return Shape(num_qubits, vectors, registers, 4 if self.single else 3, self.sector_bits)


@dataclass(frozen=True, eq=False)
class Sweep:
    """One launch.

    Attributes:
        shape: The layout.
        warp: Whether warps work alone.
        words: All records and rows.
        forward: Records of the forward sweep.
        backward: Records of the backward sweep, in the order in which they are undone.
        first_rows: Where the rows of the first window are.
        last_rows: Those of the last window.
        stop_rows: Those of the window in which the backward sweep ends.
        slots: The overlap in each slot.
        capacity: Overlaps kept between flushes.
        undone: Whether there is a backward sweep.
        measured: Whether that measures matrices.
    """

    shape: Shape
    warp: bool
    words: NDArray[np.int32]
    forward: NDArray[np.int32]
    backward: NDArray[np.int32]
    first_rows: int
    last_rows: int
    stop_rows: int
    slots: NDArray[np.int32]
    capacity: int
    undone: bool
    measured: bool

    @property
    def tiles(self) -> int:
        """Tiles of one sample."""
        return 1 << self.shape.num_qubits - self.shape.dimension


@dataclass(frozen=True, eq=False)
class CompiledTape:
    """What is launched for a tape."""

    steps: tuple[Sweep, ...]
    numbers: NumberLayout
    num_qubits: int
    num_overlaps: int


def compile_tape(tape: Tape, geometry: Geometry) -> CompiledTape:
    """The launches of a tape.

    Raises:
        InvalidInputError: If the tape breaks a rule of `qiskit_fusedqml.planner.tape`, or its tiles are too large.
    """
    n = tape.num_qubits
    if not 1 <= n <= MAX_QUBITS:
        raise InvalidInputError(f"The tape has {n} qubits; 1 to {MAX_QUBITS} are allowed on a GPU.")
    stops = _stops(tape)
    if any(isinstance(op, Dense) and op.overlap >= 0 for block in tape.blocks for op in block.operations):
        geometry = geometry.narrowed()
    for block in tape.blocks:
        _check_block(tape, block.tile, block.operations)
    numbers = NumberLayout([operation for block in tape.blocks for operation in block.operations])
    if n <= geometry.whole_qubits:
        operations = [operation for block in tape.blocks for operation in block.operations]
        undone = sum(len(block.operations) - stop for block, stop in zip(tape.blocks, stops, strict=True))
        sweep = _Compiler(geometry, n, None, numbers).sweep(operations, len(operations) - undone)
        return CompiledTape((sweep,), numbers, n, tape.num_overlaps)
    steps = (
        _Compiler(geometry, n, block.tile, numbers).sweep(block.operations, stop)
        for block, stop in zip(tape.blocks, stops, strict=True)
    )
    return CompiledTape(tuple(steps), numbers, n, tape.num_overlaps)


class _Compiler:
    """Compiles one sweep, over the tiles given or (None) over whole states."""

    def __init__(self, geometry: Geometry, num_qubits: int, tile: Sequence[int] | None, numbers: NumberLayout) -> None:
        if tile is not None and len(tile) > geometry.largest_tile:
            raise InvalidInputError(
                f"A tile has {len(tile)} dimensions; {geometry.largest_tile} are allowed on this GPU. "
                "Plan with the device's own cost model."
            )
        self.tiled = tile is not None
        self.leads_in = False
        self.shape = geometry.shape(num_qubits, tile)
        self.writer = Writer(num_qubits, geometry.is_warp(num_qubits), numbers)

    def sweep(self, operations: Sequence[Operation], stop: int) -> Sweep:
        """The sweep whose backward part undoes ``operations[stop:]``."""
        drafts = collect(operations, self.shape)
        windows = [build(self.shape, draft) for draft in drafts]
        if self.tiled:
            self._read_in_a_row(drafts, windows, len(operations))
        stop_rows = first_rows = -1
        for number, (draft, window) in enumerate(zip(drafts, windows, strict=True)):
            self._enter(draft, window, windows[number - 1] if number else None, stop)
            if not number:
                first_rows = self.writer.rows()
            stop_rows = self._write(draft, operations, stop, stop_rows)
        w = self.writer
        last_rows = w.rows()
        w.close_stretch()
        if self.leads_in and stop == 0:
            stop_rows = first_rows
        return Sweep(
            self.shape,
            w.warp,
            np.array(w.words, np.int64).astype(np.int32),  # some words are two halves, and then have a sign
            np.array(w.forward, np.int32),
            np.array(w.backward[::-1], np.int32),
            first_rows,
            last_rows,
            last_rows if stop_rows < 0 else stop_rows,
            np.array(w.slots, np.int32),
            w.capacity,
            stop < len(operations),
            any(isinstance(op, Dense) and op.overlap >= 0 for op in operations[stop:]),
        )

    def _read_in_a_row(self, drafts: list[Draft], windows: list[Window], end: int) -> None:
        """See to it that the first and the last window read slow memory in a row."""
        if not is_coalesced(self.shape, windows[-1]):
            drafts.append(Draft(start=end))
            windows.append(build(self.shape, drafts[-1]))
        if not is_coalesced(self.shape, windows[0]):
            self.leads_in = True
            drafts.insert(0, Draft())
            windows.insert(0, build(self.shape, drafts[0]))

    def _enter(self, draft: Draft, window: Window, before: Window | None, stop: int) -> None:
        if before is None:
            return self.writer.enter(window, None, undone=False)
        t = self.shape.dimension
        addresses = transposition(self.shape, before.vectors[:t], window.vectors[:t])
        undone = stop < draft.start or (self.leads_in and stop == 0)
        return self.writer.enter(window, addresses, undone=undone)

    def _write(self, draft: Draft, operations: Sequence[Operation], stop: int, stop_rows: int) -> int:
        """Write the draft's operations; returns where the rows of the stop's window are."""
        layer: list[tuple[int, RY]] = []
        for position in draft.operations:
            operation, undone = operations[position], position >= stop
            bit = draft.pins.index(operation.x) if isinstance(operation, RY) else -1
            if layer and (position == stop or bit <= layer[-1][0]):
                self.writer.turns(layer, undone=position > stop)
                layer = []
            if position == stop:
                stop_rows = self.writer.rows()
                self.writer.begin_stretch()
            match operation:
                case RY():
                    layer.append((bit, operation))
                case U2():
                    self.writer.unitary(operation, undone)
                case Pauli():
                    self.writer.pauli(operation, undone)
                case Diag():
                    self.writer.diagonal(operation, undone)
                case Dense():
                    self.writer.dense(operation, self.shape.dense_registers(len(operation.xs)), undone)
        if layer:
            self.writer.turns(layer, undone=draft.operations[-1] >= stop)
        return stop_rows


def _stops(tape: Tape) -> list[int]:
    """Each block's ``undo_from``, checked: what is undone is the tape's end."""
    stops, seen = [], False
    for number, block in enumerate(tape.blocks):
        if not 0 <= block.undo_from <= len(block.operations):
            raise InvalidInputError(
                f"Block {number} is undone from operation {block.undo_from}; it has {len(block.operations)}."
            )
        if seen and block.undo_from:
            raise InvalidInputError(f"Block {number} is not undone as a whole, though blocks before it are undone.")
        seen = seen or block.undo_from < len(block.operations)
        stops.append(block.undo_from)
    return stops


def _check_block(tape: Tape, tile: Sequence[int], operations: Sequence[Operation]) -> None:
    span = Span()
    if not all(span.add(vector) for vector in tile):
        raise InvalidInputError("The tape cannot be run: the vectors of a tile are linearly dependent.")
    for operation in operations:
        problem = _problem(tape, span, operation)
        if problem:
            raise InvalidInputError(f"The tape cannot be run: {type(operation).__name__} {problem}.")


def _problem(tape: Tape, tile: Span, operation: Operation) -> str:
    """What is wrong with an operation; empty if nothing is."""
    flips = operation.xs if isinstance(operation, Dense) else (operation.x,) if not isinstance(operation, Diag) else ()
    if any(not 0 <= x < 1 << tape.num_qubits for x in flips):
        return "flips a row that is out of range"
    if any(x not in tile for x in flips):
        return "flips a row outside its block's tile"
    if operation.overlap + operation.num_overlaps > tape.num_overlaps:
        return "has overlaps beyond num_overlaps"
    match operation:
        case RY(x, w) | U2(x, w):
            return "" if parity(w & x) else "has a side functional that is not odd on its flip vector"
        case Pauli(x, z, power, controls):
            if parity(z & x) != power & 1:
                return "has a power that does not match its functional"
            return "has controls that must be even on its flip vector" if any(parity(f & x) for f in controls) else ""
        case Diag(factors):
            largest = max((len(factor.basis) for factor in factors if not factor.batched), default=0)
            limit = f"has a table on {largest} functionals; {MAX_TABLE_QUBITS} are allowed on a GPU"
            return "" if largest <= MAX_TABLE_QUBITS else limit
        case Dense(xs, ws):
            dual = all(parity(w & x) == (i == j) for i, w in enumerate(ws) for j, x in enumerate(xs))
            if len(xs) > MAX_DENSE_QUBITS:
                return f"is a matrix on {len(xs)} qubits; {MAX_DENSE_QUBITS} are allowed on a GPU"
            return "" if dual and 1 <= len(xs) == len(ws) else "has functionals that are not dual to its flips"
