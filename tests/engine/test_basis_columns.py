"""Sweeps by basis columns, beside sweeps by sample and plain interpretation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.interpreter import expectation, run_program
from support.programs import layered

from qiskit_fusedqml.engine import basis_columns as columns
from qiskit_fusedqml.engine.basis_columns import BasisColumnSweeps
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program

N = 3
OBSERVABLES = (
    PauliSum(N, (PauliTerm(1.0, 0, 0b001), PauliTerm(0.3, 0, 0b110))),
    PauliSum(N, (PauliTerm(0.7, 0b011, 0b010), PauliTerm(-0.2, 0b100, 0b001))),
)


def make(
    program: Program, precision: str = "double", observables=OBSERVABLES, input_gradients: bool = False, **options
) -> ProgramFunction:
    count = program.num_angles
    plain = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    engine = EngineOptions(precision=precision, num_threads=1, **options)
    return ProgramFunction(program, plain, observables, engine, num_inputs=N, input_gradients=input_gradients)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "SMALLEST_GAIN", -np.inf)


def data(program: Program, batch: int):
    rng = np.random.default_rng(3)
    return rng.normal(size=(batch, N)), rng.normal(size=program.num_angles - N), rng.normal(size=(batch, 2))


def ways(f: ProgramFunction) -> set[type]:
    return {type(kept) for kept in f.plans.made() if kept is not None}


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("observables", [OBSERVABLES, OBSERVABLES[:1] * 2], ids=["any", "diagonal"])
@pytest.mark.parametrize("max_memory_mb", [None, 0.002], ids=["held", "in chunks"])
@pytest.mark.parametrize(("precision", "atol"), [("double", 1e-12), ("single", 1e-5)])
def test_columns_give_what_the_program_says(precision, atol, max_memory_mb, observables) -> None:
    program = layered(N, 3)
    program = replace(program, initial_state=run_program(layered(N, 1), np.linspace(0, 2, layered(N, 1).num_angles)))
    f = make(program, precision, observables, max_memory_mb=max_memory_mb)
    x, w, cotangents = data(program, 37)
    values, dx, dw = f.value_and_vjp(x, w, cotangents)
    assert ways(f) == {BasisColumnSweeps}
    assert dx is None

    def all_values(w: np.ndarray) -> np.ndarray:
        states = [run_program(program, np.concatenate([row, w])) for row in x]
        return np.array([[expectation(o, state) for o in observables] for state in states])

    np.testing.assert_allclose(values, all_values(w), atol=atol)
    np.testing.assert_allclose(f.values(x, w), values, atol=atol)
    for k in (0, 4, len(w) - 1):
        step = np.pi / 2 * (np.arange(len(w)) == k)
        shifted = (all_values(w + step) - all_values(w - step)) / 2
        np.testing.assert_allclose(dw[k], (cotangents * shifted).sum(), atol=50 * atol)


@pytest.mark.usefixtures("always")
def test_a_wrong_encoding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    program = layered(N, 2)
    x, w, cotangents = data(program, 20)
    right = make(program).value_and_vjp(x, w, cotangents)[2]
    backward = BasisColumnSweeps.backward

    def wrong(self, device, residuals, *rest, **options):
        rolled = residuals._replace(encoded=np.roll(residuals.encoded, 1, axis=1))
        return backward(self, device, rolled, *rest, **options)

    monkeypatch.setattr(BasisColumnSweeps, "backward", wrong)
    assert not np.allclose(make(program).value_and_vjp(x, w, cotangents)[2], right, atol=1e-3)


@pytest.mark.usefixtures("always")
def test_columns_are_left_alone_where_they_cannot_be_used() -> None:
    program = layered(N, 3)
    x, w, cotangents = data(program, 40)
    inside = Program(N, program.num_angles, (*program.instructions[N:], *program.instructions[:N]))
    for f, weights, batch in (
        (make(program, input_gradients=True), w, 40),
        (make(program), np.tile(w, (40, 1)) * np.linspace(1, 2, 40)[:, None], 40),
        (make(inside), w, 40),
        (make(program), w, 9),
    ):
        f.value_and_vjp(x[:batch], weights, cotangents[:batch])
        assert BasisColumnSweeps not in ways(f)


def test_columns_are_used_for_many_samples_of_a_deep_circuit_only() -> None:
    for layers, batch, expected in ((3, 256, False), (60, 1024, True), (60, 12, False)):
        program = layered(N, layers)
        f = make(program)
        x, w, cotangents = data(program, batch)
        f.value_and_vjp(x, w, cotangents)
        used = [kept for kept in f.plans.made() if isinstance(kept, BasisColumnSweeps) and kept.pays(batch)]
        assert bool(used) == expected
