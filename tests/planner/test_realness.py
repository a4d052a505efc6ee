"""Real programs are found, and their plans are real operation by operation and do what the program does."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from planner.test_compiled import differences
from support.interpreter import run_program
from support.programs import ProgramSampler, RealSampler

from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.reference import ReferenceDevice, apply
from qiskit_fusedqml.ir.program import Diagonal, Matrix, Program, Rotation
from qiskit_fusedqml.planner import Plan, collector, fuse
from qiskit_fusedqml.planner.compiled import CompiledSteps
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.realness import is_real
from qiskit_fusedqml.planner.steps import PythonSteps, Task
from qiskit_fusedqml.planner.tape import RY, Diag

DEVICE = ReferenceDevice()
MODEL = CostModel(tile_qubits=3, table_qubits=2, real_states=True)
H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def real_program(seed: int, most: int = 6) -> Program:
    rng = np.random.default_rng(seed)
    return RealSampler(rng, int(rng.integers(1, most + 1))).program(int(rng.integers(1, 25)))


def largest_imaginary_part(plan: Plan, angles: np.ndarray) -> float:
    """Of a real state, after any of the operations; NaN where the tape does not end in what it starts from."""
    coefficients = CompiledCoefficientMap(plan.tables).bind(angles, np.empty((1, 0))).coefficients
    state = DEVICE.allocate(plan.tape, 1, None)
    largest = 0.0
    for block in plan.tape.blocks:
        for operation in block.operations:
            state = apply(operation, coefficients, state, inverse=False)
            largest = max(largest, float(np.abs(state.imag).max()))
    return largest


@pytest.mark.parametrize("seed", range(40))
def test_plans_of_real_programs_are_real_and_do_the_same(seed: int) -> None:
    program = real_program(seed)
    assert is_real(program, keep_phase=True)
    angles = np.random.default_rng(seed).uniform(-4, 4, program.num_angles)
    expected = run_program(program, angles)
    assert np.abs(expected.imag).max() < 1e-12
    for keep_phase in (False, True):
        plan = fuse(program, MODEL, keep_phase=keep_phase, wanted_slots=frozenset(range(program.num_angles)))
        assert plan.tape.is_real
        assert plan.summary()["is_real"]
        assert largest_imaginary_part(plan, angles) < 1e-12
        ket = DEVICE.allocate(plan.tape, 1, None)
        DEVICE.forward(plan.tape, CompiledCoefficientMap(plan.tables).bind(angles, np.empty((1, 0))).coefficients, ket)
        found = DEVICE.amplitudes(ket, plan.tape.frame)[0]
        sign = 1.0 if keep_phase else np.sign(np.vdot(found, expected).real)
        np.testing.assert_allclose(found, sign * expected, atol=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_windows_do_not_part_what_is_real_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "WINDOW", 3)
    test_plans_of_real_programs_are_real_and_do_the_same(seed)
    task = task_of(real_program(seed), seed)
    assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == []


def test_cuts_may_part_it() -> None:
    cx = (Rotation(1, 0, 2, 2, theta=pi), Rotation(0, 0, 2, 2, theta=-pi))
    for cuts, expected in (((0, 2), True), ((1,), False)):
        for order in (1, -1):
            assert is_real(Program(2, 0, cx[::order], cuts=cuts), keep_phase=True) == expected


@pytest.mark.parametrize("seed", range(40))
def test_no_program_that_is_not_real_is_taken_for_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = ProgramSampler(rng, 3).program(int(rng.integers(1, 4)))
    angles = rng.uniform(-4, 4, program.num_angles)
    matrix = np.stack([run_program(replace(program, initial_state=e), angles) for e in np.eye(8, dtype=complex)])
    whole = matrix / matrix.flat[np.abs(matrix).argmax()]
    assert is_real(program, keep_phase=False) <= (np.abs(whole.imag).max() < 1e-9)
    assert is_real(program, keep_phase=True) <= (np.abs(matrix.imag).max() < 1e-9)


@pytest.mark.parametrize(
    "gate",
    [
        [Rotation(1, 0, slot=0)],
        [Rotation(0, 2, slot=0)],
        [Rotation(3, 0, slot=0)],
        [Rotation(0, 0, 1, 1, slot=0)],
        [Rotation(0, 1, theta=pi / 2)],
        [Rotation(1, 0, theta=pi / 2)],
        [Rotation(1, 0, theta=2 * pi)],
        [Rotation(0, 0, 3, 3, theta=pi)],
        [Rotation(0, 4, 3, 3, theta=pi)],
        [Rotation(1, 0, 2, 2, theta=pi)],
        [Rotation(1, 0, 2, 2, theta=pi), Rotation(0, 0, 2, 0, theta=-pi)],
        [Rotation(0, 0, 2, 2, theta=-pi), Rotation(1, 0, 2, 2, theta=pi / 2)],
        [Rotation(0, 0, 2, 2, theta=-pi), Rotation(0, 2, theta=pi)],
        [Rotation(1, 0, 2, 2, theta=pi), Rotation(1, 1, slot=0), Rotation(0, 0, 2, 2, theta=-pi)],
        [Rotation(1, 0, 6, 6, theta=pi), Rotation(0, 0, 6, 6, theta=-pi)],
        [Diagonal((0, 1), np.array([1, 1, 1, 1j]))],
        [Matrix((0, 1), np.diag([1, 1, 1, 1j]))],
        [Matrix((0,), np.diag([1, np.exp(0.1j)]))],
    ],
)
def test_complex_gates_are_found(gate: list[Rotation]) -> None:
    real = real_program(3).instructions
    assert is_real(Program(6, 100, real), keep_phase=False)
    program = Program(6, 100, (*real, *gate, *real))
    assert not is_real(program, keep_phase=False)
    assert not fuse(program, MODEL).tape.is_real


def test_who_gets_a_real_tape() -> None:
    program, frame = real_program(3), Frame.identity(6)
    assert fuse(program, MODEL).tape.is_real
    complex_start = np.zeros(2**program.num_qubits, complex)
    complex_start[0] = 1j
    assert fuse(replace(program, initial_state=1j * complex_start), MODEL).tape.is_real
    assert not fuse(replace(program, initial_state=complex_start), MODEL).tape.is_real
    assert not fuse(program, MODEL, any_start=True).tape.is_real
    assert not fuse(program, replace(MODEL, real_states=False)).tape.is_real
    assert not fuse(Program(6, 0, ()), MODEL, start=frame).tape.is_real
    phase = Program(1, 0, (Rotation(0, 0, theta=0.3),))
    assert fuse(phase, MODEL, keep_phase=False).tape.is_real
    assert not fuse(phase, MODEL, keep_phase=True).tape.is_real


def test_gates_that_change_signs_join_rotations_about_one_axis() -> None:
    """H, X and Z between RY cost nothing, whether or not the rest is real."""
    h = [Rotation(0, 1, theta=pi), Rotation(1, 1, theta=pi / 2)]
    for last in ([], [Rotation(0, 1, slot=2)]):
        program = Program(1, 3, (*h, Rotation(1, 1, slot=0), *h, Rotation(1, 1, slot=1), *last))
        plan = fuse(program, MODEL, keep_phase=False)
        assert not plan.tables.num_sequences
        operations = [operation for block in plan.tape.blocks for operation in block.operations]
        assert list(map(type, operations)) == [Diag, RY, Diag]


def test_half_of_the_work_and_of_the_bytes() -> None:
    program = Program(4, 4, tuple(Rotation(1 << q, 1 << q, slot=q) for q in range(4)))
    wanted = frozenset(range(4))
    model = replace(MODEL, tile_qubits=6)
    plans = [fuse(program, replace(model, real_states=real), wanted_slots=wanted) for real in (True, False)]
    real, complex_ = (plan.summary() for plan in plans)
    for key in ("forward_fma", "backward_fma", "forward_bytes", "backward_bytes"):
        assert 2 * real[key] == complex_[key] > 0
    assert real["gate_by_gate_forward_bytes"] == complex_["gate_by_gate_forward_bytes"]
    assert "qubits, real amplitudes, " in str(plans[0])
    assert "real" not in str(plans[1])


def task_of(program: Program, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    n, tile = program.num_qubits, max(int(rng.integers(1, program.num_qubits + 2)), 3)
    wanted = frozenset(np.flatnonzero(rng.random(program.num_angles) < 0.7).tolist())
    batched = np.flatnonzero(rng.random(program.num_angles) < 0.3).tolist()
    keep, populations = bool(rng.integers(2)), bool(rng.integers(2))
    model = replace(MODEL, table_qubits=int(rng.integers(1, 6))).of_real_states
    return Task(program, model, batched, wanted, Frame.identity(n), tile, 0, keep, populations, is_real=True)


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_the_real_plans_are_those_of_the_python_steps(first: int) -> None:
    for seed in range(first, first + 30):
        task = task_of(real_program(seed), seed)
        assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == [], seed


def test_a_table_of_many_signs_stays_whole() -> None:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], 2**9).astype(complex)
    program = Program(9, 9, (*(Rotation(1 << q, 1 << q, slot=q) for q in range(9)), Diagonal(tuple(range(9)), signs)))
    task = task_of(program, 0)
    assert differences(CompiledSteps(task).plan(euler=True), PythonSteps(task).plan(euler=True)) == []
    assert largest_imaginary_part(fuse(program, MODEL), np.linspace(0.1, 1, 9)) < 1e-12


def test_a_planted_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the terms of CZ are not kept together, or phases stay in, the state becomes complex."""
    cz = Program(3, 2, (Rotation(1, 1, slot=0), Rotation(0, 0, 3, 3, theta=2 * pi), Rotation(2, 2, slot=1)))
    angles = np.array([0.3, 0.7])
    assert largest_imaginary_part(fuse(cz, MODEL, keep_phase=False), angles) < 1e-12
    faulty = fuse(cz, replace(MODEL, real_states=False), keep_phase=False)
    assert largest_imaginary_part(faulty, angles) > 0.1
