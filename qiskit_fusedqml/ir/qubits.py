"""Active qubits: programs on those qubits that something acts on, and on no others.

A qubit that nothing acts on stays in ``|0>`` and needs no amplitudes: with the idle qubits q, ::

    psi = psi_active (x) |0...0>,    <psi| P |psi> = <psi_active| P_active |psi_active> prod_q <0| P_q |0>.

A circuit is first written on all of its qubits, however many, and then on the active ones, numbered in order. Of what
measures and saves as it goes only the qubits count that are connected, through instructions, to something that is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from .classical import BOOL, Bits, Constant
from .dynamic import NEVER, Assign, Measure, Node, Prepare, Reset, Save, Segment, rebuilt, walk
from .measurement import clbit_values
from .observables import PauliSum, PauliTerm
from .program import Instruction, Program, Rotation, support

Piece = tuple[tuple[int, ...], NDArray[np.complex128]]
"""Some qubits and their amplitudes; bit j of an amplitude's index is the j-th of the qubits."""


_PLAIN = frozenset({Segment, Measure, Save})
"""Nodes that hold no others and stay as they are where all qubits get amplitudes."""


class ActiveQubits:
    """The qubits of a circuit that get amplitudes, and what is written on them.

    Args:
        qubits: The circuit's qubits that the program's qubits 0, 1, ... stand for.

    Attributes:
        qubits: As given.
        place: From these to the program's.
    """

    def __init__(self, qubits: Iterable[int]) -> None:
        self.qubits = tuple(qubits)
        self.place = {qubit: k for k, qubit in enumerate(self.qubits)}
        self._all = sum(1 << qubit for qubit in self.qubits)
        self._keeps = self.qubits == tuple(range(len(self.qubits)))
        self._masks: dict[int, int] = {}

    def __len__(self) -> int:
        """Number of the program's qubits n, at least 1."""
        return max(len(self.qubits), 1)

    def basis_states(self) -> NDArray[np.intp]:
        """The index (2**n,) among the basis states of all qubits of each one of the active qubits."""
        return clbit_values(len(self.qubits), tuple(enumerate(self.qubits)))

    def mask(self, mask: int) -> int:
        """A mask of active qubits in the program's numbers."""
        if self._keeps:
            return mask
        found = self._masks.get(mask)
        if found is None:
            found = self._masks[mask] = sum(1 << self.place[qubit] for qubit in bits(mask))
        return found

    def instruction(self, instruction: Instruction) -> Instruction:
        """An instruction on active qubits, in the program's numbers."""
        return renumbered(instruction, self.mask, self.place.__getitem__)

    def program(self, program: Program, pieces: Sequence[Piece] = ()) -> Program:
        """A program without what acts on other qubits, from the product of the pieces and ``|0>``."""
        if self._keeps and not pieces and program.num_qubits == len(self.qubits):
            return program
        kept, cuts = program.instructions, program.cuts
        inside = [not support(instruction) & ~self._all for instruction in kept]
        if not all(inside):
            before = [0, *itertools.accumulate(inside)]
            cuts = tuple(before[cut] for cut in cuts)
            kept = tuple(itertools.compress(kept, inside))
        if not self._keeps:
            kept = tuple(self.instruction(each) for each in kept)
        start = program.initial_state
        if pieces:
            placed = [(tuple(self.place[qubit] for qubit in qubits), amplitudes) for qubits, amplitudes in pieces]
            start = product_state(len(self), placed)
        return replace(program, num_qubits=len(self), instructions=kept, cuts=cuts, initial_state=start)

    def observable(self, observable: PauliSum) -> PauliSum:
        """An observable on all qubits as it is on the active ones, all others being in ``|0>``."""
        if self._keeps and observable.num_qubits == len(self.qubits):
            return observable
        sums: dict[tuple[int, int, int, int], float] = {}
        active = self._all
        for term in observable.terms:
            if (term.x | term.ctrl_value) & ~active:
                continue  # <0|X|0> = <0|Y|0> = <0|1><1|0> = 0
            masks = (term.x, term.z & active, term.ctrl_mask & active, term.ctrl_value)
            x, z, ctrl_mask, ctrl_value = map(self.mask, masks)
            key = (x, z, ctrl_mask, ctrl_value)
            sums[key] = sums.get(key, 0.0) + term.coefficient
        terms = tuple(PauliTerm(coefficient, *key) for key, coefficient in sums.items())
        return PauliSum(len(self), terms or (PauliTerm(0.0, 0, 0),))

    def nodes(self, nodes: Sequence[Node], num_qubits: int) -> tuple[Node, ...]:
        """The nodes of a dynamic program on so many qubits in the program's numbers; idle qubits are measured as 0."""
        if self._keeps and num_qubits == len(self.qubits) and _PLAIN.issuperset(map(type, nodes)):
            return tuple(nodes)
        written = list(rebuilt(nodes, lambda held: itertools.chain.from_iterable(map(self._node, held))))
        pieces: list[Piece] = []
        taken: set[int] = set()
        while written and _is_piece(written[0]) and taken.isdisjoint(written[0].qubits):
            pieces.append((written[0].qubits, written[0].amplitudes))
            taken.update(written[0].qubits)
            del written[0]
        if pieces:  # at the start they are an initial state
            program = Program(len(self), 0, ())
            if written and isinstance(written[0], Segment) and written[0].program.initial_state is None:
                program = written[0].program
                del written[0]
            written.insert(0, Segment(replace(program, initial_state=product_state(len(self), pieces))))
        return tuple(written)

    def _node(self, node: Node) -> Iterator[Node]:
        match node:
            case Segment(program):
                moved = self.program(program)
                if moved.instructions or moved.initial_state is not None:
                    yield Segment(moved)
            case Measure(qubit, clbit):
                idle = Assign(Bits((clbit,), BOOL), Constant(False, BOOL))
                place = self.place.get(qubit)
                yield node if place == qubit else idle if place is None else replace(node, qubit=place)
            case Reset(qubit):
                if qubit in self.place:
                    yield Reset(self.place[qubit])
            case Prepare(qubits, amplitudes):
                if qubits[0] in self.place:
                    yield self._prepared(tuple(self.place[qubit] for qubit in qubits), amplitudes)
            case Save():
                yield self._save(node)
            case _:
                yield node

    def _prepared(self, qubits: tuple[int, ...], amplitudes: NDArray[np.complex128]) -> Node:
        if len(qubits) < len(self) or amplitudes.ndim > 1:
            return Prepare(qubits, amplitudes)
        # whatever the state was: nothing is random
        return Segment(Program(len(self), 0, (), product_state(len(self), [(qubits, amplitudes)])))

    def _save(self, save: Save) -> Save:
        if isinstance(save.argument, tuple) and all(isinstance(part, PauliSum) for part in save.argument):
            save = replace(save, argument=tuple(self.observable(part) for part in save.argument))
        return replace(save, qubits=tuple(self.place[qubit] for qubit in save.qubits if qubit in self.place))


def _is_piece(node: Node) -> TypeIs[Prepare]:
    """Whether a node puts qubits into a pure state."""
    return isinstance(node, Prepare) and node.amplitudes.ndim == 1


def read_qubits(nodes: Sequence[Node], num_qubits: int) -> tuple[int, ...]:
    """The qubits of a dynamic program that something acts on and that are connected to something that is read."""
    masks = set(_masks(nodes, num_qubits))
    acted = read = 0
    for acts, reads in masks:
        acted |= acts
        read |= reads
    if not acted & ~read:  # as of most circuits
        return tuple(bits(acted))
    groups: list[int] = []  # masks of qubits that are connected
    for acts, _ in masks:
        joined = acts
        for group in groups:
            joined |= group if group & acts else 0
        groups = [joined, *(group for group in groups if not group & acts)]
    return tuple(bits(sum(group for group in groups if group & read)))


def _masks(nodes: Sequence[Node], num_qubits: int) -> Iterator[tuple[int, int]]:
    """For each thing done, the qubits that it acts on together, and those that it reads."""
    for node in walk(nodes):
        match node:
            case Segment(program):
                if program.initial_state is not None:
                    yield (1 << num_qubits) - 1, 0
                for acts in set(map(support, program.instructions)):
                    yield acts, 0
            case Measure(qubit, flips=flips):
                # an idle qubit is read as 0, unless readout is noisy
                yield (0 if flips == NEVER else 1 << qubit), 1 << qubit
            case Prepare(qubits):
                yield sum(1 << qubit for qubit in qubits), 0
            case Save(kind, _, qubits, _, argument):
                if kind in ("expval", "expval_var"):
                    terms = (term for part in argument for term in part.terms)
                    yield from ((0, term.x | term.z | term.ctrl_mask) for term in terms)
                else:
                    mask = sum(1 << qubit for qubit in qubits)
                    yield from ((1 << qubit, mask) for qubit in qubits)


def renumbered(instruction: Instruction, mask: Callable[[int], int], place: Callable[[int], int]) -> Instruction:
    """An instruction on other qubits.

    Args:
        instruction: The instruction.
        mask: From masks of its qubits to masks of the others.
        place: From a qubit to the other.
    """
    if isinstance(instruction, Rotation):
        x, z, ctrl_mask, ctrl_value = map(mask, instruction[:4])
        return instruction._replace(x=x, z=z, ctrl_mask=ctrl_mask, ctrl_value=ctrl_value)
    return replace(instruction, qubits=tuple(map(place, instruction.qubits)))


def product_state(num_qubits: int, pieces: Sequence[Piece]) -> NDArray[np.complex128]:
    """The product (2**n,) of states on disjoint sets of qubits, with ``|0>`` on all others."""
    joined = np.ones(1, dtype=np.complex128)
    order: list[int] = []
    for qubits, amplitudes in pieces:
        joined = np.multiply.outer(amplitudes, joined).reshape(-1)
        order.extend(qubits)
    k = len(order)
    # axis k - 1 - j of the reshaped array is qubit order[j]; the result's axes are the qubits descending
    axes = [k - 1 - order.index(qubit) for qubit in sorted(order, reverse=True)]
    state = np.zeros((2,) * num_qubits, dtype=np.complex128)
    place = tuple(slice(None) if qubit in order else 0 for qubit in reversed(range(num_qubits)))
    state[place] = joined.reshape((2,) * k).transpose(axes)
    return state.reshape(-1)


def bits(mask: int) -> Iterator[int]:
    """Positions of the set bits, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
