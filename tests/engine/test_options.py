"""Options are checked in one place, whichever interface they were given to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qiskit_fusedqml import (
    DifferentiableCircuit,
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedFidelityKernel,
    FusedLayer,
    FusedSampler,
    FusedSimulator,
)
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.errors import InvalidInputError

REFUSED = [
    *(
        ("max_memory_mb", value)
        for value in (np.inf, np.nan, -np.inf, 0, -1.0, "x", 1j, True, 10**400, 1e300, 1e-300, [])
    ),
    *(("num_threads", value) for value in (2.5, np.nan, 2**40, 0, -1, "2", 1j, True, [])),
    *(("device", value) for value in ("cpu ", "TPU", 3, object, [], b"CPU")),
    *(("precision", value) for value in ("half", b"double", 64, [])),
    *(("checkpoint", value) for value in ("all", -1, 2.5, True, [])),
]


@pytest.mark.parametrize(("name", "value"), [*REFUSED, ("device", None), ("precision", None)])
def test_what_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"{name} is .* is expected\."):
        EngineOptions(**{name: value})


def test_numbers_of_numpy_are_kept_as_pythons() -> None:
    options = EngineOptions(max_memory_mb=np.float32(64), num_threads=np.int64(2), checkpoint=np.uint8(3))
    assert options == EngineOptions(max_memory_mb=64.0, num_threads=2, checkpoint=3)
    assert [type(each) for each in (options.max_memory_mb, options.num_threads, options.checkpoint)] == [
        float,
        int,
        int,
    ]


INTERFACES: dict[str, Callable[..., Any]] = {
    "circuit": lambda **options: DifferentiableCircuit(_circuit(), ["Z"], **options),
    "layer": lambda **options: FusedLayer(_circuit(), ["Z"], **options),
    "estimator": FusedEstimator,
    "sampler": FusedSampler,
    "network": lambda **options: FusedEstimatorQNN(circuit=_circuit(), **options),
    "kernel": lambda **options: FusedFidelityKernel(feature_map=_circuit(), **options).evaluate([[0.1]]),
    "gradient": lambda **options: FusedEstimatorGradient(**options).run([_circuit()], ["Z"], [[0.1]]).result(),
}


def _circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    return circuit


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(("name", "value"), [("max_memory_mb", np.inf), ("num_threads", 2.5), ("precision", "half")])
def test_every_interface_refuses_in_the_same_words(interface: str, name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"{name} is .* is expected\."):
        INTERFACES[interface](**{name: value})


def test_options_set_later_are_checked_by_the_next_call() -> None:
    estimator = FusedEstimator()
    estimator.options.update_options(num_threads=0)
    with pytest.raises(InvalidInputError, match="num_threads is 0"):
        estimator.run([(_circuit(), "Z", [0.1])])
    with pytest.raises(InvalidInputError, match=r"max_memory_mb is inf; a positive number of MiB"):
        FusedSimulator(max_memory_mb=float("inf"))


@pytest.mark.parametrize("cap", ["²", "x", "9" * 50, "-1", "", "0", "2,1"])
def test_a_cap_of_threads_that_is_no_number_is_no_cap(cap: str) -> None:
    program = "from qiskit_fusedqml.devices.cpu import default_threads; print(default_threads())"
    command = [sys.executable, "-c", program]
    found = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": cap}, capture_output=True, text=True, check=True
    )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert int(found.stdout) == (min(usable, 2) if cap == "2,1" else usable)
