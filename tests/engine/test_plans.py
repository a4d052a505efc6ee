"""Plans shared by structure: who shares one, who must not, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import DiagonalGate, UnitaryGate, efficient_su2
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Statevector, random_unitary

from qiskit_fusedqml import DifferentiableCircuit, FusedSimulator
from qiskit_fusedqml.devices.cpu import default_threads
from qiskit_fusedqml.engine import plans, sweeps
from qiskit_fusedqml.engine.parameters import NO_PARAMETERS
from qiskit_fusedqml.engine.plans import SHARED
from qiskit_fusedqml.engine.sweeps import PlannedSweeps, PlanRequest
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.lowering import lower_dynamic
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.memory import BoundedCache
from qiskit_fusedqml.planner.cost import CostModel

ANSATZ = efficient_su2(4, reps=2)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that are planned from now on."""
    programs: list[Program] = []
    original = sweeps.fuse

    def fuse(program: Program, *args: object, **options: object) -> object:
        programs.append(program)
        return original(program, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeps, "fuse", fuse)
    return programs


def state_of(circuit: QuantumCircuit) -> Statevector:
    """What the simulator finds, through the store."""
    saving = save(circuit.copy(), "statevector")
    return Statevector(np.asarray(FusedSimulator().run(saving).result().data(0)["statevector"]))


def check(circuit: QuantumCircuit) -> None:
    np.testing.assert_allclose(state_of(circuit).data, Statevector(circuit).data, atol=1e-12)


def bound(seed: int) -> QuantumCircuit:
    return ANSATZ.assign_parameters(np.random.default_rng(seed).normal(size=ANSATZ.num_parameters))


def test_bound_copies_of_an_ansatz_are_planned_once(planned: list[Program]) -> None:
    for seed in range(5):
        check(bound(seed))
    assert len(planned) == len(SHARED) == 1
    for seed in range(5):
        circuit = bound(seed)
        circuit.measure_all()
        FusedSimulator().run(circuit, shots=10).result()
    assert len(planned) == 2  # as the global phase does not matter now


def test_angles_of_any_gate_and_the_global_phase_are_lifted() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        circuit = QuantumCircuit(3, global_phase=rng.normal())
        for _ in range(8):
            a, b, c = (int(q) for q in rng.permutation(3))
            x, y, z, w = rng.choice([0.3, np.pi / 4, np.pi, -0.7, 2 * np.pi, 4 * np.pi, 1e-11], 4) * rng.choice(
                [1, -1], 4
            )
            draw = rng.integers(7)
            if draw == 0:
                circuit.u(x, y, z, a)
            elif draw == 1:
                circuit.cu(x, y, z, w, a, b)
            elif draw == 2:
                circuit.crx(x, a, b, ctrl_state=0)
            elif draw == 3:
                circuit.rzz(x, a, b)
            elif draw == 4:
                circuit.mcp(x, [a, b], c)
            elif draw == 5:
                circuit.r(x, y, a)
            else:
                circuit.cx(a, b)
        check(circuit)
        check(circuit)


@pytest.mark.parametrize("seed", range(6))
def test_random_circuits_twice(seed: int) -> None:
    circuit = random_circuit(4, 6, max_operands=3, seed=seed)
    check(circuit)
    check(circuit)


def generic(change: Callable[[QuantumCircuit], object] = lambda _: None, **changes: object) -> QuantumCircuit:
    """A circuit whose variants differ in one thing only; angles are the same."""
    options: dict[str, object] = {
        "ctrl_state": 1,
        "unitary": 5,
        "signs": (1, -1, 1j, 1),
        "target": 2,
        "clifford": np.pi / 2,
    }
    options |= changes
    circuit = QuantumCircuit(3)
    circuit.ry(0.3, range(3))
    circuit.crx(0.7, 0, 1, ctrl_state=options["ctrl_state"])
    circuit.append(UnitaryGate(random_unitary(4, seed=options["unitary"])), [0, 2])
    circuit.append(DiagonalGate(list(options["signs"])), [1, 2])  # type: ignore[call-overload]
    circuit.rx(options["clifford"], 0)
    circuit.cx(0, options["target"])
    circuit.rz(0.4, options["target"])
    circuit.rx(0.6, 1)
    change(circuit)
    return circuit


VARIANTS = {
    "itself": generic(),
    "a control's value": generic(ctrl_state=0),
    "a matrix": generic(unitary=6),
    "a table": generic(signs=(1, 1, 1j, 1)),
    "a qubit": generic(target=1),
    "a Clifford angle": generic(clifford=-np.pi / 2),
    "an angle that is a Clifford gate's now": generic(clifford=0.2),
    "one gate more": generic(lambda circuit: circuit.h(1)),
    "a turn by pi": generic(lambda circuit: circuit.rx(np.pi, 1)),
    "a turn by 3 pi": generic(lambda circuit: circuit.rx(3 * np.pi, 1)),
}


def check_variants() -> None:
    for circuit in VARIANTS.values():
        check(circuit)


def test_circuits_that_differ_in_anything_but_angles_have_their_own_plans(planned: list[Program]) -> None:
    check_variants()
    assert len(planned) == len(VARIANTS)
    check_variants()
    assert len(planned) == len(VARIANTS)


@pytest.mark.parametrize("forgotten", ["instructions", "contents"])
def test_the_check_notices_plans_that_are_shared_wrongly(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def structure(program: Program) -> object:
        kept = [i[:5] if isinstance(i, Rotation) else type(i) for i in program.instructions]
        return len(kept) if forgotten == "instructions" else (program.num_angles, *map(str, kept))

    monkeypatch.setattr(Program, "structure", structure)
    with pytest.raises(AssertionError):
        check_variants()


def test_what_is_measured_and_saved_may_differ() -> None:
    for measured in ([0], [1], [0, 1, 2], []):
        circuit = generic()
        circuit.add_register(*QuantumCircuit(0, 3).cregs)
        circuit.measure(measured, measured)
        counts = FusedSimulator().run(circuit, shots=4000, seed_simulator=1).result().data(0).get("counts", {})
        expected = Statevector(generic()).probabilities(measured) if measured else []
        for outcome, probability in enumerate(expected):
            key = sum((outcome >> k & 1) << q for k, q in enumerate(measured))
            assert abs(counts.get(hex(key), 0) / 4000 - probability) < 0.05


def test_rows_of_parameters_beside_constants() -> None:
    """Constants are lifted into parameters of their own, which rows do not hold."""
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(2)
    circuit.ry(0.3, 0)
    circuit.rx(2 * x, 0)
    circuit.crz(x * y, 0, 1)  # neither constant nor affine
    circuit.u(0.4, y, -0.9, 1)
    circuit.cx(0, 1)
    rows = np.random.default_rng(0).normal(size=(3, 2))
    saving = save(circuit.copy(), "statevector")
    for constant in (0.3, 0.8):
        saving.data[0] = saving.data[0].replace(params=[constant])
        circuit.data[0] = circuit.data[0].replace(params=[constant])
        result = FusedSimulator().run(saving, parameter_binds=[{x: rows[:, 0], y: rows[:, 1]}]).result()
        for number, (first, second) in enumerate(rows):
            expected = Statevector(circuit.assign_parameters({x: first, y: second}))
            np.testing.assert_allclose(result.data(number)["statevector"], expected.data, atol=1e-12)


def test_lifting_takes_all_angles_but_those_of_clifford_and_t_gates() -> None:
    theta = ParameterVector("t", 2)
    circuit = QuantumCircuit(2, global_phase=0.2)
    circuit.rx(theta[1], 0)
    circuit.rx(0.7, 0)
    circuit.p(theta[0] * theta[1], 1)
    circuit.h(1)
    circuit.t(0)
    plain, lifted = (lower_dynamic(circuit, [0, 1], lift=lift) for lift in (False, True))
    values = np.array([0.4, 1.3])
    assert not plain.constants.size
    expected = instructions(plain.dynamic.nodes[0].program, plain.angle_map.evaluate(values))  # type: ignore[union-attr]
    program = lifted.dynamic.nodes[0].program  # type: ignore[union-attr]
    rows = np.concatenate([values, lifted.constants])
    np.testing.assert_allclose(instructions(program, lifted.angle_map.evaluate(rows)), expected, atol=1e-14)
    constant = [i.theta for i in program.instructions if isinstance(i, Rotation) and i.slot < 0]
    np.testing.assert_allclose(np.remainder(constant, np.pi / 2), 0, atol=1e-14)
    assert len(lifted.constants) == 2  # of the rotation and of the phase


def instructions(program: Program, angles: NDArray[np.float64]) -> list[tuple[float, ...]]:
    """The rotations with their angles."""
    rotations = [i for i in program.instructions if isinstance(i, Rotation)]
    assert len(rotations) == len(program.instructions)
    return [(*r[:4], r.theta if r.slot < 0 else float(angles[r.slot])) for r in rotations]


def test_the_engine_shares_plans_of_equal_circuits_with_equal_names(planned: list[Program]) -> None:
    def engine(name: str) -> DifferentiableCircuit:
        angle = Parameter(name)
        circuit = QuantumCircuit(1)
        circuit.rx(angle, 0)
        return DifferentiableCircuit(circuit, ["Z"])

    for angle in (0.3, 0.4):
        values, pullback = engine("a").vjp(None, [angle])
        np.testing.assert_allclose([values[0, 0], *pullback([[1.0]])[1]], [np.cos(angle), -np.sin(angle)], atol=1e-14)
    assert len(planned) == 1
    for name in ("a", "b"):
        with pytest.raises(InvalidInputError, match=f"{name}\\b"):
            engine(name).values(None, [np.nan])


def test_devices_have_their_own_plans(planned: list[Program]) -> None:
    circuit = bound(0)
    circuit.measure_all()
    for options in ({}, {"precision": "single"}, {"fusion_max_qubit": 2}, {"max_parallel_threads": 1}, {}):
        FusedSimulator(**options).run(circuit.copy(), shots=10).result()
    assert len(planned) == 4 - (default_threads() == 1)


def test_programs_that_hold_amplitudes_share_nothing() -> None:
    circuit = QuantumCircuit(2)
    circuit.initialize([0.6, 0.8j, 0, 0], [0, 1])
    circuit.ry(0.3, 0)
    check(circuit)
    assert not len(SHARED)


def made(program: Program) -> PlannedSweeps:
    none = np.empty(0, dtype=np.intp)
    angles = AngleMap(0, np.empty(0), none, none, np.empty(0))
    return PlannedSweeps(program, angles, CostModel(), PlanRequest(NO_PARAMETERS, NO_PARAMETERS, 1, keep_phase=True))


def test_shared_plans_are_bounded_by_their_instructions() -> None:
    turn = Rotation(1, 0, theta=0.3)
    each = made(Program(1, 0, (turn,) * 4))
    assert plans.plan_size(each) == plans.PLAN_INSTRUCTIONS + 4
    assert SHARED.bound == plans.MAX_SHARED_INSTRUCTIONS
    store: BoundedCache[int, PlannedSweeps] = BoundedCache(10 * plans.plan_size(each), plans.plan_size)
    for key in range(15):
        store.get(key, lambda: each)
    assert len(store) == 10
    store.get(14, lambda: pytest.fail("this plan was the last one"))
    store.clear()
    assert (len(store), store.size) == (0, 0)


def test_eight_threads_share_plans() -> None:
    """Each finds its own numbers although all run one plan, planned by whoever came first."""
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(check, [bound(seed) for seed in range(40)]):
            pass
    assert len(SHARED) == 1


def test_what_long_programs_show_is_bounded() -> None:
    circuit = QuantumCircuit(4)
    for k in range(3000):
        circuit.rx(0.1, k % 4)
        circuit.cx(k % 4, (k + 1) % 4)
    plan = DifferentiableCircuit(circuit, ["ZZZZ"]).plan
    for shown in (plan, plan.tape, plan.program):
        assert len(repr(shown)) < 100
    assert len(str(plan)) < 4000
