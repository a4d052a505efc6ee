"""Full data sets within a memory budget, by what the process really takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp
from support.peak_memory import peak

from qiskit_fusedqml import (
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedFidelityKernel,
    FusedSamplerQNN,
)

algorithms = pytest.importorskip("qiskit_machine_learning.algorithms")
networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
optimizers = pytest.importorskip("qiskit_machine_learning.optimizers")

FEATURES, ANSATZ = zz_feature_map(10, reps=1), real_amplitudes(10, reps=1)
Z = SparsePauliOp("Z" + 9 * "I")
CIRCUIT = {
    "circuit": FEATURES.compose(ANSATZ),
    "input_params": list(FEATURES.parameters),
    "weight_params": list(ANSATZ.parameters),
}
START = np.full(20, 0.3)
SAMPLES = 2000
"""Their states take 31 MiB, and gradients three times that."""


def data(samples: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).uniform(-1, 1, (samples, 10))
    return x, np.where(x.sum(axis=1) > 0, 1, -1)


def steps() -> object:
    return optimizers.L_BFGS_B(maxiter=1, maxfun=2)


def sampler(samples: int, budget: float | None) -> None:
    network = FusedSamplerQNN(**CIRCUIT, interpret=lambda _: 0, output_shape=1, max_memory_mb=budget)
    network.forward(data(samples)[0], START)
    network.backward(data(samples)[0], START)


def classifier(samples: int, budget: float | None) -> None:
    network = FusedEstimatorQNN(**CIRCUIT, observables=Z, max_memory_mb=budget)
    algorithms.NeuralNetworkClassifier(network, optimizer=steps(), initial_point=START).fit(*data(samples))


def regressor(samples: int, budget: float | None) -> None:
    estimator = FusedEstimator(max_memory_mb=budget)
    model = algorithms.VQR(
        feature_map=FEATURES, ansatz=ANSATZ, optimizer=steps(), initial_point=START, estimator=estimator
    )
    model.neural_network.gradient = FusedEstimatorGradient(estimator)
    model.fit(*data(samples))


def dimension(samples: int, budget: float | None) -> None:
    network = FusedSamplerQNN(**CIRCUIT, interpret=lambda v: v % 2, output_shape=2, max_memory_mb=budget)
    networks.EffectiveDimension(network, START[None], data(samples)[0]).get_effective_dimension(samples)


def kernel(samples: int, budget: float | None) -> None:
    x = data(samples)[0]
    made = FusedFidelityKernel(feature_map=FEATURES, max_memory_mb=budget)
    made.evaluate(x, x[:16])
    made.evaluate(x[:16], x)


CASES: dict[str, Callable[[int, float | None], None]] = {
    case.__name__: case for case in (sampler, classifier, regressor, dimension, kernel)
}


def grown(budgets: list[float | None]) -> None:
    """Write by how much the peak grows in each case, once for each budget."""
    for case in CASES.values():
        case(50, None)
    before = peak()
    for budget in budgets:
        for name, case in CASES.items():
            case(SAMPLES, budget)
            sys.stdout.write(f"{name} {peak() - before}\n")


def test_full_data_sets_stay_within_the_budget() -> None:
    code = "import test_memory_budget as t; t.grown([4.0, None])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=250)
    lines = [line.split() for line in done.stdout.splitlines()]
    within, without = lines[: len(CASES)], lines[len(CASES) :]
    assert [name for name, _ in within] == list(CASES)
    assert max(float(size) for _, size in within) < 35
    assert float(without[0][1]) > 60  # what is measured would be seen
