"""Simplification of nodes: measurements are put off as long as possible, and segments that then meet are joined.

An outcome that nothing depends on may be drawn at the end, from the final state, for all shots at once. What remains
in the middle are the measurements whose outcome is used, or whose qubit is used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..classical import Bits, Expression, clbits_read
from ..program import Instruction, Program, Rotation
from .nodes import (
    Assign,
    Branch,
    Break,
    Continue,
    Measure,
    Node,
    Prepare,
    Repeat,
    Reset,
    Save,
    Segment,
    While,
    children,
)


@dataclass(frozen=True, slots=True)
class _Footprint:
    """Qubits acted on, and classical bits read or written; ``whole`` if the whole state is looked at or left."""

    qubits: frozenset[int] = frozenset()
    clbits: frozenset[int] = frozenset()
    whole: bool = False

    def __or__(self, other: _Footprint) -> _Footprint:
        return _Footprint(self.qubits | other.qubits, self.clbits | other.clbits, self.whole or other.whole)

    def meets(self, measure: Measure) -> bool:
        """Whether a measurement cannot change places with this."""
        return self.whole or measure.qubit in self.qubits or measure.clbit in self.clbits


def simplify(nodes: Sequence[Node], num_angles: int) -> tuple[Node, ...]:
    """The same program with fewer segments; the slots of each are numbered one by one.

    Args:
        nodes: Nodes whose segments refer to the angles of the whole program.
        num_angles: Number of those angles.
    """
    return tuple(_simplified_inside(node, num_angles) for node in _join(_put_off(nodes)))


def _simplified_inside(node: Node, num_angles: int) -> Node:
    match node:
        case Segment(program):
            return _local(program, num_angles)
        case Branch():
            then, otherwise = (simplify(nodes, num_angles) for nodes in (node.then, node.otherwise))
            return replace(node, then=then, otherwise=otherwise)
        case While():
            return replace(node, body=simplify(node.body, num_angles))
        case Repeat():
            done: dict[int, tuple[Node, ...]] = {}
            for nodes in children(node):
                done[id(nodes)] = simplify(nodes, num_angles)
            return replace(node, rounds=tuple(done[id(nodes)] for nodes in node.rounds))
    return node


def _put_off(nodes: Iterable[Node]) -> list[Node]:
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
    match node:
        case Segment(program):
            return _Footprint(frozenset(_bits(_support(program))))
        case Measure(qubit, clbit):
            return _Footprint(frozenset((qubit,)), frozenset((clbit,)))
        case Reset(qubit):
            return _Footprint(frozenset((qubit,)))
        case Prepare(qubits):
            return _Footprint(frozenset(qubits))
        case Save() | Break() | Continue():
            return _Footprint(whole=True)
        case Assign(target, value):
            return _Footprint(
                clbits=_read(value) | (frozenset(target.clbits) if isinstance(target, Bits) else frozenset())
            )
        case Branch(condition) | While(condition):
            own = _Footprint(clbits=_read(condition))
        case _:
            own = _Footprint()
    for nodes in children(node):
        for inner in nodes:
            own |= _footprint(inner)
    return own


def _read(expression: Expression) -> frozenset[int]:
    return frozenset(clbits_read(expression))


def _support(program: Program) -> int:
    total = 0
    for instruction in program.instructions:
        if isinstance(instruction, Rotation):
            total |= instruction.x | instruction.z | instruction.ctrl_mask
        else:
            total |= sum(1 << qubit for qubit in instruction.qubits)
    return total if program.initial_state is None else (1 << program.num_qubits) - 1


def _bits(mask: int) -> Iterable[int]:
    return (q for q in range(mask.bit_length()) if mask >> q & 1)


def _join(nodes: Iterable[Node]) -> list[Node]:
    result: list[Node] = []
    for node in nodes:
        last = result[-1] if result else None
        # an initial state replaces all that was before
        if isinstance(node, Segment) and isinstance(last, Segment) and node.program.initial_state is None:
            result[-1] = Segment(_one_after_the_other(last.program, node.program))
        else:
            result.append(node)
    return result


def _one_after_the_other(first: Program, second: Program) -> Program:
    before = len(first.instructions)
    return replace(
        first,
        instructions=first.instructions + second.instructions,
        cuts=first.cuts + tuple(before + cut for cut in second.cuts),
    )


def _local(program: Program, num_angles: int) -> Segment:
    """The segment with its own angles numbered from 0."""
    slots = sorted({i.slot for i in program.instructions if isinstance(i, Rotation) and i.slot >= 0})
    if len(slots) == num_angles:
        return Segment(replace(program, num_angles=num_angles), tuple(slots))
    number = {slot: k for k, slot in enumerate(slots)}

    def renumbered(instruction: Instruction) -> Instruction:
        if isinstance(instruction, Rotation) and instruction.slot >= 0:
            return instruction._replace(slot=number[instruction.slot])
        return instruction

    instructions = tuple(map(renumbered, program.instructions))
    return Segment(replace(program, num_angles=len(slots), instructions=instructions), tuple(slots))
