"""Writes rotations, diagonals and matrices, and keeps account of the qubits that they act on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.channels import Channel
from ....ir.dynamic import Measure
from ....ir.encoding import AmplitudeEncoding
from ....ir.gates import PlacedFactor
from ....ir.program import MAX_QUBITS, Diagonal, Instruction, Matrix, Program, Rotation, support
from ....ir.qubits import Piece, renumbered
from ..noise import PlacedChannel
from .expressions import AngleTable
from .noise import NoiseWriter
from .operations import FREE, Controls, Operands, placed

LEVELS_SHOWN = 4
"""How many levels of nested definitions messages show from the outside, and from the inside."""


@dataclass
class Writer:
    """Writes the instructions of one program, on all qubits of the circuit.

    Attributes:
        num_qubits: Number of the circuit's qubits.
        table: Where the angles go.
        encodes: Whether amplitudes may be parameters.
        encoding: Amplitudes that are parameters, if there are any.
        measurements: The measurements met; qubit -1 stands for one that was in |0>.
        pieces: The initial states, by qubits.
        num_resets: How many qubits were reset after something had acted on them; these are numbered from `num_qubits`.
        noise: What operations are followed by.
        is_mixed: Whether states are mixed anyway, so that a reset is a channel.
        fuse: If not, the program is cut after every operation of the circuit, and of the blocks of control flow.
    """

    num_qubits: int
    table: AngleTable
    encodes: bool = False
    encoding: AmplitudeEncoding | None = None
    measurements: list[Measure] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    num_resets: int = 0
    noise: NoiseWriter | None = None
    is_mixed: bool = False
    fuse: bool = True
    _prepared: int = 0  # mask of the qubits that have an initial state
    _acted: int = 0  # mask of those that an instruction acts on
    _instructions: list[Instruction] = field(default_factory=list)
    _phase: float = 0.0
    _measured: int = 0
    _cuts: list[int] = field(default_factory=list)
    _depth: int = 0  # of blocks of control flow that are written as they stand
    _path: list[tuple[int, str]] = field(default_factory=list)
    _noiseless: int = 0  # depth of what has its noise as a whole
    _unitary: int = 0  # depth of what is being inverted, where nothing but unitaries is possible

    @property
    def active(self) -> int:
        """Mask of the qubits that are not in |0>."""
        return self._acted | self._prepared

    def program(self, num_angles: int) -> Program:
        """The program written so far, from |0...0>."""
        instructions = self._instructions
        phase = math.remainder(self._phase, 2 * math.pi)
        if phase:
            slot, theta = self.table.lifted(-2 * phase)
            instructions = [*instructions, Rotation(0, 0, 0, 0, slot, theta)]
        return Program(self.num_qubits, num_angles, tuple(instructions), cuts=tuple(self._cuts))

    def _standard(self, name: str, params: Sequence[Any], targets: tuple[int, ...], controls: Controls) -> None:
        factors, rotations, phase, touched = placed(name, targets, controls)
        if rotations is None:
            self._emit(factors, params)
            return
        if touched & self._measured:
            raise self._after_measurement(touched)
        self._phase += phase
        self._acted |= touched
        self._instructions += rotations

    def _emit(self, factors: Sequence[Rotation | PlacedFactor], params: Sequence[Any]) -> None:
        table, measured = self.table, self._measured
        for factor in factors:
            if isinstance(factor, Rotation):
                rotation, touched, slot, theta = factor, support(factor), factor.slot, factor.theta
            else:
                x, z, ctrl_mask, ctrl_value, coefficients, constant = factor
                touched = x | z | ctrl_mask
                try:
                    slot, theta = table.angle(coefficients, constant, params, lifts=touched > 0)
                except InvalidInputError as error:
                    where = f"the angle of {self._where()}" if self._path else "the global phase"
                    raise InvalidInputError(f"Cannot read {where}: {error.message}") from error
                rotation = Rotation(x, z, ctrl_mask, ctrl_value, slot, theta)
            if slot < 0 and (not touched or not theta):
                self._phase -= theta / 2
                continue
            if touched & measured:
                raise self._after_measurement(touched)
            self._acted |= touched
            self._instructions.append(rotation)

    def _cut(self) -> None:
        """After an operation of the circuit itself or of a block."""
        if len(self._path) == 1 + self._depth:
            self._cuts.append(len(self._instructions))

    def _append(self, instruction: Diagonal | Matrix | Channel) -> None:
        touched = support(instruction)
        if touched & self._measured:
            raise self._after_measurement(touched)
        self._acted |= touched
        self._instructions.append(instruction)

    def _channel(self, channel: PlacedChannel, qubits: tuple[int, ...]) -> None:
        """Write a channel, unless it leaves fresh qubits be.

        Schedules hold delays of all qubits of a device: the idle ones relax to the state that they are in.
        """
        if channel.keeps_zero and self._fresh(sum(1 << qubit for qubit in qubits)):
            return
        if channel.family is None:
            self._append(Channel(qubits, channel.matrix))
            return
        try:
            slots, constants = zip(*(self.table.angle((1.0,), 0.0, (p,)) for p in channel.parameters), strict=True)
        except InvalidInputError as error:
            what = f"the parameters {', '.join(map(str, channel.parameters))} of {channel.family.name}"
            raise InvalidInputError(f"Cannot read {what}, noise of {self._where()}: {error.message}") from error
        self._append(Channel(qubits, None, channel.family, slots, constants))

    def _fresh(self, qubits: int) -> bool:
        """Whether nothing has acted on these qubits, given as a mask."""
        return not self._unitary and not qubits & (self.active | self._measured)

    def _require_free(self, operands: Operands) -> None:
        if operands.controls != FREE or self._unitary:
            raise self._refusal("only unitaries can be controlled by qubits or inverted")

    def _retire(self, qubit: int) -> None:
        """Leave a qubit as it is, under a number of its own, and go on with a fresh one in its place."""
        bit, number = 1 << qubit, -1
        if self.active & bit:
            number = self.num_qubits + self.num_resets
            self.num_resets += 1

        def mask(qubits: int) -> int:
            return qubits ^ bit | 1 << number if qubits & bit else qubits

        def place(other: int) -> int:
            return number if other == qubit else other

        self._instructions = [
            renumbered(each, mask, place) if support(each) & bit else each for each in self._instructions
        ]
        self.measurements = [replace(each, qubit=place(each.qubit)) for each in self.measurements]
        self.pieces = [(tuple(map(place, qubits)), amplitudes) for qubits, amplitudes in self.pieces]
        if self.encoding is not None:
            self.encoding = replace(self.encoding, qubits=tuple(map(place, self.encoding.qubits)))
        self._acted, self._prepared = mask(self._acted), mask(self._prepared)
        self._measured &= ~bit
        if self.active.bit_count() > MAX_QUBITS:
            raise self._refusal(
                f"the circuit has {self.num_qubits} qubits and resets {self.num_resets} of them after their first use. "
                f"Exact values need a fresh qubit for each of these, {MAX_QUBITS} qubits in all at the most; "
                "FusedSimulator and FusedSampler have no such limit"
            )

    @contextmanager
    def _at_place(self) -> Iterator[None]:
        """Say in an error at which instruction it was."""
        try:
            yield
        except (InvalidInputError, UnsupportedInstructionError) as error:
            raise type(error)(self._refusal(error.message.rstrip(".")).message) from error

    def _after_measurement(self, touched: int) -> UnsupportedInstructionError:
        qubits = [str(qubit) for qubit in range(self.num_qubits) if touched & self._measured & 1 << qubit]
        return self._refusal(
            f"it acts on qubit {', '.join(qubits)} after a measurement; mid-circuit "
            "measurements have no values or gradients, and only FusedSimulator and FusedSampler run them"
        )

    def _refusal(self, reason: str) -> UnsupportedInstructionError:
        return UnsupportedInstructionError(f"Cannot run {self._where()}: {reason}.")

    def _where(self) -> str:
        """The instruction being written, from the outermost circuit inwards."""
        path = self._path
        first, *inner = (f"instruction {position} ({name!r})" for position, name in path[:LEVELS_SHOWN])
        if len(path) > 2 * LEVELS_SHOWN:
            inner.append(f"and {len(path) - 2 * LEVELS_SHOWN} levels deeper")
        inner += (f"instruction {position} ({name!r})" for position, name in path[LEVELS_SHOWN:][-LEVELS_SHOWN:])
        return first + " of the circuit" + "".join(f", in its definition {place}" for place in inner)
