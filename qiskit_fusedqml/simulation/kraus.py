"""Channels on pure states: every shot goes on with the state that one Kraus operator leaves.

    rho -> q rho + (1 - q) sum_m K_m rho K_m^dagger:

with probability q, as large as the channel allows, the state stays as it is; else it is K_m psi / sqrt(p_m), with
probability p_m = |K_m psi|^2. Only shots of the second kind part from the others, and cost anything.

`unraveled` writes a noisy segment as pure ones with channels between them: what acts on other qubits changes places
with a channel, so that as much as possible of the circuit is run, and fused, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import ComplexArray, FloatArray
from ..errors import SimulationError
from ..ir.channels import Channel, choi, embedded, pauli_matrices
from ..ir.dynamic import Node, Segment, rebuilt, walk
from ..ir.program import Instruction, Program, support
from ..ir.qubits import bits
from ..ir.slots import numbered
from .sampling import outcomes_of_shots, present_numbers
from .states import moved_back
from .trajectories import Draws, TooManyTrajectoriesError, Trajectories

NEGLIGIBLE = 1e-13
"""Kraus operators of smaller norm, squared, are left out: they are rounding errors of eigenvalues."""

_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class KrausChannel:
    """A channel on some qubits.

    Attributes:
        qubits: The k qubits; bit j of the operators' indices is ``qubits[j]``.
        stays: The probability q that nothing happens, whatever the state.
        operators: (M, 2**k, 2**k) the Kraus operators of what happens else; M is a power of two, those that make up the
            number are 0.
    """

    qubits: tuple[int, ...]
    stays: float
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

    def probabilities(self, parts: ComplexArray) -> FloatArray:
        """Probabilities (T, M) of the operators on amplitudes as of `States.reduced`."""
        if self.constant is not None:
            return np.broadcast_to(self.constant, (len(parts), len(self.constant)))
        reduced = parts @ parts.conj().swapaxes(1, 2)
        found = np.einsum("mij,tji->tm", self.effects, reduced.astype(np.complex128)).real
        return np.asarray(np.maximum(found, 0.0))

    def struck(self, trajectories: Trajectories, draws: Draws) -> Trajectories:
        """The trajectories if something happens; shots of one that get different operators part."""
        states = trajectories.states
        parts = states.reduced(self.qubits)
        chances = self.probabilities(parts)
        size = chances.shape[1]
        drawn = outcomes_of_shots(chances, trajectories.of_shot, draws.uniform(trajectories))
        pairs, of_shot = present_numbers(trajectories.of_shot * size + drawn, chances.size)
        parents, chosen = np.divmod(pairs, size)
        own = self.operators[chosen] / np.sqrt(chances[parents, chosen])[:, None, None]
        numbers = moved_back(own.astype(parts.dtype) @ parts[parents], states.num_qubits, self.qubits)
        parted = trajectories.of_parents(states.of_numbers(numbers), parents, of_shot, trajectories.shots)
        return replace(parted, decisions=parted.decisions + 1)


@dataclass(frozen=True, eq=False)
class Noise:
    """A node: channels on pure states, one after the other."""

    channels: tuple[KrausChannel, ...]

    @cached_property
    def first_hits(self) -> list[FloatArray]:
        """From each channel on, the probabilities that it or one up to the following ones is the first to do anything.

        There is one list of sums for each channel that may come first.
        """
        stays = np.array([channel.stays for channel in self.channels])
        return [1.0 - np.cumprod(stays[first:]) for first in range(len(stays))]

    @property
    def draws(self) -> int:
        """The most random numbers that a shot may need: the next channel that does anything, and its operator."""
        return 2 * len(self.channels)


def disturbed(trajectories: Trajectories, noise: Noise, draws: Draws, most: int) -> Trajectories:
    """The trajectories after channels; shots of one trajectory to which different things happen part.

    Raises:
        TooManyTrajectoriesError: If there would be more than ``most``.
    """
    end, done = len(noise.channels), list[Trajectories]()
    work = [(0, 0, trajectories)]  # the next channel, the numbers drawn, and trajectories
    while work:
        first, used, part = work.pop()
        hits = np.full(len(part.shots), end)
        if first < end:
            hits = first + np.searchsorted(noise.first_hits[first], draws.uniform(part), side="right")
        for channel in np.unique(hits).tolist():
            own = part.of_shots(hits == channel)
            if channel == end:  # all have drawn as many numbers in the end
                done.append(replace(own, decisions=own.decisions - used + noise.draws))
                continue
            struck = noise.channels[channel].struck(replace(own, decisions=own.decisions + 1), draws)
            work.append((channel + 1, used + 2, struck))
        if sum(each.count for each in (*done, *(each for *_, each in work))) > most:
            raise TooManyTrajectoriesError
    return Trajectories.concatenate(done)


def kraus_channel(qubits: tuple[int, ...], transfer: FloatArray) -> KrausChannel | None:
    """A channel by its transfer matrix; None for the identity."""
    stays = identity_share(transfer)
    if stays > 1.0 - NEGLIGIBLE:
        return None
    rest = (transfer - stays * np.eye(len(transfer))) / (1.0 - stays)
    return KrausChannel(qubits, stays, kraus_operators(rest))


def identity_share(transfer: FloatArray) -> float:
    """The largest q for which ``T - q 1`` is completely positive.

    With the Choi matrix C and the vector ``|1>>`` of the identity it is ``1 / <<1| C^-1 |1>>``, and 0 where the vector
    is not in the range of C.
    """
    weights, vectors = np.linalg.eigh(choi(transfer))
    size = round(len(transfer) ** 0.5)
    shares = np.abs(vectors.conj().T @ np.eye(size).reshape(-1)) ** 2
    inside = weights > NEGLIGIBLE
    if shares[~inside].sum() > NEGLIGIBLE:
        return 0.0
    return float(min(1.0 / (shares[inside] / weights[inside]).sum(), 1.0))


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
    if not any(isinstance(node, Segment) and node.program.is_noisy for node in walk(nodes)):
        return tuple(nodes)
    known: dict[tuple[int, bytes], KrausChannel | None] = {}

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


def _pieces(segment: Segment, known: dict[Any, KrausChannel | None]) -> Iterator[Any]:
    program = segment.program
    start = program.initial_state
    for layer in _layers(program):
        if layer.instructions or start is not None:
            instructions, own = numbered(layer.instructions)
            cuts = tuple(range(1, len(instructions))) if program.cuts else ()
            slots = tuple(segment.slots[slot] for slot in own)
            yield Segment(Program(program.num_qubits, len(own), instructions, start, cuts), slots)
            start = None
        channels = (_known(each, known) for each in layer.channels)
        if noise := tuple(channel for channel in channels if channel is not None):
            yield Noise(noise)


def _known(placed: _Placed, known: dict[Any, KrausChannel | None]) -> KrausChannel | None:
    """The channel; equal ones are analysed once."""
    key = (len(placed.qubits), placed.matrix.tobytes())
    if key not in known:
        known[key] = kraus_channel(placed.qubits, placed.matrix)
    found = known[key]
    return None if found is None else replace(found, qubits=placed.qubits)


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
