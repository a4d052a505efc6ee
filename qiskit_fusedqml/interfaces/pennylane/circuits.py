"""Reads tapes: what two tapes have in common is their structure, and what differs are numbers.

The structure of a tape is everything but the angles: which operations act on which wires, constant matrices, what is
measured. It is a hashable key, found in one pass over the tape, and under it the compiled circuit is kept. The numbers
are the values of the angle map's parameters, one column each, and the amplitudes of a `StatePrep` at the start.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.operation import StatePrepBase

from ...ir.angles import AngleMap
from ...ir.gates import (
    Factor,
    GateRow,
    PlacedFactor,
    place,
)
from ...ir.program import (
    MAX_QUBITS,
    Diagonal,
    Instruction,
    Matrix,
    Program,
    Rotation,
)
from .observables import identity as observable_identity
from .operations import (
    PLAIN,
    Meaning,
    holds_matrix,
    identity,
    labels,
    meaning,
)
from .whole import (
    Layout,
    Positions,
    Structure,
    WholeCircuit,
)

Floats = NDArray[np.float64]
Wire = Hashable

_FLIP = GateRow(1, 1, (Factor("X", (1.0,)), Factor("I", (-1.0,))))
"""X to the power of a bit, for the angle ``pi * bit``."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A tape as structure and numbers.

    Attributes:
        key: The structure.
        tape: The tape.
        operations: Its operations.
        data: Their parameters: in order, or as the layout says.
        layout: Where the parameters are in ``data`` if they are not in order.
    """

    key: Hashable
    tape: Any
    operations: Sequence[Any]
    data: Sequence[Any]
    layout: Layout | None = None

    def place(self, index: int) -> int | Positions:
        """Which parameter of the operations a number of the tape is, or which are stacked in it; -1 for none."""
        if index >= len(self.data):
            return -1
        return index if self.layout is None else self.layout.positions[index]


def read(tape: Any, wires: tuple[Wire, ...] | None) -> Reading:
    """The structure and the numbers of a tape.

    Args:
        tape: The tape; its operations have meanings, but for a preparation at the start.
        wires: The device's wires in order, or None to find them in the tape.
    """
    operations, layout = tape.operations, None
    if len(operations) == 1 and type(operations[0]) is WholeCircuit:
        whole = operations[0]
        operations, structure, data, layout = whole.operations, whole.structure, whole.data, whole.layout
    else:
        structure, data = read_operations(operations)
    measured = tuple([(type(m), m.wires.labels, observable_identity(m)) for m in tape.measurements])
    return Reading((wires, structure, measured), tape, operations, data, layout)


def read_operations(operations: Sequence[Any]) -> tuple[Structure, list[Any]]:
    """What operations are, and their parameters in order."""
    names: list[Any] = []
    data: list[Any] = []
    for op in operations:
        kind = type(op)
        names.append((kind, labels(op)) if kind in PLAIN or issubclass(kind, StatePrepBase) else identity(op))
        if op.data:
            data.extend(op.data)
    return Structure(tuple(names)), data


def wire_order(
    operations: Sequence[Any], measurements: Sequence[Any], wires: tuple[Wire, ...] | None
) -> tuple[Wire, ...]:
    """The wires of the simulation: the device's, or in their absence the tape's in the framework's standard order."""
    if wires is not None:
        return wires
    found = qml.wires.Wires.all_wires([op.wires for op in operations])
    acted = set(found)
    rest = {wire for m in measurements for wire in m.wires if wire not in acted}
    count = len(acted) + len(rest)
    if acted == set(range(len(acted))) and rest == set(range(len(acted), count)):
        return tuple(range(count)) or (0,)
    return (*found.labels, *dict.fromkeys(wire for m in measurements for wire in m.wires if wire in rest)) or (0,)


@dataclass(frozen=True, slots=True)
class Column:
    """Where a parameter of the program comes from.

    Attributes:
        position: Index among the tape's parameters.
        bit: Which entry of a basis state's bits; -1 for an angle.
    """

    position: int
    bit: int = -1


class Circuit:
    """The program of all tapes of one structure.

    Args:
        operations: The operations of one of them.
        order: The wires; the first one is the highest bit of an amplitude's index.

    Attributes:
        wires: The wires in order.
        num_qubits: Their number n.
        program: The program.
        columns: Its parameters.
        has_amplitudes: Whether the first operation prepares amplitudes, other than those of a basis state.
        ends: How many instructions and angles there are after the first k operations.
    """

    def __init__(self, operations: Sequence[Any], order: tuple[Wire, ...]) -> None:
        self.wires = order
        self.num_qubits = len(order)
        if self.num_qubits > MAX_QUBITS:
            raise DeviceError(f"The circuit has {self.num_qubits} wires; at most {MAX_QUBITS} are possible.")
        self.qubit = {wire: self.num_qubits - 1 - index for index, wire in enumerate(order)}
        self.columns: list[Column] = []
        self.has_amplitudes = False
        self._instructions: list[Instruction] = []
        self._constants: list[float] = []
        self._terms: list[tuple[int, int, float]] = []
        self._columns_of: dict[Positions, NDArray[np.intp]] = {}
        self._rest: dict[tuple[int, ...], NDArray[np.intp]] = {}
        self._trained: dict[frozenset[int | Positions], tuple[int, ...]] = {}
        position = 0
        self.ends = [(0, 0)]
        for index, op in enumerate(operations):
            self._write(op, position, first=index == 0)
            self.ends.append((len(self._instructions), len(self._constants)))
            position += len(op.data)
        self.program = Program(self.num_qubits, len(self._constants), tuple(self._instructions))

    @cached_property
    def column_of(self) -> dict[int, int]:
        """From positions of angles among the tape's parameters to columns."""
        return {column.position: k for k, column in enumerate(self.columns) if column.bit < 0}

    @cached_property
    def _columns_at(self) -> dict[int, list[int]]:
        result: dict[int, list[int]] = {}
        for k, column in enumerate(self.columns):
            result.setdefault(column.position, []).append(k)
        return result

    @cached_property
    def is_plain(self) -> bool:
        """Whether the columns are the tape's first parameters in order."""
        return all(column == Column(k) for k, column in enumerate(self.columns))

    def columns_of(self, place: int | Positions) -> int | NDArray[np.intp] | None:
        """The column of an angle by its position, or of several (k,); None for what is no angle."""
        return self.column_of.get(place) if isinstance(place, int) else self.columns_together(place)

    def columns_together(self, positions: Positions) -> NDArray[np.intp]:
        """The columns (k,) of angles."""
        found = self._columns_of.get(positions)
        if found is None:
            found = self._columns_of[positions] = np.array([self.column_of[k] for k in positions], dtype=np.intp)
        return found

    def columns_at(self, position: int) -> list[int]:
        """All columns that a parameter has: one for an angle, one for each bit of a basis state, none for a matrix."""
        return self._columns_at.get(position, [])

    def rest(self, columns: tuple[int, ...]) -> NDArray[np.intp]:
        """The other columns."""
        found = self._rest.get(columns)
        if found is None:
            found = self._rest[columns] = np.setdiff1d(np.arange(len(self.columns)), columns)
        return found

    def trained(self, places: frozenset[int | Positions]) -> tuple[int, ...]:
        """The columns of the angles at these places, ascending; what is no angle has none."""
        result = self._trained.get(places)
        if result is None:
            found = [columns for place in places if (columns := self.columns_of(place)) is not None]
            result = self._trained[places] = tuple(np.unique(np.hstack(found)).tolist()) if found else ()
        return result

    def places(self, wires: Sequence[Wire]) -> NDArray[np.intp]:
        """Indices (2**k,) of amplitudes with all other wires 0, by the bits of k wires, the first one highest."""
        bits = np.arange(2 ** len(wires), dtype=np.intp)
        shifts = [(bits >> k & 1) << self.qubit[wire] for k, wire in enumerate(reversed(wires))]
        return np.asarray(np.sum(shifts, axis=0), dtype=np.intp)

    def angle_map(self, order: Sequence[int]) -> AngleMap:
        """The angles as functions of the columns in another order: column ``order[j]`` is the map's parameter j.

        A negative entry stands for a parameter that no angle depends on.
        """
        number = np.zeros(len(self.columns), dtype=np.intp)
        for index, column in enumerate(order):
            if column >= 0:
                number[column] = index
        slots, columns, coefficients = zip(*self._terms, strict=True) if self._terms else ((), (), ())
        return AngleMap(
            len(order),
            np.array(self._constants, dtype=np.float64),
            np.array(slots, dtype=np.intp),
            number[np.array(columns, dtype=np.intp)],
            np.array(coefficients, dtype=np.float64),
        )

    def _write(self, op: Any, position: int, *, first: bool) -> None:
        if isinstance(op, StatePrepBase):
            if not first:
                raise DeviceError(f"{op} is possible as the first operation of a circuit only.")
            self._prepare(op, position)
            return
        found = meaning(op)
        if found is None:
            raise DeviceError(f"Operation {op} is not supported; qml.compile or a decomposition may help.")
        if found.row is None:
            self._append_matrix(found)
        else:
            first_column = len(self.columns)
            self.columns.extend(Column(position + k) for k in range(len(op.data)))
            self._append_row(found, found.row, first_column)

    def _prepare(self, op: Any, position: int) -> None:
        if not isinstance(op, qml.BasisState):
            self.has_amplitudes = True
            return
        for bit, wire in enumerate(op.wires.labels):
            self.columns.append(Column(position, bit))
            self._append_row(Meaning((wire,), _FLIP), _FLIP, len(self.columns) - 1)

    def _append_row(self, found: Meaning, row: GateRow, first_column: int) -> None:
        for factor in place(row, [self.qubit[wire] for wire in found.wires], *self._mask(found)):
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

    def _append_matrix(self, found: Meaning) -> None:
        assert found.matrix is not None
        # the first wire is the highest bit; the controls come above
        controls = [(self.qubit[wire], value) for wire, value in reversed(found.controls)]
        qubits = (*(self.qubit[wire] for wire in reversed(found.wires)), *(qubit for qubit, _ in controls))
        size, whole = len(found.matrix), 2 ** len(qubits)
        start = size * sum(1 << k for k, (_, value) in enumerate(controls) if value)
        if found.matrix.ndim == 1:
            table = np.ones(whole, dtype=np.complex128)
            table[start : start + size] = found.matrix
            self._instructions.append(Diagonal(qubits, table))
            return
        matrix = np.eye(whole, dtype=np.complex128)
        matrix[start : start + size, start : start + size] = found.matrix
        self._instructions.append(Matrix(qubits, matrix))

    def _mask(self, found: Meaning) -> tuple[int, int]:
        bits = [(1 << self.qubit[wire], value) for wire, value in found.controls]
        return sum(bit for bit, _ in bits), sum(bit for bit, value in bits if value)


def is_supported(op: Any) -> bool:
    """Whether an operation needs no decomposition."""
    return type(op) in PLAIN or meaning(op) is not None


def is_batched_constant(op: Any) -> bool:
    """Whether an operation's matrix differs from sample to sample, which a program cannot hold."""
    return op.batch_size is not None and holds_matrix(op)
