"""Laws of plans: the meaning, the order, the way back, and never a worse cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from support.interpreter import expectation, run_program
from support.programs import ProgramSampler, layered
from support.tapes import replaced

from qiskit_fusedqml import planner
from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Matrix, Program, Rotation
from qiskit_fusedqml.planner import Plan, collector, fuse
from qiskit_fusedqml.planner.cost import KINDS, CostModel, Factors
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.gf2 import Span, parity
from qiskit_fusedqml.planner.schedule import (
    Item,
    group,
    levels,
)
from qiskit_fusedqml.planner.tape import RY, Diag

DEVICE = ReferenceDevice()
BATCH = 3


class Case:
    """A random program, plan, angles and observable."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 6))
        self.program = ProgramSampler(rng, n).program(int(rng.integers(1, 14)))
        count = self.program.num_angles
        self.batched = [slot for slot in range(count) if rng.random() < 0.3]
        self.wanted = frozenset(slot for slot in range(count) if rng.random() < 0.7)
        self.angles = np.tile(rng.uniform(-4, 4, count), (BATCH, 1))
        self.angles[:, self.batched] = rng.uniform(-4, 4, (BATCH, len(self.batched)))
        model = CostModel(
            tile_qubits=int(rng.integers(1, 7)),
            whole_qubits=int(rng.choice([0, 4])),
            lanes=int(rng.choice([1, 4])),
            table_qubits=int(rng.integers(1, 6)),
            fold_bits=int(rng.integers(4)),
        )
        self.plan = fuse(
            self.program, model, batched_slots=frozenset(self.batched), wanted_slots=self.wanted, batch=BATCH
        )
        masks = rng.integers(1 << n, size=(4, 2))
        self.observable = PauliSum(n, tuple(PauliTerm(rng.normal(), int(x), int(z)) for x, z in masks))
        self.cotangents = rng.normal(size=(BATCH, 1))

    def bound(self, plan: Plan):
        """Coefficients of a plan at this case's angles."""
        shared = self.angles[0].copy()
        shared[self.batched] = 0.0
        return CompiledCoefficientMap(plan.tables).bind(shared, self.angles[:, self.batched])

    def states(self, angles: np.ndarray) -> np.ndarray:
        """The final states by direct interpretation."""
        return np.stack([run_program(self.program, row) for row in angles])

    def loss(self, angles: np.ndarray) -> np.ndarray:
        """The loss of each sample by direct interpretation."""
        return self.cotangents[:, 0] * [expectation(self.observable, state) for state in self.states(angles)]

    def sweep(self, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(final states, gradients (B, A), the ket after the way back, the ket it started from)."""
        bound, tape = self.bound(plan), plan.tape
        ket = DEVICE.allocate(tape, BATCH, None)
        start = ket.copy()
        DEVICE.forward(tape, bound.coefficients, ket)
        states = DEVICE.amplitudes(ket, tape.frame)
        bra = DEVICE.apply_observables(ket, tape.frame, [self.observable], self.cotangents)
        overlaps = DEVICE.backward(tape, bound.coefficients, ket, bra, per_sample=True)
        shared, batched = CompiledCoefficientMap(plan.tables).pullback(bound, overlaps, per_sample=True)
        gradients = shared.copy()
        gradients[:, self.batched] = batched
        return states, gradients, ket, start

    def finite_differences(self, slot: int, step: float = 1e-5) -> np.ndarray:
        """Central differences of the loss of each sample."""
        shift = np.zeros_like(self.angles)
        shift[:, slot] = step
        return (self.loss(self.angles + shift) - self.loss(self.angles - shift)) / (2 * step)


@pytest.mark.parametrize("seed", range(60))
def test_any_plan_gives_the_program_states_and_gradients(seed: int) -> None:
    case = Case(seed)
    states, gradients, ket, start = case.sweep(case.plan)
    np.testing.assert_allclose(states, case.states(case.angles), atol=1e-10)
    for slot in case.wanted:
        np.testing.assert_allclose(gradients[:, slot], case.finite_differences(slot), atol=2e-7)
    if all(block.undo_from == 0 for block in case.plan.tape.blocks):
        np.testing.assert_allclose(ket, start, atol=1e-10)


@pytest.mark.parametrize("seed", range(30))
def test_a_deep_program_is_planned_in_windows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of 3 instructions, or 6 where runs of gates would be cut; the law is the same."""
    monkeypatch.setattr(collector, "WINDOW", 3)
    test_any_plan_gives_the_program_states_and_gradients(seed)


def test_windows_close_where_no_run_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    program = layered(4, 6)
    wanted = frozenset(range(program.num_angles))
    whole = fuse(program, CostModel(), wanted_slots=wanted, populations=True)
    monkeypatch.setattr(collector, "WINDOW", 20)  # a layer has 20 instructions
    parts = fuse(program, CostModel(), wanted_slots=wanted, populations=True)
    assert len(parts.tape.blocks) > len(whole.tape.blocks) == 1
    assert parts.tables.num_sequences == whole.tables.num_sequences
    assert parts.arithmetic_cost <= 1.4 * whole.arithmetic_cost


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_with_cuts_gives_the_same(seed: int) -> None:
    case = Case(seed)
    count = len(case.program.instructions)
    cuts = sorted(np.random.default_rng(seed).integers(count + 1, size=3).tolist())
    case.program = replace(case.program, cuts=tuple(cuts))
    plan = fuse(
        case.program,
        case.plan.cost_model,
        batched_slots=frozenset(case.batched),
        wanted_slots=case.wanted,
        batch=BATCH,
    )
    states, gradients, *_ = case.sweep(plan)
    np.testing.assert_allclose(states, case.states(case.angles), atol=1e-10)
    for slot in case.wanted:
        np.testing.assert_allclose(gradients[:, slot], case.finite_differences(slot), atol=2e-7)
    assert plan.cost <= plan.cost_model.cost(plan.baseline) + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_with_stages_gives_the_same_in_one_process(seed: int) -> None:
    case = Case(seed)
    n = case.program.num_qubits
    widest = max((len(i.qubits) for i in case.program.instructions if isinstance(i, Matrix)), default=1)
    for g in range(1, n - widest + 1):
        plan = fuse(
            case.program,
            replace(case.plan.cost_model, global_qubits=g),
            batched_slots=frozenset(case.batched),
            wanted_slots=case.wanted,
            batch=BATCH,
        )
        states, gradients, *_ = case.sweep(plan)
        np.testing.assert_allclose(states, case.states(case.angles), atol=1e-10)
        for slot in case.wanted:
            np.testing.assert_allclose(gradients[:, slot], case.finite_differences(slot), atol=2e-7)
        assert all(len(stage.local) == n - g for stage in plan.tape.stages)


def test_a_cut_keeps_gates_apart() -> None:
    turns = tuple(Rotation(1, 0, theta=0.3) for _ in range(4))
    for cuts, blocks in (((), 1), ((2,), 2), ((1, 1, 3), 3), ((0, 4), 1)):
        tape = fuse(Program(2, 0, turns, cuts=cuts), CostModel()).tape
        assert [len(block.operations) for block in tape.blocks] == [1] * blocks


@pytest.mark.parametrize("seed", range(40))
def test_the_cost_is_never_worse_than_one_block_per_gate(seed: int) -> None:
    plan = Case(seed).plan
    assert plan.cost <= plan.cost_model.cost(plan.baseline) + 1e-9


def test_a_dropped_operation_is_seen() -> None:
    """The checker of this module fails on a plan that leaves something out."""
    case = Case(3)
    block = case.plan.tape.blocks[0]
    assert block.operations
    broken = replace(case.plan, tape=replace(case.plan.tape, blocks=(replace(block, operations=block.operations[1:]),)))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(case.sweep(broken)[0], case.states(case.angles), atol=1e-10)


def test_x_of_steep_rotations_follows_from_z_before_and_after() -> None:
    """Near the identity X is measured, elsewhere it is not (the reference device then reports NaN)."""
    program = layered(3, 2)
    rng = np.random.default_rng(3)
    for scale, some_nan in ((1e-3, False), (1.0, True)):
        angles = rng.normal(scale=scale, size=program.num_angles)
        plan = fuse(program, CostModel(), wanted_slots=frozenset(range(program.num_angles)))
        bound = CompiledCoefficientMap(plan.tables).bind(angles, np.zeros((1, 0)))
        ket = DEVICE.allocate(plan.tape, 1, None)
        DEVICE.forward(plan.tape, bound.coefficients, ket)
        observable = PauliSum(3, (PauliTerm(1.0, 0b001, 0b011), PauliTerm(0.5, 0b110, 0b010)))
        bra = DEVICE.apply_observables(ket, plan.tape.frame, [observable], np.ones((1, 1)))
        overlaps = DEVICE.backward(plan.tape, bound.coefficients, ket, bra, per_sample=False)
        assert np.isnan(overlaps).any() == some_nan
        gradient = CompiledCoefficientMap(plan.tables).pullback(bound, overlaps, per_sample=False)[0]

        def value(k: int, step: float, angles: np.ndarray = angles, observable: PauliSum = observable) -> float:
            moved = angles + step * (np.arange(len(angles)) == k)
            return float(expectation(observable, run_program(program, moved)))

        shifted = [(value(k, np.pi / 2) - value(k, -np.pi / 2)) / 2 for k in range(len(angles))]
        np.testing.assert_allclose(gradient, shifted, atol=1e-13)


def test_a_scaled_coefficient_is_seen_in_the_gradients() -> None:
    program = layered(3, 2)
    angles = np.random.default_rng(0).uniform(-3, 3, program.num_angles)
    plan = fuse(program, CostModel(), wanted_slots=frozenset(range(program.num_angles)))
    observable = PauliSum(3, (PauliTerm(1.0, 0, 1), PauliTerm(0.5, 6, 2)))

    def gradient(factor: float) -> np.ndarray:
        bound = CompiledCoefficientMap(plan.tables).bind(angles, np.zeros((1, 0)))
        coefficients = replaced(bound.coefficients, angles=factor * bound.coefficients.angles)
        ket = DEVICE.allocate(plan.tape, 1, None)
        DEVICE.forward(plan.tape, coefficients, ket)
        bra = DEVICE.apply_observables(ket, plan.tape.frame, [observable], np.ones((1, 1)))
        overlaps = DEVICE.backward(plan.tape, coefficients, ket, bra, per_sample=False)
        return CompiledCoefficientMap(plan.tables).pullback(bound, overlaps)[0]

    def difference(slot: int) -> float:
        shift = 1e-5 * np.eye(program.num_angles)[slot]
        values = [expectation(observable, run_program(program, angles + s)) for s in (shift, -shift)]
        return (values[0] - values[1]) / 2e-5

    expected = np.array([difference(slot) for slot in range(program.num_angles)])
    np.testing.assert_allclose(gradient(1.0), expected, atol=1e-8)
    assert np.abs(gradient(1.001) - expected).max() > 1e-5


def _anticommute(g: int, h: int, n: int) -> bool:
    mask = (1 << n) - 1
    return bool(parity((g & mask) & (h >> n)) ^ parity((g >> n) & (h & mask)))


def _random_items(rng: np.random.Generator, n: int, count: int) -> list[Item]:
    items = []
    for _ in range(count):
        x, z = (int(mask) for mask in rng.integers(1 << n, size=2))
        kind = rng.integers(4)
        if kind == 0:
            items.append(Item((z << n,), (), diagonal=True))
        elif kind == 1:
            q = int(rng.integers(n))
            items.append(Item((1 << q, 1 << (q + n)), (), alone=True))
        else:
            x = x or 1
            items.append(Item((x | z << n,), (x,)))
    return items


@pytest.mark.parametrize("seed", range(25))
def test_every_item_appears_once_in_an_order_reachable_by_commuting_moves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    items = _random_items(rng, n, 40)
    limit = int(rng.integers(1, n + 2))
    groups = group(items, n, limit)
    order = [index for g in groups for step in g.steps for index in step]
    assert sorted(order) == list(range(len(items)))
    position = {index: k for k, index in enumerate(order)}
    for a, b in combinations(range(len(items)), 2):
        clash = any(_anticommute(g, h, n) for g in items[a].generators for h in items[b].generators)
        assert not clash or position[a] < position[b]
    for g in groups:
        space = Span(g.tile)
        assert len(g.tile) <= max(limit, 0) or len(groups) == 1
        members = [items[index] for step in g.steps for index in step]
        assert all(vector in space for item in members for vector in item.vectors)
        assert len(members) == 1 or not any(item.alone for item in members)
        for step in g.steps:
            assert len({items[index].diagonal for index in step}) == 1


def test_levels_alternate_diagonals_and_flips() -> None:
    items = _random_items(np.random.default_rng(1), 5, 60)
    for number, level in enumerate(levels(items, 5)):
        assert all(items[index].diagonal == (number % 2 == 0) for index in level)


def test_the_layered_circuit_costs_what_the_count_says() -> None:
    """8 n + 14 multiply-adds per amplitude and layer, one block, one diagonal a layer (plus the ends)."""
    n, layers = 6, 20
    program = layered(n, layers)
    plan = fuse(
        program,
        CostModel(),
        batched_slots=frozenset(range(n)),
        wanted_slots=frozenset(range(n, program.num_angles)),
        batch=16,
        keep_phase=False,
    )
    (block,) = plan.tape.blocks
    kinds = [type(operation) for operation in block.operations]
    assert kinds.count(RY) == n * (layers + 1)
    assert kinds.count(Diag) == layers + 1
    total = plan.work.forward + plan.work.backward
    assert total <= (8 * n + 14) * layers + 4 * n + 24


def test_the_sweep_back_stops_at_the_first_wanted_gradient() -> None:
    program = layered(3, 2)
    plan = fuse(program, CostModel(), wanted_slots=frozenset([program.num_angles - 1]))
    (block,) = plan.tape.blocks
    # the last gate is an RZ behind RX and RY: their turn, and the diagonal after it
    assert len(block.operations) - block.undo_from == 2
    nothing = fuse(program, CostModel())
    assert all(b.undo_from == len(b.operations) for b in nothing.tape.blocks)


def test_tiles_leave_room_for_lanes() -> None:
    program = layered(9, 2)
    plan = fuse(program, CostModel(lanes=8), batch=1)
    assert plan.tape.lane_qubits == 3
    assert all(len(block.tile) <= 6 for block in plan.tape.blocks)
    assert fuse(program, CostModel(lanes=8), batch=8).tape.lane_qubits == 0


def test_the_printed_plan_names_blocks_sweeps_bytes_and_flops() -> None:
    plan = fuse(layered(9, 3), CostModel(tile_qubits=5), wanted_slots=frozenset([40]))
    text = str(plan)
    for word in ("9 qubits", "blocks", "forward", "backward", "multiply-adds", "bytes", "block 0"):
        assert word in text
    assert plan.summary()["blocks"] == len(plan.tape.blocks) > 1


def test_an_empty_program_has_an_empty_plan() -> None:
    plan = fuse(Program(2, 0, ()), CostModel())
    assert sum(len(block.operations) for block in plan.tape.blocks) == 0
    assert "0 operations" in str(plan)


def test_phases_at_the_end_are_left_out_where_only_populations_matter() -> None:
    program = layered(4, 2)
    count = program.num_angles
    angles = np.random.default_rng(5).normal(size=count)
    whole = fuse(program, CostModel(), wanted_slots=frozenset(range(count)), keep_phase=False)
    plan = fuse(program, CostModel(), wanted_slots=frozenset(range(count)), keep_phase=False, populations=True)
    assert plan.work.forward + plan.work.backward < whole.work.forward + whole.work.backward
    assert isinstance(whole.tape.blocks[-1].operations[-1], Diag)
    assert not isinstance(plan.tape.blocks[-1].operations[-1], Diag)
    observable = PauliSum(4, (PauliTerm(1.0, 0, 0b0011), PauliTerm(0.5, 0, 0b1000, 0b0100, 0b0100)))
    gradients = []
    for each in (whole, plan):
        bound = CompiledCoefficientMap(each.tables).bind(angles, np.zeros((1, 0)))
        ket = DEVICE.allocate(each.tape, 1, None)
        DEVICE.forward(each.tape, bound.coefficients, ket)
        populations = DEVICE.probabilities(ket, each.tape.frame, range(4))
        np.testing.assert_allclose(populations[0], np.abs(run_program(program, angles)) ** 2, atol=1e-14)
        bra = DEVICE.apply_observables(ket, each.tape.frame, [observable], np.ones((1, 1)))
        overlaps = DEVICE.backward(each.tape, bound.coefficients, ket, bra, per_sample=False)
        gradients.append(CompiledCoefficientMap(each.tables).pullback(bound, overlaps, per_sample=False)[0])
    np.testing.assert_allclose(*gradients, atol=1e-14)


def test_the_global_phase_is_kept_only_when_asked_for() -> None:
    program = Program(1, 0, (Rotation(0, 0, theta=1.0),))
    assert sum(len(b.operations) for b in fuse(program, CostModel(), keep_phase=False).tape.blocks) == 0
    plan = fuse(program, CostModel())
    ket = DEVICE.allocate(plan.tape, 1, None)
    DEVICE.forward(plan.tape, CompiledCoefficientMap(plan.tables).bind(np.zeros(0), np.zeros((1, 0))).coefficients, ket)
    np.testing.assert_allclose(ket[0, 0], np.exp(-0.5j), atol=1e-15)


def test_folded_rows_differ_in_low_bits_and_given_amplitudes_keep_their_order() -> None:
    frame = Frame.folded(9, 1, 3)
    assert [c.bit_length() - 1 for c in frame.columns] == list(range(9))
    assert all(column & 0b1110 for column in frame.columns[1:])
    for q, dual in enumerate(frame.duals):
        assert [parity(dual & column) for column in frame.columns] == [int(p == q) for p in range(9)]
    given = replace(layered(9, 2), initial_state=np.eye(2**9)[5].astype(complex))
    assert fuse(given, CostModel(fold_bits=3)).tape.frame == fuse(given, CostModel()).tape.frame


def kinds_of(plan: Plan) -> set[str]:
    return {type(operation).__name__ for block in plan.tape.blocks for operation in block.operations}


@pytest.mark.parametrize("layers", [1, 3])
def test_the_choice_follows_the_factors(layers: int) -> None:
    program = layered(4, layers)
    slots = frozenset(range(program.num_angles))

    def plan(**factors: tuple[float, float]) -> Plan:
        return fuse(program, CostModel(factors=Factors(**factors)), wanted_slots=slots)

    assert "U2" not in kinds_of(plan(u2=(20.0, 20.0)))
    assert "U2" in kinds_of(plan(u2=(0.02, 0.02)))
    # dear rotations and diagonals are the same thing seen from the other side
    assert "U2" in kinds_of(plan(ry_factored=(50.0, 50.0), ry_plain=(50.0, 50.0)))
    assert "U2" in kinds_of(plan(diag_one_table=(50.0, 50.0)))


def test_a_small_circuit_that_may_run_once_is_planned_once() -> None:
    model = CostModel(lanes=8, factors=Factors(u2=(1e-3, 1e-3)))  # matrices are chosen where they are considered

    def chosen(n: int, batch: int, *slots: int) -> bool:
        plan = fuse(layered(n, 1), model, batch=batch, keep_phase=False, wanted_slots=frozenset(slots))
        return "U2" in kinds_of(plan)

    assert not chosen(10, 1)
    assert chosen(18, 1)  # a run takes longer than the plan
    assert chosen(10, 8)
    assert chosen(10, 1, 12)


@pytest.mark.parametrize("seed", range(12))
def test_matrices_are_tried_wherever_they_win(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    programs = [ProgramSampler(rng, int(n)).program(int(length)) for n in (2, 3, 5, 8) for length in (4, 12, 40)]
    factors = Factors(u2=(0.5 + rng.random(), 0.5 + rng.random()))
    models = [CostModel(), CostModel(tile_qubits=4, factors=factors)]
    wanted = [frozenset(range(0 if seed % 2 else program.num_angles // 2, program.num_angles)) for program in programs]

    def costs() -> list[float]:
        return [fuse(p, model, wanted_slots=w).cost for p, w in zip(programs, wanted, strict=True) for model in models]

    chosen = costs()
    monkeypatch.setattr(planner, "ORDERING_GAIN", np.inf)
    for cost, best in zip(chosen, costs(), strict=True):
        assert cost <= 1.03 * best  # narrow tiles may be filled better by chance


def test_what_matrices_may_gain_is_counted_by_hand() -> None:
    turns = (Rotation(1, 0, theta=0.3), Rotation(0, 1, theta=0.4), Rotation(1, 0, theta=0.5))
    plan = fuse(Program(2, 0, (*turns, Rotation(0, 3, theta=0.7))), CostModel())
    assert [type(operation) for operation in plan.tape.blocks[0].operations] == [Diag, RY, Diag]
    # a diagonal of Euler angles only goes, a matrix comes for the factored rotation, and the phase at the end stays
    assert plan.gain_of_matrices == 4.0 + 2.0 - 8.0


def test_either_direction_counts() -> None:
    program = layered(4, 3)

    def chosen(u2: tuple[float, float], *slots: int) -> bool:
        model = CostModel(factors=Factors(ry_factored=(0.5, 0.5), u2=u2))
        return "U2" in kinds_of(fuse(program, model, wanted_slots=frozenset(slots)))

    # with no gradient wanted nothing is undone, so that only the way forward matters
    assert chosen((0.02, 50.0))
    assert not chosen((50.0, 0.02))
    assert not chosen((0.02, 50.0), *range(program.num_angles))


def test_the_cost_is_counted_by_hand() -> None:
    """One RY: 4 multiply-adds forward, 8 and 2 of the overlap backward; ket, then ket and bra, read and written."""
    program = Program(1, 1, (Rotation(1, 1, slot=0),))
    model = CostModel(byte_cost=0.5, factors=Factors(ry_plain=(2.0, 3.0), u2=(7.0, 7.0)))
    plan = fuse(program, model, wanted_slots=frozenset([0]))
    assert plan.arithmetic_cost == 2.0 * 4 + 3.0 * 10
    assert plan.cost == plan.arithmetic_cost + 0.5 * (2 * 16 + 4 * 16)
    assert plan.block_cost(plan.tape.blocks[0]) == (plan.arithmetic_cost, 0.5 * (2 * 16 + 4 * 16))


def test_counts_that_are_shown_stay_plain() -> None:
    program = layered(5, 2)
    slots = frozenset(range(program.num_angles))
    plain = fuse(program, CostModel(), wanted_slots=slots)
    factors = dict.fromkeys(KINDS, (0.3, 0.3))
    weighted = fuse(program, CostModel(factors=Factors(**factors), byte_cost=0.3), wanted_slots=slots)
    assert str(weighted) == str(plain)
    assert weighted.cost == pytest.approx(0.3 * plain.cost)
    # and the cost with factors 1 is the sum of what is shown
    shown = plain.summary()
    assert plain.cost == pytest.approx(
        sum(shown[f"{way}_{unit}"] for way in ("forward", "backward") for unit in ("fma", "bytes"))
    )


def test_tiles_occupy_the_threads() -> None:
    model = CostModel(tile_qubits=8, whole_qubits=10, lanes=8, half_lanes=4, threads=2)
    one = replace(model, threads=1)
    assert [one.tile_limit(n, 0, 8) for n in (5, 8, 10, 11)] == [5, 8, 10, 8]
    # two groups of samples, or two halves of one, occupy two threads
    assert [model.tile_limit(n, 0, 16) for n in (5, 8, 10, 11)] == [5, 8, 10, 8]
    assert [model.tile_limit(n, 0, 8) for n in (5, 8, 10, 11)] == [5, 8, 10, 8]
    # one sample does not: its state is cut where it is large enough to be worth it
    assert [model.tile_limit(n, 3, 1) for n in (8, 10, 11, 12, 13, 14)] == [5, 7, 6, 8, 8, 8]
    assert [replace(model, threads=16).tile_limit(n, 3, 1) for n in (10, 11, 12, 15, 16)] == [7, 6, 6, 8, 8]


def test_samples_are_spread_over_groups_that_occupy_the_threads() -> None:
    model = CostModel(tile_qubits=11, whole_qubits=14, lanes=8, half_lanes=4, threads=2)
    one, wide = replace(model, threads=1), replace(model, half_lanes=8)
    # lanes that the batch leaves empty hold qubits, and one thread asks for no more
    assert [one.lane_qubits(10, batch) for batch in (1, 2, 4, 8, 16)] == [3, 2, 1, 0, 0]
    # two threads: vectors of half the width are two groups; where there are none, more lanes hold qubits
    assert [model.lane_qubits(10, batch) for batch in (1, 2, 4, 8, 16)] == [3, 2, 1, 0, 0]
    assert [wide.lane_qubits(10, batch) for batch in (1, 2, 3, 4, 8, 16)] == [3, 3, 2, 2, 1, 0]
    assert [replace(model, threads=4).lane_qubits(10, batch) for batch in (4, 8, 16)] == [2, 1, 0]
    # more threads than samples: as many groups as samples, unless tiles occupy the threads
    assert [replace(model, threads=16).lane_qubits(10, batch) for batch in (1, 2, 4, 8)] == [3, 2, 2, 2]
    assert [replace(model, threads=16).lane_qubits(15, batch) for batch in (1, 2, 4, 8)] == [3, 2, 1, 0]
    # not worth waking a thread for; groups that would not fit a tile's memory: tiles of one group occupy the threads
    assert [wide.lane_qubits(7, batch) for batch in (2, 8, 16)] == [1, 0, 0]
    assert [wide.lane_qubits(15, batch) for batch in (2, 4, 8)] == [2, 1, 0]
    assert wide.tile_limit(15, 1, 4) == 11
    for n in range(4, 20):
        for batch in range(1, 70):
            found = wide.lane_qubits(n, batch)
            assert one.lane_qubits(n, batch) <= found <= max(n - model.smallest_lane_tile, 0)
