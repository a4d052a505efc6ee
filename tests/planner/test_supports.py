"""Supports of plans that begin with |0...0>: no amplitude lies outside, and what is planned for them is cheaper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.interpreter import run_program
from support.programs import ProgramSampler, layered

from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner import Plan, fuse
from qiskit_fusedqml.planner.cost import CostModel, share_of
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.gf2 import Span
from qiskit_fusedqml.planner.segments import cut
from qiskit_fusedqml.planner.tape import Tape

REFERENCE = ReferenceDevice()
MODELS = (
    CostModel(tile_qubits=3, whole_qubits=0),
    CostModel(tile_qubits=4, whole_qubits=0, lanes=4),
    CostModel(tile_qubits=12, whole_qubits=12),
)


def chain(num_qubits: int, layers: int) -> Program:
    """Rotations about Y and X, and CX between neighbours: what is done first needs few qubits."""
    instructions, slot = [], 0
    for _ in range(layers):
        for q in range(num_qubits):
            instructions += [Rotation(1 << q, 1 << q, slot=slot), Rotation(1 << q, 0, slot=slot + 1)]
            slot += 2
        for q in range(num_qubits - 1):
            control, target = 1 << q, 2 << q
            instructions.append(Rotation(target, 0, control, control, theta=np.pi))
            instructions.append(Rotation(0, 0, control, control, theta=-np.pi))
    return Program(num_qubits, slot, tuple(instructions))


def random_program(seed: int) -> Program:
    rng = np.random.default_rng(seed)
    return ProgramSampler(rng, int(rng.integers(7, 10))).program(12)


PROGRAMS = [chain(12, 2), layered(11, 1), *(random_program(seed) for seed in range(6))]


def planned(program: Program, model: CostModel, batch: int = 1, **options: object) -> Plan:
    return fuse(program, model, wanted_slots=frozenset(range(program.num_angles)), batch=batch, **options)


def bound(plan: Plan, angles: np.ndarray):
    return CompiledCoefficientMap(plan.tables).bind(angles, np.zeros((1, 0))).coefficients


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_amplitude_outside_a_support_is_zero(program: Program, model: CostModel) -> None:
    plan = planned(program, model)
    angles = np.random.default_rng(1).uniform(-3, 3, program.num_angles)
    coefficients, identity = bound(plan, angles), Frame.identity(program.num_qubits)
    ket = REFERENCE.allocate(plan.tape, 1, None)
    dimension = 0
    for block in plan.tape.blocks:
        REFERENCE.forward(replace(plan.tape, blocks=(block,)), coefficients, ket)
        if block.support is None:
            dimension = program.num_qubits
            continue
        support = Span(block.support)
        assert dimension <= support.dimension < program.num_qubits
        assert all(vector in support for vector in block.tile)
        dimension = support.dimension
        amplitudes = REFERENCE.amplitudes(ket, identity)[0]
        assert all(index in support for index in np.flatnonzero(amplitudes).tolist())
        assert share_of(block, program.num_qubits) == 2.0 ** (dimension - program.num_qubits)
    state = REFERENCE.amplitudes(ket, plan.tape.frame)[0]
    np.testing.assert_allclose(state, run_program(program, angles), atol=1e-12)


def test_other_starts_have_no_support() -> None:
    program = chain(9, 2)
    amplitudes = np.zeros(2**9, dtype=complex)
    amplitudes[3] = 1.0
    given = Program(9, program.num_angles, program.instructions, initial_state=amplitudes)
    plans = [
        planned(given, MODELS[0]),
        planned(program, MODELS[0], any_start=True),
        planned(program, MODELS[0], start=Frame.identity(9)),
    ]
    assert all(block.support is None for plan in plans for block in plan.tape.blocks)


def test_pieces_keep_their_supports() -> None:
    plan = planned(chain(9, 3), MODELS[0])
    supports = [block.support for block in plan.tape.blocks]
    pieces = [block.support for segment in cut(plan.tape, plan.tables.pair_kinds, 3) for block in segment.tape.blocks]
    assert pieces[0] == supports[0] is not None
    assert set(pieces) == set(supports)


def test_chains_are_done_mostly_on_small_supports() -> None:
    """Counted, against the same circuit from amplitudes that the plan does not know."""
    program = chain(16, 2)
    plan = planned(program, CostModel(tile_qubits=8, whole_qubits=0))
    flat = fuse(
        program,
        plan.cost_model,
        wanted_slots=plan.wanted_slots,
        any_start=True,
    )
    assert plan.work.forward < 0.4 * flat.work.forward
    assert plan.work.backward < 0.4 * flat.work.backward
    assert plan.work.forward_bytes < 0.6 * flat.work.forward_bytes
    assert "on 1/" in str(plan)
    assert "on 1/" not in str(flat)


def loss(device: CPUDevice | ReferenceDevice, tape: Tape, coefficients, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Expectation values and overlaps, observables that reach every amplitude."""
    n = tape.num_qubits
    sums = [PauliSum(n, (PauliTerm(0.7, (1 << n) - 1, 0), PauliTerm(0.4, 5, 3), PauliTerm(0.3, 0, (1 << n) - 1)))]
    ket = device.allocate(tape, batch, None)
    device.forward(tape, coefficients, ket)
    values = device.expectation(ket, tape.frame, sums)
    bra = device.apply_observables(ket, tape.frame, sums, np.ones((batch, 1)))
    return values, device.backward(tape, coefficients, ket, bra, per_sample=True)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_device_that_leaves_tiles_out_gives_the_same(number: int, batch: int, precision: str) -> None:
    """The reference device works on all amplitudes."""
    program, device = PROGRAMS[number], CPUDevice(precision, 2)
    model = replace(device.cost_model, tile_qubits=4, whole_qubits=0 if number % 2 else 20)
    plan = planned(program, model, batch)
    assert plan.tape.blocks[0].support is not None or model.whole_qubits
    coefficients = bound(plan, np.random.default_rng(2).uniform(-3, 3, program.num_angles))
    expected, given = (loss(each, plan.tape, coefficients, batch) for each in (REFERENCE, device))
    tolerance = 1e-12 if precision == "double" else 2e-5
    for ours, theirs in zip(given, expected, strict=True):
        known = ~np.isnan(theirs)
        np.testing.assert_allclose(ours[known], theirs[known], atol=tolerance)


def test_a_support_that_is_too_small_is_seen() -> None:
    """Planted: the CPU device does leave tiles out, and the comparison above sees one that it must not."""
    program, device = chain(12, 2), CPUDevice("double", 2)
    plan = planned(program, replace(device.cost_model, tile_qubits=7, whole_qubits=0), 3)
    last = plan.tape.blocks[-1]
    tape = replace(plan.tape, blocks=(*plan.tape.blocks[:-1], replace(last, support=last.tile)))
    coefficients = bound(plan, np.random.default_rng(2).uniform(-3, 3, program.num_angles))
    expected, given = loss(REFERENCE, tape, coefficients, 3), loss(device, tape, coefficients, 3)
    assert np.abs(expected[0] - given[0]).max() > 1e-3
