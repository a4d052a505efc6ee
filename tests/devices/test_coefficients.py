"""Coefficients on one qubit: states and gradients of rotation sequences, at singular points too."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from support.interpreter import expectation, run_program

from qiskit_fusedqml.devices.coefficients import CompiledCoefficientMap
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation
from qiskit_fusedqml.planner import fuse
from qiskit_fusedqml.planner.cost import CostModel

AXES = {"X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
OBSERVABLE = PauliSum(1, (PauliTerm(0.3, 1, 0), PauliTerm(-0.8, 1, 1), PauliTerm(0.5, 0, 1)))
DEVICE = ReferenceDevice()
WORDS = ["X", "Y", "Z", "XY", "ZX", "XYZ", "ZYZ", "ZXZ", "XZX", "YZYX", "ZZXYYXZZ", "XYZ" * 5]
POINTS = {
    "generic": None,
    "all zero": 0.0,
    "all pi": pi,
    "all pi/2": pi / 2,
    "several turns": 11 * pi + 0.2,
    "tiny": 1e-9,
}


def _program(word: str) -> Program:
    return Program(1, len(word), tuple(Rotation(*AXES[letter], slot=k) for k, letter in enumerate(word)))


def _angles(word: str, point: float | None) -> np.ndarray:
    if point is None:
        return np.random.default_rng(len(word)).uniform(-4, 4, len(word))
    return np.full(len(word), point)


def _gradient(program: Program, angles: np.ndarray, *, batched: bool) -> tuple[np.ndarray, np.ndarray]:
    """(final state, gradient) through the tape."""
    slots = frozenset(range(program.num_angles))
    plan = fuse(program, CostModel(), batched_slots=slots if batched else frozenset(), wanted_slots=slots)
    shared = np.zeros_like(angles) if batched else angles
    bound = CompiledCoefficientMap(plan.tables).bind(shared, angles[None, :] if batched else np.zeros((1, 0)))
    ket = DEVICE.allocate(plan.tape, 1, None)
    DEVICE.forward(plan.tape, bound.coefficients, ket)
    state = DEVICE.amplitudes(ket, plan.tape.frame)[0]
    bra = DEVICE.apply_observables(ket, plan.tape.frame, [OBSERVABLE], np.ones((1, 1)))
    overlaps = DEVICE.backward(plan.tape, bound.coefficients, ket, bra, per_sample=True)
    return state, CompiledCoefficientMap(plan.tables).pullback(bound, overlaps, per_sample=True)[int(batched)][0]


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("batched", [False, True])
def test_runs_of_gates(word: str, point: str, batched: bool) -> None:
    program, angles = _program(word), _angles(word, POINTS[point])
    state, gradient = _gradient(program, angles, batched=batched)
    np.testing.assert_allclose(state, run_program(program, angles), atol=1e-12)
    # every gate has a single frequency: the two-term parameter shift is exact
    shifts = pi / 2 * np.eye(len(word))
    expected = [
        (
            expectation(OBSERVABLE, run_program(program, angles + s))
            - expectation(OBSERVABLE, run_program(program, angles - s))
        )
        / 2
        for s in shifts
    ]
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_a_wrong_axis_would_be_seen() -> None:
    angles = _angles("XYZ", None)
    right, wrong = (
        _gradient(_program("XYZ"), angles, batched=False)[1],
        _gradient(_program("YXZ"), angles, batched=False)[1],
    )
    assert np.abs(right - wrong).max() > 1e-3


def test_factored_rotations_keep_their_larger_factor() -> None:
    program = Program(2, 2, (Rotation(1, 1, slot=0), Rotation(2, 2, slot=1)))
    plan = fuse(program, CostModel())
    for angle in np.linspace(-7, 7, 29):
        pairs = CompiledCoefficientMap(plan.tables).bind(np.array([angle, 0.3]), np.zeros((1, 0))).coefficients.pairs
        assert np.abs(pairs[0]).max() == 1.0
