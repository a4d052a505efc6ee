"""Qiskit Machine Learning's classifiers, regressors and effective dimension with this package's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp

from qiskit_fusedqml import (
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedSamplerGradient,
    FusedSamplerQNN,
)
from qiskit_fusedqml.devices.cpu import CPUDevice

algorithms = pytest.importorskip("qiskit_machine_learning.algorithms")
networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
optimizers = pytest.importorskip("qiskit_machine_learning.optimizers")
primitives = pytest.importorskip("qiskit_machine_learning.primitives")

RNG = np.random.default_rng(81)
FEATURES, ANSATZ = zz_feature_map(2, reps=1), real_amplitudes(2, reps=1)
X = RNG.uniform(-1, 1, (6, 2))
LABELS = (X.sum(axis=1) > 0).astype(int)
START = RNG.uniform(-0.5, 0.5, 4)
CIRCUIT = {
    "circuit": FEATURES.compose(ANSATZ),
    "input_params": list(FEATURES.parameters),
    "weight_params": list(ANSATZ.parameters),
}


def parity(value: int) -> int:
    return value.bit_count() % 2


def trace(model: Any, targets: np.ndarray) -> tuple[list[float], np.ndarray]:
    """The losses of a few steps, and the predictions after them."""
    losses: list[float] = []
    model.callback = lambda _weights, loss: losses.append(loss)
    model.initial_point = START
    model.fit(X, targets)
    return losses, model.predict(X)


def assert_same_training(ours: Any, theirs: Any, targets: np.ndarray) -> None:
    mine, other = trace(ours, targets), trace(theirs, targets)
    assert len(mine[0]) > 2
    np.testing.assert_allclose(mine[0], other[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(mine[1], other[1], rtol=0, atol=1e-6)
    assert min(mine[0]) < 0.99 * mine[0][0]


def steps() -> Any:
    return optimizers.L_BFGS_B(maxiter=2)


@pytest.mark.parametrize(
    ("loss", "one_hot"), [("squared_error", False), ("absolute_error", False), ("cross_entropy", True)]
)
def test_neural_network_classifiers(loss: str, one_hot: bool) -> None:
    if one_hot:
        options = {"interpret": parity, "output_shape": 2, **CIRCUIT}
        pair = [FusedSamplerQNN(**options), networks.SamplerQNN(sampler=primitives.QMLSampler(), **options)]
    else:
        options = {"observables": SparsePauliOp("ZZ"), **CIRCUIT}
        pair = [FusedEstimatorQNN(**options), networks.EstimatorQNN(estimator=primitives.QMLEstimator(), **options)]
    models = [
        algorithms.NeuralNetworkClassifier(network, loss=loss, one_hot=one_hot, optimizer=steps()) for network in pair
    ]
    assert_same_training(*models, LABELS if one_hot else 2 * LABELS - 1)


def test_neural_network_regressors() -> None:
    targets = np.sin(X.sum(axis=1))
    options = {"observables": SparsePauliOp("IZ"), **CIRCUIT}
    pair = [FusedEstimatorQNN(**options), networks.EstimatorQNN(estimator=primitives.QMLEstimator(), **options)]
    assert_same_training(*(algorithms.NeuralNetworkRegressor(network, optimizer=steps()) for network in pair), targets)


def test_vqc_and_vqr_take_the_gradients() -> None:
    def vqc(gradient: Any) -> Any:
        model = algorithms.VQC(feature_map=FEATURES, ansatz=ANSATZ, optimizer=steps(), sampler=primitives.QMLSampler())
        if gradient is not None:
            model.neural_network.gradient = gradient
        return model

    def vqr(estimator: Any, gradient: Any) -> Any:
        model = algorithms.VQR(feature_map=FEATURES, ansatz=ANSATZ, optimizer=steps(), estimator=estimator)
        if gradient is not None:
            model.neural_network.gradient = gradient
        return model

    assert_same_training(vqc(FusedSamplerGradient()), vqc(None), LABELS)
    assert_same_training(
        vqr(FusedEstimator(), FusedEstimatorGradient()), vqr(primitives.QMLEstimator(), None), np.sin(X.sum(axis=1))
    )


def test_effective_dimension() -> None:
    options = {"interpret": parity, "output_shape": 2, **CIRCUIT}
    weights, sizes = RNG.uniform(size=(2, 4)), [100, 1000]
    dimensions = [
        networks.EffectiveDimension(network, weights, X[:4]).get_effective_dimension(sizes)
        for network in (FusedSamplerQNN(**options), networks.SamplerQNN(sampler=primitives.QMLSampler(), **options))
    ]
    np.testing.assert_allclose(dimensions[0], dimensions[1], rtol=1e-8)
    local = networks.LocalEffectiveDimension(FusedEstimatorQNN(**CIRCUIT), weights[0], X[:4])
    assert np.isfinite(local.get_effective_dimension(100))


def test_a_large_data_set_stays_within_the_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    allocate = CPUDevice.allocate

    def recorded(device: CPUDevice, tape: Any, batch: int, state: Any) -> Any:
        held.append(device.state_bytes(tape.num_qubits, batch))
        return allocate(device, tape, batch, state)

    monkeypatch.setattr(CPUDevice, "allocate", recorded)
    x, megabyte = RNG.uniform(-1, 1, (3000, 2)), 2**20
    for make, options in (
        (FusedEstimatorQNN, {}),
        (FusedSamplerQNN, {}),
        (FusedSamplerQNN, {"interpret": lambda _: 0, "output_shape": 1}),
    ):
        options = {"input_gradients": True, **CIRCUIT, **options}
        small, large = make(max_memory_mb=0.1, **options), make(**options)
        expected = [large.forward(x, START), *large.backward(x, START)]
        held.clear()
        results = [small.forward(x, START), *small.backward(x, START)]
        assert max(held) <= 0.1 * megabyte
        assert len(held) > 2 * 3
        for mine, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
