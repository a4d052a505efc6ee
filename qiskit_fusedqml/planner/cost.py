"""Cost models: the plain numbers through which the planner knows a device, and the work of each operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import TypeAlias

from ..ir.program import Diagonal, Program, Rotation
from .tape import RY, U2, Block, Dense, Diag, Operation, Pauli

BothWays: TypeAlias = tuple[float, float]
"""A number for the forward sweep and one for the backward sweep."""


@dataclass(frozen=True)
class Factors:
    """What one counted multiply-add costs, by kind of operation and direction; 1 where it was not measured.

    The unit is a multiply-add of a factored RY forward. A kind's number differs from 1 because kernels keep different
    numbers of amplitudes in registers, load tables, or shuffle.

    Attributes:
        ry_factored: RY with one coefficient equal to 1.
        ry_plain: RY with two coefficients.
        u2: Complex 2x2 matrices.
        pauli: Rotations about Pauli strings, controlled or not.
        diag_one_table: Diagonals whose phases are in one table.
        diag_more_tables: Diagonals with several tables.
        dense_2: Matrices on one or two qubits.
        dense_3: Matrices on three qubits or more.
    """

    ry_factored: BothWays = (1.0, 1.0)
    ry_plain: BothWays = (1.0, 1.0)
    u2: BothWays = (1.0, 1.0)
    pauli: BothWays = (1.0, 1.0)
    diag_one_table: BothWays = (1.0, 1.0)
    diag_more_tables: BothWays = (1.0, 1.0)
    dense_2: BothWays = (1.0, 1.0)
    dense_3: BothWays = (1.0, 1.0)

    def __iter__(self) -> Iterator[tuple[str, BothWays]]:
        """Kinds with their factors."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        """Forward and backward of each kind in turn."""
        return tuple(number for _, pair in self for number in pair)


KINDS = tuple(field.name for field in fields(Factors))
"""The kinds of operations that cost differently."""


@dataclass(frozen=True)
class CostModel:
    """A device in numbers. Part of the key under which plans are cached.

    Attributes:
        tile_qubits: Largest dimension of a tile: 2**tile_qubits amplitudes of ket and bra stay in fast memory.
        whole_qubits: A state of up to this many dimensions is one tile, worked on where it lies.
        lanes: Samples processed by one vector instruction.
        half_lanes: The same for narrower vectors, which a device may use so that a batch occupies more threads.
        threads: Threads that share the work of a call, by groups of samples or else by tiles.
        table_qubits: Largest number of functionals that index one diagonal table.
        amplitude_bytes: Bytes of one complex amplitude.
        byte_cost: Multiply-adds (of a factored RY forward) done in the time that moves one byte to or from slow memory.
        fold_bits: Amplitudes at a distance of multiples of 2**fold_bits share one set of the fastest cache.
        smallest_lane_tile: Qubits fill lanes only if tiles of this many dimensions remain.
        smallest_shared: Amplitudes of a batch that one thread is done with by the time another one is awake.
        factors: What a multiply-add costs, by kind of operation.
        global_qubits: Dimensions g of a state that 2**g ranks divide among themselves; 0 for one process.
        link_cost: Multiply-adds done in the time that one byte is sent to another rank.
        real_states: Whether states that real tapes keep real take half of the memory and of the work.
    """

    tile_qubits: int = 12
    whole_qubits: int = 0
    lanes: int = 1
    half_lanes: int = 1
    threads: int = 1
    table_qubits: int = 12
    amplitude_bytes: int = 16
    byte_cost: float = 1.0
    fold_bits: int = 0
    smallest_lane_tile: int = 6
    smallest_shared: int = 2048
    factors: Factors = Factors()
    global_qubits: int = 0
    link_cost: float = 10.0
    real_states: bool = False

    @cached_property
    def of_real_states(self) -> CostModel:
        """The numbers for real states: of these twice as many amplitudes take the same memory.

        Copied tiles are no wider: they then occupy threads and caches better than wider ones save passes.
        """
        return replace(
            self,
            whole_qubits=self.whole_qubits + 1 if self.whole_qubits else 0,
            fold_bits=self.fold_bits + 1 if self.fold_bits else 0,
            smallest_shared=2 * self.smallest_shared,
            amplitude_bytes=self.amplitude_bytes // 2,
        )

    def tile_limit(self, num_qubits: int, lane_qubits: int, batch: int) -> int:
        """Largest dimension of a tile.

        Args:
            num_qubits: Dimensions of the state, on all ranks.
            lane_qubits: Dimensions that are to stay outside every tile.
            batch: Number of samples; too few groups of them for the threads are cut into tiles that occupy these.
        """
        inside = num_qubits - self.global_qubits - lane_qubits
        # parts of small states would go from core to core more often than they are worked on
        if inside < self.tile_qubits or self._groups(num_qubits, lane_qubits, batch) >= self.threads:
            return inside if inside <= self.whole_qubits else min(self.tile_qubits, inside)
        # a tile for every thread, and two of a state that would fit one, unless that takes more passes than it gains
        spare = (self.threads - 1).bit_length() + (inside == self.tile_qubits)
        return max(min(self.tile_qubits, inside - spare), self.tile_qubits - 2)

    def lane_qubits(self, num_qubits: int, batch: int) -> int:
        """Dimensions to keep outside every tile so that they can fill lanes.

        They take the lanes that the batch leaves empty. If its groups are too few for the threads, they take more, and
        the batch is spread over more groups: a thread with samples of its own waits for no other one.
        """
        room = max(num_qubits - self.global_qubits - self.smallest_lane_tile, 0)
        most = min(self.lanes.bit_length() - 1, room)
        fewest = min(max(self.lanes.bit_length() - 1 - (max(batch, 1) - 1).bit_length(), 0), room)
        groups = {fewest: self._groups(num_qubits, fewest, batch)}
        if batch == 1 or groups[fewest] >= self.threads:
            return fewest
        for found in range(fewest + 1, most + 1):
            samples = max(self.lanes >> found, 1)
            wide, any_width = -(-batch // samples), self._groups(num_qubits, found, batch)
            if any_width > wide or self.splits(num_qubits, found, samples, batch):
                groups[found] = any_width
                if any_width >= self.threads:
                    return found
        # too few samples for all threads: as many as there are, unless tiles occupy them
        has_tiles = num_qubits - self.global_qubits - fewest >= self.tile_qubits
        return fewest if has_tiles else max(groups, key=lambda found: (groups[found], -found))

    def splits(self, num_qubits: int, lane_qubits: int, samples: int, batch: int) -> bool:
        """Whether groups of so many samples are to occupy threads that larger ones would leave idle.

        The batch must be worth waking a thread. With qubits in lanes there are several passes over a group's states,
        which must fit the memory that a tile would.
        """
        local = num_qubits - self.global_qubits
        fits = not lane_qubits or samples << local <= self.lanes << self.tile_qubits
        return fits and batch << local >= self.smallest_shared

    def _groups(self, num_qubits: int, lane_qubits: int, batch: int) -> int:
        """Groups of samples that threads can take, in vectors of either width."""
        wide, narrow = (max(lanes >> lane_qubits, 1) for lanes in (self.lanes, self.half_lanes))
        groups = -(-max(batch, 1) // wide)
        if groups < self.threads and self.splits(num_qubits, lane_qubits, narrow, batch):
            return -(-batch // narrow)
        return groups

    def cost(self, work: Work, kind: str = "ry_factored") -> float:
        """What work takes on this device, in multiply-adds of a factored RY forward.

        Args:
            work: Counts.
            kind: One of `KINDS`, for the arithmetic in it.
        """
        forward, backward = getattr(self.factors, kind)
        arithmetic: float = forward * work.forward + backward * work.backward
        return arithmetic + self.byte_cost * (work.forward_bytes + work.backward_bytes)


@dataclass(frozen=True, slots=True)
class Work:
    """Per amplitude and direction: real fused multiply-adds, and bytes moved to or from slow memory."""

    forward: float = 0.0
    backward: float = 0.0
    forward_bytes: float = 0.0
    backward_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.forward + other.forward,
            self.backward + other.backward,
            self.forward_bytes + other.forward_bytes,
            self.backward_bytes + other.backward_bytes,
        )


def operation_kind(operation: Operation, *, factored: bool) -> str:
    """Which of `KINDS` an operation is."""
    match operation:
        case RY():
            return "ry_factored" if factored else "ry_plain"
        case Diag():
            return "diag_one_table" if len(operation.factors) <= 1 else "diag_more_tables"
        case U2():
            return "u2"
        case Pauli():
            return "pauli"
        case Dense():
            return "dense_2" if len(operation.xs) <= 2 else "dense_3"


def operation_work(operation: Operation, *, factored: bool, undone: bool, is_real: bool = False) -> Work:
    """Arithmetic of one operation; ``factored`` rotations have one coefficient equal to 1.

    On amplitudes that are real, real rotations take half, diagonals one multiplication once their factors are one.
    """
    each = 1.0 if is_real else 2.0
    match operation:
        case RY():
            measured = 1 if operation.x_optional else operation.num_overlaps  # X of few rotations only
            return _work(each if factored else 2.0 * each, each * measured, undone)
        case Diag() if is_real:
            return _work(max(4.0 * len(operation.factors) - 3.0, 1.0), 0.0, undone)
        case Diag():
            return _work(4.0 * len(operation.factors), 2.0 if operation.num_overlaps else 0.0, undone)
        case U2():
            return _work(8.0, 8.0 if operation.num_overlaps else 0.0, undone)
        case Pauli():
            share = 0.5 ** len(operation.controls)
            return _work(share * (each if factored else 2.0 * each), each * share * operation.num_overlaps, undone)
        case Dense():
            size = each * each * 2.0 ** len(operation.xs)
            return _work(size, size if operation.num_overlaps else 0.0, undone)


@lru_cache(maxsize=1024)
def _work(apply: float, overlap: float, undone: bool) -> Work:
    """Of the thousands of operations of a plan, nearly all are alike."""
    return Work(apply, 2.0 * apply + overlap if undone else 0.0)


def share_of(block: Block, num_qubits: int) -> float:
    """The part of the amplitudes that the ket's support holds."""
    return 1.0 if block.support is None else 2.0 ** (len(block.support) - num_qubits)


def block_bytes(block: Block, amplitude_bytes: int, share: float) -> Work:
    """Traffic of one pass over a share of the state: the ket is read and written; backward, ket and bra are."""
    undone = block.undo_from < len(block.operations)
    moved = 2.0 * amplitude_bytes * share
    return Work(0.0, 0.0, moved, 2.0 * moved if undone else 0.0)


def gate_by_gate(program: Program, first_wanted: int, amplitude_bytes: int) -> Work:
    """The work of applying one instruction at a time, undoing from the first instruction whose gradient is wanted.

    Each instruction is one pass over the state; a gradient costs another product with the ket (a pass that reads ket
    and bra).
    """
    forward = backward = 0.0
    gradients = 0
    for position, instruction in enumerate(program.instructions):
        wanted = 0.0
        if isinstance(instruction, Rotation):
            share = 0.5 ** instruction.ctrl_mask.bit_count() if instruction.x else 1.0
            apply = 4.0 * share
            wanted = 4.0 * share if instruction.slot >= 0 else 0.0
        elif isinstance(instruction, Diagonal):
            apply = 4.0
        else:
            apply = 4.0 * 2.0 ** len(instruction.qubits)
        forward += apply
        if position >= first_wanted:
            backward += 2.0 * apply + wanted
            gradients += wanted > 0.0
    count, pass_bytes = len(program.instructions), 2.0 * amplitude_bytes
    undone = max(count - first_wanted, 0)
    return Work(forward, backward, count * pass_bytes, (2 * undone + gradients) * pass_bytes)
