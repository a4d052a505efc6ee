"""`FusedEstimatorQNN` and `FusedSamplerQNN` against the stock networks with stock gradients."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedSamplerQNN,
)
from qiskit_fusedqml.engine.passes import Passes
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError
from qiskit_fusedqml.interfaces.qiskit.noise import ParametricNoiseModel

networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
gradients = pytest.importorskip("qiskit_machine_learning.gradients")
primitives = pytest.importorskip("qiskit_machine_learning.primitives")

RNG = np.random.default_rng(51)
OBSERVABLES = [SparsePauliOp("ZII"), SparsePauliOp(["XXI", "IYZ"], [0.5, 1.0])]
FEATURES, ANSATZ = zz_feature_map(3, reps=1), real_amplitudes(3, reps=1)


def parity(value: int) -> int:
    return value.bit_count() % 2


def pair(value: int) -> tuple[int, int]:
    return value % 2, value.bit_count() % 3


def estimator_networks(**options: Any) -> tuple[Any, Any]:
    """Ours and the stock one, exact."""
    arguments = {
        "circuit": FEATURES.compose(ANSATZ),
        "observables": OBSERVABLES,
        "input_params": list(FEATURES.parameters),
        "weight_params": list(ANSATZ.parameters),
    } | options
    estimator = primitives.QMLEstimator()
    gradient = gradients.ParamShiftEstimatorGradient(estimator)
    return FusedEstimatorQNN(**arguments), networks.EstimatorQNN(estimator=estimator, gradient=gradient, **arguments)


def sampler_networks(**options: Any) -> tuple[Any, Any]:
    arguments = {
        "circuit": FEATURES.compose(ANSATZ),
        "input_params": list(FEATURES.parameters),
        "weight_params": list(ANSATZ.parameters),
    } | options
    sampler = primitives.QMLSampler()
    gradient = gradients.ParamShiftSamplerGradient(sampler)
    return FusedSamplerQNN(**arguments), networks.SamplerQNN(sampler=sampler, gradient=gradient, **arguments)


def assert_same(ours: Any, theirs: Any, x: Any, w: Any) -> None:
    """Equal outputs and gradients, of equal shapes."""
    results = [(network.forward(x, w), *network.backward(x, w)) for network in (ours, theirs)]
    for mine, other in zip(*results, strict=True):
        if other is None:
            assert mine is None
            continue
        mine, other = (each.todense() if hasattr(each, "todense") else each for each in (mine, other))
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)


BOTH = pytest.mark.parametrize("make", [estimator_networks, sampler_networks], ids=["estimator", "sampler"])


@BOTH
@pytest.mark.parametrize("input_gradients", [False, True])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3), (2, 2, 3)])
def test_forward_and_backward(make: Callable[..., Any], input_gradients: bool, shape: tuple[int, ...]) -> None:
    assert_same(*make(input_gradients=input_gradients), RNG.normal(size=shape), RNG.normal(size=6))


@BOTH
def test_more_than_ten_inputs_and_weights_in_any_order(make: Callable[..., Any]) -> None:
    x, w = ParameterVector("w", 12), ParameterVector("a", 11)
    circuit = QuantumCircuit(3)
    for k in range(12):
        circuit.ry((k + 1) * x[k], k % 3)
        circuit.rx(w[k % 11], (k + 1) % 3)
        circuit.cx(k % 3, (k + 1) % 3)
    ours, theirs = make(
        circuit=circuit, input_params=list(x)[::-1], weight_params=[w[10], *w[:10]], input_gradients=True
    )
    assert_same(ours, theirs, RNG.normal(size=(2, 12)), RNG.normal(size=11))


@BOTH
def test_networks_without_inputs_or_weights(make: Callable[..., Any]) -> None:
    assert_same(*make(circuit=ANSATZ, input_params=None), None, RNG.normal(size=6))
    for input_gradients in (False, True):
        ours, theirs = make(circuit=FEATURES, weight_params=None, input_gradients=input_gradients)
        assert_same(ours, theirs, RNG.normal(size=(2, 3)), None)
    one = QuantumCircuit(3)
    one.ry(w := ParameterVector("w", 1)[0], 0)
    assert_same(*make(circuit=one, input_params=None, weight_params=[w]), None, 0.3)
    assert_same(*make(circuit=one, input_params=[w], weight_params=None, input_gradients=True), 0.3, None)


@BOTH
def test_input_gradients_are_switched_on_later(make: Callable[..., Any]) -> None:
    ours, theirs = make()
    for network in (ours, theirs):
        network.input_gradients = True
    assert_same(ours, theirs, RNG.normal(size=(2, 3)), RNG.normal(size=6))


@BOTH
@pytest.mark.parametrize("measured", [False, True])
def test_a_pass_manager_may_widen_and_permute(make: Callable[..., Any], measured: bool) -> None:
    if measured and make is estimator_networks:
        return
    backend = GenericBackendV2(5, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=1)
    manager = generate_preset_pass_manager(1, backend=backend, initial_layout=[4, 0, 2], seed_transpiler=1)
    x, w = RNG.normal(size=(2, 3)), RNG.normal(size=6)
    circuit = FEATURES.compose(ANSATZ)
    plain = make()[1]
    if measured:
        circuit.measure_all()
    options = {}
    if make is estimator_networks:  # the stock class leaves the layout of observables to its caller
        options["observables"] = [each.apply_layout(manager.run(circuit).layout) for each in OBSERVABLES]
    ours = make(circuit=circuit, pass_manager=manager, **options)[0]
    np.testing.assert_allclose(ours.forward(x, w), plain.forward(x, w), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.backward(x, w)[1], plain.backward(x, w)[1], rtol=0, atol=1e-9)


def test_raw_feature_vectors() -> None:
    from qiskit_machine_learning.circuit.library import raw_feature_vector

    features, ansatz = raw_feature_vector(8), real_amplitudes(3, reps=1)
    arguments = {
        "circuit": features.compose(ansatz),
        "input_params": list(features.parameters),
        "weight_params": list(ansatz.parameters),
        "input_gradients": True,
    }
    x, w, step = RNG.normal(size=(3, 8)), RNG.normal(size=6), 1e-6
    for network in (
        FusedEstimatorQNN(observables=OBSERVABLES, **arguments),
        FusedSamplerQNN(interpret=parity, output_shape=2, **arguments),
    ):
        dx, dw = network.backward(x, w)
        for k, unit in enumerate(np.eye(6)):
            slope = (network.forward(x, w + step * unit) - network.forward(x, w - step * unit)) / (2 * step)
            np.testing.assert_allclose(dw[..., k], slope, rtol=0, atol=1e-8)
        for k, unit in enumerate(np.eye(8)):
            slope = (network.forward(x + step * unit, w) - network.forward(x - step * unit, w)) / (2 * step)
            np.testing.assert_allclose(dx[..., k], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("interpret", "shape"), [(None, None), (parity, 2), (pair, (2, 3)), (lambda v: v // 3, 3)])
@pytest.mark.parametrize("input_gradients", [False, True])
def test_interpreted_outcomes(interpret: Any, shape: Any, input_gradients: bool) -> None:
    ours, theirs = sampler_networks(interpret=interpret, output_shape=shape, input_gradients=input_gradients)
    assert ours.output_shape == theirs.output_shape
    x, w = RNG.normal(size=(2, 3)), RNG.normal(size=6)
    assert_same(ours, theirs, x, w)
    for network in (ours, theirs):
        network.set_interpret(parity, 2)
    assert_same(ours, theirs, x, w)


def test_interpret_is_called_once_for_each_outcome() -> None:
    seen: list[int] = []
    network = sampler_networks(interpret=lambda value: seen.append(value) or parity(value), output_shape=2)[0]
    for _ in range(3):
        network.forward(RNG.normal(size=(5, 3)), np.ones(6))
        network.backward(RNG.normal(size=(5, 3)), np.ones(6))
    assert seen == list(range(8))


@pytest.mark.parametrize("clbits", [3, 4])
@pytest.mark.parametrize("interpret", [None, lambda outcome: outcome % 5])
def test_some_qubits_measured(clbits: int, interpret: Any) -> None:
    circuit = FEATURES.compose(ANSATZ)
    circuit.add_bits(QuantumCircuit(0, clbits).clbits)
    circuit.measure([2, 0], [0, clbits - 1])
    ours = sampler_networks(circuit=circuit, interpret=interpret, output_shape=interpret and 5)[0]
    x, w = RNG.normal(size=(2, 3)), RNG.normal(size=6)
    if clbits == 4 and interpret is None:
        with pytest.raises(InvalidInputError, match=r"interpret\(8\) is 8, .*\(8,\)\. Measure into the first"):
            ours.forward(x, w)
        return
    state = sampler_networks()[1].forward(x, w).reshape(2, 2, 2, 2).sum(axis=2)  # (sample, q2, q0)
    expected = np.zeros((2, 5 if interpret else 8))
    for q2 in (0, 1):
        for q0 in (0, 1):
            outcome = q2 | q0 << (clbits - 1)
            expected[:, interpret(outcome) if interpret else outcome] += state[:, q2, q0]
    np.testing.assert_allclose(ours.forward(x, w), expected, rtol=0, atol=1e-9)
    step, unit = 1e-6, np.eye(6)[4]
    slope = (ours.forward(x, w + step * unit) - ours.forward(x, w - step * unit)) / (2 * step)
    np.testing.assert_allclose(ours.backward(x, w)[1][..., 4], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("input_gradients", [False, True])
def test_sparse_outputs(input_gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pytest.importorskip("sparse")
    monkeypatch.setattr("qiskit_fusedqml.interfaces.machine_learning.neural_networks.DENSE_BYTES", 8 * 8 * 9)
    x, w = RNG.normal(size=(3, 3)), RNG.normal(size=6)
    for options in ({}, {"interpret": pair, "output_shape": (2, 3)}):
        options["input_gradients"] = input_gradients
        ours, dense = sampler_networks(sparse=True, **options)[0], sampler_networks(**options)[0]
        results = (ours.forward(x, w), *ours.backward(x, w))
        for mine, other in zip(results, (dense.forward(x, w), *dense.backward(x, w)), strict=True):
            if other is None:
                assert mine is None
                continue
            assert isinstance(mine, sparse.COO)
            np.testing.assert_allclose(mine.todense(), other, rtol=0, atol=1e-12)


def test_what_is_passed_is_used() -> None:
    x, w = RNG.normal(size=(2, 3)), RNG.normal(size=6)
    exact, stock = estimator_networks()
    noisy = FusedEstimatorQNN(
        circuit=FEATURES.compose(ANSATZ),
        observables=OBSERVABLES,
        input_params=list(FEATURES.parameters),
        weight_params=list(ANSATZ.parameters),
        estimator=FusedEstimator(default_precision=0.1, seed=1),
        gradient=gradients.SPSAEstimatorGradient(StatevectorEstimator(), 1e-2, seed=1),
    )
    assert np.abs(noisy.forward(x, w) - exact.forward(x, w)).max() > 1e-3
    assert np.abs(noisy.backward(x, w)[1] - exact.backward(x, w)[1]).max() > 1e-3
    noisy.estimator, noisy.gradient = exact.estimator, exact.gradient
    assert_same(noisy, stock, x, w)
    counted = FusedSamplerQNN(
        circuit=FEATURES.compose(ANSATZ),
        input_params=list(FEATURES.parameters),
        weight_params=list(ANSATZ.parameters),
        sampler=StatevectorSampler(default_shots=64, seed=1),
        gradient=gradients.SPSASamplerGradient(primitives.QMLSampler(), 1e-2, seed=1),
    )
    assert (64 * counted.forward(x, w) % 1 == 0).all()
    assert np.abs(counted.backward(x, w)[1] - sampler_networks()[0].backward(x, w)[1]).max() > 1e-3
    assert counted.forward(x, w).shape == (2, 8)


def test_errors_are_qiskit_machine_learning_s_too() -> None:
    from qiskit_machine_learning.exceptions import QiskitMachineLearningError

    for network in (estimator_networks()[0], sampler_networks()[0]):
        for kind in (QiskitMachineLearningError, InvalidInputError, ValueError):
            with pytest.raises(kind, match="finite"):
                network.forward(np.full((1, 3), np.nan), np.ones(6))
            with pytest.raises(kind, match="finite"):
                network.backward(np.full((1, 3), np.nan), np.ones(6))
        with pytest.raises(QiskitMachineLearningError, match="shape"):
            network.forward(np.ones((1, 4)), np.ones(6))
    with pytest.raises(QiskitMachineLearningError, match=r"interpret\(3\) is 2"):
        sampler_networks(interpret=int.bit_count, output_shape=2)[0].forward(np.ones((1, 3)), np.ones(6))


def test_a_backward_pass_makes_no_more_sweeps_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[str] = []
    forward, backward = Passes.forward, Passes.backward
    monkeypatch.setattr(Passes, "forward", lambda *a, **k: sweeps.append("forward") or forward(*a, **k))
    monkeypatch.setattr(Passes, "backward", lambda *a, **k: sweeps.append("back") or backward(*a, **k))
    x, w = RNG.normal(size=(5, 3)), np.ones(6)
    network = estimator_networks()[0]
    network.forward(x, w)
    assert sweeps == ["forward"]
    network.backward(x, w)
    assert sweeps == ["forward", "forward", "back", "back"]
    sampler_networks(interpret=lambda value: value // 7, output_shape=2)[0].backward(x, w)
    assert sweeps[4:] == ["forward", "forward"]  # 6 states, less than 2 backward sweeps
    sampler_networks(interpret=lambda _: 0, output_shape=1)[0].backward(x, w)
    assert sweeps[6:] == ["forward", "back"]
    stock = networks.EstimatorQNN(
        circuit=FEATURES.compose(ANSATZ),
        observables=OBSERVABLES,
        input_params=list(FEATURES.parameters),
        weight_params=list(ANSATZ.parameters),
        estimator=FusedEstimator(),
        gradient=FusedEstimatorGradient(),
    )
    for trained in (network, stock):  # from the second step on, the final states are reused
        trained.forward(x, w), trained.backward(x, w)
        sweeps.clear()
        trained.forward(x, 2 * w), trained.backward(x, 2 * w)
        assert sweeps == ["forward", "back", "back"]


@BOTH
def test_threads_copies_and_pickles(make: Callable[..., Any]) -> None:
    network = make(input_gradients=True)[0]
    calls = [(RNG.normal(size=(3, 3)), RNG.normal(size=6)) for _ in range(16)]
    expected = [network.backward(*call) for call in calls]
    fresh = make(input_gradients=True)[0]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda call: fresh.backward(*call), calls))
    for mine, other in zip(results, expected, strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)
    for other in (copy.copy(network), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(other.forward(*calls[0]), network.forward(*calls[0]))


def test_the_comparison_sees_a_wrong_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in (("values", estimator_networks), ("grouped_probabilities", sampler_networks)):
        original = getattr(DifferentiableCircuit, name)
        monkeypatch.setattr(
            DifferentiableCircuit,
            name,
            lambda self, x, w, *rest, _original=original: _original(self, x, np.asarray(w) * 1.001, *rest),
        )
        with pytest.raises(AssertionError):
            assert_same(*make(), RNG.normal(size=(2, 3)), RNG.normal(size=6))


@BOTH
@pytest.mark.parametrize("stock", [False, True])
def test_second_derivatives_through_torch_are_refused(make: Callable[..., Any], stock: bool) -> None:
    """The connector takes Jacobians for constants; the stock networks leave a term out without a word."""
    torch = pytest.importorskip("torch")
    from qiskit_machine_learning.connectors import TorchConnector

    ours, theirs = make(input_gradients=True)
    if stock:
        ours, theirs.gradient = theirs, ours.gradient
    layer = TorchConnector(ours, initial_weights=RNG.uniform(-1, 1, 6))
    x = torch.tensor(RNG.uniform(-1, 1, (2, 3)), requires_grad=True)
    first = torch.autograd.grad((layer(x) ** 2).sum() + (x**3).sum(), x)[0]
    assert torch.isfinite(first).all()
    with pytest.raises(FusedQMLError, match=r"Second derivatives .* FusedLayer"):
        torch.autograd.grad((layer(x) ** 2).sum() + (x**3).sum(), x, create_graph=True)
    assert ours.backward(x.detach().numpy(), RNG.uniform(-1, 1, 6))[0] is not None  # beside a backward pass of torch


@pytest.mark.parametrize("network", [FusedEstimatorQNN, FusedSamplerQNN])
def test_noise_with_parameters_is_refused(network: Callable[..., Any]) -> None:
    strength = Parameter("p")
    noise = ParametricNoiseModel()
    noise.add_error("depolarizing", strength, "ry")
    with pytest.raises(InvalidInputError, match=r"noise has the parameters \['p'\].*FusedLayer take them as weights"):
        network(circuit=real_amplitudes(2), noise_model=noise)
