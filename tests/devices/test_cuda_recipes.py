"""Coefficients and gradients made on the device, against the host's compiled code and against parameter shifts."""

from __future__ import annotations

import re
from dataclasses import replace
from math import pi

import numpy as np
import pytest
from devices.conformance import distance
from devices.emulation.runtime import EmulatedRuntime
from interpreter import expectation, run_program
from programs import ProgramSampler

from qiskit_fusedqml.angles import AngleMap, FormulaGroup, parse
from qiskit_fusedqml.angles.formulas import BINARY, FUNCTIONS, NEGATIVE
from qiskit_fusedqml.binding import Binding
from qiskit_fusedqml.cost import CostModel, Factors
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.tables import STEPS
from qiskit_fusedqml.observables import PauliSum, PauliTerm
from qiskit_fusedqml.parameters import parameter_batch
from qiskit_fusedqml.program import Program, Rotation
from qiskit_fusedqml.tables import BindingTables

P, BATCH = 6, 3
FORMS = [f"{name}(0.9*a)" for name in FUNCTIONS]
FORMS += ["a*b-c", "a/b+1", "a**b", "(-a)**2", "a**3", "2**a", "3.1*(pi-a)*(pi-b)", "sin(a*b)+a*cos(a+b)"]


def random_map(rng: np.random.Generator, num_angles: int, *, expressions: bool) -> AngleMap:
    """Angles of one to three terms with constants, over parameters and every form of expression."""
    groups = []
    for text in FORMS if expressions else ():
        names = sorted(set(re.findall(r"\b[abc]\b", text)))
        members = np.stack([rng.permutation(P)[: len(names)] for _ in range(2)], axis=1)
        groups.append(FormulaGroup(parse(text, names), members, (text, text)))
    slots = np.repeat(np.arange(num_angles), rng.integers(1, 4, num_angles))
    columns = rng.integers(P + 2 * len(groups), size=len(slots))
    return AngleMap(P, rng.normal(size=num_angles), slots, columns, rng.normal(size=len(slots)), tuple(groups))


def turning(n: int, size: int) -> Program:
    """Rotations that no diagonal interrupts, so that one of them carries the factors of the others."""
    kinds = [(1 << k % n, 1 << k % n) if k % 3 else ((1 << n) - 1, 0) for k in range(size)]
    return Program(n, size, tuple(Rotation(x, z, slot=k) for k, (x, z) in enumerate(kinds)))


CHEAP_MATRICES = CostModel(factors=Factors(u2=(0.01, 0.01)))


class Case:
    """A random program and map; how parameters are given is drawn, too."""

    def __init__(self, seed: int, *, size: int = 12) -> None:
        rng = np.random.default_rng(seed)
        self.rng, n = rng, 1 + seed % 4
        self.expressions, inputs = bool(seed & 1), 2 if seed % 3 else 0
        program = turning(n, size) if seed % 8 == 7 else ProgramSampler(rng, n).program(size)
        angles = random_map(rng, program.num_angles, expressions=self.expressions)
        by_row = seed % 5 in (0, 3)
        batch = 1 if seed % 7 == 6 else BATCH
        # all functions are defined in between
        x = rng.uniform(0.2, 0.8, (batch, inputs)) if inputs else None
        self.parameters = parameter_batch(x, rng.uniform(0.2, 0.8, (batch, P - inputs) if by_row else P - inputs))
        self.by_row = by_row
        self.binding = Binding(
            program,
            angles,
            CHEAP_MATRICES if seed % 6 == 4 else CostModel(),
            varying=self.parameters.varying.indices,
            wanted=np.flatnonzero(rng.random(P) < 0.7),
            batch=batch,
            keep_phase=True,
        )

    def overlaps(self, *, by_sample: bool) -> np.ndarray:
        count = self.binding.plan.tape.num_overlaps
        return self.rng.normal(size=(self.parameters.batch, count) if by_sample else count)


class Device(GPUDevice):
    """The emulated one, to which anybody may take arrays."""

    def __init__(self, schedule: int = 0) -> None:
        self.runtime = EmulatedRuntime(seed=schedule)
        super().__init__(self.runtime)

    def place(self, array: np.ndarray) -> np.ndarray:
        return self.runtime.upload(array).reshape(array.shape)

    def bind_case(self, case: Case, tables: BindingTables | None = None):
        given = case.parameters
        return self.bind(tables or case.binding.tables, self.place(given.base), self.place(given.columns))


def found(device: Device, case: Case, overlaps: np.ndarray, per_row: bool, tables: BindingTables | None = None):
    """Coefficients, in turns where they are angles, and gradients."""
    bound = device.bind_case(case, tables)
    numbers = np.array(bound.coefficients.numbers)
    return numbers, bound.pull(device.place(overlaps), per_row=per_row)


def expected(case: Case, overlaps: np.ndarray, per_row: bool):
    bound = case.binding.bind(case.parameters)
    c = bound.bound.coefficients
    real = [np.stack([m.real, m.imag], axis).ravel() for m, axis in ((c.matrices, -1), (c.batched_matrices, 3))]
    parts = [c.angles / (2 * pi), c.pairs, c.scales, real[0], c.batched_pairs, real[1], c.batched_angles / (2 * pi)]
    gradients = case.binding.pullback(bound, overlaps.copy(), per_row=per_row)
    return np.concatenate([np.ravel(part) for part in parts]), gradients


def differences(device: Device, case: Case, *, by_sample: bool, per_row: bool, tables: BindingTables | None = None):
    """Largest difference of coefficients, and of gradients."""
    overlaps = case.overlaps(by_sample=by_sample)
    numbers, gradients = found(device, case, overlaps, per_row, tables)
    right, others = expected(case, overlaps, per_row)
    c = case.binding.recipe.tables
    off = numbers[: len(right)] - right
    for turns in (slice(len(c.terms[0])), slice(len(right) - len(c.batched_terms[0]) * case.parameters.batch, None)):
        off[turns] -= 2 * np.round(off[turns] / 2)
    errors = [np.abs(off).max(initial=0.0)]
    for given, wanted in zip(gradients, others, strict=True):
        assert (given is None) == (wanted is None)
        errors.append(0.0 if wanted is None else distance(given, wanted))
    return errors


def test_the_cases_have_everything():
    tables = [Case(seed).binding.tables for seed in range(48)]
    for chosen in (
        lambda r: r.runs[1][:, 0] >= 0,
        lambda r: r.blends[1][:, 0] >= 0,
        lambda r: r.batched_blends[1][:, 0] >= 0,
        lambda r: r.batched_pairs[1] >= 0,
        lambda r: r.batched_terms[1] >= 0,
        lambda r: r.scales.carrier_pair >= 0,
        lambda r: r.scales.carrier_diag >= 0,
        lambda r: r.pairs[1] == 0,
        lambda r: len(r.dense) > 0,
    ):
        assert sum(np.any(chosen(t.recipe)) for t in tables) >= 2
    assert {(bool(t.shared), bool(t.batched)) for t in tables} == {(a, b) for a in (False, True) for b in (False, True)}


@pytest.mark.parametrize("seed", range(48))
def test_coefficients_and_gradients_are_those_of_the_host(seed):
    case, device = Case(seed), Device()
    assert max(differences(device, case, by_sample=True, per_row=case.by_row)) < 1e-11
    assert max(differences(device, case, by_sample=True, per_row=False)) < 1e-11
    if not case.binding.has_batched_gradients:
        assert max(differences(device, case, by_sample=False, per_row=False)) < 1e-11


def test_every_step_of_a_formula_has_a_number():
    names = {operator.function.__name__ for operator in (*BINARY.values(), NEGATIVE, *FUNCTIONS.values())}
    assert names == set(STEPS) - {"variable", "number"}


def test_many_samples_have_one_order_of_sums():
    case = Case(1)
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.8, (700, 2))
    case.parameters = parameter_batch(x, rng.uniform(0.2, 0.8, P - 2))
    assert max(differences(Device(), case, by_sample=True, per_row=False)) < 1e-11
    overlaps = case.overlaps(by_sample=True)
    results = [found(Device(schedule), case, overlaps, per_row=False)[1] for schedule in (0, 5, 11)]
    for other in results[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("part", ["runs", "pairs", "angles"])
def test_wrong_tables_are_seen(part):
    case = next(
        case for case in map(Case, range(0, 40, 2)) if len(case.binding.recipe.tables.runs[0]) and not case.by_row
    )
    tables = case.binding.tables
    if part == "angles":
        rows = tables.angles.shared
        wrong = replace(tables, angles=replace(tables.angles, shared=replace(rows, weight=1.001 * rows.weight)))
    elif part == "runs":
        runs, *rest = tables.recipe.runs
        wrong = replace(tables, recipe=replace(tables.recipe, runs=(replace(runs, axis=(runs.axis + 1) % 3), *rest)))
    else:
        pairs, kinds, overlaps = tables.recipe.pairs
        wrong = replace(
            tables,
            recipe=replace(tables.recipe, pairs=(replace(pairs, constant=pairs.constant + 1e-3), kinds, overlaps)),
        )
    assert max(differences(Device(), case, by_sample=True, per_row=False, tables=wrong)) > 1e-6


AXES = {"X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
OBSERVABLE = PauliSum(1, (PauliTerm(0.3, 1, 0), PauliTerm(-0.8, 1, 1), PauliTerm(0.5, 0, 1)))


@pytest.mark.parametrize("point", [0.0, pi, pi / 2, 1e-9, 11 * pi + 0.2, 1e7 + 0.3])
@pytest.mark.parametrize("word", ["X", "ZX", "XYZ", "ZYZ", "YZYX", "XYZXYZYYX"])
@pytest.mark.parametrize("batched", [False, True])
def test_runs_of_gates_at_singular_points(word, point, batched):
    count = len(word)
    program = Program(1, count, tuple(Rotation(*AXES[letter], slot=k) for k, letter in enumerate(word)))
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    every = np.arange(count)
    varying = every if batched else every[:0]
    binding = Binding(program, angles, CostModel(), varying=varying, wanted=every, batch=1, keep_phase=True)
    device, values = Device().resident, np.full(count, point)
    place = device.place
    bound = device.bind(binding.tables, place(values), place(values[None, varying]))
    tape, coefficients = binding.plan.tape, bound.coefficients
    ket = device.allocate(tape, 1, None)
    device.forward(tape, coefficients, ket)
    state = np.array(device.amplitudes(ket, tape.frame))[0]
    np.testing.assert_allclose(state, run_program(program, values), atol=1e-8 if point > 1e6 else 1e-12)
    bra = device.apply_observables(ket, tape.frame, [OBSERVABLE], np.ones((1, 1)))
    overlaps = device.backward(tape, coefficients, ket, bra, per_sample=batched)
    gradient = bound.pull(overlaps, per_row=False)[int(batched)].reshape(-1)
    shifts = pi / 2 * np.eye(count)
    values_at = [[expectation(OBSERVABLE, run_program(program, values + sign * s)) for sign in (1, -1)] for s in shifts]
    np.testing.assert_allclose(
        gradient, [(up - down) / 2 for up, down in values_at], atol=1e-7 if point > 1e6 else 1e-12
    )
