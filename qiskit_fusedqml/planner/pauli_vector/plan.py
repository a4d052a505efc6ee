"""`PauliPlan`: a tape for Pauli vectors, the tables of its coefficients, and an account of what fusion saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ...ir.channels import Channel
from ...ir.program import Diagonal, Instruction, Matrix, Program, Rotation
from ..cost import Work
from ..drawing import Lines, draw, union
from ..report import Report, account
from .tables import CHANNEL, AffineSequences, PauliTables
from .tape import Affine, Pair, PauliBlock, PauliOperation, PauliTape, Transfer, Turn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW_BYTES = 8
"""Bytes of one entry of a Pauli vector."""


@dataclass(eq=False, repr=False)
class PauliPlan:
    """What `fuse_channels` returns; ``print(plan)`` shows blocks, channels, sweeps, bytes and flops each way.

    Attributes:
        program: The program that was planned.
        tape: What the device runs.
        tables: From angles to the tape's coefficients and back.
        wanted_slots: The slots whose gradients the backward sweep gives.
    """

    program: Program
    tape: PauliTape
    tables: PauliTables
    wanted_slots: frozenset[int]

    @cached_property
    def work(self) -> Work:
        """Work of the whole plan per string and sample."""
        total = Work()
        for block in self.tape.blocks:
            for position, operation in enumerate(block.operations):
                total += operation_work(operation, undone=position >= block.undo_from)
            total += self.traffic(block)
        return total

    def traffic(self, block: PauliBlock) -> Work:
        """Bytes that a block moves per string and sample."""
        undone = block.undo_from < len(block.operations)
        return Work(0.0, 0.0, 2.0 * ROW_BYTES, 4.0 * ROW_BYTES if undone else 0.0)

    @cached_property
    def baseline(self) -> Work:
        """Work of one instruction at a time, for the same gradients."""
        return one_by_one(self.program, self.wanted_slots)

    @cached_property
    def channels(self) -> dict[str, int]:
        """Where the program's noise went.

        Counts of channels in the program, of factors of sequences and of pairs that are channels, and of dense ones.
        """
        pairs = [
            self.tables.pairs[operation.coefficient]
            for block in self.tape.blocks
            for operation in block.operations
            if isinstance(operation, Pair)
        ]
        in_pairs = sum(len(p.diagonals) + (p.first is not None) + (p.second is not None) for p in pairs)
        operations = [operation for block in self.tape.blocks for operation in block.operations]
        return {
            "channels": sum(isinstance(instruction, Channel) for instruction in self.program.instructions),
            "in_sequences": sum(self._in_sequence(o) for o in operations if isinstance(o, Affine)),
            "in_pairs": in_pairs,
            "dense": sum(isinstance(operation, Transfer) for operation in operations),
        }

    def _in_sequence(self, operation: Affine) -> int:
        table: AffineSequences = self.tables.batched_affine if operation.batched else self.tables.affine
        first, last = table.starts[operation.coefficient : operation.coefficient + 2]
        return int((table.axes[first:last] == CHANNEL).sum())

    def summary(self) -> dict[str, float | int]:
        """The account as plain numbers, per string and sample."""
        blocks = self.tape.blocks
        return {
            "num_qubits": self.tape.num_qubits,
            "instructions": len(self.program.instructions),
            "operations": sum(len(block.operations) for block in blocks),
            "blocks": len(blocks),
            "tile_bits": max((len(block.tile) for block in blocks), default=0),
            "forward_passes": len(blocks),
            "backward_passes": sum(block.undo_from < len(block.operations) for block in blocks),
            **account(self.work, self.baseline),
            **self.channels,
        }

    def __repr__(self) -> str:
        return f"<PauliPlan of {len(self.program.instructions)} instructions in {len(self.tape.blocks)} blocks>"

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report.html()

    @property
    def report(self) -> Report:
        """What is shown of it."""
        noise, blocks = self.channels, self.tape.blocks
        places = f"{noise['in_sequences']} in sequences, {noise['in_pairs']} in pairs, {noise['dense']} dense"
        notes = [f"{noise['channels']} channels: {places}"]
        return Report("string", "bit", self.summary(), blocks, [1.0] * len(blocks), notes)

    def draw(self, first: int = 0) -> Figure:
        """A picture, as of `qiskit_fusedqml.planner.Plan.draw`."""
        return draw(self, Lines("qubit", 2, _masks), first)


def _masks(operation: PauliOperation) -> tuple[int, int]:
    """Bits that an operation flips, and bits that it depends on."""
    if isinstance(operation, Turn):
        return operation.x, operation.side
    qubits = (operation.qubit,) if isinstance(operation, Affine) else operation.qubits
    return union(q.x | q.z for q in qubits), union(q.x_bit | q.z_bit for q in qubits)


def operation_work(operation: PauliOperation, *, undone: bool) -> Work:
    """Multiply-adds of one operation per string; backward, both vectors are undone and overlaps summed."""
    match operation:
        case Affine():
            apply = overlap = 2.25 if operation.unital else 3.0
        case Pair():
            gains = 0.25 * sum(operation.shifts)
            apply, overlap = 15 / 16 + gains, 1.0 + gains
        case Turn():
            apply, overlap = 1.0, 0.5
        case Transfer():
            apply = overlap = 4.0 ** len(operation.qubits)
    measured = overlap if operation.num_overlaps else 0.0
    return Work(apply, 2 * apply + measured if undone else 0.0)


def one_by_one(program: Program, wanted_slots: frozenset[int]) -> Work:
    """One pass for each instruction, undoing from the first whose gradient is wanted; gradients take another one."""
    wanted = [not wanted_slots.isdisjoint(_slots(instruction)) for instruction in program.instructions]
    first = wanted.index(True) if any(wanted) else len(wanted)
    forward = backward = 0.0
    for position, instruction in enumerate(program.instructions):
        apply = _instruction_work(instruction)
        forward += apply
        if position >= first:
            backward += (3 if wanted[position] else 2) * apply
    undone = len(wanted) - first
    return Work(forward, backward, 2.0 * ROW_BYTES * len(wanted), 2.0 * ROW_BYTES * (2 * undone + sum(wanted)))


def _slots(instruction: Instruction) -> tuple[int, ...]:
    if isinstance(instruction, Channel):
        return instruction.slots
    return (instruction.slot,) if isinstance(instruction, Rotation) else ()


def _instruction_work(instruction: Instruction) -> float:
    """Multiply-adds per string: of rotations as products of uncontrolled ones, of the others as transfer matrices."""
    match instruction:
        case Rotation():
            return float(2 ** instruction.ctrl_mask.bit_count())
        case Diagonal():
            return 2.0
        case Matrix(qubits) | Channel(qubits):
            return float(4 ** len(qubits))
