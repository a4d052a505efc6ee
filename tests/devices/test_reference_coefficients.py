"""The coefficient mathematics in NumPy against compiled code: tables of random programs, singular points."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import pi
from typing import Any

import numpy as np
import pytest
from support.bindings import BindingCase
from support.conformance import distance
from support.tapes import random_state

from qiskit_fusedqml.devices import CoefficientMap, reference_coefficients
from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.devices.reference_coefficients import ReferenceCoefficientMap
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner import Plan, fuse
from qiskit_fusedqml.planner.cost import CostModel

DEVICE = ReferenceDevice()
CASES = [BindingCase(seed) for seed in range(48)]
AXES = {"X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
KINDS = ("pairs", "batched_pairs", "matrices", "batched_matrices", "angles", "batched_angles", "scales")
NEAR_SINGULAR = [middle + off for middle in (0.0, pi) for off in (0.0, 1e-12, -1e-8, 1e-4, -0.1)]


def maps(case: BindingCase) -> tuple[CoefficientMap, CoefficientMap]:
    """Both maps of a case's tables, over its affine map of values."""
    tables = case.sweeps.map.tables
    return tuple(
        kind(tables.coefficients).over(tables.angles) for kind in (ReferenceCoefficientMap, CompiledCoefficientMap)
    )


def random_values(case: BindingCase, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Any values of the right number: what they came from makes no difference here."""
    angles = case.sweeps.map.tables.angles
    return case.rng.uniform(-4, 4, angles.num_shared), case.rng.uniform(-4, 4, (batch, angles.num_batched))


def pulled(map_: CoefficientMap, bound: Any, overlaps: np.ndarray, *, per_sample: bool) -> list[np.ndarray]:
    return [g for g in map_.pullback(bound, overlaps, per_sample=per_sample) if g is not None]


def errors(case: BindingCase, batch: int = 3) -> list[float]:
    """Differences of all coefficients, and of gradients: of the sum, by sample, and of overlaps that were summed."""
    (ours, theirs), values = maps(case), random_values(case, batch)
    one, two = ours.bind(*values), theirs.bind(*values)
    found = [distance(getattr(one.coefficients, kind), getattr(two.coefficients, kind)) for kind in KINDS]
    overlaps = case.rng.normal(size=(batch, case.sweeps.plan.tape.num_overlaps))
    for given, per_sample in ((overlaps, False), (overlaps, True), (overlaps.sum(axis=0), False)):
        gradients = (pulled(each, bound, given, per_sample=per_sample) for each, bound in ((ours, one), (theirs, two)))
        found += [distance(*pair) for pair in zip(*gradients, strict=True)]
    return found


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_coefficients_and_gradients_of_random_programs(seed: int) -> None:
    for batch in (1, 4):
        assert max(errors(CASES[seed], batch)) < 1e-12


def test_the_cases_have_everything() -> None:
    """Every kind of coefficient, and of overlap, occurs in several of them."""
    tables = [case.sweeps.map.tables.coefficients for case in CASES]
    for count in (
        lambda t: len(t.pairs[0]),
        lambda t: len(t.batched_pairs[0]),
        lambda t: len(t.terms[0]),
        lambda t: len(t.batched_terms[0]),
        lambda t: sum(t.sequences[1][:, 0] >= 0),
        lambda t: sum(t.sequences[1][:, 3] >= 0),
        lambda t: sum(t.matrices[1][:, 0] >= 0),
        lambda t: sum(t.batched_matrices[1][:, 0] >= 0),
        lambda t: sum(t.scales.carrier_pair >= 0),
        lambda t: sum(t.scales.carrier_diag >= 0),
        lambda t: len(t.dense),
    ):
        assert sum(map(bool, map(count, tables))) >= 3


def state_and_gradient(
    plan: Plan, map_: CoefficientMap, shared: np.ndarray, batched: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Final states from a random one, and gradients of a random bra, through the reference device's sweeps."""
    rng = np.random.default_rng(1)
    start, bra = random_state(rng, (2, len(batched), 2**plan.tape.num_qubits))
    bound = map_.bind(shared, batched)
    ket = DEVICE.allocate(plan.tape, len(batched), start)
    DEVICE.forward(plan.tape, bound.coefficients, ket)
    state = ket.copy()
    overlaps = DEVICE.backward(plan.tape, bound.coefficients, ket, bra, per_sample=True)
    return state, pulled(map_, bound, overlaps, per_sample=True)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("word", ["Y", "XY", "ZYZ", "XZX", "YZYX", "XYZXYZYYX"])
@pytest.mark.parametrize("point", NEAR_SINGULAR)
def test_rotation_sequences_near_singular_points(word: str, point: float, batched: bool) -> None:
    """Euler angles mean little there, states and gradients as much as anywhere."""
    program = Program(1, len(word), tuple(Rotation(*AXES[letter], slot=k) for k, letter in enumerate(word)))
    slots = frozenset(range(len(word)))
    plan = fuse(program, CostModel(), batched_slots=slots if batched else frozenset(), wanted_slots=slots)
    angles = np.where([letter == "Z" for letter in word], 0.7, point)
    values = (np.zeros(len(word)), np.stack([angles, angles + 0.3])) if batched else (angles, np.zeros((2, 0)))
    state, gradients = state_and_gradient(plan, ReferenceCoefficientMap(plan.tables), *values)
    other_state, other_gradients = state_and_gradient(plan, CompiledCoefficientMap(plan.tables), *values)
    np.testing.assert_allclose(state, other_state, atol=1e-12)
    for ours, theirs in zip(gradients, other_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_values_that_are_not_finite_are_refused() -> None:
    for case in CASES[:6]:
        for map_ in maps(case):
            shared, batched = random_values(case, 2)
            assert map_.bind(np.full_like(shared, np.nan), np.full_like(batched, np.nan)) is None
            assert map_.bind(np.full_like(shared, np.inf), np.full_like(batched, -np.inf)) is None


FAULTS: dict[str, Callable[[Any], Any]] = {
    "euler_angles": lambda right: lambda u: right(u)[[2, 1, 0]],
    "so3": lambda right: lambda v: right(v).swapaxes(0, 1),
    "rotation": lambda right: lambda axis, theta: right(axis, 1.001 * theta),
    "scaled_pairs": lambda right: lambda *given: (*right(*given)[:2], np.sqrt(right(*given)[2])),
    "chosen": lambda right: lambda measured, indices: right(measured, np.abs(indices)),
    "pulled": lambda right: lambda rows, *given: right(replace(rows, weight=np.abs(rows.weight)), *given),
    "evaluate": lambda right: lambda rows, sources: right(replace(rows, constant=0 * rows.constant), sources),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_coefficients, name, FAULTS[name](getattr(reference_coefficients, name)))
    seen = [max(errors(case)) > 1e-6 for case in CASES[:12]]
    assert sum(seen) >= 2


WITHOUT_COMPILED_CODE = """
import sys
sys.modules["qiskit_fusedqml.devices._native"] = None
import numpy as np
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner import fuse
device = ReferenceDevice()
plan = fuse(Program(1, 1, (Rotation(1, 1, slot=0),)), device.cost_model, wanted_slots=frozenset({0}))
map_ = device.coefficient_map(plan.tables)
bound = map_.bind(np.array([0.3]), np.zeros((1, 0)))
ket = device.allocate(plan.tape, 1, None)
device.forward(plan.tape, bound.coefficients, ket)
z = [PauliSum(1, (PauliTerm(1.0, 0, 1),))]
bra = device.apply_observables(ket, plan.tape.frame, z, np.ones((1, 1)))
gradient, _ = map_.pullback(bound, device.backward(plan.tape, bound.coefficients, ket, bra, per_sample=False))
np.testing.assert_allclose(gradient, -np.sin(0.3), atol=1e-15)
"""


def test_the_reference_needs_no_compiled_code() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_COMPILED_CODE], check=True)
