"""The flows of Qiskit Machine Learning's tutorials with two lines changed: small data, the stock classes' results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import SparsePauliOp

from qiskit_fusedqml import (
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedFidelity,
    FusedFidelityKernel,
    FusedSampler,
    FusedSamplerGradient,
    FusedSamplerQNN,
)

algorithms = pytest.importorskip("qiskit_machine_learning.algorithms")
gradients = pytest.importorskip("qiskit_machine_learning.gradients")
kernels = pytest.importorskip("qiskit_machine_learning.kernels")
networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
optimizers = pytest.importorskip("qiskit_machine_learning.optimizers")
primitives = pytest.importorskip("qiskit_machine_learning.primitives")
utilities = pytest.importorskip("qiskit_machine_learning.utils")

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(91)
X = RNG.uniform(-1, 1, (12, 2))
LABELS = (X.sum(axis=1) > 0).astype(int)
CLASSES = np.arange(12) % 3
FEATURES, ANSATZ = zz_feature_map(2, reps=1), real_amplitudes(2, reps=1)
START = RNG.uniform(-0.5, 0.5, 4)
PARTS = {
    "circuit": FEATURES.compose(ANSATZ),
    "input_params": list(FEATURES.parameters),
    "weight_params": list(ANSATZ.parameters),
}


def fitted(model: Any, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    utilities.algorithm_globals.random_seed = 5
    model.fit(X, targets)
    return model.weights, model.predict(X)


def assert_same(ours: Any, theirs: Any, targets: np.ndarray) -> None:
    for mine, other in zip(fitted(ours, targets), fitted(theirs, targets), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5)


def optimizer(name: str) -> Any:
    if name == "SPSA":
        return optimizers.SPSA(maxiter=4, learning_rate=0.1, perturbation=0.1)
    return getattr(optimizers, name)(maxiter=6)


METHODS = pytest.mark.parametrize("name", ["COBYLA", "L_BFGS_B", "SPSA"])


@METHODS
def test_variational_classifier(name: str) -> None:
    def model() -> Any:
        return algorithms.VQC(
            sampler=primitives.QMLSampler(),
            feature_map=FEATURES,
            ansatz=ANSATZ,
            optimizer=optimizer(name),
            initial_point=START,
        )

    ours = model()
    ours.neural_network.gradient = FusedSamplerGradient()
    assert_same(ours, model(), LABELS)


@METHODS
def test_variational_regressor(name: str) -> None:
    def model(estimator: Any) -> Any:
        return algorithms.VQR(
            estimator=estimator, feature_map=FEATURES, ansatz=ANSATZ, optimizer=optimizer(name), initial_point=START
        )

    ours = model(FusedEstimator())
    ours.neural_network.gradient = FusedEstimatorGradient()
    assert_same(ours, model(primitives.QMLEstimator(default_precision=0.0)), np.sin(X[:, 0]))


@METHODS
def test_several_classes_by_interpretation(name: str) -> None:
    options = {"interpret": lambda value: value % 3, "output_shape": 3, **PARTS}
    pair = [FusedSamplerQNN(**options), networks.SamplerQNN(sampler=primitives.QMLSampler(), **options)]
    models = [
        algorithms.NeuralNetworkClassifier(
            network, loss="cross_entropy", one_hot=True, optimizer=optimizer(name), initial_point=START
        )
        for network in pair
    ]
    assert_same(*models, np.eye(3)[CLASSES])


def test_a_model_is_saved_and_loaded(tmp_path: Path) -> None:
    network = FusedEstimatorQNN(observables=SparsePauliOp("ZZ"), **PARTS)
    model = algorithms.NeuralNetworkClassifier(network, optimizer=optimizer("L_BFGS_B"), initial_point=START)
    _, expected = fitted(model, 2 * LABELS - 1)
    model.to_dill(tmp_path / "model")
    loaded = algorithms.NeuralNetworkClassifier.from_dill(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), expected)
    loaded.warm_start = True
    loaded.fit(X, 2 * LABELS - 1)


def test_kernel_machines() -> None:
    ours = FusedFidelityKernel(feature_map=FEATURES)
    stock = kernels.FidelityStatevectorKernel(feature_map=FEATURES)
    for machine, targets in ((algorithms.QSVC, LABELS), (algorithms.QSVR, np.sin(X[:, 0]))):
        mine, other = (machine(quantum_kernel=each, tol=1e-10).fit(X, targets).predict(X) for each in (ours, stock))
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-6)
    results = []
    for kernel in (ours, stock, kernels.FidelityQuantumKernel(feature_map=FEATURES, fidelity=FusedFidelity())):
        utilities.algorithm_globals.random_seed = 3
        machine = algorithms.PegasosQSVC(quantum_kernel=kernel, C=100, num_steps=20)
        results.append(machine.fit(X, LABELS).predict(X))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_trained_kernel() -> None:
    from qiskit_machine_learning.kernels.algorithms import QuantumKernelTrainer

    trained = ParameterVector("θ", 2)
    feature_map = QuantumCircuit(2)
    for k, angle in enumerate(trained):
        feature_map.ry(angle, k)
    feature_map.compose(FEATURES, inplace=True)
    options = {"feature_map": feature_map, "training_parameters": trained}
    results = []
    for kernel in (
        FusedFidelityKernel(**options),
        kernels.TrainableFidelityStatevectorKernel(**options),
        kernels.TrainableFidelityQuantumKernel(fidelity=FusedFidelity(), **options),
    ):
        utilities.algorithm_globals.random_seed = 7
        trainer = QuantumKernelTrainer(
            quantum_kernel=kernel,
            loss="svc_loss",
            optimizer=optimizers.COBYLA(maxiter=15),
            initial_point=[0.3, -0.4],
        )
        found = trainer.fit(X, LABELS)
        results.append([*found.optimal_point, found.optimal_value])
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1e-4)  # COBYLA amplifies the last bits


def test_an_autoencoder() -> None:
    """Three qubits in two, by a swap test of the third with a reference qubit."""
    ansatz = real_amplitudes(3, reps=1)
    circuit = QuantumCircuit(QuantumRegister(5, "q"))
    features = ParameterVector("x", 3)
    for k, angle in enumerate(features):
        circuit.ry(angle, k)
    circuit.compose(ansatz, [0, 1, 2], inplace=True)
    circuit.h(4)
    circuit.cswap(4, 2, 3)
    circuit.h(4)
    options = {
        "circuit": circuit,
        "input_params": features,
        "weight_params": list(ansatz.parameters),
        "interpret": lambda value: value >> 4,
        "output_shape": 2,
    }
    data = RNG.uniform(-1, 1, (4, 3))
    ours, stock = FusedSamplerQNN(**options), networks.SamplerQNN(sampler=primitives.QMLSampler(), **options)

    def cost(w: np.ndarray) -> float:
        return float(ours.forward(data, w)[:, 1].mean())

    start = np.full(6, 0.2)
    found = optimizers.COBYLA(maxiter=40).minimize(cost, start)
    assert found.fun < 0.8 * cost(start)
    for w in (start, found.x):  # COBYLA itself makes much of the last bits
        np.testing.assert_allclose(ours.forward(data, w), stock.forward(data, w), rtol=0, atol=1e-9)


def test_a_hybrid_network() -> None:
    torch = pytest.importorskip("torch")
    from qiskit_machine_learning.connectors import TorchConnector

    options = {"observables": SparsePauliOp("ZZ"), "input_gradients": True, **PARTS}
    estimator = primitives.QMLEstimator(default_precision=0.0)
    stock = networks.EstimatorQNN(
        estimator=estimator, gradient=gradients.ParamShiftEstimatorGradient(estimator), **options
    )
    losses = []
    for network in (FusedEstimatorQNN(**options), stock):
        torch.manual_seed(3)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 2), TorchConnector(network, initial_weights=START), torch.nn.Linear(1, 1)
        )
        steps = torch.optim.Adam(model.parameters(), lr=0.05)
        x, y = torch.tensor(X, dtype=torch.float32), torch.tensor(LABELS, dtype=torch.float32)[:, None]
        losses.append([])
        for _ in range(10):
            steps.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            steps.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_effective_dimension() -> None:
    options = {"observables": SparsePauliOp("ZZ"), **PARTS}
    stock = networks.EstimatorQNN(
        estimator=primitives.QMLEstimator(default_precision=0.0), gradient=FusedEstimatorGradient(), **options
    )
    dimensions = [
        networks.EffectiveDimension(qnn=network, weight_samples=[START], input_samples=X).get_effective_dimension(100)
        for network in (FusedEstimatorQNN(**options), stock)
    ]
    np.testing.assert_allclose(*dimensions, rtol=1e-9)


def test_bayesian_inference() -> None:
    circuit = QuantumCircuit(QuantumRegister(1, "a"), QuantumRegister(1, "b"))
    circuit.ry(0.9, 0)
    circuit.cry(1.4, 0, 1)
    queries = (
        {"query": {"a": 1}, "evidence": {"b": 1}},
        {"query": {"a": 1}},
        {"query": {"b": 0}, "evidence": {"a": 1}},
    )
    samplers = (FusedSampler(seed=3, default_shots=20000), StatevectorSampler(seed=3, default_shots=20000))
    models = [algorithms.QBayesian(circuit, sampler=sampler) for sampler in samplers]
    for query in queries:
        ours, stock = (model.inference(**query) for model in models)
        assert ours == pytest.approx(stock, abs=0.03)
