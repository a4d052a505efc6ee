"""Tapes cut into launches: sweeps, each with its records.

A state of up to `Geometry.whole_qubits` qubits is one tile and its whole tape one sweep. Of a larger state each
block of the tape is a sweep over tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...planner.gf2 import Span
from ...planner.tape import RY, Dense, Diag, Operation, Tape
from .layout import NumberLayout
from .limits import Limits
from .operations import KINDS, problem
from .records import EXCHANGE, LANE_BITS, PLAIN_TURN, Writer
from .windows import Shape, Window, is_coalesced, transposition, widened

WARP_QUBITS = 8
"""Largest states of which several, or one, belong to a single warp."""

WARP_REGISTERS = (2, 3)
"""Amplitudes of such a state in a thread's registers, as a power of two, in a small batch and in a large one."""

FEW_WARPS = 16
"""Of a multiprocessor: four for each of its schedulers, which need as many to be busy all the time."""

MAX_QUBITS = 30
"""Vectors and functionals are 32-bit words."""

WINDOW_COST, LAYER_COST = 4, 3
"""Of one more window, and of one more record of RYs: instructions forward and back, by eighties."""

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
        warp_registers: Amplitudes in a thread's registers where a state has a warp or less, as a power of two; all of
            a smaller state.
    """

    single: bool
    whole_qubits: int
    tile_qubits: int
    largest_tile: int
    limits: Limits
    warp_registers: int = WARP_REGISTERS[-1]

    @classmethod
    def of(cls, limits: Limits, single: bool) -> Geometry:
        """As large as shared memory and registers allow.

        Ket and bra of a tile are in registers, of which a multiprocessor has 256 KiB: half of them at most, so that
        there are some for the work. That is 2**13 amplitudes of 8 bytes, twice, by 512 threads of 128 registers; or
        2**12 of 16 bytes. Shared memory holds the ket, or ket and bra, on their way from one window to the next:
        64 KiB, or 128 KiB where a block may have that. A ket and a bra of 2**13 in double precision would fill the
        registers, and 256 KiB of shared memory, which no block may have (227 KiB on Hopper): they are cut into tiles.
        Where shared memory has no room for so large a tile (`Limits.block_threads`), threads are fewer, too.
        """
        largest = limits.block_threads.bit_length() - 1 + (4 if single else 3)
        return cls(single, largest, min(largest, 12 if single else 11), largest, limits)

    def narrowed(self) -> Geometry:
        """For tapes that want overlaps of matrices: blocks of at most 256 threads, which then have more registers."""
        largest = min(self.largest_tile, _NARROW_THREAD_BITS + self.block_registers)
        whole, tile = min(self.whole_qubits, largest), min(self.tile_qubits, largest)
        return replace(self, whole_qubits=whole, tile_qubits=tile, largest_tile=largest)

    def for_batch(self, num_qubits: int, batch: int) -> Geometry:
        """For a batch of states: small ones are spread over twice as many warps where there are few.

        A warp then executes 0.65 to 0.8 of the instructions, all of them 1.3 to 1.6 times as many. The time of a
        scheduler with up to four warps is that of one warp, with more of them that of all instructions.
        """
        few, _ = WARP_REGISTERS
        warps = -(-(batch << max(num_qubits - few, 0)) // 32)
        is_spread = num_qubits - few in range(1, LANE_BITS + 1) and warps <= FEW_WARPS * self.limits.multiprocessors
        return replace(self, warp_registers=few) if is_spread else self

    @property
    def largest_threads(self) -> int:
        """Threads of the largest tiles' blocks."""
        return 1 << self.largest_tile - self.block_registers

    @property
    def block_registers(self) -> int:
        """Amplitudes in a thread's registers where a tile has a block to itself, as a power of two."""
        return 4 if self.single else 3

    @property
    def planned_tile(self) -> int:
        """Dimensions that a planner should fill: room is left for the amplitudes of a sector of slow memory."""
        return self.largest_tile - self.sector_bits

    @property
    def amplitude_bytes(self) -> int:
        """Bytes of one amplitude."""
        return 8 if self.single else 16

    @property
    def sector_bits(self) -> int:
        """32 bytes are read at once from slow memory."""
        return 2 if self.single else 1

    def shape(self, num_qubits: int, tile: Sequence[int] | None) -> Shape:
        """The layout of a sweep over tiles, or over whole states.

        Raises:
            InvalidInputError: If a tile is too large.
        """
        warp = num_qubits <= WARP_QUBITS
        registers = min(num_qubits, self.warp_registers) if warp else self.block_registers
        vectors = tuple(1 << q for q in range(num_qubits))
        if tile is not None:
            if len(tile) > self.largest_tile:
                raise InvalidInputError(
                    f"A tile has {len(tile)} dimensions; {self.largest_tile} are allowed on this GPU. "
                    "Plan with the device's own cost model."
                )
            vectors = widened(tile, num_qubits, self.tile_qubits, self.largest_tile, self.sector_bits)
        return Shape(
            num_qubits, vectors, registers, warp, 4 if self.single else 3, self.sector_bits, self.amplitude_bytes
        )


@dataclass(frozen=True, eq=False)
class Sweep:
    """One launch.

    Attributes:
        shape: The layout.
        words: All records, and vectors of windows.
        forward: Steps of the forward sweep: where a record begins, its first word, and where the exchange begins that
            follows in the same step, or -1; and 0.
        backward: Steps of the backward sweep, in the order in which they are undone.
        last_vectors: Where the vectors of the last window are; those of the first one come first.
        stop_vectors: Those of the window in which the backward sweep ends.
        slots: The overlap in each slot.
        capacity: Overlaps kept between flushes.
        measured: Whether the backward sweep measures matrices.
    """

    shape: Shape
    words: NDArray[np.int32]
    forward: NDArray[np.int32]
    backward: NDArray[np.int32]
    last_vectors: int
    stop_vectors: int
    slots: NDArray[np.int32]
    capacity: int
    measured: bool


class CompiledTape(NamedTuple):
    """What is launched for a tape."""

    sweeps: tuple[Sweep, ...]
    numbers: NumberLayout


def compile_tape(tape: Tape, geometry: Geometry) -> CompiledTape:
    """The launches of a tape.

    Raises:
        InvalidInputError: If the tape breaks a rule of `qiskit_fusedqml.planner.tape`, or its tiles are too large.
    """
    n = tape.num_qubits
    if not 1 <= n <= MAX_QUBITS:
        raise InvalidInputError(f"The tape has {n} qubits; 1 to {MAX_QUBITS} are allowed on a GPU.")
    _check(tape)
    every = [operation for block in tape.blocks for operation in block.operations]
    if _measures_matrices(every):
        geometry = geometry.narrowed()
    numbers = NumberLayout()
    for operation in every:
        KINDS[type(operation)].reserve(operation, numbers)
    undone = sum(len(block.operations) - block.undo_from for block in tape.blocks)
    parts: list[tuple[Sequence[int] | None, Sequence[Operation], int]]
    parts = [(None, every, len(every) - undone)]
    if n > geometry.whole_qubits:
        parts = [(block.tile, block.operations, block.undo_from) for block in tape.blocks]
    sweeps = []
    for tile, operations, stop in parts:
        writer = Writer(geometry.shape(n, tile), numbers)
        sweeps.append(_compile(writer, operations, stop))
    return CompiledTape(tuple(sweeps), numbers)


def _compile(writer: Writer, operations: Sequence[Operation], stop: int) -> Sweep:
    """The sweep whose backward part undoes ``operations[stop:]``."""
    shape, windows = writer.shape, _windows(writer.shape, operations)
    # the first and the last window of a block read whole sectors of slow memory: 16 loads of a warp with 32 sectors
    # each take as long as four more exchanges
    if not shape.warp and not is_coalesced(shape, windows[-1]):
        windows.append(Window(len(operations)).build(shape))
    leads_in = not shape.warp and not is_coalesced(shape, windows[0])
    if leads_in:
        windows.insert(0, Window().build(shape))
    before, stop_vectors = None, -1
    for window in windows:
        addresses = None if before is None else transposition(shape, before, window)
        writer.enter(window, addresses, undone=stop < window.start or (leads_in and stop == 0))
        if before is None:
            writer.vectors()
        for position in window.operations:
            if position == stop:
                stop_vectors = writer.vectors()
                writer.begin_stretch()
            KINDS[type(operations[position])].write(operations[position], writer, position >= stop)
        before = window
    last_vectors = writer.vectors()
    writer.close_stretch()
    if leads_in and stop == 0:
        stop_vectors = 0
    return Sweep(
        shape,
        np.array(writer.words, np.int32),
        _steps(writer.words, writer.forward),
        _steps(writer.words, writer.backward[::-1]),
        last_vectors,
        last_vectors if stop_vectors < 0 else stop_vectors,
        np.array(writer.slots, np.int32),
        writer.capacity,
        _measures_matrices(operations[stop:]),
    )


def _steps(words: Sequence[int], starts: Sequence[int]) -> NDArray[np.int32]:
    """Steps of a sweep, from where its records begin: exchanges join the plain layers of RYs that they follow."""
    steps: list[tuple[int, int, int, int]] = []
    for start in starts:
        if words[start] == EXCHANGE and steps and steps[-1][1:3] == (PLAIN_TURN, -1):
            steps[-1] = (*steps[-1][:2], start, 0)
        else:
            steps.append((start, words[start], -1, 0))
    return np.array(steps, np.int32).reshape(-1, 4)


def _windows(shape: Shape, operations: Sequence[Operation]) -> list[Window]:
    """The windows of operations, each of as many in sequence as share one, or cut short next to a diagonal.

    The cheapest by the number of windows and of the records of RYs in them: of a layer's, those between two diagonals
    should not share a window with those behind the second one where that saves none.
    """
    best: dict[int, tuple[int, int]] = {0: (0, 0)}  # by the start of a window: cost of what is before, and its start
    starts, end = [0], len(operations)
    while starts and starts[0] < end:
        start = heappop(starts)
        for stop, cost in _cuts(shape, operations, start):
            whole = best[start][0] + cost
            if stop not in best:
                heappush(starts, stop)
            if stop not in best or whole < best[stop][0]:
                best[stop] = whole, start
    bounds = [end]
    while bounds[-1]:
        bounds.append(best[bounds[-1]][1])
    windows = []
    for start, stop in pairwise(bounds[::-1]):
        window = Window(start, list(range(start, stop)))
        for operation in operations[start:stop]:
            KINDS[type(operation)].join(operation, window, shape)
        windows.append(window.build(shape))
    return windows or [Window().build(shape)]


def _cuts(shape: Shape, operations: Sequence[Operation], start: int) -> list[tuple[int, int]]:
    """Where a window may end that begins at an operation, the furthest first, and what it costs."""
    window, cost, in_layer = Window(start), WINDOW_COST, False
    cuts = []
    for position in range(start, len(operations)):
        operation = operations[position]
        if not KINDS[type(operation)].join(operation, window, shape):
            break
        is_diagonal = isinstance(operation, Diag)
        if is_diagonal and position > start:
            cuts.append((position, cost))
        is_ry = isinstance(operation, RY)
        cost += LAYER_COST if is_ry and not in_layer else 0
        in_layer = is_ry
        if is_diagonal:
            cuts.append((position + 1, cost))
    else:
        position = len(operations)
    return [(position, cost), *((stop, part) for stop, part in cuts[::-1] if stop < position)]


def _measures_matrices(operations: Sequence[Operation]) -> bool:
    return any(isinstance(operation, Dense) and operation.overlap >= 0 for operation in operations)


def _check(tape: Tape) -> None:
    """Raise InvalidInputError if a block's tile, an operation, or what is undone breaks a rule."""
    undone = False
    for number, block in enumerate(tape.blocks):
        if not 0 <= block.undo_from <= len(block.operations):
            raise InvalidInputError(
                f"Block {number} is undone from operation {block.undo_from}; it has {len(block.operations)}."
            )
        if undone and block.undo_from:
            raise InvalidInputError(f"Block {number} is not undone as a whole, though blocks before it are undone.")
        undone = undone or block.undo_from < len(block.operations)
        span = Span()
        if not all(span.add(vector) for vector in block.tile):
            raise InvalidInputError("The tape cannot be run: the vectors of a tile are linearly dependent.")
        for operation in block.operations:
            wrong = problem(tape, span, operation)
            if wrong:
                raise InvalidInputError(f"The tape cannot be run: {type(operation).__name__} {wrong}.")
