"""Tapes of matrices that are not unitary, and plans that go on where another tape ended."""

from __future__ import annotations

import numpy as np
import pytest
from support.interpreter import run_program
from support.programs import ProgramSampler

from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.program import Program
from qiskit_fusedqml.planner import fuse
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.matrices import backwards, matrices_tape
from qiskit_fusedqml.planner.tape import Tape

DEVICES = [ReferenceDevice(), CPUDevice("double", 1)]
BATCH = 9


@pytest.mark.parametrize("seed", range(30))
def test_a_plan_goes_on_where_another_ended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    program = ProgramSampler(rng, n).program(10)
    angles = rng.uniform(-4, 4, program.num_angles)
    model = CostModel(tile_qubits=int(rng.integers(1, 7)), fold_bits=int(rng.integers(4)))
    place = int(rng.integers(len(program.instructions) + 1))
    device, frame, ket = DEVICES[0], None, None
    for part in (program.instructions[:place], program.instructions[place:]):
        plan = fuse(Program(n, program.num_angles, part), model, start=frame)
        bound = CompiledCoefficientMap(plan.tables).bind(angles, np.empty((1, 0)))
        ket = device.allocate(plan.tape, 1, None) if ket is None else ket
        device.forward(plan.tape, bound.coefficients, ket)
        frame = plan.tape.frame
    np.testing.assert_allclose(device.amplitudes(ket, frame)[0], run_program(program, angles), atol=1e-11)


def coefficients(matrices: np.ndarray) -> _native.Coefficients:
    """Of batched matrices (m, 2, 2, B) alone."""
    return _native.Coefficients(
        np.empty((0, 2)),
        np.empty((0, 2, BATCH)),
        np.empty((0, 2, 2), complex),
        np.ascontiguousarray(matrices),
        np.empty(0),
        np.empty((0, BATCH)),
        np.empty(0),
    )


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
@pytest.mark.parametrize("seed", range(12))
def test_matrices_of_several_frames(seed: int, device: ReferenceDevice | CPUDevice) -> None:
    """Matrices on qubits between CX gates, which move no amplitude, beside the same on amplitudes in order."""
    rng = np.random.default_rng(seed)
    n, count = int(rng.integers(2, 6)), 7
    frame, virtual = Frame.identity(n), []
    states = rng.normal(size=(BATCH, 2**n, 2)) @ np.array([1, 1j])
    matrices = rng.normal(size=(count, 2, 2, BATCH, 2)) @ np.array([1, 1j])
    expected = states
    index = np.arange(2**n)
    for matrix in matrices:
        q = int(rng.integers(n))
        virtual.append((frame.columns[q], frame.duals[q]))
        own = index >> q & 1
        expected = matrix[own, own].T * expected + matrix[own, 1 - own].T * expected[:, index ^ 1 << q]
        control, target = rng.permutation(n)[:2].tolist()
        value = int(rng.integers(2))
        frame = frame.flipped(1 << target, control, value)
        expected = expected[:, index ^ ((index >> control & 1) == value) * (1 << target)]
    tape = matrices_tape(virtual, frame, int(rng.integers(1, n + 1)))
    ket = device.allocate(Tape(n, (), frame, 0), BATCH, states)
    device.forward(tape, coefficients(matrices), ket)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(device.amplitudes(ket, frame), expected, atol=1e-12 * scale)
    inverses = np.linalg.inv(matrices.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    device.forward(backwards(tape), coefficients(inverses), ket)
    np.testing.assert_allclose(device.amplitudes(ket, Frame.identity(n)), states, atol=1e-8)
