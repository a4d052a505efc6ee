"""Simplification of dynamic programs: measurements are deferred as long as possible, then meeting segments joined.

An outcome that nothing depends on may be drawn at the end, from the final state, for all shots at once. What remains
in the middle are the measurements whose outcome is used, or whose qubit is used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .classical import Bits, clbits_read
from .dynamic import (
    Assign,
    Branch,
    Break,
    Continue,
    Measure,
    Node,
    Prepare,
    Reset,
    Save,
    Segment,
    While,
    rebuilt,
    walk,
)
from .program import Program, support
from .slots import numbered


@dataclass(frozen=True, slots=True)
class _Footprint:
    """Masks of the qubits acted on, -1 if the whole state is read or left, and of clbits read or written."""

    qubits: int = 0
    clbits: int = 0

    def __or__(self, other: _Footprint) -> _Footprint:
        return _Footprint(self.qubits | other.qubits, self.clbits | other.clbits)

    def meets(self, measure: Measure) -> bool:
        """Whether a measurement cannot change places with this."""
        return bool(self.qubits >> measure.qubit & 1 or self.clbits >> measure.clbit & 1)


def simplify(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The same program with fewer segments, each with slots of its own.

    Args:
        nodes: Nodes whose segments refer to the angles of the whole program.
    """
    return rebuilt(nodes, lambda held: map(_with_own_slots, _join(_defer(held))))


def _with_own_slots(node: Node) -> Node:
    if not isinstance(node, Segment):
        return node
    program = node.program
    instructions, slots = numbered(program.instructions)
    return Segment(Program(program.num_qubits, len(slots), instructions, program.initial_state, program.cuts), slots)


def _defer(nodes: Iterable[Node]) -> list[Node]:
    """The nodes with every measurement right before the first one it cannot change places with."""
    result: list[Node] = []
    waiting: list[Measure] = []
    for node in nodes:
        if isinstance(node, Measure):
            waiting.append(node)
            continue
        if waiting:
            footprint = _footprint(node)
            due = [footprint.meets(measure) for measure in waiting]
            # of two measurements that write the same bit, the later one must stay the later one
            for later in reversed(range(len(waiting))):
                if due[later]:
                    for earlier in range(later):
                        due[earlier] |= waiting[earlier].clbit == waiting[later].clbit
            result.extend(measure for measure, is_due in zip(waiting, due, strict=True) if is_due)
            waiting = [measure for measure, is_due in zip(waiting, due, strict=True) if not is_due]
        result.append(node)
    return result + waiting


def _footprint(node: Node) -> _Footprint:
    """What a node touches, with all that it holds."""
    total = _Footprint()
    for each in walk([node]):
        total |= _own_footprint(each)
    return total


def _own_footprint(node: Node) -> _Footprint:
    match node:
        case Segment(program):
            return _Footprint(_support(program))
        case Measure(qubit, clbit):
            return _Footprint(1 << qubit, 1 << clbit)
        case Reset(qubit):
            return _Footprint(1 << qubit)
        case Prepare(qubits):
            return _Footprint(_mask(qubits))
        case Save() | Break() | Continue():
            return _Footprint(qubits=-1)
        case Assign(target, value):
            written = target.clbits if isinstance(target, Bits) else ()
            return _Footprint(clbits=_mask((*clbits_read(value), *written)))
        case Branch(condition) | While(condition):
            return _Footprint(clbits=_mask(clbits_read(condition)))
    return _Footprint()


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def _support(program: Program) -> int:
    every = (1 << program.num_qubits) - 1
    total = 0 if program.initial_state is None else every
    for instruction in program.instructions:
        total |= support(instruction)
        if total == every:  # as after the first layer of most circuits
            break
    return total


def _join(nodes: Iterable[Node]) -> list[Node]:
    result: list[Node] = []
    for node in nodes:
        last = result[-1] if result else None
        # an initial state replaces all that was before
        if isinstance(node, Segment) and isinstance(last, Segment) and node.program.initial_state is None:
            result[-1] = Segment(_composed(last.program, node.program))
        else:
            result.append(node)
    return result


def _composed(first: Program, second: Program) -> Program:
    before = len(first.instructions)
    return replace(
        first,
        instructions=first.instructions + second.instructions,
        cuts=first.cuts + tuple(before + cut for cut in second.cuts),
    )
