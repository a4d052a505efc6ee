"""Trajectories of Pauli noise: their sum is exact, their gradient that of the estimate, their stds are true."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from qiskit_fusedqml.engine import distinct_states, pauli_trajectories, prefixes
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.pauli_frames import Conjugated, PauliFrames, pauli_probabilities
from qiskit_fusedqml.engine.pauli_trajectories import PauliTrajectories
from qiskit_fusedqml.engine.prefixes import Prefixes, irrelevant
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import FusedQMLError, OutOfMemoryError, UnsupportedInstructionError
from qiskit_fusedqml.ir.channels import Channel, transfer_of_kraus
from qiskit_fusedqml.ir.measurement import Measurement
from qiskit_fusedqml.ir.program import Diagonal, Instruction, Matrix, Program, Rotation, validate

from .test_mixed import OBSERVABLES, N, channel, function, identity_map, point

UNITARY = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)) + 0j)[0]
H = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def model(noise: list[Channel]) -> Program:
    """A program with every kind of instruction, and channels between them."""
    between = iter(noise)
    c, t = 1, 4
    parts: list[list[Instruction]] = [
        [Rotation(1 << q, 1 << q, slot=q) for q in range(N)],
        [Rotation(2, 0, slot=3), Rotation(t, 0, c, c, theta=np.pi), Rotation(0, 0, c, c, theta=-np.pi)],
        [Rotation(3, 6, slot=4), Rotation(4, 0, 1, 0, slot=5), Rotation(2, 2, 5, 4, slot=6)],
        [Rotation(1, 0, theta=0.3), Rotation(0, 5, theta=np.pi / 2), Matrix((1,), H.astype(complex))],
        [Diagonal((0, 2), np.exp(1j * np.array([0.1, 0.4, -0.3, 1.0]))), Matrix((1, 2), UNITARY)],
        [Rotation(7, 5, slot=7)],
    ]
    instructions: list[Instruction] = []
    for part in parts:
        instructions += part
        following = next(between, None)
        instructions += [] if following is None else [following]
    program = Program(N, 8, tuple(instructions))
    validate(program)
    return program


NOISE = [
    channel("depolarizing", (1,), 0.1),
    channel("bit_flip", (0,), 0.2),
    channel("phase_flip", (2,), 0.15),
    channel("depolarizing2", (2, 1), 0.3),
    channel("bit_phase_flip", (1,), 0.25),
]


def estimator(program: Program, count: int, seed: int = 1) -> PauliTrajectories:
    options = EngineOptions(device="CPU", trajectories=count, noise_seed=seed)
    return PauliTrajectories(program, identity_map(8), OBSERVABLES, options)


def parameters(f: ProgramFunction, batch: int, seed: int = 5):
    x, w = point(3, 5, batch, seed)
    return x, w, f.read(x, w)


@pytest.fixture(params=["one place", "several places"])
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether trajectories start where their first errors are."""
    if request.param == "several places":
        monkeypatch.setattr(prefixes, "SMALLEST_WORK", 0)
    return bool(request.param == "several places")


@pytest.mark.parametrize("whole", [False, True])
def test_the_sum_over_all_trajectories_is_exact(monkeypatch: pytest.MonkeyPatch, whole: bool, places: bool) -> None:
    if whole:
        monkeypatch.setattr(distinct_states, "MAX_STRINGS", 1)
    program = model(NOISE)
    f = function(program, 3)
    x, w, batch = parameters(f, 2)
    made = estimator(program, 1)
    frames = made._frames
    every = np.array(list(product(*(range(len(c.x)) for c in frames.noise))))
    weights = np.prod([np.diff(c.cumulative, prepend=0.0)[every[:, k]] for k, c in enumerate(frames.noise)], axis=0)
    drawn = made._merged(frames.propagate(every), weights)
    monkeypatch.setattr(PauliTrajectories, "_drawn", lambda self: iter([drawn]))
    monkeypatch.setattr(PauliTrajectories, "weights", weights)
    estimate, pullback = made.vjp(batch)
    assert (len(made._prefixes.suffixes) > 3) == places
    np.testing.assert_allclose(estimate.values, f.values(x, w), atol=1e-13)
    cotangents = np.random.default_rng(2).normal(size=estimate.values.shape)
    exact = np.einsum("bk,bkp->bp", cotangents, f.jacobian(x, w, "all"))
    np.testing.assert_allclose(pullback(cotangents), exact, atol=1e-12)
    measured = Measurement(((2, 0), (0, 2)), 3)
    np.testing.assert_allclose(
        made.probabilities(batch, measured), f.probabilities(x, w, measurement=measured), atol=1e-13
    )


@pytest.mark.usefixtures("places")
def test_the_gradient_is_that_of_the_estimate() -> None:
    program = model(NOISE)
    f = function(program, 3)
    x, w, batch = parameters(f, 2)
    made = estimator(program, 50)
    _, pullback = made.vjp(batch)
    gradient = pullback(np.ones((2, 2)))
    step = 1e-5
    for k in range(5):
        shift = np.eye(5)[k] * step
        up, down = (made.estimate(f.read(x, w + s)).values for s in (shift, -shift))
        np.testing.assert_allclose(gradient[:, 3 + k], (up - down).sum(axis=1) / (2 * step), atol=1e-9)


def test_standard_deviations_are_true() -> None:
    program = model(NOISE)
    f = function(program, 3)
    x, w, batch = parameters(f, 1)
    exact = f.values(x, w)
    found = [estimator(program, 40, seed).estimate(batch) for seed in range(200)]
    scores = np.array([(e.values - exact) / e.stds for e in found])
    assert np.abs(scores.mean(axis=0)).max() < 0.35
    assert 0.8 < scores.std(axis=0).min() <= scores.std(axis=0).max() < 1.25


def test_a_gradient_without_the_common_part_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bras that stop where their states parted from the common one."""
    monkeypatch.setattr(prefixes, "SMALLEST_WORK", 0)
    f = function(model(NOISE), 3)
    _, _, batch = parameters(f, 2)
    ones = np.ones((2, 2))
    right = estimator(model(NOISE), 50).vjp(batch)[1](ones)
    undone = Prefixes.common_undone

    def faulty(self: Prefixes, starts, angles, run, bra, bras):
        return undone(self, starts, angles, run, bra, [None] * len(bras))

    monkeypatch.setattr(Prefixes, "common_undone", faulty)
    assert np.abs(estimator(model(NOISE), 50).vjp(batch)[1](ones) - right).max() > 0.01


@pytest.mark.usefixtures("places")
def test_many_cotangents_and_little_memory_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    f = function(model(NOISE), 3)
    _, _, batch = parameters(f, 3)
    cotangents = np.random.default_rng(3).normal(size=(4, 3, 2))
    one_by_one = [estimator(model(NOISE), 50).vjp(batch)[1](each) for each in cotangents]
    together = estimator(model(NOISE), 50).vjp(batch)[1](cotangents)
    np.testing.assert_allclose(together, one_by_one, atol=1e-13)
    monkeypatch.setattr(pauli_trajectories, "HELD_BYTES", 1 << 13)
    little = EngineOptions(device="CPU", trajectories=600, noise_seed=1, max_memory_mb=4096 / 2**20)
    small = PauliTrajectories(model(NOISE), identity_map(8), OBSERVABLES, little)
    assert len(list(small._drawn())) == 3
    large = estimator(model(NOISE), 600)
    np.testing.assert_allclose(small.estimate(batch).values, large.estimate(batch).values, atol=1e-13)
    np.testing.assert_allclose(small.vjp(batch)[1](cotangents), large.vjp(batch)[1](cotangents), atol=1e-13)
    measured = Measurement(((2, 0), (0, 2)), 3)
    np.testing.assert_allclose(small.probabilities(batch, measured), large.probabilities(batch, measured), atol=1e-13)


@pytest.mark.usefixtures("places")
def test_given_states_are_the_start() -> None:
    f = function(model(NOISE), 3)
    x, w, _ = parameters(f, 2)
    rng = np.random.default_rng(8)
    given = rng.normal(size=(2, 8)) + 1j * rng.normal(size=(2, 8))
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    exact = f.values(x, w, initial_states=given)
    found = estimator(model(NOISE), 4000).estimate(f.read(x, w, given))
    assert np.abs((found.values - exact) / found.stds).max() < 5


def test_what_is_drawn_depends_on_seed_and_number_only() -> None:
    frames = PauliFrames.of(model(NOISE), empty_at_end=False)
    every = frames.sample(range(700), 5)
    np.testing.assert_array_equal(frames.sample(range(300, 520), 5), every[300:520])
    assert not np.array_equal(frames.sample(range(300), 5), frames.sample(range(300), 6))
    assert every.any(axis=1).all()


def test_errors_are_drawn_by_their_probabilities() -> None:
    """Those of trajectories with an error at least, against all combinations."""
    frames = PauliFrames.of(model(NOISE[:3]), empty_at_end=False)
    drawn = frames.sample(range(40000), 2)
    every = np.array(list(product(*(range(len(c.x)) for c in frames.noise))))[1:]
    chances = [np.diff(c.cumulative, prepend=0.0)[every[:, k]] for k, c in enumerate(frames.noise)]
    expected = np.prod(chances, axis=0) / (1.0 - frames.no_error) * len(drawn)
    found = np.array([(drawn == row).all(axis=1).sum() for row in every])
    possible = expected > 1e-9
    assert not found[~possible].any()
    assert chisquare(found[possible], expected[possible]).pvalue > 1e-3


def test_diagonals_at_the_end_do_not_matter_for_populations() -> None:
    c, t = 1, 2
    program = Program(
        3,
        6,
        (
            Rotation(1, 0, slot=0),
            Rotation(0, 1, slot=1),
            Rotation(0, 4, slot=2),
            Rotation(4, 0, slot=3),
            Rotation(t, 0, c, c, theta=np.pi),
            Rotation(0, 3, slot=4),
            Diagonal((0, 1), np.exp(1j * np.arange(4))),
            Rotation(0, 1, 2, 2, slot=5),
        ),
    )
    validate(program)
    assert irrelevant(program).tolist() == [1, 4, 5]


def test_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    program = model(NOISE)
    f = function(program, 3)
    _, _, batch = parameters(f, 2)
    estimate, pullback = estimator(program, 60).vjp(batch)
    monkeypatch.setattr(prefixes, "CHUNK_BYTES", 1 << 11)
    parts, pullback_of_parts = estimator(program, 60).vjp(batch)
    np.testing.assert_allclose(parts.values, estimate.values, atol=1e-13)
    np.testing.assert_allclose(parts.stds, estimate.stds, atol=1e-13)
    ones = np.ones((2, 2))
    np.testing.assert_allclose(pullback_of_parts(ones), pullback(ones), atol=1e-13)


def test_the_seed_decides() -> None:
    program = model(NOISE)
    f = function(program, 3)
    _, _, batch = parameters(f, 2)
    one, again, other = (estimator(program, 20, seed).estimate(batch).values for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_no_noise_is_exact() -> None:
    program = model([])
    f = function(program, 3)
    x, w, batch = parameters(f, 2)
    estimate = estimator(program, 20).estimate(batch)
    np.testing.assert_allclose(estimate.values, f.values(x, w), atol=1e-12)
    assert not estimate.stds.any()


def test_other_noise_is_refused() -> None:
    with pytest.raises(UnsupportedInstructionError, match="mixture of Pauli strings"):
        PauliFrames.of(model([channel("amplitude_damping", (0,), 0.1)]), empty_at_end=False)


def test_probabilities_of_strings() -> None:
    given = np.array([0.5, 0.1, 0.3, 0.1])
    paulis = [np.eye(2), [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
    matrix = transfer_of_kraus([np.sqrt(p) * np.array(m) for p, m in zip(given, paulis, strict=True)])
    np.testing.assert_allclose(pauli_probabilities(Channel((0,), matrix)), given, atol=1e-14)


def test_a_planted_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that pass constant Clifford rotations unchanged."""
    program = model(NOISE)
    f = function(program, 3)
    x, w, batch = parameters(f, 1)
    exact = f.values(x, w)
    propagate = PauliFrames.propagate

    def faulty(self: PauliFrames, strings):
        kept = tuple(step for step in self.steps if not isinstance(step, Conjugated))
        return propagate(replace(self, steps=kept), strings)

    monkeypatch.setattr(PauliFrames, "propagate", faulty)
    estimate = estimator(program, 20000).estimate(batch)
    assert np.abs((estimate.values - exact) / estimate.stds).max() > 6


def test_a_function_of_trajectories() -> None:
    program = model(NOISE)
    exact = function(program, 3)
    f = function(program, 3, device="CPU", trajectories=4000, noise_seed=3, input_gradients=True)
    x, w, _ = parameters(f, 2)
    found = f.estimate(x, w)
    assert np.abs((found.values - exact.values(x, w)) / found.stds).max() < 5
    values, pullback = f.vjp(x, w)
    assert np.array_equal(values, found.values)
    assert np.array_equal(values, f.values(x, w))
    cotangents = np.random.default_rng(2).normal(size=values.shape)
    dx, dw = pullback(cotangents)
    jacobian = f.jacobian(x, w, "all")
    by_sample = np.einsum("bk,bkp->bp", cotangents, jacobian)
    np.testing.assert_allclose(dx, by_sample[:, :3], atol=1e-12)
    np.testing.assert_allclose(dw, by_sample[:, 3:].sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(f.probabilities(x, w), exact.probabilities(x, w), atol=0.02)
    with pytest.raises(FusedQMLError, match="called before"):
        pullback(cotangents)
    assert not exact.estimate(x, w).stds.any()


def test_probabilities_without_observables_and_within_memory() -> None:
    program = model(NOISE)
    options = EngineOptions(device="CPU", trajectories=20, noise_seed=3)
    measured = Measurement(((0, 39), (1, 1)), 40)
    f = ProgramFunction(program, identity_map(8), None, options, num_inputs=3, measurement=measured)
    x, w, _ = parameters(f, 2)
    of_two = f.probabilities(x, w, measurement=Measurement(((0, 0), (1, 1)), 2))
    np.testing.assert_allclose(of_two.sum(axis=1), 1.0, atol=1e-12)
    with pytest.raises(OutOfMemoryError, match="probabilities of 40 classical bits"):
        f.probabilities(x, w)
