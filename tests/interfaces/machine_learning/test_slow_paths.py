"""What a stock gradient costs is said once, and only where there is one."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit, generate_preset_pass_manager
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning import gradients, neural_networks as networks

from qiskit_fusedqml import FusedEstimator, FusedEstimatorGradient, FusedSampler, FusedSamplerGradient
from qiskit_fusedqml.errors import SlowPathWarning, warn_slow_path

RNG = np.random.default_rng(4)
FEATURES, ANSATZ = zz_feature_map(2), real_amplitudes(2, reps=1)
CIRCUIT = FEATURES.compose(ANSATZ)
PARAMETERS = {"input_params": list(FEATURES.parameters), "weight_params": list(ANSATZ.parameters)}
X, W = RNG.normal(size=(3, 2)), RNG.normal(size=4)


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    warn_slow_path.cache_clear()


def estimator_network(**options: Any) -> networks.EstimatorQNN:
    options = {"estimator": FusedEstimator()} | options
    return networks.EstimatorQNN(circuit=CIRCUIT, observables=SparsePauliOp("ZZ"), **PARAMETERS, **options)


def sampler_network(**options: Any) -> networks.SamplerQNN:
    sampler = FusedSampler(default_shots=50, seed=1)
    return networks.SamplerQNN(circuit=CIRCUIT, sampler=sampler, **PARAMETERS, **options)


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("kind", ["Estimator", "Sampler"])
def test_a_stock_network_is_told_once_which_line_is_missing(kind: str, inputs: bool) -> None:
    make = {"Estimator": estimator_network, "Sampler": sampler_network}[kind]
    network = make(input_gradients=inputs)
    network.forward(X, W)  # warnings are errors here
    with pytest.warns(SlowPathWarning, match=rf"gradient=Fused{kind}Gradient\({kind.lower()}\)") as seen:
        network.backward(X, W)
    assert len(seen) == 1
    network.backward(X, 2 * W)
    make().backward(X, W)
    warn_slow_path.cache_clear()
    ours = {"Estimator": FusedEstimatorGradient, "Sampler": FusedSamplerGradient}[kind]
    make(gradient=ours(), input_gradients=inputs).backward(X, W)  # the line that was given


def test_several_observables_repeated_parameters_and_transpiled_copies() -> None:
    estimator = FusedEstimator()
    both = [SparsePauliOp("ZZ"), SparsePauliOp("XI")]
    with pytest.warns(SlowPathWarning):
        networks.EstimatorQNN(circuit=CIRCUIT, observables=both, estimator=estimator, **PARAMETERS).backward(X, W)
    warn_slow_path.cache_clear()
    passes = generate_preset_pass_manager(0, basis_gates=["rx", "ry", "rz", "cx"])
    with pytest.warns(SlowPathWarning):
        gradients.ParamShiftEstimatorGradient(estimator, pass_manager=passes).run([ANSATZ], both[:1], [W]).result()
    warn_slow_path.cache_clear()
    a, b = ParameterVector("a", 2)
    repeated = QuantumCircuit(2)
    repeated.ry(a + b, 0)
    repeated.ry(2 * a, 1)
    repeated.cx(0, 1)
    with pytest.warns(SlowPathWarning):
        gradients.ParamShiftEstimatorGradient(estimator).run([repeated], both[:1], [[0.1, 0.2]]).result()


def scans() -> dict[str, Callable[[], NDArray[np.float64]]]:
    width = ANSATZ.num_parameters
    axis = np.array([0.0, np.pi / 2, np.pi])
    along = np.zeros((9, width))
    along[:, 1] = np.linspace(-np.pi, np.pi, 9)
    signs = RNG.choice([-1.0, 1.0], (10, width)) * 0.1
    eps = 1e-3 * np.eye(width)
    shift = np.pi / 2 * np.eye(width)
    return {
        "random": lambda: RNG.uniform(-np.pi, np.pi, (100, width)),
        "along one parameter": lambda: along,
        "along all": lambda: np.linspace(-np.pi * np.ones(width), np.pi * np.ones(width), 9),
        "grid": lambda: np.array(list(itertools.product(axis, repeat=width))),
        "grid, the first fastest": lambda: np.array(list(itertools.product(axis[::-1], repeat=width)))[:, ::-1],
        "multiples of pi / 2": lambda: np.pi / 2 * RNG.integers(-2, 3, (200, width)),
        "SPSA": lambda: W + np.concatenate([signs, -signs]),
        "SPSA, in pairs": lambda: W + np.stack([signs, -signs], axis=1).reshape(-1, width),
        "SPSA, step of pi / 2": lambda: W + np.concatenate([signs, -signs]) * 5 * np.pi,
        "central differences": lambda: W + np.concatenate([eps, -eps]),
        "forward differences": lambda: W + np.concatenate([np.zeros((1, width)), eps]),
        "one parameter turned": lambda: W + np.stack([shift[0], -shift[0], 0 * shift[0], 2 * shift[0]]),
        "coordinates in turn": lambda: W + np.stack([shift, -shift], axis=1).reshape(-1, width),
        "half of a shift": lambda: W + shift,
        "shifts of several points": lambda: RNG.normal(size=(2 * width, width)) + np.concatenate([shift, -shift]),
    }


@pytest.mark.parametrize("name", scans())
def test_scans_and_other_gradients_are_left_in_peace(name: str) -> None:
    sets = scans()[name]()
    measured = ANSATZ.measure_all(inplace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FusedEstimator().run([(ANSATZ, SparsePauliOp("ZZ"), values) for values in sets]).result()
        FusedEstimator().run([(ANSATZ, SparsePauliOp("ZZ"), sets)] * 4).result()
        FusedSampler(default_shots=2, seed=1).run([(measured, values) for values in sets]).result()
