"""Primitives made as qiskit-aer's V2 primitives are: changing the import is enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers.fake_provider import GenericBackendV2

from qiskit_fusedqml import FusedEstimator, FusedEstimatorGradient, FusedSampler, FusedSimulator
from qiskit_fusedqml.errors import InvalidInputError

aer: Any = pytest.importorskip("qiskit_aer.primitives")
EstimatorV2, SamplerV2 = aer.EstimatorV2, aer.SamplerV2

A = Parameter("a")


def rotated(measured: bool = False) -> QuantumCircuit:
    circuit = QuantumCircuit(2, metadata={"who": "me"})
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure_all()
    return circuit


@pytest.mark.parametrize("kind", [EstimatorV2, FusedEstimator])
@pytest.mark.parametrize("options", [None, {}, {"default_precision": 0.1, "run_options": {"seed_simulator": 7}}])
def test_estimators(kind: Any, options: dict[str, Any] | None) -> None:
    estimator = kind(options=options)
    result = estimator.run([(rotated(), [["ZZ"], ["XI"]], [[0.3], [0.9]])]).result()
    assert result.metadata == {"version": 2}
    metadata = result[0].metadata
    assert set(metadata) == {"target_precision", "circuit_metadata", "simulator_metadata"}
    assert metadata["target_precision"] == (options or {}).get("default_precision", 0.0)
    assert metadata["circuit_metadata"] == {"who": "me"}
    assert {"time_taken_execute", "max_memory_mb", "parallel_experiments"} <= set(metadata["simulator_metadata"])
    evs = result[0].data.evs
    reference = EstimatorV2(options=options).run([(rotated(), [["ZZ"], ["XI"]], [[0.3], [0.9]])]).result()[0].data.evs
    np.testing.assert_allclose(evs, reference, atol=1e-12)  # the noise, too
    assert estimator.options.default_precision == metadata["target_precision"]


@pytest.mark.parametrize("kind", [SamplerV2, FusedSampler])
def test_samplers(kind: Any) -> None:
    options = {"backend_options": {"method": "statevector"}, "run_options": {"seed_simulator": 4, "shots": 3}}
    samplers = [kind(default_shots=100, options=options), kind(default_shots=100, seed=4), kind(seed=4)]
    assert samplers[0].options.run_options["seed_simulator"] == 4
    if kind is SamplerV2:
        del samplers[0].options.run_options["seed_simulator"]  # before 0.18.2 Aer passes it twice
        samplers[0] = kind(default_shots=100, seed=4, options=options)
    first, second, third = (each.run([(rotated(measured=True), [0.7])]).result() for each in samplers)
    for result in (first, second):
        assert set(result[0].metadata) == {"shots", "circuit_metadata", "simulator_metadata"}
        assert result[0].metadata["shots"] == result[0].data.meas.num_shots == 100
    assert first[0].data.meas == second[0].data.meas
    assert third[0].data.meas.num_shots == 1024


def test_options_reach_the_engine() -> None:
    backend_options = {"device": "CPU", "precision": "single", "max_memory_mb": 512, "max_parallel_threads": 1}
    for kind in (FusedEstimator, FusedSampler):
        primitive = kind(options={"backend_options": backend_options, "run_options": {"max_memory_mb": 256}})
        engine = primitive.engine_options
        assert (engine.precision, engine.max_memory_mb, engine.num_threads) == ("single", 256, 1)
        assert kind(options={"backend_options": {"max_parallel_threads": 0}}).engine_options.num_threads is None
    sampler = FusedSampler(options={"backend_options": {"fusion_enable": False, "enable_truncation": False}})
    assert not sampler.runner_options.fusion_enable
    assert not sampler.runner_options.truncate
    gradient = FusedEstimatorGradient(FusedEstimator(options={"backend_options": {"precision": "single"}}))
    assert gradient.engine_options.precision == "single"
    sampler.options.run_options = {"seed_simulator": 3}
    sampler.options.backend_options = {}
    assert sampler.seed == 3
    assert sampler.runner_options.fusion_enable


@pytest.mark.parametrize("kind", [FusedEstimator, FusedSampler])
def test_wrong_options_are_refused(kind: Any) -> None:
    for options in ({"backend": {}}, {"shots": 3}, "fast", {"backend_options": {"metod": "statevector"}}):
        with pytest.raises(InvalidInputError, match=r"backend_options|metod"):
            kind(options=options)
    with pytest.raises(InvalidInputError, match="dictionary"):
        kind(options={"run_options": 3})
    with pytest.raises(InvalidInputError, match="noise"):
        kind(options={"backend_options": {"noise_model": object()}})
    with pytest.raises(InvalidInputError):
        FusedEstimator(options={"default_precision": -1})
    with pytest.raises(InvalidInputError, match="BackendV2"):
        kind.from_backend("aer_simulator")


def test_primitives_from_backends() -> None:
    simulator = FusedSimulator(precision="single", seed_simulator=5, max_memory_mb=100)
    estimator = FusedEstimator.from_backend(simulator, options={"default_precision": 0.2})
    assert (estimator.engine_options.precision, estimator.engine_options.max_memory_mb) == ("single", 100)
    assert estimator.seed == 5
    noisy = FusedEstimator(default_precision=0.2, seed=5).run([(rotated(), "ZZ", [0.3])]).result()[0].data.evs
    np.testing.assert_allclose(estimator.run([(rotated(), "ZZ", [0.3])]).result()[0].data.evs, noisy, atol=1e-6)
    sampler = FusedSampler.from_backend(simulator, default_shots=7)
    assert sampler.run([(rotated(measured=True), [0.3])]).result()[0].data.meas.num_shots == 7
    assert FusedSampler.from_backend(simulator, seed=1).seed == 1
    ideal = FusedEstimator.from_backend(FusedSimulator.from_backend(GenericBackendV2(3, seed=1), noise_model=None))
    np.testing.assert_allclose(ideal.run([(rotated(), "ZZ", [0.3])]).result()[0].data.evs, 1.0, atol=1e-12)
