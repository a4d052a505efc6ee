"""The steps of planning in compiled code: the same plans as those of `steps`, many times sooner.

The package plans without the compiled module `_native` of this folder, too; nothing else depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Int64Array
from ..ir.program import Diagonal, Instruction, Matrix
from . import collector
from .cost import Work
from .frame import Frame
from .plan import Plan
from .steps import Task
from .tables import NO_ROWS, NO_SEQUENCES, CoefficientTables, CSRRows, RotationSequences, ScaleTable
from .tape import Tape
from .words import BlockSize, WrittenBlocks

_native: Any = None
"""The compiled module; None where the package has been built without it."""

with suppress(ImportError):
    _native = import_module("._native", __package__)


class CompiledSteps:
    """Plans a task in compiled code."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._matrices: list[NDArray[np.complex128]] = []
        program = task.program
        self._source = _native.Source(program.num_qubits, program.instructions, self._read, list(program.cuts))

    @staticmethod
    def can_plan(task: Task) -> bool:
        """Whether the module is there, masks of the qubits fit its integers, and one process has the whole state."""
        is_whole = not task.cost_model.global_qubits
        return _native is not None and is_whole and 0 < task.program.num_qubits <= _native.MAX_QUBITS

    def plan(self, *, euler: bool) -> Plan:
        """The plan, by Euler angles or by 2x2 matrices."""
        task = self._task
        program, model, frame = task.program, task.cost_model, task.frame
        made = _native.plan(
            self._source,
            frame.columns,
            frame.duals,
            frame.offset,
            program.num_angles,
            task.batched_slots,
            list(task.wanted_slots),
            task.tile_limit,
            task.lane_qubits,
            task.grows,
            task.supports,
            model.table_qubits,
            collector.WINDOW,
            task.keep_phase,
            task.populations,
            euler,
            task.is_real,
            model.factors.numbers,
            model.byte_cost,
            model.amplitude_bytes,
        )
        columns, duals, offset = made["frame"]
        blocks = WrittenBlocks(made["words"], [BlockSize(*size) for size in made["sizes"]])
        after = Frame(tuple(columns), tuple(duals), offset)
        overlaps = made["num_overlaps"]
        tape = Tape(program.num_qubits, blocks, after, overlaps, task.lane_qubits, is_real=task.is_real)
        plan = Plan(program, model, tape, self._tables(made), task.wanted_slots)
        sums = {name: made[name] for name in ("arithmetic_cost", "cost", "gain_of_matrices")}
        vars(plan).update(sums, work=Work(*made["work"]), baseline=Work(*made["baseline"]))
        return plan

    def _tables(self, made: dict[str, Any]) -> CoefficientTables:
        whole, real = _parts(*made["whole"]), _parts(*made["real"])

        def rows() -> tuple[CSRRows, Int64Array]:
            start, index, overlaps, weight, constant = next(whole), next(whole), next(whole), next(real), next(real)
            return (CSRRows(start, index, weight, constant) if constant.size else NO_ROWS), overlaps

        def sequences(width: int) -> tuple[RotationSequences, Int64Array]:
            start, axis, source, overlaps, constant = next(whole), next(whole), next(whole), next(whole), next(real)
            given = RotationSequences(start, axis, source, constant) if constant.size else NO_SEQUENCES
            return given, overlaps.reshape(-1, width)

        # in the order of the structure Tables of native/module.cpp
        pairs, batched_pairs, terms, batched_terms = rows(), rows(), rows(), rows()
        by_angles, matrices, batched_matrices = sequences(4), sequences(3), sequences(3)
        kinds, sequence_pairs, *scales, dense = whole
        (signs,) = real
        return CoefficientTables(
            num_angles=self._task.program.num_angles,
            num_batched=len(self._task.batched_slots),
            num_scales=made["num_scales"],
            pairs=(pairs[0], kinds, pairs[1]),
            batched_pairs=batched_pairs,
            terms=terms,
            batched_terms=batched_terms,
            sequences=(*by_angles, signs.reshape(-1, 4), sequence_pairs),
            matrices=matrices,
            batched_matrices=batched_matrices,
            scales=ScaleTable(*scales),
            dense=tuple([self._matrices[number] for number in dense.tolist()]),
        )

    def _read(self, instruction: Instruction) -> tuple[bool, list[int], list[int], list[float], int]:
        """A diagonal or matrix in numbers: which of these, its qubits, Z strings, angles, number among the matrices."""
        if isinstance(instruction, Diagonal):
            masks, angles = collector.z_strings(instruction)
            return False, list(instruction.qubits), masks.tolist(), angles.tolist(), -1
        assert isinstance(instruction, Matrix)
        if len(instruction.qubits) == 1:
            phase, euler_angles = collector.zyz(instruction.matrix)
            return True, list(instruction.qubits), [], [*euler_angles, phase], -1
        self._matrices.append(instruction.matrix)
        return True, list(instruction.qubits), [], [], len(self._matrices) - 1


def _parts(numbers: NDArray[Any], ends: list[int]) -> Iterator[NDArray[Any]]:
    """Arrays that ``numbers`` holds one after the other, up to ``ends``; the empty ones are one array."""
    none = numbers[:0]
    return iter([numbers[start:end] if end > start else none for start, end in zip([0, *ends], ends, strict=False)])
