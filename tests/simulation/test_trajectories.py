"""Dynamic programs against a follower of every branch, `branches`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.classical import expr, types
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Statevector
from support.branches import distribution, worlds
from support.counting import assert_drawn_from
from support.random_dynamic import random_dynamic

from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.errors import (
    InvalidInputError,
    OutOfMemoryError,
    SimulationError,
    UnsupportedInstructionError,
)
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.cache import CACHE
from qiskit_fusedqml.interfaces.qiskit.compiled import RunnerOptions, compile_runner
from qiskit_fusedqml.simulation import (
    Request,
    Runner,
    Shots,
    runner as runner_module,
    sampling,
)

SHOTS = 20_000


def counts_of(shots: Shots | None) -> dict[int, int]:
    assert shots is not None
    counts: dict[int, int] = {}
    for value, count in zip(shots.outcomes.tolist(), shots.counts.tolist(), strict=True):
        counts[value] = counts.get(value, 0) + count
    return counts


def request(
    values: Any, shots: int, generators: list[np.random.Generator], *, keep: bool = False, value_of_set: Any = None
) -> Request:
    of_set = np.arange(len(values)) if value_of_set is None else value_of_set
    return Request(values, of_set, shots, generators, keep)


def sample(circuit: QuantumCircuit, shots: int = SHOTS, seed: int = 1, **options: Any) -> dict[int, int]:
    runner = compile_runner(CACHE.known(circuit), RunnerOptions(**options)).runner
    result = runner.run(request(np.empty((1, 0)), shots, [np.random.default_rng(seed)], keep=True))[0]
    assert result.shots is not None
    assert result.shots.sequence is not None
    np.testing.assert_array_equal(
        np.bincount(result.shots.sequence, minlength=len(result.shots.counts)), result.shots.counts
    )
    return counts_of(result.shots)


def teleportation() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.u(0.7, 0.3, -0.4, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((1, True)):
        circuit.x(2)
    with circuit.if_test((0, True)):
        circuit.z(2)
    circuit.u(-0.7, 0.4, -0.3, 2)
    circuit.measure(2, 2)
    return circuit


def until_one() -> QuantumCircuit:
    """Turn and measure until a 1 is found, counting the turns in a register."""
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(1, "found"), ClassicalRegister(3, "turns"))
    found, turns = circuit.cregs
    with circuit.while_loop(expr.logic_and(expr.logic_not(found[0]), expr.less(turns, 7))):
        circuit.ry(1.1, 0)
        circuit.measure(0, 0)
        circuit.store(turns, expr.add(turns, expr.lift(1, types.Uint(3))))
    return circuit


def every_jump() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 4)
    index = Parameter("k")
    with circuit.for_loop(range(4), index):
        circuit.ry(0.4 * (index + 1), 0)
        circuit.measure(0, 0)
        with circuit.if_test((0, True)):
            circuit.reset(0)
            circuit.h(1)
            circuit.continue_loop()
        circuit.measure(1, 1)
        with circuit.if_test((1, True)) as otherwise:
            circuit.x(2)
            circuit.break_loop()
        with otherwise:
            circuit.rx(0.3, 2)
        circuit.h(2)
    circuit.measure([0, 1, 2], [1, 2, 3])
    return circuit


def switched() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(2, "a"), ClassicalRegister(3, "b"))
    a, _ = circuit.cregs
    circuit.h([0, 1])
    circuit.measure([0, 1], a)
    with circuit.switch(a) as case:
        with case(0):
            circuit.x(2)
            circuit.measure(2, a[0])  # the target is read once
        with case(1, 2):
            circuit.h(2)
        with case(case.DEFAULT):
            circuit.ry(0.4, 2)
    with circuit.switch(a[1]) as case, case(True):
        circuit.z(0)
    circuit.measure([0, 1, 2], [2, 3, 4])
    return circuit


def variables() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 4)
    total = circuit.add_var("total", expr.lift(3, types.Uint(70)))
    flag = circuit.add_var("flag", False)
    share = circuit.add_var("share", expr.lift(0.25))
    circuit.h([0, 1])
    circuit.measure([0, 1], [0, 1])
    circuit.store(total, expr.add(total, expr.cast(circuit.clbits[0], types.Uint(70))))
    circuit.store(total, expr.shift_left(total, 66))
    circuit.store(flag, expr.equal(total, expr.lift(3 << 66, types.Uint(70))))
    circuit.store(share, expr.mul(share, 3.0))
    with circuit.if_test(expr.logic_or(flag, expr.less(share, 0.7))):
        circuit.x(0)
    with circuit.if_test(expr.logic_and(expr.bit_not(circuit.clbits[1]), expr.greater(share, 0.7))):
        circuit.ry(0.9, 1)
    circuit.measure([0, 1], [2, 3])
    circuit.store(circuit.clbits[0], expr.bit_xor(circuit.clbits[0], flag))
    return circuit


def prepared() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.initialize([0.6, 0.8j], [0])
    circuit.reset(1)
    circuit.h(2)
    circuit.initialize("+0", [2, 1])
    circuit.ry(0.4, 0)
    circuit.measure([0, 1, 2], [0, 1, 2])
    return circuit


def nested() -> QuantumCircuit:
    """Loops in branches in loops, on other bits than they were written for."""
    inner = QuantumCircuit(2, 2)
    with inner.for_loop(range(3)):
        inner.h(0)
        inner.measure(0, 0)
        with inner.if_test((0, False)):
            with inner.while_loop((inner.clbits[1], False)):
                inner.ry(1.3, 1)
                inner.measure(1, 1)
            inner.break_loop()
    outer = QuantumCircuit(3, 4)
    outer.x(2)
    outer.compose(inner, [2, 0], [3, 1], inplace=True)
    outer.measure([0, 2], [0, 2])
    return outer


def deferred() -> QuantumCircuit:
    """Measurements that can wait, that cannot, and bits that are written twice."""
    circuit = QuantumCircuit(4, 4)
    circuit.h(range(4))
    circuit.measure(0, 0)
    circuit.cx(1, 2)
    circuit.measure(1, 0)
    circuit.measure(2, 1)
    circuit.h(2)
    circuit.measure(2, 2)
    circuit.measure(3, 1)
    circuit.measure(1, 3)
    return circuit


DYNAMIC = [teleportation, until_one, every_jump, switched, variables, prepared, nested, deferred]


@pytest.mark.parametrize("make", DYNAMIC, ids=lambda make: make.__name__)
def test_shots_are_drawn_from_the_branches(make: Any) -> None:
    circuit = make()
    assert_drawn_from(sample(circuit), distribution(circuit), SHOTS)


def test_the_comparison_sees_a_wrong_branch() -> None:
    right, wrong = every_jump(), every_jump()
    wrong.data.insert(0, QuantumCircuit(3, 4).compose(_turn()).data[0])
    with pytest.raises(AssertionError):
        assert_drawn_from(sample(wrong), distribution(right), SHOTS)


def _turn() -> QuantumCircuit:
    turn = QuantumCircuit(3)
    turn.ry(0.2, 0)
    return turn


@pytest.mark.parametrize("seed", range(25))
def test_random_dynamic_circuits(seed: int) -> None:
    circuit = random_dynamic(np.random.default_rng(seed))
    expected = distribution(circuit)
    assert_drawn_from(sample(circuit, 5000, seed), expected, 5000)
    if seed < 5:
        assert_drawn_from(sample(circuit, 5000, seed, fusion_enable=False), expected, 5000)


def test_shots_in_chunks_when_memory_is_short() -> None:
    circuit = QuantumCircuit(10, 9)
    for k in range(9):
        circuit.ry(0.3 + 0.1 * k, k)
        circuit.measure(k, k)
        with circuit.if_test((k, True)):
            circuit.x(k + 1)
    expected = distribution(circuit)
    # nothing reads qubit 9, and a state of 9 qubits takes 8 KiB: of eight for each trajectory, 16 of them fit
    tight = sample(circuit, 2000, engine=EngineOptions(max_memory_mb=1))
    assert_drawn_from(tight, expected, 2000)
    assert tight == sample(circuit, 2000)
    with pytest.raises(OutOfMemoryError):
        sample(circuit, 10, engine=EngineOptions(max_memory_mb=0.02))


@pytest.mark.parametrize("make", DYNAMIC, ids=lambda make: make.__name__)
def test_a_seed_gives_the_same_counts_in_any_memory(make: Any) -> None:
    circuit = make()
    counts = sample(circuit, 150, seed=3)
    compiled = compile_runner(CACHE.known(circuit), RunnerOptions()).runner
    state = compiled.device.state_bytes(compiled.dynamic.num_qubits, 1)
    for states in (4, 16, 50):
        assert sample(circuit, 150, seed=3, engine=EngineOptions(max_memory_mb=states * state / 2**20)) == counts


def test_the_rounds_of_a_loop_share_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = QuantumCircuit(2, 1)
    index, angle = Parameter("k"), Parameter("a")
    with circuit.for_loop(range(30), index):
        circuit.rx(0.1 * index * angle, 0)
        circuit.cx(0, 1)
        circuit.ry(0.2 - index, 1)
    circuit.measure(1, 0)
    made = []
    original = runner_module.Passes
    monkeypatch.setattr(runner_module, "Passes", lambda *args: made.append(args) or original(*args))
    runner = compile_runner(CACHE.known(circuit), RunnerOptions()).runner
    (outcomes,) = runner.run(request(np.array([[0.7]]), SHOTS, [np.random.default_rng(1)], keep=False))
    bound = circuit.assign_parameters({angle: 0.7})
    assert_drawn_from(counts_of(outcomes.shots), distribution(bound), SHOTS)
    assert_drawn_from(sample(bound), distribution(bound), SHOTS)
    assert len(made) < 40  # 30 with a parameter's coefficients, and one for all rounds with constants


def test_the_state_is_shared_until_an_outcome_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    original = runner_module.Passes.run

    def run(passes: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        batches.append(len(values))
        return original(passes, values, *args, **kwargs)

    monkeypatch.setattr(runner_module.Passes, "run", run)
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.measure(0, 0)  # can wait
    circuit.cx(1, 2)
    circuit.measure(1, 1)
    sample(circuit)
    assert batches == [1]
    batches.clear()
    circuit.x(0)  # cannot wait any more; two states, whatever the number of shots
    circuit.x(1)  # was measured, but its outcome is certain
    circuit.measure(0, 2)
    sample(circuit)
    assert batches == [1, 2]


def test_rows_of_values_do_not_depend_on_each_other() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2, 3)
    circuit.rx(a, 0)
    circuit.measure(0, 0)
    with circuit.if_test((0, True)):
        circuit.ry(b * a, 1)
    circuit.measure(1, 1)
    circuit.rx(b, 0)
    circuit.measure(0, 2)
    rows = np.random.default_rng(4).uniform(-3, 3, (5, 2))
    runner = compile_runner(CACHE.known(circuit), RunnerOptions()).runner

    def run(values: Any, first: int, **options: Any) -> list[dict[int, int]]:
        count = len(options.get("value_of_set", values))
        generators = [np.random.default_rng(first + k) for k in range(count)]
        return [counts_of(r.shots) for r in runner.run(request(values, 4000, generators, **options))]

    together = run(rows, 0)
    for k, row in enumerate(rows):
        assert_drawn_from(together[k], distribution(circuit.assign_parameters(row)), 4000)
        assert run(row[None], k) == [together[k]]
    assert run(rows, 0, value_of_set=np.array([2, 0, 2, 4])) == [
        run(rows[[k]], position)[0] for position, k in enumerate([2, 0, 2, 4])
    ]


def test_idle_qubits_have_no_amplitudes() -> None:
    circuit = QuantumCircuit(100, 3)
    circuit.ry(0.8, 97)
    circuit.cx(97, 3)
    circuit.barrier()
    circuit.reset(50)
    circuit.measure([97, 3, 50], [0, 1, 2])
    compiled = compile_runner(CACHE.known(circuit), RunnerOptions())
    assert compiled.qubits == (3, 97)
    assert compiled.runner.dynamic.num_qubits == 2
    assert_drawn_from(sample(circuit, 1000), {0: np.cos(0.4) ** 2, 3: np.sin(0.4) ** 2}, 1000)
    with pytest.raises(SimulationError, match="of 100 qubits"):
        compile_runner(CACHE.known(circuit), RunnerOptions(truncate=False))
    only = QuantumCircuit(50, 1)
    only.measure(7, 0)
    assert sample(only, 5) == {0: 5}


def test_certain_outcomes_cost_no_randomness() -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    runner = compile_runner(CACHE.known(circuit), RunnerOptions()).runner
    assert isinstance(runner, Runner)
    assert sample(circuit, 10) == {1: 10}


def test_single_precision() -> None:
    circuit = every_jump()
    assert_drawn_from(sample(circuit, engine=EngineOptions(precision="single")), distribution(circuit), SHOTS)


@pytest.mark.parametrize("fuse", [True, False])
def test_gate_by_gate_gives_the_same_state(fuse: bool) -> None:
    circuit = random_circuit(4, 6, max_operands=3, seed=5)
    runner = compile_runner(
        CACHE.known(save(circuit.copy(), "statevector", label="state")), RunnerOptions(fusion_enable=fuse)
    ).runner
    (outcomes,) = runner.run(request(np.empty((1, 0)), 1, [np.random.default_rng(1)], keep=False))
    ((plan,),) = runner.plans.values()
    assert (len(plan.tape.blocks) > 10) != fuse
    state = outcomes.saved["state"].value
    np.testing.assert_allclose(np.abs(state) ** 2, Statevector(circuit).probabilities(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda c: c.add_input("x", types.Uint(4)), "input variables"),
        (lambda c: c.append(_named("kraus"), [0]), "noise channel"),
        (lambda c: c.append(_named("jump"), [0]), "the name of a mark"),
        (lambda c: c.append(_named("save_unitary", _subtype="single"), [0]), "cannot save"),
    ],
)
def test_what_is_refused(build: Any, message: str) -> None:
    circuit = QuantumCircuit(2, 2)
    build(circuit)
    with pytest.raises(UnsupportedInstructionError, match=message):
        compile_runner(CACHE.known(circuit), RunnerOptions())


def test_a_state_prepared_on_all_qubits_leaves_nothing_random() -> None:
    circuit = QuantumCircuit(3)
    circuit.h([0, 2])
    circuit.cx(0, 2)
    circuit.initialize(np.sqrt([0.1, 0.2, 0.3, 0.4]), [2, 0])
    circuit.ry(0.3, 0)
    circuit.measure_all()
    runner = compile_runner(CACHE.known(circuit), RunnerOptions()).runner
    assert runner.samples
    (found,) = runner.run(request(np.empty((1, 0)), 20_000, [np.random.default_rng(1)], keep=False))
    assert found.shots is not None
    counts = dict(zip(found.shots.outcomes.tolist(), found.shots.counts.tolist(), strict=True))
    assert_drawn_from(counts, distribution(circuit), 20_000)


def test_a_channel_that_is_a_unitary_is_run() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.append(Instruction("kraus", 1, 0, [np.array([[0, 1], [1, 0]])]), [0])
    circuit.measure(0, 0)
    assert sample(circuit, 3) == {1: 3}


def _jump(circuit: QuantumCircuit, mark: str, condition: Any = None) -> None:
    """A jump as qiskit-aer's ``AerJump``."""
    instruction = Instruction("jump", circuit.num_qubits, 0, [])
    instruction.params = [mark]
    bit = condition if isinstance(condition, tuple) else None
    instruction.condition, instruction.condition_expr = bit, None if bit else condition
    circuit.append(instruction, circuit.qubits)


def _mark(circuit: QuantumCircuit, name: str) -> None:
    instruction = Instruction("mark", circuit.num_qubits, 0, [])
    instruction.params = [name]
    circuit.append(instruction, circuit.qubits)


@pytest.mark.parametrize("fuse", [True, False])
def test_jumps(fuse: bool) -> None:
    circuit, expected = QuantumCircuit(2, 4), QuantumCircuit(2, 4)
    for each in (circuit, expected):
        each.h(0)
        each.measure(0, 0)
    _jump(circuit, "far", (circuit.clbits[0], 0))
    circuit.ry(0.3, 1)
    _jump(circuit, "near")
    circuit.x(0)
    _mark(circuit, "near")
    circuit.h(0)
    circuit.measure(0, 1)
    _jump(circuit, "far", expr.lift(circuit.clbits[1]))
    circuit.ry(0.9, 1)
    _mark(circuit, "far")
    with expected.if_test((0, True)):
        expected.ry(0.3, 1)
        expected.h(0)
        expected.measure(0, 1)
        with expected.if_test((1, False)):
            expected.ry(0.9, 1)
    for each in (circuit, expected):
        each.measure([0, 1], [2, 3])
    runner = compile_runner(CACHE.known(circuit), RunnerOptions(fusion_enable=fuse)).runner
    (found,) = runner.run(request(np.empty((1, 0)), 20_000, [np.random.default_rng(2)], keep=False))
    assert found.shots is not None
    counts = dict(zip(found.shots.outcomes.tolist(), found.shots.counts.tolist(), strict=True))
    assert_drawn_from(counts, distribution(expected), 20_000)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("j:a", "does not come after"),
        ("m:a m:a", "two marks 'a'"),
        ("m:a j:a", "leads back"),
        ("j:a j:b m:a m:b", "nested"),
    ],
)
def test_jumps_that_cannot_be_followed(steps: str, message: str) -> None:
    circuit = QuantumCircuit(1, 1)
    for step in steps.split():
        circuit.h(0)
        {"j": _jump, "m": _mark}[step[0]](circuit, step[2:])
    circuit.measure(0, 0)
    with pytest.raises(SimulationError, match=message):
        compile_runner(CACHE.known(circuit), RunnerOptions())


def test_a_users_gate_may_have_the_name_of_an_instruction() -> None:
    body = QuantumCircuit(1)
    body.x(0)
    circuit = QuantumCircuit(1, 1)
    for name in ("kraus", "set_statevector", "save_statevector"):
        body.name = name
        circuit.append(body.to_gate(), [0])
    circuit.measure(0, 0)
    assert sample(circuit, 3) == {1: 3}


def _named(name: str, **fields: Any) -> Any:
    instruction = Instruction(name, 1, 0, [])
    for field, value in fields.items():
        setattr(instruction, field, value)
    return instruction


def test_dividing_by_zero_is_an_error() -> None:
    circuit = QuantumCircuit(1, 2)
    circuit.store(circuit.clbits[0], expr.equal(expr.div(expr.lift(4, types.Uint(4)), expr.lift(0, types.Uint(4))), 1))
    with pytest.raises(InvalidInputError, match="by zero"):
        sample(circuit)


def test_outcomes_of_many_distributions() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((40, 8)) * (rng.random((40, 8)) < 0.4)
    table[:, 3] += 1e-3
    of_shot = np.repeat(np.arange(40), 3000)
    uniform = rng.random(len(of_shot))
    drawn = sampling.outcomes_of_shots(table, of_shot, uniform)
    for number in range(40):
        counts = np.bincount(drawn[of_shot == number], minlength=8)
        expected = table[number] / table[number].sum()
        here = {outcome: count for outcome, count in enumerate(counts.tolist()) if count}
        assert_drawn_from(here, dict(enumerate(expected.tolist())), 3000)
        alone = sampling.outcomes_of_shots(table[[number]], np.zeros(3000, dtype=int), uniform[of_shot == number])
        np.testing.assert_array_equal(alone, drawn[of_shot == number])
    # the last numbers below 1 still give a possible outcome
    edge = np.full(40, np.nextafter(1.0, 0.0))
    last = sampling.outcomes_of_shots(table, np.arange(40), edge)
    assert (table[np.arange(40), last] > 0).all()


def test_few_shots_of_very_many_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    table = rng.random(2**14) * (rng.random(2**14) < 0.05)
    table[: 2**13] = 0.0
    table[-300:] = 0.0
    monkeypatch.setattr(sampling, "BLOCK", 16)
    counts = np.zeros(2**14, dtype=int)
    for seed in range(60):
        drawn = sampling.draw(table, 1000, np.random.default_rng(seed), keep=True)
        assert drawn.counts.sum() == 1000
        assert (table[drawn.outcomes] > 0).all()
        np.add.at(counts, drawn.outcomes, drawn.counts)
    expected = dict(enumerate((table / table.sum()).tolist()))
    assert_drawn_from({k: n for k, n in enumerate(counts.tolist()) if n}, expected, 60_000)
    # the points at both ends, for a distribution that begins and ends with nothing
    ends = np.array([0.0, np.nextafter(1.0, 0.0)])
    first, last = np.flatnonzero(table)[[0, -1]]
    assert sampling._inverted_in_blocks(table.reshape(-1, 16), ends).tolist() == [first, last]


def _many_cases() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(8), ClassicalRegister(8, "a"), ClassicalRegister(8, "b"))
    a, b = circuit.cregs
    circuit.h(range(8))
    circuit.measure(range(8), a)
    with circuit.switch(a) as case:
        for value in range(250):
            with case(value):
                if value % 3 == 0:
                    circuit.x(0)
        with case(case.DEFAULT):
            circuit.x(1)
    circuit.measure(range(8), b)
    return circuit


def _many_labels() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(10), ClassicalRegister(10, "a"), ClassicalRegister(1, "b"))
    a, b = circuit.cregs
    circuit.h(range(10))
    circuit.measure(range(10), a)
    with circuit.switch(a) as case:
        with case(*range(1000)):
            circuit.reset(0)
        with case(case.DEFAULT):
            circuit.initialize([0, 1], 0)
    circuit.measure(0, b)
    return circuit


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_many_cases, lambda a: a ^ (a % 3 == 0 if a < 250 else 2)),
        (_many_labels, lambda a: a >= 1000),
    ],
)
def test_switches_of_many_cases_and_labels(make: Any, expected: Any) -> None:
    circuit = make()
    width = circuit.cregs[0].size
    counts = sample(circuit, 3000)
    assert len(counts) > 200
    assert all(outcome >> width == expected(outcome & (1 << width) - 1) for outcome in counts)


def test_conditions_nested_deeper_than_calls() -> None:
    circuit = QuantumCircuit(2, 502)
    circuit.h(0)
    circuit.measure(0, 500)
    condition = negated = expr.lift(circuit.clbits[0])
    for clbit in circuit.clbits[1:501]:
        condition = expr.logic_or(condition, clbit)
        negated = expr.logic_not(negated)
    with circuit.if_test(expr.logic_and(condition, expr.logic_not(negated))):
        circuit.x(1)
    circuit.measure(1, 501)
    assert sample(circuit, 100).keys() == {0, 3 << 500}


def test_worlds_are_normalised() -> None:
    for make in DYNAMIC:
        assert sum(world.probability for world in worlds(make())) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("limit", [64, 1 << 14])
@pytest.mark.parametrize("size", [1, 5, 300])
def test_present_numbers_are_found_by_sorting_and_by_marks(size: int, limit: int) -> None:
    numbers = np.random.default_rng(size).integers(limit, size=size)
    distinct, places = sampling.present_numbers(numbers, limit)
    assert distinct.tolist() == sorted(set(numbers.tolist()))
    np.testing.assert_array_equal(distinct[places], numbers)
