"""Channels on pure states: every shot goes on with the state that one Kraus operator leaves.

    rho -> sum_m K_m rho K_m^dagger:   psi -> K_m psi / sqrt(p_m)  with probability  p_m = |K_m psi|^2.

Where the operators are multiples of unitaries, p_m depends on no state. `unraveled` writes a noisy segment as pure ones
with such channels between them: what acts on other qubits changes places with a channel, so that as much as possible
of the circuit is run, and fused, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray
from ..errors import SimulationError
from ..ir.channels import Channel, choi, embedded, pauli_matrices
from ..ir.dynamic import Node, Segment, rebuilt
from ..ir.program import Instruction, Program, support
from ..ir.qubits import bits
from ..ir.slots import numbered
from .sampling import Indices, outcomes_of_shots, present_numbers
from .states import States, moved, moved_back
from .trajectories import Draws, TooManyTrajectoriesError, Trajectories

NEGLIGIBLE = 1e-13
"""Kraus operators of smaller norm, squared, are left out: they are rounding errors of eigenvalues."""

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class KrausChannel:
    """A channel on some qubits by its Kraus operators.

    Attributes:
        qubits: The k qubits; bit j of the operators' indices is ``qubits[j]``.
        operators: (M, 2**k, 2**k), M a power of two; those that make up the number are 0.
    """

    qubits: tuple[int, ...]
    operators: ComplexArray

    @cached_property
    def effects(self) -> ComplexArray:
        """``K^dagger K`` of each operator."""
        found: ComplexArray = self.operators.conj().swapaxes(1, 2) @ self.operators
        return found

    @cached_property
    def constant(self) -> FloatArray | None:
        """The probabilities (M,) of the operators, if these are multiples of unitaries; else None."""
        size = self.operators.shape[1]
        shares: FloatArray = np.trace(self.effects, axis1=1, axis2=2).real / size
        same = np.abs(self.effects - shares[:, None, None] * np.eye(size)).max() < _TOLERANCE
        return shares if same else None

    @cached_property
    def keeps(self) -> NDArray[np.bool_]:
        """Whether operators are multiples of the identity (M,): the state stays as it is."""
        size = self.operators.shape[1]
        means = np.trace(self.operators, axis1=1, axis2=2)[:, None, None] / size
        return np.asarray(np.abs(self.operators - means * np.eye(size)).max(axis=(1, 2)) < _TOLERANCE)

    def probabilities(self, states: States) -> FloatArray:
        """Probabilities (T, M) of the operators."""
        if self.constant is not None:
            return np.broadcast_to(self.constant, (states.count, len(self.constant)))
        parts = states.reduced(self.qubits)
        reduced = parts @ parts.conj().swapaxes(1, 2)
        found = np.einsum("mij,tji->tm", self.effects, reduced.astype(np.complex128)).real
        return np.asarray(np.maximum(found, 0.0))

    def applied(self, states: States, parents: Indices, chosen: Indices, chances: FloatArray) -> States:
        """The states that operators leave of some parents, normalised."""
        changed = ~self.keeps[chosen]
        if not changed.any():
            return states.take(parents)
        numbers = states.numbers[parents]
        own = self.operators[chosen[changed]] / np.sqrt(chances[changed])[:, None, None]
        parts = moved(numbers[changed], states.num_qubits, self.qubits)
        numbers[changed] = moved_back(own.astype(numbers.dtype) @ parts, states.num_qubits, self.qubits)
        return states.of_numbers(numbers)


@dataclass(frozen=True, eq=False)
class Noise:
    """A node: channels on pure states, one after the other."""

    channels: tuple[KrausChannel, ...]


def disturbed(trajectories: Trajectories, channels: Sequence[KrausChannel], draws: Draws, most: int) -> Trajectories:
    """The trajectories after channels; shots of one trajectory that get different operators part.

    Raises:
        TooManyTrajectoriesError: If there would be more than ``most``.
    """
    for channel in channels:
        chances = channel.probabilities(trajectories.states)
        size = chances.shape[1]
        drawn = outcomes_of_shots(chances, trajectories.of_shot, draws.uniform(trajectories))
        pairs, of_shot = present_numbers(trajectories.of_shot * size + drawn, chances.size)
        if len(pairs) > most:
            raise TooManyTrajectoriesError
        parents, chosen = np.divmod(pairs, size)
        states = channel.applied(trajectories.states, parents, chosen, chances[parents, chosen])
        parted = trajectories.of_parents(states, parents, of_shot, trajectories.shots)
        trajectories = replace(parted, decisions=parted.decisions + 1)
    return trajectories


def kraus_operators(transfer: FloatArray) -> ComplexArray:
    """Kraus operators (M, 2**k, 2**k) of a transfer matrix, M a power of two; Pauli strings where it is diagonal.

    They are orthogonal: as few as possible, the most likely first.
    """
    size = round(len(transfer) ** 0.5)
    if np.count_nonzero(transfer - np.diag(np.diagonal(transfer))) == 0:
        strings = pauli_matrices(size.bit_length() - 1)
        signs = np.einsum("aij,bjk,akl,bli->ab", strings, strings, strings, strings, optimize=True).real / size
        weights = signs @ np.diagonal(transfer) / len(transfer)
        found = np.sqrt(np.maximum(weights, 0.0))[:, None, None] * strings
    else:
        # sum_ij |i><j| (x) E(|i><j|) = sum_m |K_m>><<K_m|, where K[r, i] is entry (i, r) of the vector
        weights, vectors = np.linalg.eigh(choi(transfer))
        found = np.sqrt(np.maximum(weights, 0.0))[:, None, None] * vectors.T.reshape(-1, size, size).swapaxes(1, 2)
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > NEGLIGIBLE]
    operators = np.zeros((1 << (len(order) - 1).bit_length(), size, size), dtype=np.complex128)
    operators[: len(order)] = found[order]
    return operators


def unraveled(nodes: Sequence[Node]) -> tuple[Any, ...]:
    """The same nodes, with `Noise` between pure segments in place of segments that hold channels.

    Raises:
        SimulationError: If a channel depends on parameters.
    """
    known: dict[bytes, ComplexArray] = {}

    def write(held: list[Node]) -> Iterator[Any]:
        for node in held:
            if isinstance(node, Segment) and node.program.is_noisy:
                yield from _pieces(node, known)
            else:
                yield node

    return rebuilt(nodes, write)


@dataclass(eq=False)
class _Placed:
    """A channel on its way into a `Noise` node."""

    qubits: tuple[int, ...]
    matrix: FloatArray


@dataclass
class _Layer:
    """Pure instructions, and the channels after them."""

    instructions: list[Instruction] = field(default_factory=list)
    channels: list[_Placed] = field(default_factory=list)


def _pieces(segment: Segment, known: dict[bytes, ComplexArray]) -> Iterator[Any]:
    program = segment.program
    start = program.initial_state
    for layer in _layers(program):
        if layer.instructions or start is not None:
            instructions, own = numbered(layer.instructions)
            cuts = tuple(range(1, len(instructions))) if program.cuts else ()
            slots = tuple(segment.slots[slot] for slot in own)
            yield Segment(Program(program.num_qubits, len(own), instructions, start, cuts), slots)
            start = None
        if layer.channels:
            yield Noise(tuple(KrausChannel(each.qubits, _operators(each.matrix, known)) for each in layer.channels))


def _operators(matrix: FloatArray, known: dict[bytes, ComplexArray]) -> ComplexArray:
    key = matrix.tobytes()
    if key not in known:
        known[key] = kraus_operators(matrix)
    return known[key]


def _layers(program: Program) -> list[_Layer]:
    """The program in layers, each instruction in the first one that it can be in.

    Channels in a row on the same qubits are composed.
    """
    layers = [_Layer()]
    level = [0] * program.num_qubits
    last: list[_Placed | None] = [None] * program.num_qubits
    for instruction in program.instructions:
        qubits = [*bits(support(instruction))]
        layer = max((level[q] for q in qubits), default=0)
        if layer == len(layers):
            layers.append(_Layer())
        if not isinstance(instruction, Channel):
            layers[layer].instructions.append(instruction)
            for q in qubits:
                level[q], last[q] = layer, None
            continue
        if instruction.matrix is None:
            raise SimulationError("The noise has parameters, for which there are no values.")
        before = last[qubits[0]]
        if before is not None and all(last[q] is before for q in qubits):
            places = [before.qubits.index(q) for q in instruction.qubits]
            before.matrix = embedded(instruction.matrix, places, len(before.qubits)) @ before.matrix
            continue
        placed = _Placed(instruction.qubits, instruction.matrix)
        layers[layer].channels.append(placed)
        for q in qubits:
            level[q], last[q] = layer + 1, placed
    return layers
