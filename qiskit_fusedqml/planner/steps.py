"""The steps of planning in Python: collect, order and group, emit; `compiled` takes the same ones in compiled code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ..ir.program import Program
from ..memory import collector_paused
from .collector import collect
from .cost import CostModel
from .elements import DiagonalElement, Element, ZRotation
from .emit import Emitter
from .frame import Frame
from .gf2 import Span
from .plan import Plan
from .schedule import Group, Item, group
from .stages import stage_groups, stages_of_blocks
from .tape import Block

STAGED_WINDOWS = 8
"""Windows of instructions that are ordered together where ranks share a state: CX networks fill most of them."""


class Task(NamedTuple):
    """What is planned; see `qiskit_fusedqml.planner.fuse`.

    Attributes:
        program: The program.
        cost_model: The device's numbers.
        batched_slots: Slots whose angles differ from sample to sample, ascending.
        wanted_slots: Slots whose gradients are wanted.
        frame: The frame before the first instruction.
        tile_limit: Largest dimension of a tile.
        lane_qubits: Dimensions that stay outside every tile.
        keep_phase: Whether the global phase matters.
        populations: Whether only the absolute values of the final amplitudes matter.
        grows: Whether the state before the first block is physical index 0 alone.
        supports: Dimensions that the ket's support keeps to while it can, see `schedule.group`.
        is_real: Whether the tape is to be real, as the program is (`realness`).
    """

    program: Program
    cost_model: CostModel
    batched_slots: list[int]
    wanted_slots: frozenset[int]
    frame: Frame
    tile_limit: int
    lane_qubits: int
    keep_phase: bool
    populations: bool
    grows: bool = False
    supports: tuple[int, ...] = ()
    is_real: bool = False


class PythonSteps:
    """Plans a task in Python."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @collector_paused()
    def plan(self, *, euler: bool) -> Plan:
        """The plan, by Euler angles or by 2x2 matrices."""
        task = self._task
        program, model, batched, wanted = task[:4]
        n = program.num_qubits
        num_global = model.global_qubits
        windows = collect(
            program,
            frozenset(batched),
            task.frame,
            keep_phase=task.keep_phase,
            populations=task.populations,
            euler=euler,
            windows_joined=STAGED_WINDOWS if num_global else 1,
            is_real=task.is_real,
        )
        emitter = Emitter(
            n,
            program.num_angles,
            batched,
            wanted,
            model.table_qubits,
            is_real=task.is_real,
            keep_phase=task.keep_phase and not task.populations,
        )
        blocks: list[Block] = []
        for elements in windows:
            emitter.begin(elements)
            if elements.elements or not program.cuts:  # gates that only changed the frame need no sweep of their own
                items = [_item(element) for element in elements.elements]
                blocks += [emitter.block(g) for g in self._groups(items, () if blocks else task.supports)]
        if task.grows:
            blocks = list(with_supports(blocks, n))
        tape = replace(emitter.tape(blocks, task.lane_qubits), is_real=task.is_real)
        if num_global:
            tape = replace(tape, stages=stages_of_blocks([block.tile for block in blocks], n, n - num_global))
        return Plan(program, model, tape, emitter.tables(tape.blocks), wanted)

    def _groups(self, items: list[Item], supports: tuple[int, ...]) -> list[Group]:
        n, num_global = self._task.program.num_qubits, self._task.cost_model.global_qubits
        if num_global:
            return _staged(items, n, num_global, self._task.tile_limit, supports)
        return group(items, n, self._task.tile_limit, supports)


def with_supports(blocks: Iterable[Block], num_qubits: int) -> Iterator[Block]:
    """The blocks of a tape that begins with physical index 0: the ket's support is the span of the tiles so far."""
    span = Span()
    for block in blocks:
        for vector in block.tile:
            span.add(vector)
        yield block if span.dimension == num_qubits else replace(block, support=span.basis())


def _staged(items: list[Item], n: int, num_global: int, tile_limit: int, supports: tuple[int, ...]) -> list[Group]:
    """The blocks of all stages, in their order; the first stage is one rank's, and keeps to small supports."""
    found: list[Group] = []
    for stage in stage_groups(items, n, n - num_global):
        order = [index for step in stage.steps for index in step]
        kept = () if found else tuple(k for k in supports if k < n - num_global)
        blocks = group([items[index] for index in order], n, tile_limit, kept)
        found += [Group(block.tile, [[order[k] for k in step] for step in block.steps]) for block in blocks]
    return found


def _item(element: Element) -> Item:
    return Item(element.generators, element.flips, isinstance(element, ZRotation | DiagonalElement))
