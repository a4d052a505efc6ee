"""Programs with noise: values, gradients, probabilities, against density matrices in NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.emulation.runtime import EmulatedRuntime

from qiskit_fusedqml.devices.gpu.device import GPUDevice
from qiskit_fusedqml.engine.certificates import undo_error
from qiskit_fusedqml.engine.mixed_sweeps import CollapsedSweeps, MixedSweeps
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.probabilities import probability_jacobian
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError, OutOfMemoryError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel, pauli_matrices
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Instruction, Program, Rotation

N = 3


def identity_map(count: int) -> AngleMap:
    """Angles that are the parameters."""
    numbers = np.arange(count)
    return AngleMap(count, np.zeros(count), numbers, numbers, np.ones(count))


def density(program: Program, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The density matrix, by matrices of every rotation and channel on all qubits."""
    n = program.num_qubits
    rho = np.zeros((2**n, 2**n), dtype=complex)
    rho[0, 0] = 1.0
    if program.initial_state is not None:
        rho = np.outer(program.initial_state, program.initial_state.conj())
    for instruction in program.instructions:
        if isinstance(instruction, Rotation):
            u = rotation_matrix(instruction, n, angles)
            rho = u @ rho @ u.conj().T
        else:
            assert isinstance(instruction, Channel)
            rho = channel_on(instruction, rho, n, angles)
    return rho


def string(x: int, z: int, n: int) -> NDArray[np.complex128]:
    index = sum({0: 0, 1: 1, 3: 2, 2: 3}[(x >> q & 1) | (z >> q & 1) << 1] << 2 * q for q in range(n))
    return pauli_matrices(n)[index]


def rotation_matrix(r: Rotation, n: int, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    theta = angles[r.slot] if r.slot >= 0 else r.theta
    inside = np.diag([(i & r.ctrl_mask) == r.ctrl_value for i in range(2**n)]).astype(complex)
    turn = np.cos(theta / 2) * np.eye(2**n) - 1j * np.sin(theta / 2) * string(r.x, r.z, n)
    return np.eye(2**n) - inside + inside @ turn


def channel_on(c: Channel, rho: NDArray[np.complex128], n: int, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
    if c.matrix is not None:
        matrix = c.matrix
    else:
        assert c.family is not None
        values = [angles[s] if s >= 0 else v for s, v in zip(c.slots, c.constants, strict=True)]
        matrix = c.family.transfer(*values)
    strings = pauli_matrices(n)
    r = np.einsum("aij,ji->a", strings, rho).real
    out = np.zeros_like(r)
    for a in range(4**n):
        letters = [a >> 2 * q & 3 for q in c.qubits]
        row = sum(letter << 2 * j for j, letter in enumerate(letters))
        rest = a & ~sum(3 << 2 * q for q in c.qubits)
        for column in range(len(matrix)):
            out[a] += (
                matrix[row, column] * r[rest | sum((column >> 2 * j & 3) << 2 * q for j, q in enumerate(c.qubits))]
            )
    return np.einsum("a,aij->ij", out, strings) / 2**n


def channel(name: str, qubits: tuple[int, ...], *values: float) -> Channel:
    """A constant member of a family."""
    family = CHANNELS[name]
    return Channel(qubits, family=family, slots=(-1,) * len(values), constants=values)


def model(reupload: bool = False, strong: bool = False) -> tuple[Program, int, int]:
    """Encoding, weights and noise on three qubits: the program, the inputs' and the weights' number."""
    damping = 0.97 if strong else 0.1
    instructions: list[Instruction] = []
    slot = N
    for layer in range(2):
        if layer == 0 or reupload:
            for q in range(N):
                instructions += [Rotation(1 << q, 1 << q, slot=q), channel("depolarizing", (q,), 0.02)]
        for q in range(N):
            instructions += [Rotation(1 << q, 0, slot=slot), channel("phase_damping", (q,), 0.05)]
            instructions += [Rotation(0, 1 << q, slot=slot + 1)]
            slot += 2
        for q in range(N):
            c, t = 1 << q, 1 << (q + 1) % N
            instructions += [Rotation(t, 0, c, c, theta=np.pi), Rotation(0, 0, c, c, theta=-np.pi)]
            instructions += [
                channel("depolarizing2", (q, (q + 1) % N), 0.04),
                channel("amplitude_damping", (q,), damping),
            ]
        instructions += [Rotation(3, 6, slot=slot), Rotation(4, 0, 1, 0, slot=slot + 1)]
        slot += 2
    # parameters of channels are angles, too
    family = CHANNELS["amplitude_damping"]
    instructions += [Channel((1,), family=family, slots=(slot,), constants=(0.0,))]
    instructions += [Channel((2, 0), family=CHANNELS["depolarizing2"], slots=(slot + 1,), constants=(0.0,))]
    slot += 2
    return Program(N, slot, tuple(instructions)), N, slot - N


OBSERVABLES = (
    PauliSum(N, (PauliTerm(0.7, 0, 1), PauliTerm(-0.4, 3, 6), PauliTerm(0.3, 7, 7))),
    PauliSum(N, (PauliTerm(1.1, 2, 2, 5, 1),)),
)


def function(program: Program, inputs: int, **options: object) -> ProgramFunction:
    options = {"device": "reference", **options}
    if options["device"] == "GPU, emulated":
        options["device"] = GPUDevice(EmulatedRuntime())
    keywords = {k: options.pop(k) for k in ("input_gradients",) if k in options}
    made = EngineOptions(**options)  # type: ignore[arg-type]
    return ProgramFunction(
        program,
        identity_map(program.num_angles),
        OBSERVABLES,
        made,
        num_inputs=inputs,
        **keywords,  # type: ignore[arg-type]
    )


def point(inputs: int, weights: int, batch: int, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    w = rng.uniform(-3, 3, weights)
    w[-2:] = 0.2, 0.1
    return rng.uniform(-3, 3, (batch, inputs)), w


def expected(program: Program, x: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (B, K) from density matrices."""
    return np.array(
        [[np.trace(matrix(o) @ density(program, np.concatenate([row, w]))).real for o in OBSERVABLES] for row in x]
    )


def matrix(observable: PauliSum) -> NDArray[np.complex128]:
    total = np.zeros((2**N, 2**N), dtype=complex)
    for term in observable.terms:
        inside = np.diag([(i & term.ctrl_mask) == term.ctrl_value for i in range(2**N)]).astype(complex)
        total += term.coefficient * inside @ string(term.x, term.z, N)
    return total


DEVICES = ("reference", "CPU", "GPU, emulated")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("reupload", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_values_and_gradients(device: str, strong: bool, reupload: bool, batch: int) -> None:
    program, inputs, weights = model(reupload, strong)
    f = function(program, inputs, device=device)
    x, w = point(inputs, weights, batch)
    values, pullback = f.vjp(x, w)
    np.testing.assert_allclose(values, expected(program, x, w), atol=1e-12)
    np.testing.assert_allclose(f.values(x, w), values, atol=1e-12)
    cotangents = np.random.default_rng(3).normal(size=values.shape)
    _, dw = pullback(cotangents)
    step = 1e-5
    for k in range(weights):
        shift = np.eye(weights)[k] * step
        slope = (f.values(x, w + shift) - f.values(x, w - shift)) / (2 * step)
        assert dw[k] == pytest.approx(np.sum(cotangents * slope), abs=1e-8), k


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reupload", [False, True])
def test_input_gradients_and_jacobians(device: str, reupload: bool) -> None:
    program, inputs, weights = model(reupload)
    f = function(program, inputs, device=device, input_gradients=True)
    x, w = point(inputs, weights, 4)
    values, pullback = f.vjp(x, w)
    cotangents = np.random.default_rng(3).normal(size=values.shape)
    dx, dw = pullback(cotangents)
    jacobian = f.jacobian(x, w, "all")
    np.testing.assert_allclose(np.einsum("bk,bki->bi", cotangents, jacobian[..., :inputs]), dx, atol=1e-12)
    np.testing.assert_allclose(np.einsum("bk,bki->i", cotangents, jacobian[..., inputs:]), dw, atol=1e-12)
    step = 1e-5
    for k in range(inputs):
        shift = np.eye(inputs)[k] * step
        slope = (f.values(x + shift, w) - f.values(x - shift, w)) / (2 * step)
        np.testing.assert_allclose(jacobian[..., k], slope, atol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
def test_the_batch_collapses(device: str) -> None:
    program, inputs, weights = model()
    f = function(program, inputs, device=device)
    x, w = point(inputs, weights, 5)
    sweeps = f.plans.sweeps(f.request(f.read(x, w)))
    assert isinstance(sweeps, CollapsedSweeps)
    values, pullback = f.vjp(x, w)
    rows = [f.vjp(x[b : b + 1], w) for b in range(5)]
    np.testing.assert_allclose(values, np.concatenate([v for v, _ in rows]), atol=1e-12)
    ones = np.ones((1, len(OBSERVABLES)))
    np.testing.assert_allclose(
        pullback(np.repeat(ones, 5, axis=0))[1], sum(pull(ones)[1] for _, pull in rows), atol=1e-12
    )


@pytest.mark.parametrize("device", DEVICES)
def test_weights_by_sample(device: str) -> None:
    program, inputs, weights = model()
    f = function(program, inputs, device=device)
    x, w = point(inputs, weights, 3)
    each = np.stack([w, w + 0.1, w - 0.2])
    each[:, -2:] = w[-2:]  # channels' parameters are shared
    values, pullback = f.vjp(x, each)
    _, dw = pullback(np.ones_like(values))
    for b in range(3):
        value, pull = f.vjp(x[b : b + 1], each[b])
        np.testing.assert_allclose(values[b], value[0], atol=1e-12)
        np.testing.assert_allclose(dw[b], pull(np.ones_like(value))[1], atol=1e-11)


@pytest.mark.parametrize("device", DEVICES)
def test_probabilities(device: str) -> None:
    program, inputs, weights = model()
    f = function(program, inputs, device=device)
    x, w = point(inputs, weights, 3)
    wanted = np.stack([np.diag(density(program, np.concatenate([row, w]))).real for row in x])
    np.testing.assert_allclose(f.probabilities(x, w), wanted, atol=1e-12)
    groups = np.array([0, 1, 1, 0, -1, 2, 2, 1])
    found = probability_jacobian(f, x, w, groups, 3)
    step = 1e-5
    for k in range(weights):
        shift = np.eye(weights)[k] * step
        slope = (f.probabilities(x, w + shift) - f.probabilities(x, w - shift)) / (2 * step)
        for group in range(3):
            np.testing.assert_allclose(found[:, group, k], slope[:, groups == group].sum(axis=1), atol=1e-8)


def test_what_needs_pure_states_is_refused() -> None:
    program, inputs, weights = model()
    f = function(program, inputs)
    x, w = point(inputs, weights, 2)
    with pytest.raises(FusedQMLError, match="mixed state"):
        f.statevector(x, w)


def test_a_parameter_outside_its_range_is_named() -> None:
    program, inputs, weights = model()
    f = function(program, inputs)
    x, w = point(inputs, weights, 2)
    w[-2] = 1.5
    with pytest.raises(InvalidInputError, match="amplitude_damping"):
        f.values(x, w)


def test_many_observables() -> None:
    program, inputs, weights = model()
    x, w = point(inputs, weights, 2)
    f = function(program, inputs, device="CPU")
    many = ProgramFunction(program, f.angle_map, OBSERVABLES * 12, f.options, num_inputs=inputs)
    np.testing.assert_allclose(many.jacobian(x, w)[:, :2], f.jacobian(x, w), atol=1e-13)


def test_what_does_not_fit_names_the_way_out() -> None:
    program = Program(16, 0, (channel("depolarizing", (15,), 0.1),))
    f = ProgramFunction(program, identity_map(0), [PauliSum(16, (PauliTerm(1.0, 0, 1),))])
    with pytest.raises(OutOfMemoryError, match=r"mixed state\(s\) of 16 qubits need 32.0 GiB.*trajectories=N"):
        f.values()


def damped(gamma: float, times: int) -> Program:
    """Two qubits, rotations and damping in turns."""
    instructions: list[Instruction] = []
    for k in range(times):
        instructions += [Rotation(1, 1, slot=2 * k), Rotation(2, 0, slot=2 * k + 1)]
        instructions += [Rotation(2, 0, 1, 1, theta=np.pi), Rotation(0, 0, 1, 1, theta=-np.pi)]
        instructions += [channel("amplitude_damping", (q,), gamma) for q in range(2)]
    return Program(2, 2 * times, tuple(instructions))


@pytest.mark.parametrize(
    ("gamma", "precision", "least", "most"),
    [
        (0.005, "double", 0, 0),
        (0.02, "double", 0, 0),
        (0.5, "double", 1, 4),
        (0.5, "single", 6, 30),
        (0.97, "double", 15, 45),
        (1.0, "double", 15, 45),
    ],
)
def test_states_are_kept_where_undoing_amplifies(gamma: float, precision: str, least: int, most: int) -> None:
    """Forty dampings: kappa is 1/(1 - gamma) of each, and those above 20 are never undone."""
    program = damped(gamma, 20)
    f = ProgramFunction(
        program, identity_map(40), [PauliSum(2, (PauliTerm(1.0, 1, 2), PauliTerm(0.5, 0, 3)))],
        EngineOptions(device="CPU", precision=precision),
    )  # fmt: skip
    w = np.random.default_rng(1).uniform(-2, 2, 40)
    sweeps = f.plans.planned(f.request(f.read(None, w)))
    assert isinstance(sweeps, MixedSweeps)
    kept = sum(segment.kept for segment in sweeps.segments(sweeps.bind(f.read(None, w)).bound))
    assert least <= kept <= most
    assert sweeps.sample_bytes(per_sample=False) >= kept * 4**2 * (8 if precision == "double" else 4)
    tolerance = 1e-9 if precision == "double" else 3e-5
    assert undo_error(f, None, w)[0] < tolerance
    values, pullback = f.vjp(None, w)
    dw = pullback(np.ones_like(values))[1]
    exact = ProgramFunction(program, f.angle_map, f.observables, EngineOptions(device="reference"))
    step = 1e-5
    for k in (0, 1, 20, 38, 39):
        shift = np.eye(40)[k] * step
        slope = (exact.values(None, w + shift) - exact.values(None, w - shift)).sum() / (2 * step)
        assert dw[k] == pytest.approx(slope, abs=max(tolerance, 1e-8))


@pytest.mark.parametrize("device", DEVICES)
def test_several_channels_that_forget_a_qubit(device: str) -> None:
    """None of them is undone, nor is what multiplies errors by more than 20 after them, in whatever sequence."""
    instructions: list[Instruction] = []
    for k in range(6):
        instructions += [Rotation(1, 0, slot=3 * k), channel("reset_error", (0,), 1.0 if k < 2 else 0.97, 0.0)]
        instructions += [Rotation(1, 1, slot=3 * k + 1), Rotation(0, 1, slot=3 * k + 2), Rotation(3, 3, slot=0)]
    program = Program(N, 18, tuple(instructions))
    f = function(program, 0, device=device)
    w = np.random.default_rng(3).uniform(-2, 2, 18)
    sweeps = f.plans.planned(f.request(f.read(None, w)))
    assert isinstance(sweeps, MixedSweeps)
    bound = sweeps.bind(f.read(None, w)).bound
    assert not np.isnan(bound.log_kappas).any()  # type: ignore[union-attr]
    assert sum(segment.held for segment in sweeps.segments(bound)) == 6
    assert undo_error(f, None, w)[0] < 1e-13
    found = f.vjp(None, w)[1](np.ones((1, 2)))[1]
    expected = differences(function(program, 0), None, w).sum(axis=(0, 1))
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
def test_strengths_of_noise_between_inputs(device: str) -> None:
    """Sequences that differ from sample to sample hold channels whose parameters, shared by all, have gradients."""
    family = CHANNELS["phase_amplitude_damping"]
    shared = Channel((0,), family=family, slots=(2, 3, -1), constants=(0.0, 0.0, 0.3))
    instructions = [
        Rotation(1, 0, slot=0),
        shared,
        Rotation(1, 1, slot=1),
        Rotation(1, 0, slot=4),
        Rotation(3, 3, slot=1),
    ]
    program = Program(N, 5, tuple(instructions))
    f = function(program, 2, device=device)
    x, w = np.random.default_rng(4).uniform(-2, 2, (5, 2)), np.array([0.1, 0.2, 0.7])
    expected = differences(function(program, 2), x, w).sum(axis=(0, 1))
    dx, dw = f.vjp(x, w)[1](np.ones((5, 2)))
    assert dx is None
    np.testing.assert_allclose(dw, expected, atol=1e-8)
    np.testing.assert_allclose(f.jacobian(x, w).sum(axis=(0, 1)), expected, atol=1e-8)


def differences(
    f: ProgramFunction, x: NDArray[np.float64] | None, w: NDArray[np.float64], step: float = 1e-5
) -> NDArray[np.float64]:
    """Central differences (B, K, W) of the values by the weights."""
    shifts = step * np.eye(len(w))
    return np.stack([(f.values(x, w + s) - f.values(x, w - s)) / (2 * step) for s in shifts], axis=-1)


def test_the_error_of_undoing_in_pieces() -> None:
    """In the budget, at several strengths, and refused where nothing is undone."""
    program, inputs, weights = model()
    x, w = point(inputs, weights, 9)
    f = function(program, inputs, device="CPU")
    small = function(program, inputs, device="CPU", max_memory_mb=30 * 8 * 4**N / 2**20)
    np.testing.assert_allclose(undo_error(small, x, w), undo_error(f, x, w), atol=1e-14)
    strengths = np.tile(w, (9, 1))
    strengths[:, -1] = np.linspace(0.0, 0.2, 9)
    assert undo_error(f, x, strengths).shape == (9,)
    assert undo_error(f, x, strengths).max() < 1e-12
    pure = function(Program(N, 1, (Rotation(1, 0, slot=0),)), 0)
    with pytest.raises(FusedQMLError, match="of this one none is: it has no noise"):
        undo_error(pure, None, [0.3])


def test_states_of_many_observables_are_in_the_budget() -> None:
    """A collapsed step holds two states an observable beside those of a piece of the batch."""
    program, inputs, weights = model()
    many = tuple(PauliSum(N, (PauliTerm(1.0, x, z),)) for x in range(5) for z in range(4))
    x, w = point(inputs, weights, 60)
    found = []
    for states in (200, 12):
        options = EngineOptions(device="reference", max_memory_mb=states * 8 * 4**N / 2**20)
        f = ProgramFunction(program, identity_map(program.num_angles), many, options, num_inputs=inputs)
        sweeps = f.plans.sweeps(f.request(f.read(x, w)))
        assert isinstance(sweeps, CollapsedSweeps if states == 200 else MixedSweeps)
        peak = 0
        inner = f.device.inner

        def counted(*arguments: object, original=inner.bra, **keywords: object) -> object:
            nonlocal peak
            made = original(*arguments, **keywords)
            peak = max(peak, len(made))
            return made

        inner.bra = counted
        found.append(f.value_and_vjp(x, w, np.ones((60, len(many)))))
        assert peak == len(many) if states == 200 else peak <= 6
    for one, other in zip(*found, strict=True):
        if one is not None:
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_collapsed_step_is_two_sweeps_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs, weights = model()
    f = function(program, inputs, device="CPU")
    counts: dict[str, int] = {}
    inner = f.device.inner
    for verb in ("forward", "backward", "backward_bra", "joint"):
        original = getattr(inner, verb)

        def counted(*arguments: object, verb: str = verb, original=original, **keywords: object) -> object:
            counts[verb] = counts.get(verb, 0) + 1
            return original(*arguments, **keywords)

        monkeypatch.setattr(inner, verb, counted)
    for batch in (3, 50):
        x, w = point(inputs, weights, batch)
        counts.clear()
        f.value_and_vjp(x, w, np.ones((batch, len(OBSERVABLES))))
        assert counts == {"forward": 1, "backward_bra": 1, "joint": 1}, "the forward sweep is the encoder's"


@pytest.mark.parametrize("device", DEVICES)
def test_strengths_by_sample(device: str) -> None:
    """As in extrapolation to zero noise: the last weights are the noise's."""
    program, inputs, weights = model()
    f = function(program, inputs, device=device, input_gradients=True)
    x, w = point(inputs, weights, 4)
    each = np.stack([w, w, w, w])
    each[:, -1] = 0.3, 0.1, 0.3, 0.0
    values, pullback = f.vjp(x, each)
    dx, dw = pullback(np.ones_like(values))
    for b in range(4):
        one, pull = f.vjp(x[b : b + 1], each[b])
        own_dx, own_dw = pull(np.ones_like(one))
        np.testing.assert_allclose(values[b], one[0], atol=1e-13)
        np.testing.assert_allclose(dx[b], own_dx[0], atol=1e-12)
        np.testing.assert_allclose(dw[b], own_dw, atol=1e-12)
        np.testing.assert_allclose(f.jacobian(x, each)[b], f.jacobian(x[b : b + 1], each[b])[0], atol=1e-12)
        np.testing.assert_allclose(f.probabilities(x, each)[b], f.probabilities(x[b : b + 1], each[b])[0], atol=1e-13)
    with pytest.raises(FusedQMLError, match="called before"):
        pullback(np.ones_like(values))


def test_strengths_among_the_inputs() -> None:
    family = CHANNELS["bit_flip"]
    program = Program(1, 2, (Rotation(1, 0, slot=1), Channel((0,), family=family, slots=(0,), constants=(0.0,))))
    f = ProgramFunction(program, identity_map(2), [PauliSum(1, (PauliTerm(1.0, 0, 1),))], num_inputs=1)
    for x in ([[0.1], [0.1]], [[0.1], [0.3]], [[0.1]]):
        expected_values = (1 - 2 * np.array(x)) * np.cos(0.7)
        values, pullback = f.vjp(x, [0.7])
        np.testing.assert_allclose(values, expected_values, atol=1e-14)
        np.testing.assert_allclose(f.values(x, [0.7]), values, atol=1e-14)
        slope = -(1 - 2 * np.array(x)).sum() * np.sin(0.7)
        np.testing.assert_allclose(pullback(np.ones_like(values))[1], [slope], atol=1e-14)


def test_states_that_noise_keeps_are_refused_where_they_do_not_fit() -> None:
    """Damping that is not undone: ket, bra, and the state before it."""
    damping = channel("amplitude_damping", (0,), 0.97)
    program = Program(N, 3, tuple(i for slot in range(3) for i in (Rotation(1, 0, slot=slot), damping)))
    w = np.array([0.1, 0.2, 0.3])

    def with_states(count: int) -> ProgramFunction:
        options = EngineOptions(device="reference", max_memory_mb=count * 8 * 4**N / 2**20)
        return ProgramFunction(program, identity_map(3), OBSERVABLES, options)

    right = with_states(100).value_and_grad(w=w)[1]
    np.testing.assert_allclose(with_states(3).value_and_grad(w=w)[1], right, atol=1e-14)
    with pytest.raises(OutOfMemoryError, match=r"3 mixed state\(s\) of 3 qubits need 1\.5 KiB; 1\.0 KiB are allowed"):
        with_states(2).value_and_grad(w=w)
