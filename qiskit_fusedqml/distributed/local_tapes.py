"""The tape of one rank: a stage's operations on the addresses of its own part.

Flips of a stage are local, so that they become local vectors; functionals become local masks with a constant of the
rank. An operation whose controls do not hold on a rank is left out there, and its overlap stays 0. Coefficients and
overlaps keep their numbers, so that every rank runs with the whole tape's coefficients and adds to its overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..planner.frame import Frame, Vector
from ..planner.gf2 import Span, combination, echelon, intersection, pull
from ..planner.stages import Stage, check_ranks, stages_of_blocks
from ..planner.tape import RY, U2, Block, Dense, Diag, Factor, Operation, Pauli, Tape
from .layouts import Exchange, Layout


@dataclass(frozen=True, eq=False)
class LocalStage:
    """A stage as one rank runs it.

    Attributes:
        exchange: What comes before it, or None.
        layout: Where amplitudes lie while it runs.
        tape: The operations on the rank's part.
        undone: Whether the backward sweep undoes any block of the stage, on whatever rank.
    """

    exchange: Exchange | None
    layout: Layout
    tape: Tape
    undone: bool


@dataclass(frozen=True, eq=False)
class LocalRun:
    """A tape as one rank runs it, from one layout to another.

    Attributes:
        start: The layout before.
        stages: The stages.
    """

    start: Layout
    stages: tuple[LocalStage, ...]

    @property
    def end(self) -> Layout:
        """The layout afterwards."""
        return self.stages[-1].layout if self.stages else self.start


def stages_for(tape: Tape, num_local: int) -> tuple[Stage, ...]:
    """The stages of a tape; of one that was planned for one process, those of its blocks as they are."""
    if tape.stages and len(tape.stages[0].local) == num_local:
        return tape.stages
    return stages_of_blocks([block.tile for block in tape.blocks], tape.num_qubits, num_local)


def start_layout(tape: Tape, global_qubits: int, fold_bits: int) -> Layout:
    """The layout that states are made in for a tape: that of its first stage."""
    num_local = tape.num_qubits - global_qubits
    check_ranks(tape.num_qubits, global_qubits, 1)
    stages = stages_for(tape, num_local)
    local = stages[0].local if stages else tuple(1 << q for q in range(num_local))
    return Layout.of(local, tape.num_qubits, tape.lane_qubits, fold_bits)


def local_run(tape: Tape, start: Layout, rank: int) -> LocalRun:
    """How a rank runs a tape, from a layout on."""
    found: list[LocalStage] = []
    layout, stages = start, stages_for(tape, start.num_local)
    ends = [stage.first for stage in stages[1:]]
    for stage, (first, last) in zip(stages, pairwise((0, *ends, len(tape.blocks))), strict=True):
        exchange = layout.exchange_to(stage.local)
        layout = layout if exchange is None else exchange.after
        blocks = tape.blocks[first:last]
        local = Tape(
            layout.num_local,
            tuple(made for block in blocks if (made := local_block(block, layout, rank)) is not None),
            Frame.identity(layout.num_local),
            tape.num_overlaps,
            tape.lane_qubits,
        )
        undone = any(block.undo_from < len(block.operations) for block in blocks)
        found.append(LocalStage(exchange, layout, local, undone))
    return LocalRun(start, tuple(found))


def local_block(block: Block, layout: Layout, rank: int) -> Block | None:
    """A block on a rank's addresses; None if the rank holds nothing of the ket's support."""
    support = None if block.support is None else _local_support(block.support, layout, rank)
    if block.support is not None and support is None:
        return None
    operations = [_local_operation(operation, layout, rank) for operation in block.operations]
    undo_from = sum(operation is not None for operation in operations[: block.undo_from])
    kept = tuple(operation for operation in operations if operation is not None)
    is_whole = support is None or len(support) == layout.num_local
    return Block(echelon(map(layout.vector, block.tile)), kept, undo_from, None if is_whole else support)


def _local_support(support: Sequence[Vector], layout: Layout, rank: int) -> tuple[Vector, ...] | None:
    """The span of what a rank holds of a support: its part of it is an affine space."""
    images = Span()
    chosen = [v for v in support if images.add(pull(v, layout.ranks))]
    mask = images.coordinates(rank)
    if mask is None:
        return None
    inside = intersection(support, layout.indices(0).columns, layout.num_qubits)
    own = combination(chosen, mask)  # an index that the rank holds
    return echelon(pull(v, layout.addresses) for v in (*inside, own))


def _local_operation(operation: Operation, layout: Layout, rank: int) -> Operation | None:
    match operation:
        case RY() | U2():
            w = layout.functional(operation.w, rank)
            return replace(operation, x=layout.vector(operation.x), w=w)
        case Pauli():
            controls = layout.controls(operation.controls, rank)
            if controls is None:
                return None
            x, z = layout.vector(operation.x), layout.functional(operation.z, rank)
            return replace(operation, x=x, z=z, controls=controls)
        case Dense():
            xs, ws = map(layout.vector, operation.xs), (layout.functional(w, rank) for w in operation.ws)
            return replace(operation, xs=tuple(xs), ws=tuple(ws))
        case Diag():
            measured = tuple(layout.functional(f, rank) for f in operation.overlap_functionals)
            factors = tuple(_local_factor(factor, layout, rank) for factor in operation.factors)
            return replace(operation, factors=factors, overlap_functionals=measured)


def _local_factor(factor: Factor, layout: Layout, rank: int) -> Factor:
    """A factor whose basis is one of what its functionals are on the addresses."""
    local = [layout.functional(f, rank) for f in factor.basis]
    low, count = (1 << layout.num_local) - 1, len(factor.basis)
    span = Span()
    basis = [f & low for f in local if span.add(f & low)]
    masks = [span.coordinates(f & low) or 0 for f in local]
    constants = sum((f >> layout.num_local) << j for j, f in enumerate(local))
    terms = [_local_term(term, masks, constants, count, len(basis)) for term in factor.terms]
    return replace(factor, basis=tuple(basis), terms=tuple(terms))


def _local_term(term: int, masks: Sequence[int], constants: int, before: int, after: int) -> int:
    mask = term & ((1 << before) - 1)
    constant = term >> before ^ (mask & constants).bit_count() & 1
    return combination(masks, mask) | constant << after
