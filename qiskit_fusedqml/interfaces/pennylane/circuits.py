"""The program of all tapes of one structure, and which of their numbers its angles are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from ...arrays import IntArray
from ...ir.angles import AngleMap
from ...ir.channels import Channel
from ...ir.gates import Factor, GateRow, PlacedFactor, place, undone
from ...ir.matrices import dense, diagonal
from ...ir.program import MAX_QUBITS, Instruction, Program, Rotation, support
from ...ir.qubits import ActiveQubits
from .channels import Noise
from .operations import Meaning, Wire, is_noise, is_preparation, meaning
from .tapes import Positions

_BIT = -1
"""In place of a position: the column is pi times a bit of a basis state."""

_FLIP = GateRow(1, 1, (Factor("X", (1.0,)), Factor("I", (-1.0,))))
"""X to the power of a bit, for the angle ``pi * bit``."""


def all_qubits(order: Sequence[Wire]) -> dict[Wire, int]:
    """From wires to qubits, the first wire being the highest bit."""
    return {wire: len(order) - 1 - index for index, wire in enumerate(order)}


class Circuit:
    """The program of all tapes of one structure. Its parameters are columns: angles, and bits of a basis state.

    Args:
        operations: The operations of one of them.
        order: The wires; the first one is the highest bit of an amplitude's index.
        read: The wires that need amplitudes besides those that an operation acts on; None for all of them.
        mixed: Whether states are mixed even if no operation makes them so.

    Attributes:
        wires: The active wires, which have amplitudes, in order.
        num_qubits: Their number n.
        qubit: From these wires to qubits.
        active: Their qubits among those of all wires.
        program: The program.
        num_columns: Number of its parameters.
        num_bits: How many of them, the first ones, are bits of the basis state that is prepared.
        has_amplitudes: Whether the first operation prepares amplitudes, other than those of a basis state, or a density
            matrix.
        of_channels: The columns that channels depend on; the engine takes them as weights, of each sample or of all.
        ends: How many instructions there are after the first k operations.
        trained: From a frozen set of places to the columns of the angles there, ascending.
    """

    def __init__(
        self,
        operations: Sequence[Operator],
        order: tuple[Wire, ...],
        read: Iterable[Wire] | None = None,
        *,
        mixed: bool = False,
    ) -> None:
        self.qubit = all_qubits(order)
        self.has_amplitudes = False
        self.of_channels: set[int] = set()
        self._columns: list[int] = []
        self._instructions: list[Instruction] = []
        self._constants: list[float] = []
        self._terms: list[tuple[int, int, float]] = []
        self.ends = [0]
        position = 0
        for index, op in enumerate(operations):
            self._write(op, position, first=index == 0)
            self.ends.append(len(self._instructions))
            position += len(op.data)
        self.num_columns = len(self._columns)
        self.num_bits = self._columns.count(_BIT)
        self._column_of = {position: k for k, position in enumerate(self._columns) if position != _BIT}
        program = Program(len(order), len(self._constants), tuple(self._instructions))
        self._keep_active(program, order, {*operations[0].wires} if self.has_amplitudes else set(), read)
        own = self.active.program(program)
        if mixed and not own.is_noisy:
            own = replace(own, instructions=(*own.instructions, Channel((0,), np.eye(4))))
        self.program = own
        self._names = self._named(operations) if self.of_channels else []
        self._columns_together = lru_cache(maxsize=1024)(self._found_columns)
        self.trained = lru_cache(maxsize=1024)(self._trained)

    def _keep_active(
        self, program: Program, order: tuple[Wire, ...], prepared: set[Wire], read: Iterable[Wire] | None
    ) -> None:
        acted = 0
        for instruction in program.instructions:
            acted |= support(instruction)
        wanted = prepared.union(order if read is None else read)
        self.wires = tuple(w for w in order if w in wanted or acted >> self.qubit[w] & 1) or order[:1]
        self.num_qubits = len(self.wires)
        if self.num_qubits > MAX_QUBITS:
            raise DeviceError(
                f"{self.num_qubits} of the circuit's {len(order)} wires are acted on or needed for what is measured; "
                f"at most {MAX_QUBITS} are possible."
            )
        self.active = ActiveQubits(self.qubit[wire] for wire in reversed(self.wires))
        self.qubit = all_qubits(self.wires)

    def columns_of(self, place: int | Positions) -> int | IntArray | None:
        """The column of an angle by its position, or the columns (k,) of several; None for what is no angle."""
        return self._column_of.get(place) if isinstance(place, int) else self._columns_together(place)

    def amplitudes_of(self, wires: Sequence[Wire]) -> IntArray:
        """Indices (2**k,) of amplitudes with all other wires 0, by the bits of k wires, the first one highest."""
        bits = np.arange(2 ** len(wires), dtype=np.intp)
        shifts = [(bits >> k & 1) << self.qubit[wire] for k, wire in enumerate(reversed(wires))]
        return np.asarray(np.sum(shifts, axis=0), dtype=np.intp)

    def angle_map(self, order: Sequence[int] | IntArray) -> AngleMap:
        """The angles as functions of the columns in another order: column ``order[j]`` is the map's parameter j."""
        number = np.argsort(order)
        slots, columns, coefficients = zip(*self._terms, strict=True) if self._terms else ((), (), ())
        return AngleMap(
            len(order),
            np.array(self._constants, dtype=np.float64),
            np.array(slots, dtype=np.intp),
            number[np.array(columns, dtype=np.intp)],
            np.array(coefficients, dtype=np.float64),
            names=tuple(self._names[column] for column in order) if self._names else (),
        )

    def _found_columns(self, places: Positions) -> IntArray:
        return np.array([self._column_of[k] for k in places], dtype=np.intp)

    def _trained(self, places: frozenset[int | Positions]) -> tuple[int, ...]:
        found = [columns for place in places if (columns := self.columns_of(place)) is not None]
        return tuple(np.unique(np.hstack(found)).tolist()) if found else ()

    def _named(self, operations: Sequence[Operator]) -> list[str]:
        """The columns' names, for messages."""
        names = [f"{op.name} {k} on {op.wires.tolist()}" for op in operations for k in range(len(op.data))]
        return ["a bit" if position == _BIT else names[position] for position in self._columns]

    def _write(self, op: Operator, position: int, *, first: bool) -> None:
        if is_preparation(op) and (first or not is_noise(op)):
            if not first:
                raise DeviceError(f"{op} is possible as the first operation of a circuit only.")
            self.has_amplitudes = not isinstance(op, qml.BasisState)
            for wire in () if self.has_amplitudes else op.wires.labels:
                self._append_row(Meaning((wire,), _FLIP), _FLIP, [_BIT])
            return
        found = meaning(op)
        if found is None:
            raise DeviceError(f"Operation {op} is not supported; qml.compile or a decomposition may help.")
        if found.noise is not None:
            self._append_noise(found, found.noise, position)
        elif found.matrix is not None:
            self._append_matrix(found, found.matrix)
        elif found.row is not None:
            self._append_row(found, found.row, range(position, position + len(op.data)))

    def _append_row(self, found: Meaning, row: GateRow, positions: Sequence[int]) -> None:
        first_column = len(self._columns)
        self._columns.extend(positions)
        for factor in place(row, [self.qubit[wire] for wire in found.wires], *self._controls(found)):
            self._append_factor(factor, first_column)

    def _append_factor(self, factor: PlacedFactor, first_column: int) -> None:
        masks = (factor.x, factor.z, factor.ctrl_mask, factor.ctrl_value)
        if not any(factor.coefficients):
            self._instructions.append(Rotation(*masks, theta=factor.constant))
            return
        slot = len(self._constants)
        self._constants.append(factor.constant)
        self._terms += [(slot, first_column + k, c) for k, c in enumerate(factor.coefficients) if c]
        self._instructions.append(Rotation(*masks, slot=slot))

    def _append_noise(self, found: Meaning, noise: Noise, position: int) -> None:
        frame = noise.frame or GateRow(0)
        self._append_row(found, GateRow(frame.num_targets, 0, frame.factors), ())
        qubits = tuple([self.qubit[wire] for wire in reversed(found.wires[-noise.num_wires :])])
        if noise.family is None:
            self._columns.extend(range(position, position + noise.num_unused))
            self._instructions.append(Channel(qubits, noise.transfer))
        else:
            first_column, first_slot = len(self._columns), len(self._constants)
            count = len(noise.parameters)
            self._columns.extend(range(position, position + count))
            self.of_channels.update(range(first_column, first_column + count))
            self._constants += [0.0] * count
            slots = tuple(range(first_slot, first_slot + count))
            self._terms += [
                (slot, first_column + k, factor) for slot, (k, factor) in zip(slots, noise.parameters, strict=True)
            ]
            self._instructions.append(Channel(qubits, None, noise.family, slots, (0.0,) * count))
        self._append_row(found, GateRow(frame.num_targets, 0, undone(frame.factors)), ())

    def _append_matrix(self, found: Meaning, matrix: NDArray[np.complex128]) -> None:
        targets = tuple([self.qubit[wire] for wire in reversed(found.wires)])  # the first wire is the highest bit
        controls = self._controls(found)
        one = diagonal(matrix, targets, controls) if matrix.ndim == 1 else None
        written = dense(matrix, targets, controls) if one is None else [one]
        assert written is not None  # `meaning` gives what fits
        self._instructions += written

    def _controls(self, found: Meaning) -> tuple[int, int]:
        """Mask and values of the controls."""
        controls = [(1 << self.qubit[wire], value) for wire, value in found.controls]
        return sum(bit for bit, _ in controls), sum(bit for bit, value in controls if value)
