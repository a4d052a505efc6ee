"""Cost models: the plain numbers through which the planner knows a device, and the work of each operation."""

from __future__ import annotations

from dataclasses import dataclass

from .plan import RY, U2, Block, Dense, Diag, Map, Operation, Pauli
from .program import Diagonal, Program, Rotation


@dataclass(frozen=True)
class CostModel:
    """A device in numbers. Part of the key under which plans are cached.

    Attributes:
        tile_qubits: Largest dimension of a tile: 2**tile_qubits amplitudes of ket and bra stay in fast memory.
        whole_qubits: A state of up to this many dimensions is one tile, worked on where it lies.
        lanes: Samples processed by one vector instruction.
        table_qubits: Largest number of functionals that index one diagonal table.
        amplitude_bytes: Bytes of one complex amplitude.
        byte_cost: Fused multiply-adds the device could do while it moves one byte to or from slow memory.
        fold_bits: Rows whose numbers differ by multiples of 2**fold_bits share one set of the fastest cache.
        smallest_spread_tile: The planner spreads qubits over lanes only if tiles of this many dimensions remain.
    """

    tile_qubits: int = 12
    whole_qubits: int = 0
    lanes: int = 1
    table_qubits: int = 12
    amplitude_bytes: int = 16
    byte_cost: float = 1.0
    fold_bits: int = 0
    smallest_spread_tile: int = 6

    def tile_limit(self, num_qubits: int, spread: int) -> int:
        """Largest dimension of a tile when ``spread`` dimensions are to stay outside every tile."""
        inside = num_qubits - spread
        return inside if inside <= self.whole_qubits else min(self.tile_qubits, inside)

    def spread_qubits(self, num_qubits: int, batch: int) -> int:
        """Dimensions to keep outside every tile so that they can fill lanes which the batch leaves empty."""
        missing = max(self.lanes.bit_length() - 1 - (max(batch, 1) - 1).bit_length(), 0)
        return min(missing, max(num_qubits - self.smallest_spread_tile, 0))


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

    def cost(self, byte_cost: float) -> float:
        """Both directions in fused multiply-adds per amplitude."""
        return self.forward + self.backward + byte_cost * (self.forward_bytes + self.backward_bytes)


def operation_work(operation: Operation, *, factored: bool, undone: bool) -> Work:
    """Arithmetic of one operation; ``factored`` rotations have one coefficient equal to 1."""
    match operation:
        case Map():
            return Work()
        case Diag():
            apply, overlap = 4.0 * len(operation.factors), 2.0 if operation.num_overlaps else 0.0
        case RY():
            measured = 1 if operation.x_optional else operation.num_overlaps  # X of few rotations only
            apply, overlap = (2.0 if factored else 4.0), 2.0 * measured
        case U2():
            apply, overlap = 8.0, 8.0 if operation.num_overlaps else 0.0
        case Pauli():
            share = 0.5 ** len(operation.controls)
            apply, overlap = (2.0 if factored else 4.0) * share, 2.0 * share * operation.num_overlaps
        case Dense():
            size = 2.0 ** len(operation.xs)
            apply, overlap = 4.0 * size, 4.0 * size if operation.num_overlaps else 0.0
    return Work(apply, 2.0 * apply + overlap if undone else 0.0)


def block_bytes(block: Block, amplitude_bytes: int) -> Work:
    """Traffic of one pass: the ket is read and written; backward, ket and bra are."""
    undone = block.undo_from < len(block.operations)
    return Work(0.0, 0.0, 2.0 * amplitude_bytes, 4.0 * amplitude_bytes if undone else 0.0)


def gate_by_gate(program: Program, first_wanted: int, amplitude_bytes: int) -> Work:
    """The work of applying one instruction at a time, undoing from the first instruction whose gradient is wanted.

    Each instruction is one pass over the state; a gradient costs another product with the ket (a pass that reads ket
    and bra).
    """
    total = Work()
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
        undone = position >= first_wanted
        pass_bytes = 2.0 * amplitude_bytes
        total += Work(
            apply,
            2.0 * apply + wanted if undone else 0.0,
            pass_bytes,
            2.0 * pass_bytes + (pass_bytes if wanted else 0.0) if undone else 0.0,
        )
    return total
