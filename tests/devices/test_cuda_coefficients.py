"""Coefficients and gradients made on the device, against the host's compiled code and against parameter shifts."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from support.bindings import BindingCase, P
from support.emulation.runtime import EmulatedRuntime, Library
from support.interpreter import expectation, run_program

from qiskit_fusedqml.devices.gpu.constants import SCALINGS, STEPS
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.gpu.sources import kernel_name, kernel_names, source
from qiskit_fusedqml.engine.parameters import ParameterSet, parameter_batch
from qiskit_fusedqml.engine.sweeps import PlannedSweeps, PlanRequest
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.expressions import BINARY, FUNCTIONS, NEGATIVE
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner.cost import CostModel
from qiskit_fusedqml.planner.tables import CARRIER, FACTORED, PLAIN


def emulated(schedule: int = 0) -> GPUDevice:
    return GPUDevice(EmulatedRuntime(seed=schedule))


def test_the_cases_have_everything():
    tables = [BindingCase(seed).sweeps.map.tables for seed in range(48)]
    for chosen in (
        lambda r: r.sequences[1][:, 0] >= 0,
        lambda r: r.matrices[1][:, 0] >= 0,
        lambda r: r.batched_matrices[1][:, 0] >= 0,
        lambda r: r.batched_pairs[1] >= 0,
        lambda r: r.batched_terms[1] >= 0,
        lambda r: r.scales.carrier_pair >= 0,
        lambda r: r.scales.carrier_diag >= 0,
        lambda r: r.pairs[1] == 0,
        lambda r: len(r.dense) > 0,
    ):
        assert sum(np.any(chosen(t.coefficients)) for t in tables) >= 2
    kinds = {(bool(t.shared_expressions), bool(t.batched_expressions)) for t in tables}
    assert kinds == {(a, b) for a in (False, True) for b in (False, True)}


@pytest.mark.parametrize("seed", range(48))
def test_coefficients_and_gradients_are_those_of_the_host(seed):
    for example in BindingCase(seed).examples():
        assert max(example.errors(emulated(), np.array)) < 1e-11


def test_every_step_of_a_formula_has_a_number():
    names = {operator.function.__name__ for operator in (*BINARY.values(), NEGATIVE, *FUNCTIONS.values())}
    assert names == set(STEPS) - {"variable", "number"}


def test_kinds_of_pairs_are_the_planners():
    named = {"plain_pair": PLAIN, "factored_pair": FACTORED, "carrier_pair": CARRIER}
    assert {name: SCALINGS.index(name) for name in named} == named


def test_many_samples_have_one_order_of_sums():
    rng = np.random.default_rng(0)
    parameters = parameter_batch(rng.uniform(0.2, 0.8, (700, 2)), rng.uniform(0.2, 0.8, P - 2))
    example = BindingCase(1).example(parameters=parameters)
    assert max(example.errors(emulated(), np.array)) < 1e-11
    results = [example.results(emulated(schedule), np.array)[1:] for schedule in (0, 5, 11)]
    for other in results[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_a_missing_barrier_is_seen():
    right = "    room[threadIdx.x] = sum;\n    __syncthreads();\n    for (unsigned half"
    wrong = "    room[threadIdx.x] = sum;\n    for (unsigned half"
    assert source().count(right) == 1
    example = next(each for each in BindingCase(2).examples() if each.overlaps.ndim == 2 and not each.per_row)
    names = [*(name for name in kernel_names() if "<" not in name), kernel_name("add_segments", single=False)]
    kernels = Library(source().replace(right, wrong), [names])
    with pytest.raises((AssertionError, RuntimeError)):
        assert max(example.errors(GPUDevice(EmulatedRuntime(kernels, seed=5)), np.array)) < 1e-11


@pytest.mark.parametrize("part", ["runs", "pairs", "angles"])
def test_wrong_tables_are_seen(part):
    cases = map(BindingCase, range(0, 40, 2))
    case = next(case for case in cases if len(case.sweeps.map.coefficient_map.tables.sequences[0]) and not case.by_row)
    tables = case.sweeps.map.tables
    c, rows = tables.coefficients, tables.angles.shared
    if part == "angles":
        wrong = replace(tables, angles=replace(tables.angles, shared=replace(rows, weight=1.001 * rows.weight)))
    elif part == "runs":
        sequences, *rest = c.sequences
        wrong = replace(
            tables, coefficients=replace(c, sequences=(replace(sequences, axis=(sequences.axis + 1) % 3), *rest))
        )
    else:
        pairs, *rest = c.pairs
        moved = replace(pairs, constant=pairs.constant + 1e-3)
        wrong = replace(tables, coefficients=replace(c, pairs=(moved, *rest)))
    assert max(case.example().errors(emulated(), np.array, wrong)) > 1e-6


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
    request = PlanRequest(ParameterSet(varying), ParameterSet(every), 1, keep_phase=True)
    sweeps = PlannedSweeps(program, angles, CostModel(), request)
    device, values = emulated().on_device, np.full(count, point)
    bound = device.bind(sweeps.map.tables, device.from_host(values), device.from_host(values[None, varying]))
    tape, coefficients = sweeps.tape, bound.coefficients
    ket = device.allocate(tape, 1, None)
    device.forward(tape, coefficients, ket)
    state = np.array(device.amplitudes(ket, tape.frame))[0]
    loss = 1e-9 if point > 1e6 else 0.0  # of angles of many turns
    np.testing.assert_allclose(state, run_program(program, values), atol=1e-12 + loss)
    bra = device.apply_observables(ket, tape.frame, [OBSERVABLE], np.ones((1, 1)))
    overlaps = device.backward(tape, coefficients, ket, bra, per_sample=batched)
    gradient = bound.pull(overlaps, per_sample=False)[int(batched)].reshape(-1)
    shifts = pi / 2 * np.eye(count)
    at = [[expectation(OBSERVABLE, run_program(program, values + sign * s)) for sign in (1, -1)] for s in shifts]
    np.testing.assert_allclose(gradient, [(up - down) / 2 for up, down in at], atol=1e-12 + 10 * loss)
