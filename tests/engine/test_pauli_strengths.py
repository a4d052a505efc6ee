"""Trajectories of noise with parametric strengths: the sum over all of them is exact, estimates are unbiased."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from qiskit_fusedqml.engine import prefixes
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.pauli_strengths import StrengthTrajectories
from qiskit_fusedqml.engine.pauli_trajectories import PauliTrajectories
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import Program, validate

from .test_mixed import OBSERVABLES, channel
from .test_trajectories import model

STRENGTHS = (0.15, 0.2)
NUM = 8 + len(STRENGTHS)


def parametric(name: str, qubits: tuple[int, ...], slot: int) -> Channel:
    return Channel(qubits, None, CHANNELS[name], (slot,), (0.0,))


NOISE = [
    parametric("depolarizing", (1,), 8),
    channel("bit_flip", (0,), 0.2),
    parametric("phase_flip", (2,), 9),
    parametric("depolarizing2", (2, 1), 8),
    parametric("phase_damping", (1,), 9),
]


def program() -> Program:
    places = model([channel("bit_flip", (0,), 0.1)] * len(NOISE))
    noise = iter(NOISE)
    instructions = tuple(next(noise) if isinstance(i, Channel) else i for i in places.instructions)
    found = replace(places, num_angles=NUM, instructions=instructions)
    validate(found)
    return found


def angle_map() -> AngleMap:
    """Angles and strengths that are the parameters."""
    numbers = np.arange(NUM)
    names = (*(f"w{k}" for k in range(8)), "p", "q")
    return AngleMap(NUM, np.zeros(NUM), numbers, numbers, np.ones(NUM), names=names)


def exact() -> ProgramFunction:
    return ProgramFunction(program(), angle_map(), OBSERVABLES, EngineOptions(device="CPU"))


def estimator(count: int, seed: int = 1) -> StrengthTrajectories:
    options = EngineOptions(device="CPU", trajectories=count, noise_seed=seed)
    return StrengthTrajectories(program(), angle_map(), OBSERVABLES, options)


def point(*strengths: float) -> np.ndarray:
    return np.concatenate([np.random.default_rng(5).normal(size=8), strengths])


@pytest.mark.parametrize("smallest", [0.0, 1e9])
def test_the_sum_over_all_trajectories_is_exact(monkeypatch: pytest.MonkeyPatch, smallest: float) -> None:
    monkeypatch.setattr(prefixes, "SMALLEST_WORK", smallest)
    f, made = exact(), estimator(1)
    w = point(*STRENGTHS)
    batch = f.read(None, w)
    inner = made._at(made._angles(batch))
    frames = inner._frames
    every = np.array(list(product(*(range(len(c.x)) for c in frames.noise))), np.uint8)
    chances = [np.diff(c.cumulative, prepend=0.0)[every[:, k]] for k, c in enumerate(frames.noise)]
    weights = np.prod(chances, axis=0)
    drawn = inner._merged(frames.propagate(every), weights)
    monkeypatch.setattr(PauliTrajectories, "_drawn", lambda self: iter([drawn]))
    monkeypatch.setattr(PauliTrajectories, "weights", weights)
    monkeypatch.setattr(PauliTrajectories, "strings", lambda self: every)
    estimate, pullback = made.vjp(batch)
    np.testing.assert_allclose(estimate.values, f.values(w=w), atol=1e-13)
    cotangents = np.random.default_rng(2).normal(size=estimate.values.shape)
    found = pullback(cotangents)
    np.testing.assert_allclose(found, np.einsum("bk,bkp->bp", cotangents, f.jacobian(w=w)), atol=1e-12)
    assert np.abs(found[:, 8:]).min() > 0.01


def test_estimates_are_unbiased() -> None:
    f, w = exact(), point(*STRENGTHS)
    batch = f.read(None, w)
    found = np.array([estimator(100, seed).vjp(batch)[1](np.ones((1, 2)))[0, 8:] for seed in range(100)])
    right = f.jacobian(w=w)[0].sum(axis=0)[8:]
    scores = (found.mean(axis=0) - right) / (found.std(axis=0, ddof=1) / np.sqrt(len(found)))
    assert np.abs(scores).max() < 4
    assert np.abs(right).min() > 20 * found.std(axis=0).min() / len(found)


def test_scores_that_leave_out_channels_without_an_error_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    f, w = exact(), point(*STRENGTHS)
    batch = f.read(None, w)
    right = f.jacobian(w=w)[0].sum(axis=0)[8:]
    scores = StrengthTrajectories._scores

    def faulty(self: StrengthTrajectories, strings: np.ndarray, angles: np.ndarray) -> np.ndarray:
        return scores(self, strings, angles) - scores(self, np.zeros_like(strings), angles)

    assert np.abs(estimator(20_000).vjp(batch)[1](np.ones((1, 2)))[0, 8:] - right).max() < 0.02
    monkeypatch.setattr(StrengthTrajectories, "_scores", faulty)
    assert np.abs(estimator(20_000).vjp(batch)[1](np.ones((1, 2)))[0, 8:] - right).max() > 0.04


def test_a_function_of_strengths_by_sample() -> None:
    options = EngineOptions(device="CPU", trajectories=4000, noise_seed=3)
    f = ProgramFunction(program(), angle_map(), OBSERVABLES, options)
    w = np.stack([point(0.15, 0.2), point(0.05, 0.3), point(0.15, 0.2)])
    values, stds = f.estimate(w=w[:1])
    assert np.abs((values - exact().values(w=w[:1])) / stds).max() < 5
    found, pullback = f.vjp(w=w)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found, exact().values(w=w), atol=0.1)
    gradient = pullback(np.ones((3, 2)))[1]
    assert gradient.shape == w.shape
    np.testing.assert_allclose(gradient, exact().vjp(w=w)[1](np.ones((3, 2)))[1], atol=0.25)
    np.testing.assert_allclose(f.jacobian(w=w)[:, :, 8:].sum(axis=1), gradient[:, 8:], atol=1e-12)


def test_strengths_that_are_not_possible_are_named() -> None:
    options = EngineOptions(device="CPU", trajectories=100, noise_seed=3)
    f = ProgramFunction(program(), angle_map(), OBSERVABLES, options)
    with pytest.raises(InvalidInputError, match=r"The parameters p are not possible: p of depolarizing is 1\.5"):
        f.values(w=point(1.5, 0.1))
    assert np.isfinite(f.values(w=point(0.0, 0.1))).all()
    with pytest.raises(InvalidInputError, match="gradient by p needs errors of probability 0"):
        f.vjp(w=point(0.0, 0.1))[1](np.ones((1, 2)))
