"""`fuse_channels`: from a Program with noise to a plan for Pauli vectors. Pure, as `qiskit_fusedqml.planner.fuse`.

Three steps, one module each, for one window of a deep program after the other:

1. `collector.collect` takes networks of CX, CZ and SWAP into a frame, and what acts on one qubit into sequences;
2. `qiskit_fusedqml.planner.schedule.group_in_order` cuts the elements into blocks;
3. `emit.PauliEmitter` writes the tape and the tables of its coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.program import Program
from ...memory import collector_paused
from ..schedule import Group, Item, group_in_order
from .collector import collect
from .elements import Element
from .emit import PauliEmitter
from .plan import PauliPlan
from .tape import PauliBlock, PauliFrame

__all__ = ["PauliPlan", "fuse_channels"]


@collector_paused()
def fuse_channels(
    program: Program,
    *,
    tile_bits: int,
    batched_slots: frozenset[int] = frozenset(),
    wanted_slots: frozenset[int] = frozenset(),
    frame: PauliFrame | None = None,
) -> PauliPlan:
    """Plan a program for the Pauli vectors of mixed states.

    Args:
        program: A valid program, with channels or without.
        tile_bits: Dimensions of the tiles a device works on; a qubit takes two. Operations that need more get more.
        batched_slots: Slots whose angles differ from sample to sample.
        wanted_slots: Slots whose gradients are wanted.
        frame: The frame of the vectors that the tape is applied to; None for the identity.

    Returns:
        The plan; it depends on nothing but the arguments.

    Raises:
        UnsupportedInstructionError: For an instruction that is too wide for density matrices; the message says which.
    """
    bits = 2 * program.num_qubits
    emitter = PauliEmitter(program.num_angles, batched_slots, wanted_slots)
    blocks: list[PauliBlock] = []
    frame = frame or PauliFrame.identity(program.num_qubits)
    for window in collect(program, batched_slots, frame):
        elements, frame = window
        blocks += [emitter.block(group, elements) for group in _grouped(elements, bits, tile_bits)]
    tape = emitter.tape(program.num_qubits, blocks, frame)
    return PauliPlan(program, tape, emitter.tables(), wanted_slots)


def _grouped(elements: Sequence[Element], bits: int, tile_bits: int) -> list[Group]:
    """The elements in blocks; their order is that of the collector, who ends a sequence when its qubit is needed."""
    if not elements:
        return []
    if tile_bits >= bits:
        return [Group(tuple(1 << k for k in range(bits)), [list(range(len(elements)))])]
    items = [Item(element.generators(bits), element.vectors) for element in elements]
    widest = max(len(item.vectors) for item in items)
    return group_in_order(items, range(len(items)), bits, max(tile_bits, widest))
