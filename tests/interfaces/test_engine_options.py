"""An option of the engine that is an argument of a public class arrives at the engine, from each of these classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from qiskit.circuit.library import real_amplitudes

import qiskit_fusedqml as package
from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.engine.options import ENGINE_ARGUMENTS, EngineOptions

ANSATZ = real_amplitudes(1, reps=1)

MAKERS: dict[str, Callable[..., Any]] = {
    "DifferentiableCircuit": partial(package.DifferentiableCircuit, ANSATZ, ["Z"]),
    "FusedEstimator": package.FusedEstimator,
    "FusedEstimatorGradient": package.FusedEstimatorGradient,
    "FusedEstimatorQNN": partial(package.FusedEstimatorQNN, circuit=ANSATZ, weight_params=ANSATZ.parameters),
    "FusedFidelity": package.FusedFidelity,
    "FusedFidelityKernel": partial(package.FusedFidelityKernel, feature_map=ANSATZ),
    "FusedLayer": partial(package.FusedLayer, ANSATZ, ["Z"]),
    "FusedQGT": package.FusedQGT,
    "FusedSampler": package.FusedSampler,
    "FusedSamplerGradient": package.FusedSamplerGradient,
    "FusedSamplerQNN": partial(package.FusedSamplerQNN, circuit=ANSATZ, weight_params=ANSATZ.parameters),
}

GIVEN = {"device": ReferenceDevice(), "max_memory_mb": 12.5, "num_threads": 1, "checkpoint": 3}


def options_of(made: Any) -> EngineOptions:
    """The options that the engine is given by an object."""
    for name in ("engine_options", "options"):
        found = getattr(getattr(made, "function", made), name, None)
        if isinstance(found, EngineOptions):
            return found
    raise AssertionError(f"{type(made).__name__} has no options of the engine.")


@pytest.mark.parametrize("name", MAKERS)
def test_options_arrive_at_the_engine(name: str) -> None:
    signature = inspect.signature(getattr(package, name)).parameters
    own = [option for option in ENGINE_ARGUMENTS if option in signature]
    assert set(own) >= {"device", "precision", "max_memory_mb", "num_threads"}
    given = {option: value for option, value in GIVEN.items() if option in own}
    found = options_of(MAKERS[name](**given))
    assert found.device is GIVEN["device"], "a device is taken as it is"
    assert found == EngineOptions(**given)


@pytest.mark.parametrize("name", ["FusedEstimatorQNN", "FusedSamplerQNN"])
def test_networks_hand_their_options_on(name: str) -> None:
    network = MAKERS[name](**GIVEN)
    assert network.differentiable.options == EngineOptions(**GIVEN)
    assert network.differentiable.device is GIVEN["device"]


def test_the_comparison_sees_an_option_that_is_lost() -> None:
    with pytest.raises(AssertionError):
        assert options_of(MAKERS["FusedEstimator"](device=GIVEN["device"])) == EngineOptions(**GIVEN)
