"""Basis columns: many samples of a few qubits that differ in their encoding only.

A circuit that encodes its inputs first and has no input-dependent gate afterwards is ``U(w) E(x)``. For more samples
than the 2**n basis states it is cheaper to sweep the columns of U once than every sample. With the encoded states as
rows of Phi (B, 2**n) and U's columns as rows of C (2**n, 2**n), the final states are the rows of ``Phi C``; the
gradient of U's weights is that of one backward sweep on C with the bra ``Phi^dagger Bra`` (2**n, 2**n), because ::

    sum_b Im <bra_b| G |ket_b>  =  sum_j Im <sum_b conj(Phi[b, j]) bra_b | G | C_j>.

The two products cost 8 * 2**n multiply-adds per amplitude and sample at the speed of a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import ComplexArray, FloatArray
from ..devices import Device, State
from ..ir.angles import AngleMap
from ..ir.program import Program, support
from ..ir.slots import numbered, slots_of
from ..planner.frame import Frame
from .parameters import NO_PARAMETERS, ParameterBatch
from .sweeps import EncodedSweeps, PlannedSweeps, PlanRequest, Residuals

MAX_QUBITS = 10
"""Wider circuits rarely have more samples than basis states."""

PRODUCT_COST = 0.5
"""Cost of a multiply-add of a matrix product, that of a sweep being 1."""

CONVERSION_COST = 60.0
"""Multiply-adds worth the copies of Phi, ket and bra, per amplitude and sample."""

SMALLEST_GAIN = 4e6
"""Multiply-adds that must be saved: the steps here cost some tenths of a millisecond of their own."""


class ColumnResiduals(NamedTuple):
    """What the forward sweep leaves: the columns' residuals, the encoded states Phi, and the columns C."""

    ansatz: Residuals
    encoded: ComplexArray
    columns: State


def find_basis_columns(
    program: Program, angle_map: AngleMap, device: Device, request: PlanRequest
) -> BasisColumnSweeps | None:
    """The sweeps by columns, or None where they are impossible or far from paying; all samples start alike."""
    size = 2**program.num_qubits
    start = np.eye(size, dtype=np.complex128) if program.num_qubits <= MAX_QUBITS else None
    parts = encoding_and_rest(program, angle_map, request, start)
    if parts is None or start is None or len(parts[1][0].instructions) < size:
        return None
    (encoder, encoder_map), (ansatz, ansatz_map) = parts
    encoding = PlanRequest(request.batched, NO_PARAMETERS, 2 * size)
    columns = PlanRequest(NO_PARAMETERS, request.wanted, size, populations=request.populations)
    return BasisColumnSweeps(
        PlannedSweeps(encoder, encoder_map, device.cost_model, encoding, device.coefficient_map),
        PlannedSweeps(ansatz, ansatz_map, device.cost_model, columns, device.coefficient_map),
        start,
    )


class BasisColumnSweeps(EncodedSweeps):
    """`Sweeps` of a program ``U(w) E(x)`` by the columns of U.

    Args:
        encoder: E, without gradients.
        ansatz: U, of which no angle is batched.
        start: The identity matrix, the columns' first states.
    """

    forward_states = 4

    def __init__(self, encoder: PlannedSweeps, ansatz: PlannedSweeps, start: NDArray[np.complex128]) -> None:
        super().__init__(encoder, ansatz)
        self._start = start
        self._size = len(start)
        self.frame = Frame.identity(self._size.bit_length() - 1)
        self.shared_bytes = ansatz.shared_bytes + 5 * start.nbytes
        self._indices = ansatz.frame.indices()

    def pays(self, batch: int) -> bool:
        """Whether the columns are cheaper than one sweep for each of the samples."""
        encoder, ansatz = self._encoder.plan.work, self._ansatz.plan.work
        back = ansatz.backward > 0
        by_sample = batch * (encoder.forward + ansatz.forward + ansatz.backward)
        products = PRODUCT_COST * (8.0 if back else 4.0) * self._size + CONVERSION_COST
        by_column = batch * (encoder.forward + products) + self._size * (ansatz.forward + ansatz.backward)
        return (by_sample - by_column) * self._size > SMALLEST_GAIN

    def forward(
        self,
        device: Device,
        parameters: ParameterBatch,
        initial_states: NDArray[np.complex128] | None,
        checkpoints: int = 0,
    ) -> tuple[ColumnResiduals, State]:
        """See `Sweeps.forward`; the ket is in the identity frame."""
        _, encoded = self._encoder.forward(device, parameters, initial_states)
        phi = device.amplitudes(encoded, self._encoder.frame)
        of_columns = ParameterBatch(parameters.shared, NO_PARAMETERS, np.empty((self._size, 0)), self._size)
        residuals, columns = self._ansatz.forward(device, of_columns, self._start, checkpoints)
        final = phi @ device.amplitudes(columns, self._ansatz.frame)
        ket = device.allocate(self.tape, parameters.batch, np.asarray(final, dtype=np.complex128))
        return ColumnResiduals(residuals, phi, columns), ket

    def backward(
        self, device: Device, residuals: ColumnResiduals, ket: State, bra: State, *, per_sample: bool, last: bool = True
    ) -> tuple[FloatArray, None]:
        """See `Sweeps.backward`; ``per_sample`` must be false, and there is one backward sweep only."""
        del ket
        assert not per_sample
        assert last
        placed = np.empty((self._size, self._size), dtype=np.complex128)
        placed[:, self._indices] = residuals.encoded.conj().T @ device.amplitudes(bra, self.frame)
        bra_columns = device.allocate(self.tape, self._size, placed)
        gradients, _ = self._ansatz.backward(
            device, residuals.ansatz, residuals.columns, bra_columns, per_sample=False, last=last
        )
        return gradients, None


def encoding_and_rest(
    program: Program, angle_map: AngleMap, request: PlanRequest, start: NDArray[np.complex128] | None = None
) -> tuple[tuple[Program, AngleMap], tuple[Program, AngleMap]] | None:
    """The program as one that differs from sample to sample and one, from ``start``, that does not.

    The first has the batched instructions and those before them that share qubits with later ones of its own; all
    others commute to behind it. None where no instruction is batched, or the first has parameters that are wanted.
    """
    depends = angle_map.depends_on(request.batched.indices)
    inside = [False] * len(program.instructions)
    mask = 0
    for position in range(len(inside) - 1, -1, -1):
        instruction = program.instructions[position]
        qubits = support(instruction)
        if qubits & mask or any(depends[slot] for slot in slots_of(instruction)):
            inside[position] = True
            mask |= qubits
    encoder, encoder_map = _part(program, angle_map, inside, program.initial_state)
    if not mask or encoder_map.depends_on(request.wanted.indices).any():
        return None
    return (encoder, encoder_map), _part(program, angle_map, [not chosen for chosen in inside], start)


def _part(
    program: Program, angle_map: AngleMap, chosen: Sequence[bool], initial_state: NDArray[np.complex128] | None
) -> tuple[Program, AngleMap]:
    """Some instructions as a program of their own."""
    instructions, used = numbered(compress(program.instructions, chosen))
    return Program(program.num_qubits, len(used), instructions, initial_state), angle_map.select(used)
