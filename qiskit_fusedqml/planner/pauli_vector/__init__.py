"""`fuse_channels`: from a Program with noise to a plan for Pauli vectors. Pure, as `qiskit_fusedqml.planner.fuse`.

Three steps, one module each, for one window of a deep program after the other:

1. `collector.collect` takes networks of CX, CZ and SWAP into a frame, and what acts on one qubit into sequences;
2. `qiskit_fusedqml.planner.schedule.group` orders the elements and cuts them into blocks;
3. `emit.PauliEmitter` writes the tape and the tables of its coefficients.
"""

from __future__ import annotations

from ...ir.program import Program
from ...memory import collector_paused
from ..schedule import Item, group
from .collector import collect
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
) -> PauliPlan:
    """Plan a program for the Pauli vectors of mixed states.

    Args:
        program: A valid program, with channels or without.
        tile_bits: Dimensions of the tiles a device works on; a qubit takes two. Operations that need more get more.
        batched_slots: Slots whose angles differ from sample to sample.
        wanted_slots: Slots whose gradients are wanted.

    Returns:
        The plan; it depends on nothing but the arguments.

    Raises:
        UnsupportedInstructionError: For an instruction that is too wide for density matrices; the message says which.
    """
    bits = 2 * program.num_qubits
    emitter = PauliEmitter(program.num_angles, batched_slots, wanted_slots)
    blocks: list[PauliBlock] = []
    frame = PauliFrame.identity(program.num_qubits)
    for window in collect(program, batched_slots):
        elements, frame = window
        items = [Item(element.generators(bits), element.vectors) for element in elements]
        widest = max((len(item.vectors) for item in items), default=0)
        if items:
            blocks += [emitter.block(g, elements) for g in group(items, bits, max(tile_bits, widest))]
    tape = emitter.tape(program.num_qubits, blocks, frame)
    return PauliPlan(program, tape, emitter.tables(), wanted_slots)
