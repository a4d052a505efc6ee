"""Bindings: from parameter values to coefficients and back, against the interpreter and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.interpreter import expectation, run_program
from support.programs import ProgramSampler, layered

from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.parameters import ParameterSet, parameter_batch
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.engine.sweeps import PlannedSweeps, PlanRequest
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap, FormulaGroup
from qiskit_fusedqml.ir.expressions import parse
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner.cost import CostModel

DEVICE = ReferenceDevice()
NUM_INPUTS, NUM_WEIGHTS, BATCH = 2, 3, 3
P = NUM_INPUTS + NUM_WEIGHTS


def random_map(rng: np.random.Generator, num_angles: int, *, expressions: bool) -> AngleMap:
    """Angles of one to three terms with constants, over parameters and two forms of expressions."""
    groups: tuple[FormulaGroup, ...] = ()
    if expressions:
        product = FormulaGroup(parse("a*b", ("a", "b")), np.array([[0, 2, 3], [1, 0, 4]]), ("x0*x1", "w0*x0", "w1*w2"))
        sine = FormulaGroup(parse("sin(a)", ("a",)), np.array([[1, 4]]), ("sin(x1)", "sin(w2)"))
        groups = (product, sine)
    num_features = P + (5 if expressions else 0)
    slots = np.repeat(np.arange(num_angles), rng.integers(1, 4, num_angles))
    columns = rng.integers(num_features, size=len(slots))
    return AngleMap(P, rng.normal(size=num_angles), slots, columns, rng.normal(size=len(slots)), groups)


class Case:
    """A random program under a random map, with its inputs batched and its weights too if asked."""

    def __init__(self, seed: int, *, per_sample: bool = False) -> None:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 4))
        self.program = ProgramSampler(rng, n).program(int(rng.integers(3, 10)))
        self.map = random_map(rng, self.program.num_angles, expressions=bool(seed % 2))
        inputs = rng.normal(size=(BATCH, NUM_INPUTS))
        weights = rng.normal(size=(BATCH, NUM_WEIGHTS) if per_sample else NUM_WEIGHTS)
        if per_sample:
            weights[:, 1] = 0.4
        self.parameters = parameter_batch(inputs, weights)
        self.values = np.concatenate([inputs, np.broadcast_to(weights, (BATCH, NUM_WEIGHTS))], axis=1)
        self.observable = PauliSum(n, (PauliTerm(0.7, 1, 0), PauliTerm(-0.4, 0, 1), PauliTerm(0.3, 1, 1)))
        self.cotangents = rng.normal(size=(BATCH, 1))
        self.sweeps = self.planned(self.map)

    def planned(self, angle_map: AngleMap) -> PlannedSweeps:
        """The sweeps of this case's program under a map."""
        request = PlanRequest(self.parameters.batched, ParameterSet(np.arange(P)), BATCH, keep_phase=True)
        return PlannedSweeps(self.program, angle_map, CostModel(), request)

    def loss(self, values: np.ndarray) -> np.ndarray:
        """The loss of each row by direct interpretation."""
        states = [run_program(self.program, angles) for angles in self.map.evaluate(values)]
        return self.cotangents[:, 0] * [expectation(self.observable, state) for state in states]

    def jacobian(self, step: float = 1e-5) -> np.ndarray:
        """Central differences (B, P)."""
        units = step * np.eye(P)
        columns = [(self.loss(self.values + unit) - self.loss(self.values - unit)) / (2 * step) for unit in units]
        return np.stack(columns, axis=1)

    def sweep(self, sweeps: PlannedSweeps, *, per_sample: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(final states, gradients as of `PlannedSweeps.pullback`)."""
        residuals, tape = sweeps.map.bind(self.parameters), sweeps.tape
        ket = DEVICE.allocate(tape, BATCH, None)
        DEVICE.forward(tape, residuals.bound.coefficients, ket)
        states = DEVICE.amplitudes(ket, tape.frame)
        bra = DEVICE.apply_observables(ket, tape.frame, [self.observable], self.cotangents)
        overlaps = DEVICE.backward(tape, residuals.bound.coefficients, ket, bra, per_sample=True)
        return states, *sweeps.map.pullback(residuals, overlaps, per_sample=per_sample)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_states_and_gradients_of_random_maps(seed: int, per_sample: bool) -> None:
    case = Case(seed, per_sample=per_sample)
    states, gradients, _ = case.sweep(case.sweeps, per_sample=True)
    angles = case.map.evaluate(case.values)
    np.testing.assert_allclose(states, [run_program(case.program, row) for row in angles], atol=1e-12)
    expected = case.jacobian()
    np.testing.assert_allclose(gradients, expected, atol=1e-8)
    # summed: each parameter's gradient is in one of the two places
    _, shared, batched = case.sweep(case.sweeps, per_sample=False)
    indices = case.parameters.batched.indices
    assert batched is not None
    np.testing.assert_allclose(batched, expected[:, indices], atol=1e-8)
    np.testing.assert_array_equal(shared[indices], 0.0)
    others = np.setdiff1d(np.arange(P), indices)
    np.testing.assert_allclose(shared[others], expected[:, others].sum(axis=0), atol=1e-8)


@pytest.mark.parametrize("field", ["coefficients", "constants"])
def test_a_wrong_map_is_seen(field: str) -> None:
    """The checker above fails on a map that is off by a thousandth."""
    case = Case(3)
    wrong = case.planned(replace(case.map, **{field: 1.001 * getattr(case.map, field)}))
    states, gradients, _ = case.sweep(wrong, per_sample=True)
    right_states, right_gradients, _ = case.sweep(case.sweeps, per_sample=True)
    assert np.abs(states - right_states).max() > 1e-5
    assert np.abs(gradients - right_gradients).max() > 1e-5


def test_overlaps_summed_over_the_batch_give_the_shared_gradients() -> None:
    case = Case(2)
    program = layered(2, 2)
    identity = AngleMap(
        program.num_angles,
        np.zeros(program.num_angles),
        np.arange(program.num_angles),
        np.arange(program.num_angles),
        np.ones(program.num_angles),
    )
    f = ProgramFunction(program, identity, [PauliSum(2, case.observable.terms)], num_inputs=2)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(BATCH, 2)), rng.normal(size=program.num_angles - 2)
    _, dx, dw = f.value_and_vjp(x, w, case.cotangents)
    assert dx is None
    np.testing.assert_allclose(dw, np.einsum("bo,bow->w", case.cotangents, f.jacobian(x, w)), atol=1e-12)


def test_weight_columns_equal_in_every_row_are_shared() -> None:
    x, w = np.arange(6.0).reshape(3, 2), np.zeros((3, 4))
    w[:, 1] = [1, 2, 3]
    w[:, 2] = [1, 2, 1]
    w[:, 3] = 5
    parameters = parameter_batch(x, w)
    np.testing.assert_array_equal(parameters.batched.indices, [0, 1, 3, 4])
    np.testing.assert_array_equal(parameters.samples, np.column_stack([x, w[:, 1:3]]))
    np.testing.assert_array_equal(parameters.shared, [0, 1, 0, 1, 1, 5])
    assert parameters.per_sample
    part = parameters.part(1, 3)
    assert (part.batch, part.first) == (2, 1)
    np.testing.assert_array_equal(part.samples, parameters.samples[1:])
    np.testing.assert_array_equal(parameter_batch(None, w[:, 1:3]).samples, w[:, 1:3])
    equal = parameter_batch(None, np.ones((3, 4)))
    assert (equal.batch, len(equal.batched.indices)) == (3, 0)


def test_one_row_varies_in_nothing_and_states_repeat_it() -> None:
    x, w = np.ones((1, 2)), np.zeros(3)
    assert len(parameter_batch(x, w).batched.indices) == 0
    repeated = parameter_batch(x, w, np.ones((4, 2)))
    np.testing.assert_array_equal(repeated.samples, np.ones((4, 2)))
    assert parameter_batch(None, w, np.ones((4, 2))).samples.shape == (4, 0)


def test_equal_sets_of_parameters_have_equal_keys() -> None:
    x, w = np.arange(6.0).reshape(3, 2), np.arange(12.0).reshape(3, 4)
    keys = {parameter_batch(x + k, w * (k + 1)).batched for k in range(3)}
    assert len(keys) == 1
    assert parameter_batch(x, w[0]).batched not in keys


NAMED = AngleMap(
    3,
    np.zeros(4),
    np.array([0, 1, 2, 2, 3]),
    np.array([0, 2, 1, 2, 3]),
    np.array([1.0, 1.0, 10.0, 1.0, 1.0]),
    (FormulaGroup(parse("log(a)", ("a",)), np.array([[1]]), ("log(x1)",)),),
    ("x0", "x1", "w"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, 2, np.nan), r"Parameter x0 is nan in row 2; finite values are required\."),
        ((1, 1, np.inf), r"Parameter x1 is inf in row 1; finite values are required\."),
        ((2, 0, -np.inf), r"Parameter w is -inf; finite values are required\."),
        ((1, 2, -1.0), r"The expression log\(x1\) is nan in row 2 at the given values; angles must be finite\."),
        ((1, 0, 1e308), r"Angle 1 overflows at the given values; finite angles are required\."),
    ],
)
@pytest.mark.parametrize("device", ["reference", "CPU"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_makes_an_angle_not_finite_is_named(device: str, change: tuple[int, int, float], message: str) -> None:
    program = Program(1, 4, tuple(Rotation(1, slot % 2, slot=slot) for slot in range(4)))
    f = ProgramFunction(program, NAMED, [PauliSum(1, (PauliTerm(1.0, 0, 1),))], EngineOptions(device), num_inputs=2)
    values = np.ones((3, 3))
    f.values(values[:, :2], values[0, 2:])
    column, row, number = change
    values[row, column] = number
    with pytest.raises(InvalidInputError, match=message):
        f.values(values[:, :2], values[0, 2:])
