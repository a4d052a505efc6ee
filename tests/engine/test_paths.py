"""One answer whichever way is taken: tiles, frames, matrices or angles, vectors, threads, pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.programs import layered

from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.engine import basis_columns as columns
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.planner.cost import CostModel, Factors

ATOL = {"double": 1e-12, "single": 1e-5}
N, LAYERS = 9, 3
PROGRAM = layered(N, LAYERS)
DIAGONAL = (PauliSum(N, (PauliTerm(0.6, 0, 0b1), PauliTerm(0.4, 0, 0b110010))),)
ANY = (PauliSum(N, (PauliTerm(0.5, 0b1000, 0b1010), PauliTerm(0.5, 0b1, 0b10, 0b100, 0b100))), *DIAGONAL)

MODELS = {
    "as it is": {},
    "small tiles": {"tile_qubits": 4, "whole_qubits": 0},
    "rows in order": {"fold_bits": 0, "tile_qubits": 6, "whole_qubits": 0},
    "one tile": {"whole_qubits": 20},
    "small tables": {"table_qubits": 3},
    "matrices": {"factors": Factors(u2=(1e-3, 1e-3))},
    "angles": {"factors": Factors(u2=(1e3, 1e3))},
    "qubits in lanes": {"smallest_lane_tile": 2},
}


def answer(device: str, precision: str, batch: int, observables, model: dict, threads: int, **options):
    count = PROGRAM.num_angles
    plain = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    engine = EngineOptions(device, precision, num_threads=threads, **options)
    f = ProgramFunction(PROGRAM, plain, observables, engine, num_inputs=N)
    f.device.cost_model = replace(f.device.cost_model, **model)
    rng = np.random.default_rng(1)
    x, w = rng.uniform(-2, 2, (100, N))[:batch], rng.uniform(-3, 3, count - N)
    cotangents = rng.uniform(-1, 1, (100, 2))[:batch, : len(observables)] / batch
    values, _, dw = f.value_and_vjp(x, w, cotangents)
    return values, dw, f.plan


@pytest.fixture(scope="module")
def truths() -> dict:
    cases = {}
    for batch in (1, 21):
        for observables in (DIAGONAL, ANY):
            # one block a gate would be the plainest; the reference device in the identity frame is independent enough
            model = vars(CostModel())
            cases[batch, observables] = answer("reference", "double", batch, observables, model, 1)[:2]
    return cases


@pytest.mark.parametrize("isa", _native.instruction_sets())
@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_answer_does_not_depend_on_the_way(monkeypatch, truths, isa, precision, model) -> None:
    monkeypatch.setenv("FUSEDQML_ISA", isa)
    for (batch, observables), (values, dw) in truths.items():
        for threads, options in ((1, {}), (3, {}), (1, {"max_memory_mb": 0.1})):
            got = answer("CPU", precision, batch, observables, model, threads, **options)
            np.testing.assert_allclose(got[0], values, rtol=0, atol=ATOL[precision])
            np.testing.assert_allclose(got[1], dw, rtol=0, atol=ATOL[precision] * max(1, np.linalg.norm(dw)))


@pytest.mark.parametrize("precision", ["double", "single"])
def test_columns_and_samples_agree(monkeypatch, precision) -> None:
    results = []
    for gain in (np.inf, -np.inf):
        monkeypatch.setattr(columns, "SMALLEST_GAIN", gain)
        program = layered(3, 4)
        count = program.num_angles
        plain = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
        observables = [PauliSum(3, (PauliTerm(1.0, 0b1, 0b10),))]
        f = ProgramFunction(program, plain, observables, EngineOptions(precision=precision), num_inputs=3)
        rng = np.random.default_rng(2)
        x, w = rng.uniform(-2, 2, (64, 3)), rng.uniform(-3, 3, count - 3)
        results.append(f.value_and_vjp(x, w, np.full((64, 1), 1 / 64)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=0, atol=ATOL[precision])
    np.testing.assert_allclose(results[0][2], results[1][2], rtol=0, atol=ATOL[precision])


def test_the_models_lead_to_different_plans() -> None:
    plans = {name: str(answer("CPU", "double", 3, DIAGONAL, model, 1)[2]) for name, model in MODELS.items()}
    assert len({plans[name] for name in ("as it is", "small tiles", "matrices")}) == 3
    assert "U2" in plans["matrices"]
    assert "U2" not in plans["angles"]
