"""Basis columns: many samples of a few qubits that differ in their encoding only.

A circuit that encodes its inputs first and has no input-dependent gate afterwards is ``U(w) E(x)``. For more samples
than the 2**n basis states it is cheaper to sweep the columns of U once than every sample. With the encoded states as
rows of Phi (B, 2**n) and U's columns as rows of C (2**n, 2**n), the final states are the rows of ``Phi C``; the
gradient of U's weights is that of one sweep back on C with the bra ``Phi^dagger Bra`` (2**n, 2**n), because

    sum_b Im <bra_b| G |ket_b>  =  sum_j Im <sum_b conj(Phi[b, j]) bra_b | G | C_j>.

The two products cost 8 * 2**n multiply-adds per amplitude and sample at the speed of a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray
from ..devices import Device, State
from ..devices.reference import logical_rows
from ..ir.angles import AngleMap
from ..ir.observables import PauliSum
from ..ir.program import Instruction, Program, Rotation
from ..planner.frame import Frame
from .binding import Binding, BoundBatch
from .parameters import ParameterBatch, ParameterSet, first_parameters

MAX_QUBITS = 10
"""Beyond that nobody has more samples than basis states by far."""

PRODUCT_COST = 0.5
"""Cost of a multiply-add of a matrix product, that of a sweep being 1."""

CONVERSION_COST = 60.0
"""Multiply-adds worth the copies of Phi, ket and bra, per amplitude and sample."""

SMALLEST_GAIN = 4e6
"""Multiply-adds that must be saved: the steps of this way cost some tenths of a millisecond of their own."""


class HeldColumns(NamedTuple):
    """What the way forward leaves for the way back."""

    bound: BoundBatch
    encoded: ComplexArray
    columns: State


def find_columns(
    program: Program,
    angle_map: AngleMap,
    device: Device,
    varying: ParameterSet,
    wanted: ParameterSet,
    *,
    populations: bool,
) -> Columns | None:
    """The sweeps by columns, or None where they are impossible or far from paying.

    Args:
        program: The program; all rows start from the same state.
        angle_map: Its angles.
        device: The device.
        varying: The parameters that differ from row to row.
        wanted: The parameters whose gradients are wanted.
        populations: Whether only the absolute values of the final amplitudes matter.
    """
    cut = _encoding_length(program, angle_map, varying)
    rest = len(program.instructions) - cut
    if not cut or program.num_qubits > MAX_QUBITS or rest < 2**program.num_qubits:
        return None
    encoder, encoder_map = _part(program, angle_map, program.instructions[:cut], program.initial_state)
    if encoder_map.depends_on(wanted.indices).any():
        return None
    size = 2**program.num_qubits
    start = np.eye(size, dtype=np.complex128)
    nothing = first_parameters(0)
    ansatz, ansatz_map = _part(program, angle_map, program.instructions[cut:], start)
    return Columns(
        Binding(
            encoder,
            encoder_map,
            device.cost_model,
            varying=varying.indices,
            wanted=nothing.indices,
            batch=2 * size,
            keep_phase=False,
            coefficient_map=device.coefficient_map,
        ),
        Binding(
            ansatz,
            ansatz_map,
            device.cost_model,
            varying=nothing.indices,
            wanted=wanted.indices,
            batch=size,
            keep_phase=False,
            coefficient_map=device.coefficient_map,
            populations=populations,
        ),
        start,
    )


class Columns:
    """The sweeps of a program ``U(w) E(x)`` by the columns of U; same face as `Binding`.

    Args:
        encoder: E, without gradients.
        ansatz: U, of which no angle varies.
        start: The identity matrix, the columns' first states.

    Attributes:
        frame: The frame of the final states.
        states: Memory of the way forward, in states of the whole batch.
    """

    states = 4

    def __init__(self, encoder: Binding, ansatz: Binding, start: NDArray[np.complex128]) -> None:
        self._encoder = encoder
        self._ansatz = ansatz
        self._start = start
        self._size = len(start)
        self.frame = Frame.identity(self._size.bit_length() - 1)
        self._rows = logical_rows(ansatz.frame)

    @property
    def places(self) -> int:
        """See `Binding.places`."""
        return self._ansatz.places

    @property
    def operations(self) -> int:
        """See `Binding.operations`."""
        return self._ansatz.operations

    @property
    def shared_bytes(self) -> int:
        """See `Binding.shared_bytes`."""
        return self._ansatz.shared_bytes + 5 * self._start.nbytes

    def row_bytes(self, *, by_row: bool) -> int:
        """See `Binding.row_bytes`."""
        return self._encoder.row_bytes(by_row=by_row)

    def table_bytes(self, checkpoints: int) -> int:
        """See `Binding.table_bytes`."""
        return self._ansatz.table_bytes(checkpoints)

    def pays(self, batch: int) -> bool:
        """Whether the columns are cheaper than one sweep for each of the rows."""
        encoder, ansatz = self._encoder.plan.work, self._ansatz.plan.work
        back = ansatz.backward > 0
        by_sample = batch * (encoder.forward + ansatz.forward + ansatz.backward)
        products = PRODUCT_COST * (8.0 if back else 4.0) * self._size + CONVERSION_COST
        by_column = batch * (encoder.forward + products) + self._size * (ansatz.forward + ansatz.backward)
        return (by_sample - by_column) * self._size > SMALLEST_GAIN

    def forward(
        self,
        device: Device,
        rows: ParameterBatch,
        initial_state: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[HeldColumns, State]:
        """See `Binding.forward`; the ket is in the identity frame."""
        _, encoded = self._encoder.forward(device, rows, initial_state)
        phi = device.amplitudes(encoded, self._encoder.frame)
        tape = self._ansatz.plan.tape
        of_columns = ParameterBatch(rows.base, first_parameters(0), np.empty((self._size, 0)), by_row=False)
        bound, columns = self._ansatz.forward(device, of_columns, self._start, checkpoints)
        final = phi @ device.amplitudes(columns, self._ansatz.frame)
        ket = device.allocate(tape, rows.batch, np.asarray(final, dtype=np.complex128))
        return HeldColumns(bound, phi, columns), ket

    def backward(
        self,
        device: Device,
        bound: HeldColumns,
        ket: State,
        observables: Sequence[PauliSum],
        cotangents: FloatArray,
        *,
        per_row: bool,
        last: bool = True,
    ) -> tuple[FloatArray, None]:
        """See `Binding.backward`; ``per_row`` must be false."""
        assert not per_row
        assert last
        bra = device.amplitudes(device.apply_observables(ket, self.frame, observables, cotangents), self.frame)
        placed = np.empty((self._size, self._size), dtype=np.complex128)
        placed[:, self._rows] = bound.encoded.conj().T @ bra
        tape = self._ansatz.plan.tape
        bra_columns = device.allocate(tape, self._size, placed)
        overlaps = self._ansatz.undo(device, bound.bound, bound.columns, bra_columns, per_sample=False)
        return self._ansatz.pullback(bound.bound, overlaps, per_row=False)[0], None


def _encoding_length(program: Program, angle_map: AngleMap, varying: ParameterSet) -> int:
    """Number of instructions up to the last one that differs from row to row."""
    batched = angle_map.depends_on(varying.indices)
    positions = [
        position
        for position, instruction in enumerate(program.instructions)
        if isinstance(instruction, Rotation) and instruction.slot >= 0 and batched[instruction.slot]
    ]
    return positions[-1] + 1 if positions else 0


def _part(
    program: Program,
    angle_map: AngleMap,
    instructions: Sequence[Instruction],
    initial_state: NDArray[np.complex128] | None,
) -> tuple[Program, AngleMap]:
    """Some instructions as a program of their own."""
    slots = sorted({i.slot for i in instructions if isinstance(i, Rotation) and i.slot >= 0})
    number = {slot: position for position, slot in enumerate(slots)}
    renumbered = tuple(
        i._replace(slot=number[i.slot]) if isinstance(i, Rotation) and i.slot >= 0 else i for i in instructions
    )
    return Program(program.num_qubits, len(slots), renumbered, initial_state), angle_map.select(slots)
