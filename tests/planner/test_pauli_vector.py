"""Laws of plans for Pauli vectors: the meaning, the order, tiles, counts, and faults that must be seen."""

from __future__ import annotations

from dataclasses import astuple, replace
from itertools import pairwise
from math import pi

import numpy as np
import pytest
from support.noisy_programs import NoisySampler, run_on_density_matrix
from support.pauli_tapes import apply, run_plan

from qiskit_fusedqml.errors import UnsupportedInstructionError
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.gates import GATES, place
from qiskit_fusedqml.ir.program import Diagonal, Matrix, Program, Rotation, validate
from qiskit_fusedqml.planner.gf2 import Span, parity
from qiskit_fusedqml.planner.pauli_vector import PauliPlan, collector, fuse_channels
from qiskit_fusedqml.planner.pauli_vector.emit import PauliEmitter
from qiskit_fusedqml.planner.pauli_vector.structure import factors
from qiskit_fusedqml.planner.pauli_vector.tape import Affine, Pair, PauliFrame, Transfer, Turn
from qiskit_fusedqml.planner.schedule import Group

ALL = frozenset(range(1000))


class Case:
    """A random program with noise, its angles, some batched and some wanted slots, and a vector."""

    def __init__(self, seed: int, n: int | None = None, length: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        sampler = NoisySampler(rng, n or int(rng.integers(1, 5)))
        self.program = sampler.program(length or int(rng.integers(1, 22)))
        validate(self.program)
        self.angles = sampler.angles()
        slots = range(self.program.num_angles)
        self.batched = frozenset(s for s in slots if s not in sampler.noise and rng.random() < 0.4)
        self.wanted = frozenset(s for s in slots if rng.random() < rng.choice([0.0, 0.5]))
        self.vector = rng.normal(size=4**sampler.n)

    def plan(self, tile_bits: int) -> PauliPlan:
        return fuse_channels(self.program, tile_bits=tile_bits, batched_slots=self.batched, wanted_slots=self.wanted)

    def is_wrong(self, plan: PauliPlan) -> bool:
        want = run_on_density_matrix(self.program, self.angles, self.vector)
        return bool(np.abs(run_plan(plan, self.angles, self.vector) - want).max() > 1e-11)


@pytest.mark.parametrize("seed", range(60))
def test_the_tape_does_what_the_instructions_do(seed):
    case = Case(seed)
    for tile_bits in (2, 5, 2 * case.program.num_qubits):
        assert not case.is_wrong(case.plan(tile_bits))


def test_five_qubits():
    case = Case(3, n=5, length=25)
    assert not case.is_wrong(case.plan(6))


@pytest.mark.parametrize("name", GATES)
def test_every_gate_among_all_channels(name):
    row = GATES[name]
    rng = np.random.default_rng(len(name))
    n = max(row.num_qubits, 2)
    sampler = NoisySampler(rng, n)
    instructions = []
    for family in CHANNELS if n < 4 else list(CHANNELS)[::4]:
        qubits = [int(q) for q in rng.permutation(n)[: row.num_qubits]]
        controls = sum(1 << q for q in qubits[: row.num_ctrl])
        parameters = rng.uniform(-3, 3, row.num_params)
        for f in place(row, qubits[row.num_ctrl :], controls, controls):
            theta = f.constant + sum(c * p for c, p in zip(f.coefficients, parameters, strict=False))
            instructions.append(Rotation(f.x, f.z, f.ctrl_mask, f.ctrl_value, theta=float(theta)))
        instructions.append(sampler.member(family, share=0.5))
    program = Program(n, sampler.num_angles, tuple(instructions))
    angles, vector = sampler.angles(), rng.normal(size=4**n)
    plan = fuse_channels(program, tile_bits=6, wanted_slots=ALL)
    want = run_on_density_matrix(program, angles, vector)
    np.testing.assert_allclose(run_plan(plan, angles, vector), want, atol=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_elements_that_do_not_meet_commute(seed):
    case = Case(seed, n=3, length=16)
    emitter = PauliEmitter(case.program.num_angles, case.batched, frozenset())
    bits, low = 6, 63
    for elements, _ in collector.collect(case.program, case.batched, PauliFrame.identity(3)):
        operations = [emitter.block(Group((), [[k]]), elements).operations[0] for k in range(len(elements))]
        generators = [e.generators(bits) for e in elements]
        tables = emitter.tables()
        for k, (first, second) in enumerate(pairwise(operations)):
            pairs = [(g, h) for g in generators[k] for h in generators[k + 1]]
            if any(parity((g >> bits) & h & low) ^ parity((h >> bits) & g & low) for g, h in pairs):
                continue
            one, other = (
                apply(last, tables, case.angles, apply(start, tables, case.angles, case.vector))
                for start, last in ((first, second), (second, first))
            )
            np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_tiles_hold_what_operations_move(seed):
    case = Case(seed, n=4, length=30)
    for tile_bits in (4, 6):
        plan = case.plan(tile_bits)
        for block in plan.tape.blocks:
            tile = Span(block.tile)
            assert len(block.tile) <= max(tile_bits, 6)
            for operation in block.operations:
                qubits = () if isinstance(operation, Turn) else getattr(operation, "qubits", None) or (operation.qubit,)
                moved = [operation.x] if isinstance(operation, Turn) else [v for q in qubits for v in (q.x, q.z)]
                assert all(vector in tile for vector in moved)


@pytest.mark.parametrize("seed", range(12))
def test_overlaps_are_numbered_and_the_rest_is_not_undone(seed):
    case = Case(seed, n=3, length=20)
    plan = case.plan(4)
    position = 0
    for block in plan.tape.blocks:
        for k, operation in enumerate(block.operations):
            if operation.overlap >= 0:
                assert operation.overlap == position
                position += operation.num_overlaps
            assert (k >= block.undo_from) == (position > 0)
    assert plan.tape.num_overlaps == position
    assert bool(position) == any(
        not case.wanted.isdisjoint(i.slots if isinstance(i, Channel) else (getattr(i, "slot", -1),))
        for i in case.program.instructions
    )


@pytest.mark.parametrize("seed", range(12))
def test_blocks_do_not_reach_over_cuts(seed):
    case = Case(seed, n=3, length=20)
    cut = len(case.program.instructions) // 2
    case.program = replace(case.program, cuts=(cut,))
    plan = case.plan(6)
    first = fuse_channels(
        Program(3, case.program.num_angles, case.program.instructions[:cut]),
        tile_bits=6,
        batched_slots=case.batched,
        wanted_slots=case.wanted,
    )
    count = len(first.tape.blocks)
    assert [b.operations for b in plan.tape.blocks[:count]] == [b.operations for b in first.tape.blocks]


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0, 1e3])
@pytest.mark.parametrize("slot", range(3))
@pytest.mark.parametrize("excited", [0.0, 0.3, 0.5])
def test_relaxation_is_judged_alike_in_any_unit_of_time(unit, slot, excited):
    """T1, T2 or the time is a parameter; towards the share 1/2 a long relaxation commutes with all rotations."""
    times = [50.0 * unit, 40.0 * unit, 30.0 * unit]
    relaxation = Channel(
        (0,),
        family=CHANNELS["thermal_relaxation"],
        slots=tuple(0 if k == slot else -1 for k in range(4)),
        constants=tuple(0.0 if k == slot else value for k, value in enumerate([*times, excited])),
    )
    around = [Rotation(3, 3, theta=0.5), Rotation(3, 1, theta=0.4)]
    angles, vector = np.array([times[slot]]), np.random.default_rng(5).normal(size=16)
    for x, z in ((1, 0), (1, 1), (0, 1)):
        program = Program(2, 1, (*around, Rotation(x, z, theta=0.7), relaxation, *around))
        plan = fuse_channels(program, tile_bits=4, batched_slots=frozenset(), wanted_slots=ALL)
        want = run_on_density_matrix(program, angles, vector)
        np.testing.assert_allclose(run_plan(plan, angles, vector), want, atol=1e-12)


def test_plans_are_deterministic():
    plans = [Case(7, n=4, length=40).plan(6) for _ in range(2)]
    assert plans[0].tape.blocks == plans[1].tape.blocks
    assert str(plans[0]) == str(plans[1])
    for one, other in zip(*(astuple(plan.tables.affine) for plan in plans), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fault", ["sign of Y", "no pair", "gain", "order"])
def test_planted_faults_are_seen(fault):
    def broken(operations):
        if fault == "no pair":
            return tuple(o for o in operations if not isinstance(o, Pair))
        if fault == "order":
            return operations[::-1]
        if fault == "gain":
            swapped = [replace(o, qubits=o.qubits[::-1]) if isinstance(o, Pair) else o for o in operations]
            return tuple(swapped)
        return tuple(replace(o, y_of_string=1 - o.y_of_string) if isinstance(o, Turn) else o for o in operations)

    seen = 0
    for seed in range(6):
        case = Case(seed, n=3, length=20)
        plan = case.plan(6)
        blocks = tuple(replace(b, operations=broken(b.operations)) for b in plan.tape.blocks)
        if blocks == plan.tape.blocks:
            continue
        plan.tape = replace(plan.tape, blocks=blocks)
        seen += case.is_wrong(plan)
    assert seen >= 4


class TestWhatFuses:
    """Counts of operations, of the standard noise of a device around gates."""

    def test_a_layer_of_rotations_a_ring_and_its_noise(self):
        n, layers = 8, 10
        plan = fuse_channels(
            ring(n, layers), tile_bits=16, batched_slots=frozenset(range(n)), wanted_slots=ALL - frozenset(range(n))
        )
        counts = kinds(plan)
        # RY of the data; a sequence of each qubit and layer; a pair of each CX with all that follows it
        assert counts == {Turn: n, Affine: n * layers, Pair: n * layers}
        # 9/4 of a unital sequence and 15/16 + 2/4 of a pair; backward, three times the first and twice the second
        assert plan.work.forward == n + 3.6875 * n * layers
        assert plan.work.backward == (3 * 2.25 + 2 * 1.4375) * n * layers
        assert all(o.unital for b in plan.tape.blocks for o in b.operations if isinstance(o, Affine))
        assert plan.channels["channels"] == n + 6 * n * layers
        assert plan.channels["dense"] == 0

    def test_a_device_error_is_a_pair(self):
        relax = CHANNELS["thermal_relaxation"].transfer(*(np.array(v) for v in (50.0, 60.0, 0.4, 0.0)))
        error = np.kron(relax, relax) @ CHANNELS["depolarizing2"].transfer(np.array(0.01))
        plan = fuse_channels(Program(2, 0, (*cx(0, 1), Channel((0, 1), error))), tile_bits=4)
        assert kinds(plan) == {Pair: 1}
        assert plan.tape.blocks[0].operations[0].shifts == (True, True)

    def test_a_cz_is_a_sign_and_joins_its_noise(self):
        noise = CHANNELS["depolarizing2"].transfer(np.array(0.01))
        plan = fuse_channels(Program(2, 0, (Rotation(0, 0, 3, 3, theta=2 * pi), Channel((1, 0), noise))), tile_bits=4)
        assert kinds(plan) == {Pair: 1}
        assert len(plan.tables.pairs) == 1

    def test_networks_of_cx_and_swap_are_free(self):
        swap = (*cx(0, 2), *cx(2, 0), *cx(0, 2))
        assert fuse_channels(Program(3, 0, (*cx(0, 1), *swap)), tile_bits=6).tape.blocks == ()

    def test_a_channel_without_structure_is_dense(self):
        unitary = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(complex)
        assert kinds(fuse_channels(Program(3, 0, (Matrix((2, 0, 1), unitary),)), tile_bits=2)) == {Transfer: 1}

    def test_wanted_noise_has_its_overlaps(self):
        family = CHANNELS["depolarizing2"]
        program = Program(2, 1, (*cx(0, 1), Channel((0, 1), None, family, (0,), (0.0,))))
        assert fuse_channels(program, tile_bits=4, wanted_slots=frozenset({0})).tape.num_overlaps == 18
        assert fuse_channels(program, tile_bits=4).tape.num_overlaps == 0

    def test_factors(self):
        rng = np.random.default_rng(4)
        maps = [np.vstack([np.eye(1, 4), rng.normal(size=(3, 4))]) for _ in range(2)]
        diagonal = np.diag(np.concatenate([[1.0], rng.uniform(0.5, 1, 15)]))
        matrix = np.kron(maps[1], maps[0]) @ diagonal
        found = factors(Channel((0, 1), matrix))
        product = np.kron(found.second.matrix, found.first.matrix) @ found.diagonal.matrix
        np.testing.assert_allclose(product, matrix, atol=1e-13)
        found = factors(Channel((0, 1), diagonal @ np.kron(maps[1], maps[0])))
        assert found.diagonal_is_last
        product = found.diagonal.matrix @ np.kron(found.second.matrix, found.first.matrix)
        np.testing.assert_allclose(product, diagonal @ np.kron(maps[1], maps[0]), atol=1e-13)
        assert factors(Channel((0, 1), matrix + 1e-9 * np.eye(16, k=3))) is None


def test_the_printed_plan():
    text = str(fuse_channels(ring(3, 2), tile_bits=4, wanted_slots=ALL))
    assert text.splitlines()[0].startswith("Plan: 3 qubits, ")
    assert "in sequences" in text
    assert "per string and sample" in text
    assert "block 1: tile of 4 bits" in text


@pytest.mark.parametrize(
    ("instruction", "batched", "message"),
    [
        (Matrix((0, 1, 2, 3), np.eye(16, dtype=complex)), (), r"at most 3 qubits, this has 4.* trajectories=N"),
        (Rotation(1, 0, (1 << 12) - 2, 0, theta=0.3), (), r"under 11 controls .* trajectories=N"),
        (
            Diagonal(tuple(range(11)), np.exp(1j * np.arange(2048) ** 2)),
            (),
            r"a density matrix takes 1024.*trajectories",
        ),
        (Channel((0,), None, CHANNELS["bit_flip"], (0,), (0.0,)), (0,), "cannot differ from sample to sample"),
    ],
)
def test_refusals(instruction, batched, message):
    program = Program(12, 1, (Rotation(1, 0, theta=0.2), instruction))
    with pytest.raises(UnsupportedInstructionError, match=r"Instruction 1 .*" + message):
        fuse_channels(program, tile_bits=8, batched_slots=frozenset(batched))


def kinds(plan: PauliPlan) -> dict[type, int]:
    found: dict[type, int] = {}
    for block in plan.tape.blocks:
        for operation in block.operations:
            found[type(operation)] = found.get(type(operation), 0) + 1
    return found


def cx(control: int, target: int) -> tuple[Rotation, ...]:
    mask = 1 << control
    return Rotation(1 << target, 0, mask, mask, theta=pi), Rotation(0, 0, mask, mask, theta=-pi)


def ring(n: int, layers: int) -> Program:
    """RY of the data, then layers of RX, RY, RZ and a ring of CX: depolarizing after all, damping after CX."""
    one = CHANNELS["depolarizing"].transfer(np.array(1e-3))
    two = CHANNELS["depolarizing2"].transfer(np.array(1e-2))
    damping = CHANNELS["amplitude_damping"].transfer(np.array(5e-3))
    found = [i for q in range(n) for i in (Rotation(1 << q, 1 << q, slot=q), Channel((q,), one))]
    slot = n
    for _ in range(layers):
        for q in range(n):
            for x, z in ((1, 0), (1, 1), (0, 1)):
                found += [Rotation(x << q, z << q, slot=slot), Channel((q,), one)]
                slot += 1
        for q in range(n):
            pair = (q, (q + 1) % n)
            found += [*cx(*pair), Channel(pair, two), Channel(pair[:1], damping), Channel(pair[1:], damping)]
    return Program(n, slot, tuple(found))
