"""Trajectories of any noise on one qubit: the mean over all signs is exact, gradients and deviations are true."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit.quantum_info import PTM, random_quantum_channel
from support.emulation.runtime import EmulatedRuntime
from support.programs import ProgramSampler

from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.engine import kraus_trajectories, noisy_sweeps
from qiskit_fusedqml.engine.kraus_trajectories import Halves, KrausTrajectories
from qiskit_fusedqml.engine.noisy_sweeps import NoiseStep
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.pauli_trajectories import PauliTrajectories
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.engine.trajectories import Estimate
from qiskit_fusedqml.engine.unravelling import Mixture, mixtures
from qiskit_fusedqml.errors import DeviceUnavailableError, FusedQMLError, OutOfMemoryError, UnsupportedInstructionError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel, pauli_matrices, tensor, transfer_of_kraus
from qiskit_fusedqml.ir.encoding import AmplitudeEncoding
from qiskit_fusedqml.ir.measurement import Measurement
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Diagonal, Instruction, Matrix, Program, Rotation, validate
from qiskit_fusedqml.planner.cost import CostModel

from .test_mixed import OBSERVABLES, N, channel, function, identity_map, point

UNITARY = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)) + 0j)[0]
ANGLES = 8


def cx(control: int, target: int) -> list[Instruction]:
    c, t = 1 << control, 1 << target
    return [Rotation(t, 0, c, c, theta=np.pi), Rotation(0, 0, c, c, theta=-np.pi)]


def model(*noise: list[Channel]) -> Program:
    """Every kind of instruction; one list of channels after each of the first six parts."""
    parts: list[list[Instruction]] = [
        [Rotation(1 << q, 1 << q, slot=q) for q in range(N)],
        cx(0, 1),
        [*cx(1, 2), Rotation(2, 0, slot=3), Rotation(3, 6, slot=4)],
        [Rotation(4, 0, 1, 0, slot=5), Rotation(2, 2, 5, 4, slot=6)],
        [Diagonal((0, 2), np.exp(1j * np.array([0.1, 0.4, -0.3, 1.0]))), Matrix((1, 2), UNITARY)],
        [Rotation(7, 5, slot=7), Rotation(1, 1, theta=0.7)],
    ]
    between = iter(noise)
    instructions = [i for part in parts for i in (*part, *next(between, []))]
    program = Program(N, ANGLES, tuple(instructions))
    validate(program)
    return program


def matrix_of(name: str, *values: float) -> NDArray[np.float64]:
    return np.ascontiguousarray(CHANNELS[name].transfer(*map(np.array, values)))


def device_error(qubits: tuple[int, int], *, relaxes_last: bool = True) -> Channel:
    """Relaxation of both qubits and depolarizing, as one matrix: what fake backends report of a CX."""
    relaxation = tensor([matrix_of("thermal_relaxation", t1, t2, 0.05, 0.0) for t1, t2 in ((0.6, 0.4), (0.3, 0.5))])
    both = matrix_of("depolarizing2", 0.05)
    return Channel(qubits, np.ascontiguousarray(relaxation @ both if relaxes_last else both @ relaxation))


DAMPING = model(
    [channel("amplitude_damping", (0,), 0.1), channel("amplitude_damping", (2,), 0.2)],
    [],
    [channel("phase_amplitude_damping", (1,), 0.15, 0.1, 0.0)],
)
EVERYTHING = model(
    [channel("depolarizing", (1,), 0.1), channel("amplitude_damping", (1,), 0.1), channel("bit_flip", (0,), 0.2)],
    [device_error((0, 1))],
    [channel("generalized_amplitude_damping", (2,), 0.2, 0.3), device_error((2, 0), relaxes_last=False)],
    [channel("reset_error", (0,), 0.05, 0.02), channel("depolarizing2", (2, 1), 0.1)],
    [channel("thermal_relaxation", (1,), 0.3, 0.2, 0.1, 0.4)],
    [channel("amplitude_damping", (2,), 0.1)],
)


def estimator(program: Program, count: int, seed: int = 1, **options: object) -> KrausTrajectories:
    given = EngineOptions(**{"device": "CPU", "trajectories": count, "noise_seed": seed, **options})
    return KrausTrajectories(program, identity_map(ANGLES), OBSERVABLES, given)


def sampled(program: Program, count: int, seed: int = 1, **options: object) -> ProgramFunction:
    return function(program, N, **{"device": "CPU", "trajectories": count, "noise_seed": seed, **options})


def parameters(f: ProgramFunction, batch: int, seed: int = 5):
    x, w = point(N, ANGLES - N, batch, seed)
    return x, w, f.read(x, w)


def probabilities(mixture: Mixture) -> NDArray[np.float64]:
    return np.diff(mixture.cumulative, prepend=0.0)


# Mixtures


def transfer(channel: Channel) -> NDArray[np.float64]:
    """The transfer matrix of the mixtures of a channel."""
    result = np.eye(4 ** len(channel.qubits))
    for mixture in mixtures(channel):
        operators = []
        for c, probability in enumerate(probabilities(mixture)):
            own = dict(zip(mixture.qubits, mixture.matrices[:, c], strict=True))
            whole = np.eye(1)
            for qubit in channel.qubits:
                whole = np.kron(own.get(qubit, np.eye(2)), whole)
            operators.append(np.sqrt(probability) * whole)
        result = transfer_of_kraus(operators) @ result
    return result


@pytest.mark.parametrize("name", [name for name, family in CHANNELS.items() if family.num_qubits == 1])
def test_mixtures_are_the_channels(name: str) -> None:
    values = {"thermal_relaxation": (0.3, 0.5, 0.1, 0.4)}.get(name, (0.1,) * len(CHANNELS[name].parameters))
    own = channel(name, (2,), *values)
    np.testing.assert_allclose(transfer(own), matrix_of(name, *values), atol=1e-14)


@pytest.mark.parametrize("seed", range(10))
def test_mixtures_of_random_channels(seed: int) -> None:
    own = Channel((0,), np.ascontiguousarray(PTM(random_quantum_channel(2, 2, seed=seed)).data.real))
    np.testing.assert_allclose(transfer(own), own.matrix, atol=1e-13)


@pytest.mark.parametrize("relaxes_last", [True, False])
def test_mixtures_of_device_errors(relaxes_last: bool) -> None:
    own = device_error((2, 0), relaxes_last=relaxes_last)
    np.testing.assert_allclose(transfer(own), own.matrix, atol=1e-12)


@pytest.mark.parametrize("relaxes_last", [True, False])
@pytest.mark.parametrize("power", [2, 3, 5])
def test_mixtures_of_powers_of_device_errors(power: int, relaxes_last: bool) -> None:
    """What a whole noise_scale makes of them is no product of channels of one qubit and Pauli strings."""
    one = device_error((2, 0), relaxes_last=relaxes_last)
    assert one.matrix is not None
    own = Channel((2, 0), np.linalg.matrix_power(one.matrix, power))
    assert len(mixtures(own)) == power * len(mixtures(one))
    np.testing.assert_allclose(transfer(own), own.matrix, atol=1e-12)


@pytest.mark.parametrize("name", ["depolarizing", "bit_flip", "phase_flip", "phase_damping"])
def test_pauli_noise_keeps_norms(name: str) -> None:
    (mixture,) = mixtures(channel(name, (0,), 0.3))
    squares = mixture.matrices.conj().swapaxes(-1, -2) @ mixture.matrices
    np.testing.assert_allclose(squares, np.broadcast_to(np.eye(2), squares.shape), atol=1e-14)


@pytest.mark.parametrize("relaxes_last", [True, False])
@pytest.mark.parametrize("strings", [{"XX": 0.1}, {"ZZ": 0.05}])
def test_mixtures_of_relaxation_and_pauli_errors(strings: dict[str, float], relaxes_last: bool) -> None:
    relaxation = tensor([matrix_of("amplitude_damping", gamma) for gamma in (0.1, 0.2)])
    family = CHANNELS["pauli2"]
    both = matrix_of("pauli2", *(strings.get(name.removeprefix("p_"), 0.0) for name in family.parameters))
    own = Channel((0, 3), np.ascontiguousarray(relaxation @ both if relaxes_last else both @ relaxation))
    np.testing.assert_allclose(transfer(own), own.matrix, atol=1e-12)


def test_the_identity_is_nothing() -> None:
    assert not mixtures(channel("amplitude_damping", (0,), 0.0))
    assert [m.qubits for m in mixtures(device_error((3, 1)))] == [(3, 1), (3,), (1,)]


# The mean over all trajectories


def every_pattern(program: Program, batch: int) -> tuple[Estimate, NDArray[np.float64]]:
    """The means of all values, and of their gradients, over all patterns of choices, by their probabilities."""
    made = estimator(program, 2)
    own = made._noisy.mixtures
    choices = np.array(list(product(*(range(len(m.cumulative)) for m in own))), np.uint8)
    weights = np.prod([probabilities(m)[choices[:, k]] for k, m in enumerate(own)], axis=0)
    made._rows, made._choices = len(choices), lambda: choices
    f = function(program, N)
    _, _, values = parameters(f, batch)
    found = made._observed(values, made._runs(values, undone=False))
    np.testing.assert_allclose(np.einsum("t,tb->b", weights, found[..., -1]), 1.0, atol=1e-13)
    cotangents = np.random.default_rng(2).normal(size=(batch, 2))
    sweeps = made._planned(values)[0]
    gradient = np.zeros((batch, ANGLES))
    for run in made._runs(values, undone=True):
        bras = np.zeros((run.rows.stop - run.rows.start, 3))
        bras[:, :2] = weights[run.rows, None] * cotangents[run.sample]
        bra = made._device.apply_observables(run.forward.ket, sweeps.frame, made._sums, bras)
        gradient[run.sample] += sweeps.backward(run.forward, run.drawn, bra, ANGLES)
    return np.einsum("t,tbk->bk", weights, found[..., :-1]), gradient


RESET = model([channel("amplitude_damping", (0,), 0.5)], [channel("reset_error", (1,), 1.0, 0.0)])
DEVICE = model([], [device_error((0, 1))], [channel("amplitude_damping", (2,), 0.1)])


@pytest.mark.parametrize("program", [DAMPING, RESET, DEVICE], ids=["damping", "reset", "device"])
def test_the_mean_over_all_trajectories_is_exact(program: Program) -> None:
    found, gradient = every_pattern(program, 2)
    f = function(program, N)
    x, w, _ = parameters(f, 2)
    np.testing.assert_allclose(found, f.values(x, w), atol=1e-12)
    cotangents = np.random.default_rng(2).normal(size=found.shape)
    np.testing.assert_allclose(gradient, np.einsum("bk,bkp->bp", cotangents, f.jacobian(x, w, "all")), atol=1e-12)


def every_estimate(program: Program) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means of the estimate from four trajectories, two pairs, and of its gradient, over all of them."""
    made = estimator(program, 4)
    sizes = [len(m.cumulative) for m in made._noisy.mixtures]
    patterns = np.array(list(product(*map(range, sizes))), np.uint8)
    opposite = np.array(sizes) - 1 - patterns
    _, _, values = parameters(function(program, N), 1)
    found, gradients = [], []
    for first, second in product(range(len(patterns)), repeat=2):
        made._choices = lambda a=first, b=second: np.stack([patterns[a], opposite[a], patterns[b], opposite[b]])
        estimate, pullback = made.vjp(values)
        found.append(estimate.values)
        gradients.append(pullback(np.array([[1.0, -0.5]])))
    return np.mean(found, axis=0), np.mean(gradients, axis=0)


def exact(program: Program) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    f = function(program, N)
    x, w, _ = parameters(f, 1)
    return f.values(x, w), np.einsum("k,bkp->bp", [1.0, -0.5], f.jacobian(x, w, "all"))


def test_the_estimate_is_unbiased() -> None:
    (values, gradient), (true_values, true_gradient) = every_estimate(DAMPING), exact(DAMPING)
    np.testing.assert_allclose(values, true_values, atol=1e-13)
    np.testing.assert_allclose(gradient, true_gradient, atol=1e-12)


def test_normalised_states_are_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault that is nearest: <t|O|t> / <t|t>, and its exact gradient."""

    class Normalised(Halves):
        def estimate(self, found):
            type(self).found = found
            return Estimate((found[..., :-1] / found[..., -1:]).mean(axis=0), found[0])

        def cotangents(self, given):
            norms = self.found[..., -1:]
            mean = (given * self.found[..., :-1]).sum(axis=-1, keepdims=True) / norms
            return np.concatenate([np.broadcast_to(given, (*norms.shape[:-1], 2)), -mean], axis=-1) / norms / self.rows

    monkeypatch.setattr(kraus_trajectories, "Halves", Normalised)
    (values, gradient), (true_values, true_gradient) = every_estimate(DAMPING), exact(DAMPING)
    assert np.abs(values - true_values).max() > 1e-3
    assert np.abs(gradient - true_gradient).max() > 1e-3


# Estimates


@pytest.mark.parametrize("device", ["CPU", "reference"])
def test_the_gradient_is_that_of_the_estimate(device: str) -> None:
    f = function(EVERYTHING, N)
    x, w, batch = parameters(f, 2)
    made = estimator(EVERYTHING, 22, device=device)
    cotangents = np.random.default_rng(2).normal(size=(2, 2))
    gradient = made.vjp(batch)[1](cotangents)
    step = 1e-5
    for k in range(ANGLES - N):
        shift = np.eye(ANGLES - N)[k] * step
        up, down = ((made.estimate(f.read(x, w + s)).values * cotangents).sum(axis=1) for s in (shift, -shift))
        np.testing.assert_allclose(gradient[:, N + k], (up - down) / (2 * step), atol=1e-9)


class TiledDevice(ReferenceDevice):
    """Plans with tiles of two qubits, in frames that are not the identity."""

    cost_model = CostModel(tile_qubits=2, lanes=4, fold_bits=1)


DEVICES = {
    "CPU": lambda: CPUDevice("double", 2),
    "tiles": TiledDevice,
    "GPU, emulated": lambda: GPUDevice(EmulatedRuntime(), "double"),
}


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree(device: str) -> None:
    program = DEVICE if "GPU" in device else EVERYTHING
    f, g = (sampled(program, 4, device=own) for own in (DEVICES[device](), "reference"))
    x, w, _ = parameters(g, 2)
    (one, pull), (other, pull_other) = (each.vjp(x, w) for each in (f, g))
    np.testing.assert_allclose(one, other, atol=1e-13)
    np.testing.assert_allclose(pull(np.ones((2, 2)))[1], pull_other(np.ones((2, 2)))[1], atol=1e-12)


class ForeignDevice:
    """Somebody's own device, which knows pure states only."""

    name = "foreign"

    def __init__(self) -> None:
        self._inner = ReferenceDevice()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize("program", [DAMPING, model([channel("depolarizing", (0,), 0.3)])], ids=["damping", "Pauli"])
def test_trajectories_run_where_there_are_no_mixed_states(program: Program) -> None:
    f, g = (sampled(program, 4, device=own) for own in (ForeignDevice(), "reference"))
    x, w, _ = parameters(g, 1)
    np.testing.assert_allclose(f.values(x, w), g.values(x, w), atol=1e-12)
    with pytest.raises(DeviceUnavailableError, match="trajectories on every device"):
        function(program, N, device=ForeignDevice())


@pytest.mark.parametrize("program", [DAMPING, EVERYTHING], ids=["damping", "everything"])
def test_standard_deviations_are_true(program: Program) -> None:
    f = function(program, N)
    x, w, batch = parameters(f, 1)
    true = f.values(x, w)
    found = [estimator(program, 60, seed).estimate(batch) for seed in range(120)]
    scores = np.array([(e.values - true) / e.stds for e in found])
    assert np.abs(scores.mean(axis=0)).max() < 0.35
    assert 0.8 < scores.std(axis=0).min() <= scores.std(axis=0).max() < 1.25


def test_opposite_signs_and_norms_save_most_of_the_variance() -> None:
    """Against independent trajectories without control variates."""
    _, _, batch = parameters(function(DAMPING, N), 1)
    made = estimator(DAMPING, 2000)
    plain = made._observed(batch, made._runs(batch, undone=False))[:, 0, :-1].std(axis=0) / np.sqrt(2000)
    ratios = made.estimate(batch).stds[0] / plain
    assert ratios.max() < 0.85
    assert ratios.min() < 0.3


def test_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, batch = parameters(function(EVERYTHING, N), 2)
    ones, threads = np.ones((2, 2)), {"num_threads": 1}
    estimate, pullback = estimator(EVERYTHING, 60, **threads).vjp(batch)
    gradient = pullback(ones)
    monkeypatch.setattr(kraus_trajectories, "CHUNK_BYTES", 1)
    state = 16 * 2**N / 2**20
    for made in (estimator(EVERYTHING, 60, **threads), estimator(EVERYTHING, 60, max_memory_mb=20 * state, **threads)):
        parts, pullback_of_parts = made.vjp(batch)
        np.testing.assert_allclose(parts.values, estimate.values, atol=1e-13)
        np.testing.assert_allclose(parts.stds, estimate.stds, atol=1e-13)
        np.testing.assert_allclose(pullback_of_parts(ones), gradient, atol=1e-13)


def test_the_seed_decides() -> None:
    _, _, batch = parameters(function(EVERYTHING, N), 2)
    one, again, other = (estimator(EVERYTHING, 20, seed).estimate(batch).values for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_samples_are_independent_of_one_another() -> None:
    f = sampled(EVERYTHING, 30)
    x, w, _ = parameters(f, 3)
    np.testing.assert_allclose(f.values(x, w), np.concatenate([f.values(row[None], w) for row in x]), atol=1e-14)


@pytest.mark.parametrize("count", [1, 2])
def test_one_pair_has_no_deviation(count: int) -> None:
    f = sampled(DAMPING, count)
    x, w, _ = parameters(f, 1)
    found = f.estimate(x, w)
    assert np.isfinite(found.values).all()
    assert np.isnan(found.stds).all()
    assert np.isfinite(f.jacobian(x, w)).all()


def test_noise_that_is_undone_badly_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damping that takes nearly everything, a reset, and much that is weaker; errors of undoing would be seen."""
    strong = [channel("amplitude_damping", (0,), 0.999), channel("reset_error", (1,), 1.0, 0.0)]
    weak = [channel("amplitude_damping", (2,), 0.3), Rotation(4, 0, theta=0.1)] * 200
    program = model(strong, [], weak)
    _, _, batch = parameters(function(program, N), 1)

    def kept_and_gradient() -> tuple[list[bool], NDArray[np.float64]]:
        made = estimator(program, 8)
        kept = [step.kept for step in made._planned(batch)[0].steps if isinstance(step, NoiseStep)]
        return kept, made.vjp(batch)[1](np.ones((1, 2)))

    kept, gradient = kept_and_gradient()
    assert kept[0]
    assert sum(kept) == 3
    monkeypatch.setattr(noisy_sweeps, "KAPPA_LIMITS", {16: -1.0})
    every, expected = kept_and_gradient()
    assert all(every)
    np.testing.assert_allclose(gradient, expected, atol=1e-9 * np.abs(expected).max())


def test_memory_counts_states_that_are_kept() -> None:
    program = model([channel("reset_error", (1,), 1.0, 0.0)])
    f = sampled(program, 4, max_memory_mb=3 * 16 * 2**N / 2**20)
    x, w, _ = parameters(f, 1)
    assert np.isfinite(f.vjp(x, w)[1](np.ones((1, 2)))[1]).all()
    with pytest.raises(OutOfMemoryError, match="3 state"):
        sampled(program, 4, max_memory_mb=2 * 16 * 2**N / 2**20).vjp(x, w)


def test_single_precision() -> None:
    single, double = (sampled(EVERYTHING, 40, precision=precision) for precision in ("single", "double"))
    x, w, _ = parameters(double, 2)
    (values, pull), (true, true_pull) = (f.vjp(x, w) for f in (single, double))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, true, atol=1e-5)
    np.testing.assert_allclose(pull(np.ones((2, 2)))[1], true_pull(np.ones((2, 2)))[1], atol=3e-5)


def test_given_states() -> None:
    states = np.random.default_rng(3).normal(size=(2, 2**N, 2)) @ np.array([1, 1j])
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    f, own = sampled(EVERYTHING, 30), [sampled(Program(N, ANGLES, EVERYTHING.instructions, s), 30) for s in states]
    x, w, _ = parameters(f, 2)
    found = f.values(x, w, initial_states=states)
    np.testing.assert_allclose(found, [g.values(row[None], w)[0] for g, row in zip(own, x, strict=True)], atol=1e-13)
    assert np.abs(found - f.values(x, w)).max() > 0.01


@pytest.mark.parametrize("program", [DAMPING, EVERYTHING, RESET, DEVICE], ids=["damping", "all", "reset", "device"])
def test_a_function_of_trajectories(program: Program) -> None:
    true = function(program, N)
    f = sampled(program, 4000, input_gradients=True)
    assert isinstance(f.sampled, KrausTrajectories)
    x, w, _ = parameters(f, 2)
    found = f.estimate(x, w)
    assert np.abs((found.values - true.values(x, w)) / found.stds).max() < 5
    values, pullback = f.vjp(x, w)
    np.testing.assert_allclose(values, found.values, atol=1e-14)
    cotangents = np.random.default_rng(2).normal(size=values.shape)
    dx, dw = pullback(cotangents)
    jacobian = f.jacobian(x, w, "all")
    by_sample = np.einsum("bk,bkp->bp", cotangents, jacobian)
    np.testing.assert_allclose(dx, by_sample[:, :N], atol=1e-12)
    np.testing.assert_allclose(dw, by_sample[:, N:].sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(jacobian, true.jacobian(x, w, "all"), atol=0.08)
    measured = Measurement(((2, 0), (0, 2)), 3)
    given = f.probabilities(x, w, measurement=measured)
    np.testing.assert_allclose(given, true.probabilities(x, w, measurement=measured), atol=0.03)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-12)
    assert (given >= 0).all()
    with pytest.raises(FusedQMLError, match="called before"):
        pullback(cotangents)


def test_pauli_noise_is_left_to_frames() -> None:
    assert isinstance(sampled(model([channel("depolarizing", (0,), 0.1)]), 4).sampled, PauliTrajectories)


def test_norms_that_vary_too_much_are_said_once() -> None:
    instructions: list[Instruction] = [Rotation(1 << q, 1 << q, theta=np.pi / 2) for q in range(N)]
    for _ in range(20):
        for q in range(N):
            instructions += [channel("amplitude_damping", (q,), 0.1), Rotation(1 << q, 1 << q, theta=0.05)]
    f = sampled(Program(N, ANGLES, tuple(instructions)), 200)
    x, w, _ = parameters(f, 1)
    with pytest.warns(UserWarning, match=r"norms of trajectories have a variance of .*density matrices"):
        f.values(x, w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f.values(x, w)


# The order


def turned(rng: np.random.Generator, qubit: int) -> Channel:
    """A channel that is a rotation, about an axis or any."""
    angle, axis = rng.uniform(-3, 3), rng.integers(4)
    direction = np.eye(4)[axis][:3] if axis < 3 else rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    generator = np.einsum("a,axy->xy", direction, pauli_matrices(1)[1:])
    unitary = np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * generator
    return Channel((qubit,), transfer_of_kraus([unitary]))


@pytest.mark.parametrize("seed", range(25))
def test_noise_is_where_it_belongs(seed: int) -> None:
    """Channels that are unitary have one trajectory: random programs of them are exact."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    program = ProgramSampler(rng, n).program(14)
    instructions: list[Instruction] = []
    for instruction in program.instructions:
        instructions += [instruction, *(turned(rng, int(rng.integers(n))) for _ in range(rng.integers(3)))]
    count = program.num_angles
    noisy = Program(n, count, (*instructions, turned(rng, 0)))
    x, z = rng.integers(1 << n, size=(2, 3)).tolist()
    sums = [PauliSum(n, tuple(PauliTerm(1.0, *masks) for masks in zip(x, z, strict=True)))]
    options = {"device": "CPU", "trajectories": 4, "noise_seed": 1}
    f, g = (ProgramFunction(noisy, identity_map(count), sums, EngineOptions(**own)) for own in (options, {}))
    w = rng.uniform(-3, 3, count)
    np.testing.assert_allclose(f.values(None, w), g.values(None, w), atol=1e-11)
    np.testing.assert_allclose(f.jacobian(None, w), g.jacobian(None, w), atol=1e-11)


def test_noise_that_commutes_is_put_off() -> None:
    """Depolarizing passes all rotations of its qubit, and noise between CX gates makes one tape with others."""
    layer: list[Instruction] = []
    for q in range(N):
        for k, (x, z) in enumerate(((1, 0), (1, 1), (0, 1))):
            layer += [Rotation(x << q, z << q, slot=k), channel("depolarizing", (q,), 0.01)]
    for q in range(N):
        layer += [*cx(q, (q + 1) % N), device_error((q, (q + 1) % N))]
    made = estimator(Program(N, ANGLES, (*layer, *layer)), 4)
    _, _, batch = parameters(function(Program(N, ANGLES, ()), N), 1)
    kinds = [type(step).__name__ for step in made._planned(batch)[0].steps]
    assert kinds[1:] == ["StretchStep", "NoiseStep"] * 2


# Refusals


def test_what_is_refused() -> None:
    random = np.ascontiguousarray(PTM(random_quantum_channel(4, 4, seed=1)).data.real)
    with pytest.raises(UnsupportedInstructionError, match=r"Instruction 3 .*on 2 qubits, it is neither .*Leave out"):
        sampled(model([Channel((2, 1), random)]), 4)
    damped = Channel((1,), family=CHANNELS["amplitude_damping"], slots=(7,), constants=(0.0,))
    with pytest.raises(UnsupportedInstructionError, match=r"its strength is a parameter.*Bind it, or leave out"):
        sampled(model([damped]), 4)


def test_encoded_amplitudes_are_refused() -> None:
    features = AngleMap(ANGLES, np.zeros(2), np.arange(2), np.arange(2), np.ones(2))
    encoding = AmplitudeEncoding((0,), np.zeros(2), np.arange(2), features)
    for program in (DAMPING, model([channel("bit_flip", (0,), 0.1)])):
        with pytest.raises(UnsupportedInstructionError, match=r"Amplitudes of the initial state are parameters"):
            ProgramFunction(
                program, identity_map(ANGLES), OBSERVABLES, EngineOptions(trajectories=4), encoding=encoding
            )
