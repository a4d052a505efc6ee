"""`Plan`: a tape, the tables of its coefficients, and an account of what fusion saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..ir.program import Program, Rotation
from .cost import CostModel, Work, block_bytes, gate_by_gate, operation_kind, operation_work, share_of
from .drawing import Lines, draw, pure_masks
from .report import Report, account, counted
from .stages import exchanged, sent_share
from .tables import FACTORED, CoefficientTables
from .tape import RY, U2, Block, Diag, Operation, Pauli, Tape
from .words import sizes_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False, repr=False)
class Plan:
    """What `qiskit_fusedqml.planner.fuse` returns; ``print(plan)`` shows blocks, sweeps, bytes and flops each way.

    Attributes:
        program: The program that was planned.
        cost_model: The device's numbers, of a real tape those for real states.
        tape: What the device runs.
        tables: From angles to the tape's coefficients and back.
        wanted_slots: The slots whose gradients the backward sweep gives.
    """

    program: Program
    cost_model: CostModel
    tape: Tape
    tables: CoefficientTables
    wanted_slots: frozenset[int]

    @cached_property
    def work(self) -> Work:
        """Work of the whole plan per amplitude and sample."""
        forward = backward = forward_bytes = backward_bytes = 0.0
        for block in self.tape.blocks:
            share = share_of(block, self.tape.num_qubits)
            for _, work in self._operations(block):
                forward += share * work.forward
                backward += share * work.backward
            moved = self.traffic(block)
            forward_bytes += moved.forward_bytes
            backward_bytes += moved.backward_bytes
        return Work(forward, backward, forward_bytes, backward_bytes)

    def block_cost(self, block: Block) -> tuple[float, float]:
        """What one block takes on the device, its arithmetic and the moves of its tiles, in `CostModel.cost`'s unit."""
        model = self.cost_model
        arithmetic = sum(model.cost(work, kind) for kind, work in self._operations(block))
        return share_of(block, self.tape.num_qubits) * arithmetic, model.cost(self.traffic(block))

    @cached_property
    def arithmetic_cost(self) -> float:
        """What the plan's arithmetic takes on the device, in the unit of `CostModel.cost`."""
        return sum(self.block_cost(block)[0] for block in self.tape.blocks)

    @cached_property
    def cost(self) -> float:
        """What the whole plan takes on the device, tiles moved and bytes sent included; the planner makes it small."""
        blocks = sum(sum(self.block_cost(block)) for block in self.tape.blocks)
        return blocks + self.cost_model.link_cost * self.network_bytes if self.tape.stages else blocks

    @cached_property
    def exchanges(self) -> tuple[int, ...]:
        """Dimensions that trade places before each stage but the first, of a state over several ranks."""
        return tuple(exchanged([stage.local for stage in self.tape.stages]))

    @property
    def network_bytes(self) -> float:
        """Bytes that a rank sends for each amplitude that it holds: forward the ket, backward ket and bra."""
        sizes = sizes_of(self.tape)
        first = next((number for number, size in enumerate(sizes) if size.undo_from < size.operations), len(sizes))
        back = [k for k, stage in zip(self.exchanges, self.tape.stages[1:], strict=True) if stage.first > first]
        return self.cost_model.amplitude_bytes * (sent_share(self.exchanges) + 2.0 * sent_share(back))

    @cached_property
    def gain_of_matrices(self) -> float:
        """What 2x2 matrices instead of Euler angles can save of the arithmetic, at most, in the unit of `Plan.cost`.

        The rotations RY in the middle become matrices, and diagonals that hold nothing but Euler angles go; those that
        hold more keep a factor. All other operations stay, and cannot be ordered better: what commutes with a
        sequence's matrix commutes with its rotations.
        """
        tables = self.tables
        is_euler = tables.pairs[0].with_sources(tables.num_angles).tolist()
        terms = tables.terms[0]
        has_others = ((terms.constant != 0.0) | terms.with_sources(0, tables.num_angles)).tolist()
        matrix = U2(0, 0, 0)
        gain = 0.0
        for block in self.tape.blocks:
            saved = 0.0
            for position, operation in enumerate(block.operations):
                undone = position >= block.undo_from
                match operation:
                    case Diag(factors):
                        stays = any(f.batched or any(has_others[f.first : f.first + len(f.terms)]) for f in factors)
                        left = replace(operation, factors=factors[:1])
                        saved += self._cost_of(operation, undone) - (self._cost_of(left, undone) if stays else 0.0)
                    case RY(batched=False) if is_euler[operation.coefficient]:
                        rotation = self._cost_of(operation, undone, self._is_factored(operation))
                        saved += rotation - self._cost_of(matrix, undone)
                    case RY() | Pauli() if not self._is_factored(operation):
                        saved += max(self._cost_of(operation, undone) - self._cost_of(operation, undone, True), 0.0)
            gain += share_of(block, self.tape.num_qubits) * saved
        return gain

    def _operations(self, block: Block) -> Iterator[tuple[str, Work]]:
        """Kind and work of each operation."""
        for position, operation in enumerate(block.operations):
            factored = self._is_factored(operation)
            undone = position >= block.undo_from
            work = operation_work(operation, factored=factored, undone=undone, is_real=self.tape.is_real)
            yield operation_kind(operation, factored=factored), work

    @cached_property
    def _factored_pairs(self) -> list[bool]:
        return [kind == FACTORED for kind in self.tables.pair_kinds.tolist()]

    def _is_factored(self, operation: Operation) -> bool:
        """Whether a rotation's cosine is taken out."""
        if isinstance(operation, RY | Pauli) and not operation.batched:
            return self._factored_pairs[operation.coefficient]
        return False

    def _cost_of(self, operation: Operation, undone: bool, factored: bool = False) -> float:
        work = operation_work(operation, factored=factored, undone=undone, is_real=self.tape.is_real)
        return self.cost_model.cost(work, operation_kind(operation, factored=factored))

    def traffic(self, block: Block) -> Work:
        """Bytes that a block moves per amplitude and sample."""
        return block_bytes(block, self.cost_model.amplitude_bytes, share_of(block, self.tape.num_qubits))

    @cached_property
    def baseline(self) -> Work:
        """Work of one instruction at a time on complex amplitudes, for the same gradients."""
        instructions = self.program.instructions
        wanted = (k for k, r in enumerate(instructions) if isinstance(r, Rotation) and r.slot in self.wanted_slots)
        complex_bytes = self.cost_model.amplitude_bytes << self.tape.is_real
        return gate_by_gate(self.program, next(wanted, len(instructions)), complex_bytes)

    def summary(self) -> dict[str, float | int]:
        """The account as plain numbers, per amplitude and sample."""
        sizes = sizes_of(self.tape)
        return {
            "num_qubits": self.tape.num_qubits,
            "is_real": self.tape.is_real,
            "instructions": len(self.program.instructions),
            "operations": sum(size.operations for size in sizes),
            "blocks": len(sizes),
            "tile_qubits": max((size.tile for size in sizes), default=0),
            "forward_passes": len(sizes),
            "backward_passes": sum(size.undo_from < size.operations for size in sizes),
            "stages": len(self.tape.stages),
            "exchanges": len(self.exchanges),
            "network_bytes": self.network_bytes,
            **account(self.work, self.baseline),
        }

    def __repr__(self) -> str:
        return f"<Plan of {len(self.program.instructions)} instructions in {len(self.tape.blocks)} blocks>"

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report.html()

    @property
    def report(self) -> Report:
        """What is shown of it."""
        blocks = self.tape.blocks
        shares = [share_of(block, self.tape.num_qubits) for block in blocks]
        notes = self._stage_lines() if self.tape.stages else ()
        return Report("amplitude", "qubit", self.summary(), blocks, shares, notes)

    def draw(self, first: int = 0) -> Figure:
        """A picture of the blocks and of what they move, see `qiskit_fusedqml.planner.drawing`.

        Args:
            first: The first block that is drawn; as many follow as fit.

        Returns:
            A figure of matplotlib, which a notebook shows by itself; ``figure.savefig("plan.svg")`` keeps it.

        Raises:
            InvalidInputError: If there is no such block.
            MissingExtraError: If matplotlib is not installed.
        """
        return draw(self, Lines("bit", 1, pure_masks), first)

    def _stage_lines(self) -> list[str]:
        """The stages, what trades places before each, and what is sent."""
        n, g, stages = self.tape.num_qubits, self.cost_model.global_qubits, self.tape.stages
        share, size = sent_share(self.exchanges), self.cost_model.amplitude_bytes
        forward = size * share
        sent = f"{forward:.1f} bytes forward, {self.network_bytes - forward:.1f} backward"
        exchanges = counted(len(self.exchanges), "exchange")
        counts = f"{2**g} ranks of {counted(n - g, 'qubit')}: {counted(len(stages), 'stage')}, {exchanges}"
        lines = [f"{counts}; sent per amplitude held {sent}"]
        ends = [*(stage.first for stage in stages[1:]), len(self.tape.blocks)]
        for number, (stage, end) in enumerate(zip(stages, ends, strict=True)):
            before = f"{counted(self.exchanges[number - 1], 'qubit')} exchanged, then " if number else ""
            blocks = f"block {stage.first}" if end == stage.first + 1 else f"blocks {stage.first} to {end - 1}"
            lines.append(f"stage {number}: {before}{blocks}")
        return lines
