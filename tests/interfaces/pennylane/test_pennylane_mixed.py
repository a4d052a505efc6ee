"""`FusedMixed` beside `default.mixed`: channels, measurements, gradients, batches, readout errors, shots, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from qiskit_fusedqml.interfaces.pennylane import FusedMixed, FusedQubit

# PennyLane warns of Hermitian observables, and default.mixed discards imaginary parts that are 0
pytestmark = pytest.mark.filterwarnings("ignore")

THEIRS = qml.device("default.mixed", wires=4)


def kraus(num_wires: int) -> list[np.ndarray]:
    """The operators of a channel without any symmetry."""
    size = 2**num_wires
    parts = np.random.default_rng(num_wires).normal(size=(2, 3 * size, size))
    isometry, _ = np.linalg.qr(parts[0] + 1j * parts[1])
    return [*isometry.reshape(3, size, size)]


def density(num_wires: int) -> np.ndarray:
    parts = np.random.default_rng(7 + num_wires).normal(size=(2, 2**num_wires, 2**num_wires))
    root = parts[0] + 1j * parts[1]
    return root @ root.conj().T / np.trace(root @ root.conj().T).real


CHANNELS: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "amplitude damping": (lambda p: qml.AmplitudeDamping(p, 1), [0.2]),
    "generalized": (lambda g, p: qml.GeneralizedAmplitudeDamping(g, p, 1), [0.2, 0.7]),
    "phase damping": (lambda p: qml.PhaseDamping(p, 1), [0.3]),
    "depolarizing": (lambda p: qml.DepolarizingChannel(p, 1), [0.9]),
    "bit flip": (lambda p: qml.BitFlip(p, 1), [0.2]),
    "phase flip": (lambda p: qml.PhaseFlip(p, 1), [0.6]),
    "reset": (lambda p, q: qml.ResetError(p, q, 1), [0.1, 0.3]),
    "thermal": (lambda e, a, b, t: qml.ThermalRelaxationError(e, a, b, t, 1), [0.2, 1.3, 1.1, 0.4]),
    "thermal, t2 > t1": (lambda e, a, b, t: qml.ThermalRelaxationError(e, a, b, t, 1), [0.2, 1.1, 1.7, 0.4]),
    **{
        word: (lambda p, word=word: qml.PauliError(word, p, [2, 0, 1, 3][: len(word)]), [0.3])
        for word in ("X", "Y", "Z", "I", "IX", "XX", "YZ", "ZY", "XYZ", "YIXY")
    },
    **{f"{k} qubits": (lambda k=k: qml.QubitChannel(kraus(k), [3, 0, 1][:k]), []) for k in (1, 2, 3)},
    "density matrix": (lambda: qml.QubitDensityMatrix(density(2), [2, 0]), []),
}
MEASUREMENTS: dict[str, Callable[[], Any]] = {
    "word": lambda: qml.expval(qml.Z(0) @ qml.X(1)),
    "sum": lambda: qml.expval(qml.dot([0.3, -1.2, 0.7], [qml.Y(1), qml.Z(2) @ qml.X(0), qml.Identity(3)])),
    "projector": lambda: qml.expval(qml.Projector([1, 0], [2, 1])),
    "hermitian": lambda: qml.expval(qml.Hermitian(density(2), [2, 0])),
    "wide hermitian": lambda: qml.expval(qml.Hermitian(density(5), [2, 0, 4, 3, 1])),
    "variance": lambda: qml.var(qml.Y(1) + qml.Z(2)),
    "wide variance": lambda: qml.var(qml.Hermitian(density(5), [2, 0, 4, 3, 1])),
    "probs": lambda: qml.probs(wires=[2, 0]),
    "all probs": lambda: qml.probs(wires=range(4)),
    "probs of a word": lambda: qml.probs(op=qml.X(0) @ qml.Y(2)),
    "probs of a matrix": lambda: qml.probs(op=qml.Hermitian(density(2), [3, 1])),
    "state": qml.state,
    "density matrix": lambda: qml.density_matrix([2, 0]),
    "purity": lambda: qml.purity([0, 3]),
    "entropy": lambda: qml.vn_entropy([2]),
    "mutual information": lambda: qml.mutual_info([0], [2, 3]),
}


def tensor(values: Any, **options: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64, **options)


def noisy(w: Any, p: Any) -> None:
    for wire in range(4):
        qml.RY(w[wire], wire)
    qml.DepolarizingChannel(p[0], 0)
    qml.CNOT([0, 1])
    qml.AmplitudeDamping(p[1], 1)
    qml.RX(w[4], 1)
    qml.PauliError("XYZ", p[2], [2, 0, 1])
    qml.CRY(w[5], [1, 2])
    qml.GeneralizedAmplitudeDamping(p[3], p[4], 2)
    qml.CNOT([3, 2])
    qml.RZ(w[6], 2)
    qml.RX(0.3 * w[0], 2)


W, P = np.random.default_rng(2).uniform(-2, 2, 7), np.array([0.05, 0.1, 0.2, 0.15, 0.3])


def qnode(device: Any, circuit: Callable[..., None], *measurements: Callable[[], Any], **options: Any) -> Any:
    @qml.qnode(device, **{"diff_method": "best", **options})
    def run(*numbers: Any) -> Any:
        circuit(*numbers)
        found = tuple(measure() for measure in measurements)
        return found[0] if len(found) == 1 else found

    return run


def total(results: Any) -> Any:
    """A number that every entry of the results matters to."""
    answer: Any = 0.0
    for result in results if isinstance(results, tuple) else (results,):
        flat = result.reshape(-1)
        factors = torch.cos(1.0 + torch.arange(len(flat)))
        answer = answer + (factors * flat.real**2).sum()
        if flat.is_complex():
            answer = answer + (factors.flip(0) * flat.imag).sum()
    return answer


def with_gradients(run: Any, *numbers: Any) -> list[Any]:
    """Results, and the gradients of `total` with respect to all numbers.

    In torch ``default.mixed`` takes Python's numbers for float32, and fixed matrices (Hadamard) for complex64.
    """
    given = [tensor(number, requires_grad=True) for number in numbers]
    results = run(*given)
    total(results).backward()
    values = results if isinstance(results, tuple) else (results,)
    return [*(value.detach() for value in values), *(number.grad for number in given)]


def by_differences(run: Any, *numbers: Any) -> list[Any]:
    """The same by central differences of fourth order."""
    given = [np.array(number, dtype=np.float64) for number in numbers]
    values = run(*given)

    def at(which: int, place: tuple[int, ...], step: float) -> float:
        moved = [number.copy() for number in given]
        moved[which][place] += step
        results = run(*moved)
        return float(total(tuple(map(torch.tensor, results if isinstance(results, tuple) else (results,)))))

    found: list[Any] = [torch.tensor(value) for value in (values if isinstance(values, tuple) else (values,))]
    for which, number in enumerate(given):
        slopes = np.zeros_like(number)
        for place in np.ndindex(number.shape):
            near, far = (at(which, place, h) - at(which, place, -h) for h in (1e-3, 2e-3))
            slopes[place] = (8 * near - far) / 12e-3
        found.append(torch.tensor(slopes))
    return found


def compare(
    circuit: Callable[..., None],
    numbers: Any,
    *measurements: Callable[[], Any],
    wires: int = 4,
    backpropagation: bool = False,
) -> None:
    """With ``default.mixed``, and its gradients in torch or, as these may have few digits or be NaN, differences."""
    ours = with_gradients(qnode(FusedMixed(wires), circuit, *measurements), *numbers)
    run = qnode(qml.device("default.mixed", wires=wires), circuit, *measurements)
    expected = (with_gradients if backpropagation else by_differences)(run, *numbers)
    for k, (own, other) in enumerate(zip(ours, expected, strict=True)):
        assert own.shape == other.shape
        exact = backpropagation or k < len(measurements)
        torch.testing.assert_close(own, other, atol=1e-10 if exact else 2e-9, rtol=0.0)


@pytest.mark.parametrize("name", CHANNELS)
def test_channels(name: str) -> None:
    make, numbers = CHANNELS[name]

    def circuit(w: Any, *p: Any) -> None:
        for wire in range(4):
            qml.Rot(w[wire], 0.4, w[wire - 1], wire)
        qml.CNOT([1, 2])
        qml.CNOT([0, 3])
        make(*p)
        qml.CRY(w[0], [2, 1])
        qml.CRX(w[1], [3, 0])

    compare(circuit, [W[:4], *numbers], MEASUREMENTS["state"], backpropagation="thermal" not in name)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements(name: str) -> None:
    compare(noisy, [W, P], MEASUREMENTS[name], wires=5 if "wide" in name else 4)


def test_several_measurements() -> None:
    compare(noisy, [W, P], *(MEASUREMENTS[name] for name in ("variance", "probs", "density matrix", "word", "purity")))


@pytest.mark.parametrize("seed", range(4))
def test_random_circuits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in CHANNELS if name not in {"density matrix", "thermal", "thermal, t2 > t1"}]
    gates = [qml.RX, qml.RY, qml.RZ, qml.CRX, qml.CRY]
    plan = [(bool(rng.integers(3)), rng.integers(100), rng.permutation(4).tolist()) for _ in range(20)]
    numbers = rng.uniform(0.02, 0.3, 35)

    def circuit(w: Any) -> None:
        place = iter(range(35))
        for is_gate, choice, wires in plan:
            if is_gate:
                kind = gates[choice % len(gates)]
                kind(2 * w[next(place)], wires[: kind.num_wires])
                qml.RY(w[wires[2]], wires[2])
            else:
                make, defaults = CHANNELS[names[choice % len(names)]]
                make(*(w[next(place)] for _ in defaults))

    compare(circuit, [numbers], MEASUREMENTS["state"], MEASUREMENTS["sum"])


def test_without_noise_states_are_mixed_as_well() -> None:
    compare(lambda w: qml.RX(w, 2), [0.3], qml.state, MEASUREMENTS["probs"])
    assert qnode(FusedMixed(2), lambda: None, qml.state)().shape == (4, 4)


@pytest.mark.parametrize("wires", [["a", 7, "b"], None])
def test_labels_and_idle_wires(wires: Any) -> None:
    def circuit(w: Any) -> None:
        qml.RX(w, "b")
        qml.CNOT(["b", 7])
        qml.BitFlip(0.2, 7)

    names = [lambda: qml.vn_entropy([7]), lambda: qml.probs(wires=["b", 7]), lambda: qml.density_matrix([7, "b"])]
    answers = [
        with_gradients(qnode(make(wires=wires), circuit, *names), 0.6)
        for make in (FusedMixed, lambda wires: qml.device("default.mixed", wires=wires))
    ]
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0.0)


def test_the_entropy_of_a_labelled_wire_on_pure_states() -> None:
    def circuit(w: Any) -> None:
        qml.RX(w, "b")
        qml.CNOT(["b", 7])

    runs = [
        qnode(device, circuit, lambda: qml.vn_entropy([7]), lambda: qml.mutual_info([7], ["b"]))
        for device in (FusedQubit(["a", 7, "b"]), qml.device("default.qubit", wires=["a", 7, "b"]))
    ]
    for ours, theirs in zip(*(with_gradients(run, 0.6) for run in runs), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("method", ["adjoint", "device", "parameter-shift", "finite-diff"])
def test_methods_agree(method: str) -> None:
    run, best = (
        qnode(FusedMixed(4), noisy, MEASUREMENTS["sum"], MEASUREMENTS["probs"], diff_method=m) for m in (method, "best")
    )
    tolerance = 1e-5 if method in {"finite-diff", "parameter-shift"} else 1e-12  # damping has no shifts
    for ours, theirs in zip(with_gradients(run, W, P), with_gradients(best, W, P), strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0.0)


def test_jacobians() -> None:
    run = qnode(FusedMixed(4), noisy, MEASUREMENTS["probs"])
    theirs = qnode(THEIRS, noisy, MEASUREMENTS["probs"])
    expected = []
    for which, count in enumerate((len(W), len(P))):
        steps = 1e-4 * np.eye(count)
        pairs = [[theirs(W + s, P) if which == 0 else theirs(W, P + s) for s in (step, -step)] for step in steps]
        expected.append(np.stack([(high - low) / 2e-4 for high, low in pairs], axis=-1))
    in_torch = torch.autograd.functional.jacobian(run, (tensor(W), tensor(P)))
    in_autograd = qml.jacobian(run, argnums=[0, 1])(pnp.array(W), pnp.array(P))
    for found in (in_torch, in_autograd):
        for ours, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-7)


@pytest.mark.parametrize("name", ["word", "state", "probs of a matrix", "probs", "variance"])
def test_jacobians_of_tapes(name: str) -> None:
    device = FusedMixed(4)
    config = device.setup_execution_config(qml.devices.ExecutionConfig(gradient_method="adjoint"))
    tape = qml.tape.make_qscript(lambda: (noisy(W, P), MEASUREMENTS[name]())[1])()
    (tape,), _ = device.preprocess_transforms(config)((tape,))
    ((values,), (entries,)) = device.execute_and_compute_derivatives((tape,), config)
    flat = [*W[:4], P[0], P[1], W[4], P[2], W[5], P[3], P[4], W[6]]
    tape = tape.copy(trainable_params=range(len(flat))) if len(tape.trainable_params) != len(flat) else tape
    ((_,), (entries,)) = device.execute_and_compute_derivatives((tape,), config)
    for k in range(len(flat)):
        step = np.zeros(len(flat))
        step[k] = 1e-5
        found = [
            device.execute((tape.bind_new_parameters(list(flat + s), range(len(flat))),), config) for s in (step, -step)
        ]
        np.testing.assert_allclose(entries[k], (found[0][0] - found[1][0]) / 2e-5, atol=1e-8)
    assert np.shape(values) == np.shape(entries[0])


def test_batches() -> None:
    rows = np.random.default_rng(1).uniform(-2, 2, (3, 7))
    names = ["variance", "probs", "state", "probs of a matrix", "wide hermitian"]

    def turned(w: Any, p: Any) -> None:
        noisy(w.T, p)

    def each(w: Any, p: Any) -> Any:
        run = qnode(FusedMixed(5), noisy, *(MEASUREMENTS[name] for name in names))
        return tuple(torch.stack(parts) for parts in zip(*(run(row, p) for row in w), strict=True))

    together = qnode(FusedMixed(5), turned, *(MEASUREMENTS[name] for name in names))
    for ours, theirs in zip(with_gradients(together, rows, P), with_gradients(each, rows, P), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("name", ["word", "state", "probs"])
def test_samples_with_other_channels(name: str) -> None:
    """A broadcast parameter of a channel: samples with the same one run together."""
    rates = np.array([0.1, 0.3, 0.1, 0.0])

    def circuit(w: Any, rate: Any) -> None:
        qml.StatePrep(np.array([0.6, 0.8j]), 3)
        noisy(w, P)
        qml.PhaseDamping(rate, 2)
        qml.RY(w[1], 2)

    def each(w: Any, rate: Any) -> Any:
        return torch.stack([run(w, one) for one in rate])

    run = qnode(FusedMixed(4), circuit, MEASUREMENTS[name])
    for ours, theirs in zip(with_gradients(run, W, rates), with_gradients(each, W, rates), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0.0)


def test_samples_with_other_angles_and_channels_and_shots() -> None:
    angles, rates = np.linspace(0.0, 2.0, 3), np.array([0.0, 1.0, 0.5])

    def circuit(angle: Any, rate: Any) -> None:
        qml.RX(angle, 0)
        qml.AmplitudeDamping(rate, 0)

    exact = qnode(FusedMixed(1), circuit, lambda: qml.probs(wires=0))(angles, rates)
    np.testing.assert_allclose(exact[:, 1], np.sin(angles / 2) ** 2 * (1 - rates), atol=1e-12)
    drawn = qnode(FusedMixed(1, seed=3), circuit, lambda: qml.probs(wires=0))
    np.testing.assert_allclose(qml.set_shots(drawn, 20000)(angles, rates), exact, atol=0.02)


def test_circuits_of_one_structure() -> None:
    tapes = [
        qml.tape.QuantumScript([qml.RX(angle, 0), qml.BitFlip(p, 0)], [qml.expval(qml.Z(0))])
        for angle, p in ((0.1, 0.2), (0.4, 0.1), (0.3, 0.2))
    ]
    expected = [np.cos(tape.data[0]) * (1 - 2 * tape.data[1]) for tape in tapes]
    np.testing.assert_allclose(qml.execute(tapes, FusedMixed(1)), expected, atol=1e-12)


@pytest.mark.parametrize("wires", [[1], [2, 0], [3, 0, 1, 2]])
def test_initial_density_matrices(wires: list[int]) -> None:
    matrix = density(len(wires))

    def rest(w: Any) -> None:
        qml.RX(w, 1)
        qml.CNOT([1, 2])
        qml.BitFlip(0.1, 2)

    def circuit(w: Any) -> None:
        qml.QubitDensityMatrix(matrix, wires)
        rest(w)

    def pure(vector: Any, w: Any) -> None:
        qml.StatePrep(vector, wires)
        rest(w)

    ours = qnode(FusedMixed(4), circuit, qml.state)(0.4)
    each = qnode(THEIRS, pure, qml.state)
    shares, vectors = np.linalg.eigh(matrix)
    expected = sum(share * each(vector, 0.4) for share, vector in zip(shares, vectors.T, strict=True))
    np.testing.assert_allclose(ours, expected, atol=1e-10)
    compare_gradient = by_differences(qnode(FusedMixed(4), circuit, qml.state), 0.4)
    for own, other in zip(with_gradients(qnode(FusedMixed(4), circuit, qml.state), 0.4), compare_gradient, strict=True):
        torch.testing.assert_close(own, other, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize("names", [["state", "sum"], ["variance", "probs"]])
def test_initial_states(names: list[str]) -> None:
    def circuit(a: Any, w: Any, p: Any) -> None:
        qml.StatePrep(a, [2, 0], normalize=True)
        noisy(w, p)

    amplitudes = np.random.default_rng(0).normal(size=4)
    compare(circuit, [amplitudes, W, P], *(MEASUREMENTS[name] for name in names))
    compare(lambda a: circuit(a, W, P), [amplitudes], MEASUREMENTS["sum"])


def test_basis_states_and_batches_of_amplitudes() -> None:
    def circuit(w: Any) -> None:
        qml.BasisState(np.array([1, 0, 1]), [3, 0, 1])
        noisy(w, P)

    compare(circuit, [W], MEASUREMENTS["sum"])
    rows = np.random.default_rng(0).normal(size=(3, 4))
    rows /= np.linalg.norm(rows, axis=1)[:, None]

    def prepared(states: Any) -> None:
        qml.StatePrep(states, [2, 0])
        qml.AmplitudeDamping(0.2, 2)

    run = qnode(FusedMixed(3), prepared, lambda: qml.expval(qml.Z(2)), qml.state)
    together = run(rows)
    for k, row in enumerate(rows):
        for ours, theirs in zip(together, run(row), strict=True):
            np.testing.assert_allclose(ours[k], theirs, atol=1e-12)


def test_measuring_midway_is_deferred() -> None:
    def circuit(w: Any) -> None:
        qml.RX(w, 0)
        qml.BitFlip(0.1, 0)
        outcome = qml.measure(0, reset=True)
        qml.cond(outcome, qml.RY)(0.7, 1)
        qml.PhaseDamping(0.3, 1)
        qml.CNOT([1, 0])

    compare(circuit, [0.8], lambda: qml.expval(qml.X(1)), lambda: qml.probs(wires=[0, 1]))
    with pytest.raises(DeviceError, match=r"mcm_method 'one-shot' is not supported by fusedqml.mixed; 'deferred' is"):
        qnode(FusedMixed(2, shots=10), circuit, lambda: qml.expval(qml.Z(0)), mcm_method="one-shot")(0.8)


NOISE = qml.NoiseModel(
    {
        qml.noise.op_in(["RX", "RY", "IsingZZ"]): qml.noise.partial_wires(qml.AmplitudeDamping, 0.1),
        qml.noise.op_eq(qml.CNOT): lambda op, **_: [qml.DepolarizingChannel(0.05, wire) for wire in op.wires],
    },
    {qml.noise.meas_eq(qml.expval): qml.noise.partial_wires(qml.PhaseFlip, 0.2)},
)


@pytest.mark.parametrize("level", ["user", "device", "top"])
def test_noise_models(level: str) -> None:
    def circuit(w: Any) -> None:
        noisy(w, P)

    runs = [
        qml.add_noise(qnode(device, circuit, MEASUREMENTS["word"]), noise_model=NOISE, level=level)
        for device in (FusedMixed(4), THEIRS)
    ]
    for ours, theirs in zip(with_gradients(runs[0], W), by_differences(runs[1], W), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0.0)
    assert abs(float(runs[0](W)) - float(qnode(THEIRS, circuit, MEASUREMENTS["word"])(W))) > 0.01


@pytest.mark.parametrize("interface", ["torch", "autograd", "auto", None])
@pytest.mark.parametrize("level", ["user", "device", "top", "gradient"])
def test_noise_models_see_all_operations(level: str, interface: str | None) -> None:
    """An interface that is named lets the device make one operation of all, which noise models must not be given."""

    def run(device: Any) -> float:
        @qml.qnode(device, interface=interface)
        def circuit(w: Any) -> Any:
            qml.RX(w[0], wires=0)
            qml.RY(w[1], wires=1)
            qml.CNOT(wires=[0, 1])
            return qml.expval(qml.Z(1))

        w = torch.tensor([0.4, 0.7], dtype=torch.float64) if interface == "torch" else pnp.array([0.4, 0.7])
        return float(qml.add_noise(circuit, noise_model=NOISE, level=level)(w))

    # damping by 0.1 after both rotations, depolarizing by 0.05 on both qubits, the last one flipped in phase
    z = (0.1 + 0.9 * np.cos(0.4)) * (0.1 + 0.9 * np.cos(0.7)) * (1 - 4 * 0.05 / 3)
    assert run(FusedMixed(2)) == pytest.approx(z, abs=1e-12)
    assert run(qml.device("default.mixed", wires=2)) == pytest.approx(z, abs=1e-12)


# Readout errors: `default.mixed` 0.45 fails with any, so that they are told by flips before what is measured


def flipped_before(obs: Any, probability: float) -> tuple[Any, np.ndarray]:
    """The probabilities of misread outcomes of an observable, and its eigenvalues."""

    @qml.qnode(THEIRS)
    def run() -> Any:
        noisy(W, P)
        obs.diagonalizing_gates()
        for wire in obs.wires:
            qml.BitFlip(probability, wire)
        return qml.probs(wires=obs.wires)

    return run(), np.asarray(obs.eigvals())


READ = {
    "letter": qml.Y(1),
    "word": qml.Z(0) @ qml.X(1) @ qml.Y(3),
    "multiple": 2.5 * qml.X(2),
    "hadamard": qml.Hadamard(1) @ qml.Z(2),
    "projector": qml.Projector([1, 0], [2, 1]),
    "hermitian": qml.Hermitian(density(2), [2, 0]),
    "product": qml.Hermitian(density(2), [2, 0]) @ qml.Hermitian(density(1), 1),
}


@pytest.mark.parametrize("name", READ)
def test_misread_observables(name: str) -> None:
    obs, device = READ[name], FusedMixed(4, readout_prob=0.15)
    probabilities, values = flipped_before(obs, 0.15)
    run = qnode(device, lambda: noisy(W, P), lambda: qml.expval(obs), lambda: qml.var(obs))
    mean, variance = run()
    assert mean == pytest.approx(probabilities @ values, abs=1e-10)
    assert variance == pytest.approx(probabilities @ values**2 - (probabilities @ values) ** 2, abs=1e-10)
    found = qnode(device, lambda: noisy(W, P), lambda: qml.probs(op=obs))()
    np.testing.assert_allclose(found, probabilities, atol=1e-10)
    drawn = qnode(FusedMixed(4, readout_prob=0.15, seed=5), lambda: noisy(W, P), lambda: qml.expval(obs))
    assert qml.set_shots(drawn, 40000)() == pytest.approx(mean, abs=0.04)


def test_misread_sums_are_measured_term_by_term() -> None:
    device, parts = FusedMixed(4, readout_prob=0.15), [READ["word"], READ["hermitian"], READ["hadamard"]]
    one, *each = qnode(
        device,
        lambda: noisy(W, P),
        lambda: qml.expval(qml.dot([0.3, -2.0, 1.5], parts)),
        *(lambda part=part: qml.expval(part) for part in parts),
    )()
    assert one == pytest.approx(np.dot([0.3, -2.0, 1.5], each), abs=1e-12)
    letters = [qml.Z(0), qml.X(2)]
    both, *each = qnode(
        device,
        lambda: noisy(W, P),
        lambda: qml.var(letters[0] + letters[1]),
        lambda: qml.expval(letters[0]),
        lambda: qml.expval(letters[1]),
        lambda: qml.expval(letters[0] @ letters[1]),
    )()
    assert both == pytest.approx(2 + 2 * each[2] - (each[0] + each[1]) ** 2, abs=1e-12)


def test_misread_outcomes_of_idle_wires() -> None:
    device = FusedMixed(3, readout_prob=0.2, seed=1)
    run = qnode(device, lambda: qml.X(0), lambda: qml.probs(wires=[0, 2]), lambda: qml.expval(qml.Z(2)))
    exact, mean = run()
    np.testing.assert_allclose(exact, [0.16, 0.04, 0.64, 0.16], atol=1e-12)
    assert mean == pytest.approx(0.6)
    np.testing.assert_allclose(qml.set_shots(run, 40000)()[0], exact, atol=0.01)
    state = qnode(device, lambda: qml.X(0), qml.state)()
    np.testing.assert_allclose(np.diag(state)[4], 1.0)  # states are not read


def test_gradients_of_misread_outcomes() -> None:
    run = qnode(FusedMixed(4, readout_prob=0.1), noisy, lambda: qml.expval(READ["word"]), MEASUREMENTS["probs"])
    found = with_gradients(run, W, P)
    for column in range(len(W)):
        step = np.zeros(len(W))
        step[column] = 1e-5
        low, high = (float(total(run(tensor(W + s), tensor(P)))) for s in (-step, step))
        assert float(found[-2][column]) == pytest.approx((high - low) / 2e-5, abs=1e-8)


def test_shots() -> None:
    exact = qnode(FusedMixed(4), noisy, lambda: qml.probs(wires=[1, 3]), MEASUREMENTS["word"])(W, P)
    run = qnode(
        FusedMixed(4, seed=2),
        noisy,
        lambda: qml.counts(wires=[1, 3]),
        lambda: qml.sample(wires=[1, 3]),
        lambda: qml.probs(wires=[1, 3]),
    )
    counts, samples, probabilities = qml.set_shots(run, 50000)(W, P)
    deviations = [counts.get(f"{k:02b}", 0) - 50000 * exact[0][k] for k in range(4)]
    assert sum(d**2 / (50000 * p) for d, p in zip(deviations, exact[0], strict=True)) < 25
    assert samples.shape == (50000, 2)
    np.testing.assert_allclose(probabilities, exact[0], atol=0.01)
    word = qnode(FusedMixed(4, seed=2), noisy, MEASUREMENTS["word"])
    assert qml.set_shots(word, 50000)(W, P) == pytest.approx(exact[1], abs=0.02)


def test_single_precision_and_the_reference() -> None:
    exact = with_gradients(qnode(FusedMixed(4), noisy, MEASUREMENTS["sum"]), W, P)
    for options, tolerance in (({"precision": "single"}, 1e-5), ({"device": "reference"}, 1e-12)):
        found = with_gradients(qnode(FusedMixed(4, **options), noisy, MEASUREMENTS["sum"]), W, P)
        for ours, theirs in zip(found, exact, strict=True):
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0.0)


def test_pickles_and_copies() -> None:
    device = FusedMixed(4, readout_prob=0.1)
    expected = qnode(device, noisy, MEASUREMENTS["sum"])(W, P)
    for other in (pickle.loads(pickle.dumps(device)), copy.copy(device)):
        assert other.name == "fusedqml.mixed"
        assert qnode(other, noisy, MEASUREMENTS["sum"])(W, P) == expected


@pytest.mark.parametrize("kind", [FusedMixed, FusedQubit])
def test_shots_of_the_identity(kind: Any) -> None:
    run = qnode(kind(2), lambda: qml.RX(0.3, 0), lambda: qml.expval(qml.Identity(0)))
    assert qml.set_shots(run, 10)() == 1.0


def test_wide_matrices_are_decomposed() -> None:
    matrix, _ = np.linalg.qr(density(4))
    compare(lambda w: (qml.RX(w, 1), qml.QubitUnitary(matrix, range(4)), qml.BitFlip(0.2, 0)), [0.4], qml.state)


# Errors


def test_channels_on_pure_states() -> None:
    with pytest.raises(DeviceError, match=r"BitFlip makes mixed states, which fusedqml.qubit has not; fusedqml.mixed"):
        qnode(FusedQubit(1), lambda: qml.BitFlip(0.1, 0), qml.state)()


@pytest.mark.parametrize("given", [-0.1, 1.5, "much", float("nan")])
def test_readout_probabilities(given: Any) -> None:
    with pytest.raises(DeviceError, match=r"readout_prob .* a probability, 0 to 1, or None"):
        FusedMixed(1, readout_prob=given)


def test_parameters_that_are_no_probabilities() -> None:
    with pytest.raises(DeviceError, match=r"DepolarizingChannel 0 on \[0\] .* not possible: p of depolarizing is 1\.6"):
        qnode(FusedMixed(2), lambda p: qml.DepolarizingChannel(p, 0), qml.state)(1.2)


def test_what_is_not_trained() -> None:
    def circuit(matrix: Any) -> None:
        qml.QubitDensityMatrix(matrix, 0)

    with pytest.raises(QuantumFunctionError, match="gradient with respect to the matrices of QubitDensityMatrix"):
        qnode(FusedMixed(1), circuit, lambda: qml.expval(qml.Z(0)))(tensor(np.eye(2) / 2, requires_grad=True))
    given = pnp.array(np.eye(2), requires_grad=True)  # a tensor by itself is a constant
    run = qnode(FusedMixed(1), lambda w: (qml.RX(w, 0), qml.QubitChannel([given], 0)), lambda: qml.expval(qml.Z(0)))
    assert qml.grad(run)(pnp.array(0.3)) == pytest.approx(-np.sin(0.3))


def test_wide_channels_and_registers() -> None:
    with pytest.raises(DeviceError, match=r"QubitChannel acts on 4 wires; at most 3 are possible"):
        qnode(FusedMixed(4), lambda: qml.QubitChannel([np.eye(16)], range(4)), qml.state)()
    for wires in (18, 26, 38):

        def circuit(count: int = wires) -> None:
            for wire in range(count):
                qml.RX(0.1, wire)
            qml.BitFlip(0.1, 0)

        with pytest.raises(DeviceError, match=rf"{wires} (qubits|wires).*GiB"):
            qnode(FusedMixed(wires, max_memory_mb=1024), circuit, lambda: qml.expval(qml.Z(0)))()


def test_variances_of_wide_observables_that_are_misread() -> None:
    obs = qml.sum(*(qml.X(k) @ qml.Y((k + 1) % 5) for k in range(5)))
    with pytest.raises(DeviceError, match=r"5 wires cannot be measured exactly with readout_prob; at most 4"):
        qnode(FusedMixed(5, readout_prob=0.1), lambda: qml.X(0), lambda: qml.var(obs))()


def test_density_matrices_that_are_none() -> None:
    for matrix, text in ((np.eye(2), "trace 1"), (np.array([[1, 1], [0, 0]]), "Hermitian"), (np.eye(4) / 4, "shape")):
        with pytest.raises(DeviceError, match=text):
            qnode(FusedMixed(2), lambda matrix=matrix: qml.QubitDensityMatrix(matrix, 0), qml.state)()


def test_devices_without_mixed_states() -> None:
    with pytest.raises(DeviceError):
        FusedMixed(1, device="GPU")
