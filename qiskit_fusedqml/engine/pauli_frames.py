"""Pauli noise by trajectories of pure states: errors commute to the end and turn the signs of angles.

A Pauli error E before a rotation is an error after it, ``exp(-1j t/2 P) E = E exp(-+1j t/2 P)``, with the other sign
where E and P anticommute. So a trajectory is the program without noise at other angles, times a Pauli string at its
end, the *frame*, which turns the signs of observables. Constant rotations by multiples of pi/2 stay as they are and
turn the frame instead, ``E -> E P``; a dense matrix takes the frame of its qubits as rotations by pi before it.

`PauliFrames.of` makes the pure program, `sample` draws errors, `propagate` commutes them to the end. What is drawn for
a trajectory depends on the seed and its number only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import pi, remainder
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray, IntArray
from ..errors import UnsupportedInstructionError
from ..ir.channels import Channel
from ..ir.program import Diagonal, Instruction, Matrix, Program, Rotation
from ..planner.collector import zyz
from ..planner.pauli_vector.elements import Angle
from ..planner.pauli_vector.strings import String, controlled, walsh

EPSILON = 1e-12

BLOCK = 256
"""Trajectories that are drawn from one stream of random numbers."""

CHANNELS_AT_A_TIME = 1 << 12
"""Channels whose random numbers are held at a time."""

SIGNS = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
"""-1 where two Pauli matrices anticommute."""

Masks: TypeAlias = NDArray[np.uint64]


class Turned(NamedTuple):
    """A rotation of the pure program whose sign the frame turns."""

    x: int
    z: int
    rotation: int


class Conjugated(NamedTuple):
    """A Pauli string P: frames that anticommute with it become their product with it."""

    x: int
    z: int


class Noise(NamedTuple):
    """A Pauli channel: masks x and z of its 4**k strings, and the running sums of their probabilities."""

    x: Masks
    z: Masks
    cumulative: FloatArray


class Emptied(NamedTuple):
    """The frame of a qubit becomes two rotations of the pure program, about Z and about X."""

    qubit: int
    about_z: int
    about_x: int


Step: TypeAlias = Turned | Conjugated | Noise | Emptied


class Trajectories(NamedTuple):
    """N trajectories with an error at least, and what happens without any.

    Attributes:
        signs: (N, R) of the rotations' angles, 1 or -1, as bytes.
        x: (N,) masks of the frames at the end.
        z: (N,)
    """

    signs: NDArray[np.int8]
    x: Masks
    z: Masks


@dataclass(frozen=True, eq=False)
class PauliFrames:
    """A noisy program as a pure one and the steps of its frames.

    Rotation r of the pure program has the angle ``signs[r] * (weights[r] * angle of slots[r] + constants[r]) +
    offsets[r]``.

    Attributes:
        program: The pure program, a slot for every rotation whose sign may turn.
        slots: (R,) slots of the noisy program, -1 for constants.
        weights: (R,)
        constants: (R,)
        offsets: (R,)
        steps: What happens to a frame, in order.
        no_error: The probability of no error at all.
    """

    program: Program
    slots: IntArray
    weights: FloatArray
    constants: FloatArray
    offsets: FloatArray
    steps: tuple[Step, ...]
    no_error: float

    @classmethod
    def of(cls, program: Program, *, empty_at_end: bool) -> PauliFrames:
        """Of a program with Pauli noise; frames may be emptied at the end, so that observables keep their signs.

        Raises:
            UnsupportedInstructionError: For a channel that is not a mixture of Pauli strings, or depends on parameters.
        """
        walk = _Walk()
        for position, instruction in enumerate(program.instructions):
            walk.instruction(instruction, position)
        if empty_at_end:
            walk.empty(range(program.num_qubits))
        rotations = walk.rotations
        pure = Program(program.num_qubits, len(rotations), tuple(walk.instructions), program.initial_state)
        slots, weights, constants, offsets = (
            (np.array(c) for c in zip(*rotations, strict=True)) if rotations else (np.zeros(0) for _ in range(4))
        )
        firsts = [step.cumulative[0] for step in walk.steps if isinstance(step, Noise)]
        return cls(pure, slots.astype(np.intp), weights, constants, offsets, tuple(walk.steps), float(np.prod(firsts)))

    def angles(self, given: FloatArray) -> FloatArray:
        """The angles (..., R) before their signs and offsets, from those (..., A) of the noisy program."""
        found = np.zeros((*given.shape[:-1], len(self.slots)))
        depends = self.slots >= 0
        found[..., depends] = given[..., self.slots[depends]]
        return np.asarray(found * self.weights + self.constants)

    def pull_angles(self, gradients: FloatArray, num_angles: int) -> FloatArray:
        """Derivatives (..., A) by the noisy program's angles, from those (..., R) by `angles`."""
        result = np.zeros((*gradients.shape[:-1], num_angles))
        depends = np.flatnonzero(self.slots >= 0)
        weighted = (gradients * self.weights)[..., depends]
        np.add.at(np.moveaxis(result, -1, 0), self.slots[depends], np.moveaxis(weighted, -1, 0))
        return result

    @cached_property
    def noise(self) -> tuple[Noise, ...]:
        """The channels, in order."""
        return tuple(step for step in self.steps if isinstance(step, Noise))

    def sample(self, numbers: range, seed: int) -> NDArray[np.uint8]:
        """The strings (N, C) of C channels in trajectories of some numbers, each with an error at least.

        Random numbers come from ``Philox(key, counter=[0, 0, 0, b])`` for the trajectories 256 b, 256 b + 1, ...
        """
        key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
        blocks = range(numbers.start // BLOCK, -(-numbers.stop // BLOCK))
        drawn = [self._block(np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, b]))) for b in blocks]
        start = blocks.start * BLOCK
        return np.concatenate(drawn)[numbers.start - start : numbers.stop - start]

    def _block(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        none = np.array([channel.cumulative[0] for channel in self.noise])
        survive = np.concatenate([[1.0], np.cumprod(none)])
        # the first error is at the place where the probability of none so far falls below a uniform number
        uniform = survive[-1] + (1.0 - survive[-1]) * rng.random(BLOCK)
        first = np.searchsorted(-survive, -uniform, side="left") - 1
        strings = np.zeros((BLOCK, len(none)), dtype=np.uint8)
        for start in range(0, len(none), CHANNELS_AT_A_TIME):
            own = none[start : start + CHANNELS_AT_A_TIME, None]
            drawn = rng.random((len(own), BLOCK))
            place = np.arange(start, start + len(own))[:, None]
            drawn = np.where(place == first, own + (1.0 - own) * drawn, drawn)
            hits, rows = np.nonzero((drawn >= own) & (place >= first))
            for hit, chosen in zip(*_groups(hits), strict=True):
                channel, row = self.noise[start + hit], rows[chosen]
                found = np.searchsorted(channel.cumulative, drawn[hit, row], side="right")
                strings[row, start + hit] = found.clip(max=len(channel.x) - 1)
        return strings

    def propagate(self, strings: NDArray[np.integer]) -> Trajectories:
        """The trajectories in which channels apply given strings (N, C)."""
        count = len(strings)
        signs = np.ones((len(self.slots), count), np.int8)
        x, z = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        columns = iter(strings.T)
        for step in self.steps:
            match step:
                case Turned():
                    signs[step.rotation] -= 2 * _anticommute(x, z, step.x, step.z).astype(np.int8)
                case Conjugated():
                    turned = _anticommute(x, z, step.x, step.z)
                    x ^= turned * np.uint64(step.x)
                    z ^= turned * np.uint64(step.z)
                case Noise():
                    letters = next(columns)
                    x ^= step.x[letters]
                    z ^= step.z[letters]
                case Emptied(qubit, about_z, about_x):
                    own_x, own_z = x >> np.uint64(qubit) & np.uint64(1), z >> np.uint64(qubit) & np.uint64(1)
                    signs[about_x] -= 2 * own_x.astype(np.int8)
                    signs[about_z] -= 2 * own_z.astype(np.int8)
                    x ^= own_x << np.uint64(qubit)
                    z ^= own_z << np.uint64(qubit)
        return Trajectories(np.ascontiguousarray(signs.T), x, z)


def _groups(ascending: IntArray) -> tuple[list[int], list[slice]]:
    """The distinct numbers among ascending ones, and where each is."""
    starts = np.flatnonzero(np.diff(ascending, prepend=-1))
    ends = np.append(starts[1:], len(ascending))
    return ascending[starts].tolist(), [slice(*ends) for ends in zip(starts.tolist(), ends.tolist(), strict=True)]


def _anticommute(x: Masks, z: Masks, other_x: int, other_z: int) -> Masks:
    """Whether frames anticommute with a string, 0 or 1."""
    both = np.bitwise_count(x & np.uint64(other_z)) + np.bitwise_count(z & np.uint64(other_x))
    return np.asarray(both & 1, dtype=np.uint64)


class _Walk:
    """The walk through a program: pure instructions, their rotations (slot, weight, constant, offset), the steps."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.rotations: list[tuple[int, float, float, float]] = []
        self.steps: list[Step] = []

    def instruction(self, instruction: Instruction, position: int) -> None:
        match instruction:
            case Rotation() if not instruction.ctrl_mask:
                angle = Angle(instruction.slot, 1.0 if instruction.slot >= 0 else 0.0, instruction.theta)
                self._product(instruction, {String(instruction.x, instruction.z): angle})
            case Rotation():
                self._product(instruction, controlled(instruction))
            case Diagonal():
                self._product(instruction, walsh(instruction))
            case Matrix(qubits, matrix) if len(qubits) == 1:
                bit = 1 << qubits[0]
                for (x, z), theta in zip(((0, bit), (bit, bit), (0, bit)), zyz(matrix)[1], strict=True):
                    self._product(Rotation(x, z, theta=theta), {String(x, z): Angle(-1, 0.0, theta)})
            case Matrix(qubits, _):
                self.empty(qubits)
                self.instructions.append(instruction)
            case Channel():
                self._noise(instruction, position)

    def empty(self, qubits: Iterable[int]) -> None:
        """Turn the frame of some qubits into rotations: by pi where it has the letter, ``pi/2 - sign pi/2``."""
        for q in qubits:
            about_z, about_x = (
                self._rotation(0, 1 << q, (-1, 0.0, -pi / 2, pi / 2)),
                self._rotation(1 << q, 0, (-1, 0.0, -pi / 2, pi / 2)),
            )
            self.steps.append(Emptied(q, about_z, about_x))

    def _product(self, whole: Instruction, angles: dict[String, Angle]) -> None:
        """Commuting rotations that an instruction is the product of."""
        if all(a.slot < 0 and abs(remainder(a.constant, pi / 2)) < EPSILON for a in angles.values()):
            self.instructions.append(whole)
            quarter = [s for s, a in angles.items() if abs(remainder(a.constant, pi)) > EPSILON]
            self.steps += [Conjugated(string.x, string.z) for string in quarter]
            return
        for string, (slot, weight, constant) in angles.items():
            rotation = self._rotation(string.x, string.z, (slot, weight, constant, 0.0))
            self.steps.append(Turned(string.x, string.z, rotation))

    def _rotation(self, x: int, z: int, angle: tuple[int, float, float, float]) -> int:
        self.rotations.append(angle)
        self.instructions.append(Rotation(x, z, slot=len(self.rotations) - 1))
        return len(self.rotations) - 1

    def _noise(self, channel: Channel, position: int) -> None:
        probabilities = pauli_probabilities(channel)
        if probabilities is None:
            raise UnsupportedInstructionError(
                f"Instruction {position} (Channel): it is not a mixture of Pauli strings with constant probabilities, "
                "which is what these trajectories are made of. Leave out trajectories= for exact density matrices."
            )
        count = len(probabilities)
        x, z = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        for j, qubit in enumerate(channel.qubits):
            letters = np.arange(count) >> 2 * j & 3
            x |= np.isin(letters, (1, 2)).astype(np.uint64) << np.uint64(qubit)
            z |= np.isin(letters, (2, 3)).astype(np.uint64) << np.uint64(qubit)
        self.steps.append(Noise(x, z, np.cumsum(probabilities)))


def string_weights(factors: FloatArray) -> FloatArray:
    """What each of 4**k strings weighs in a sum that multiplies the strings by some factors (4**k,).

    ``T[a, a] = sum_b p[b] (-1)**(b and a anticommute)``, whose inverse is the same sum over 4**k.
    """
    signs = np.ones((1, 1))
    while len(signs) < len(factors):
        signs = np.kron(SIGNS, signs)
    return np.asarray(signs @ factors / len(factors))


def pauli_probabilities(channel: Channel) -> FloatArray | None:
    """The probabilities (4**k,) of Pauli strings that a constant channel is the mixture of, or None."""
    matrix = channel.matrix
    if channel.family is not None:
        if any(slot >= 0 for slot in channel.slots):
            return None
        matrix = channel.family.transfer(*channel.constants)
    assert matrix is not None
    if np.abs(matrix - np.diag(np.diag(matrix))).max() > EPSILON:
        return None
    probabilities = string_weights(np.diag(matrix))
    if probabilities.min() < -1e-9:
        return None
    clipped = np.clip(probabilities, 0.0, None)
    return np.asarray(clipped / clipped.sum())
