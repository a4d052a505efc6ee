"""What a warm training step of W1, and of N1 with noise, costs beside arithmetic: calls, crossings, sweeps.

Calls are those of Python functions of the package, crossings those into compiled code.

The numbers are those of the code, not of the machine. They may only fall: where one has, lower it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from support.calls import calls_of

import qiskit_fusedqml
from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.devices import _native
from qiskit_fusedqml.interfaces.qiskit.noise import ParametricNoiseModel

PACKAGE = str(Path(qiskit_fusedqml.__file__).parent)
QUBITS, LAYERS, SAMPLES = 4, 3, 256

# call: Python functions of the package, crossings into compiled code, forward sweeps, backward sweeps
LIMITS = {
    "values": (31, 5, 1, 0),
    "vjp and pullback": (38, 9, 1, 1),
    "jacobian": (35, 7, 1, 1),
}

# the same for a program with noise, of which a bra is pulled back through the weights and goes forward again
NOISY_LIMITS = {
    "values": (53, 7, 1, 0),
    "vjp and pullback": (66, 11, 1, 0),
    "jacobian": (42, 6, 1, 1),
}


def function(noise: ParametricNoiseModel | None = None) -> DifferentiableCircuit:
    """W1: RY encoding, then layers of RX RY RZ on every qubit and a ring of CX; one observable, the mean of Z."""
    x, w = ParameterVector("x", QUBITS), iter(ParameterVector("w", 3 * QUBITS * LAYERS))
    circuit = QuantumCircuit(QUBITS)
    for q in range(QUBITS):
        circuit.ry(x[q], q)
    for _ in range(LAYERS):
        for q in range(QUBITS):
            circuit.rx(next(w), q)
            circuit.ry(next(w), q)
            circuit.rz(next(w), q)
        for q in range(QUBITS):
            circuit.cx(q, (q + 1) % QUBITS)
    weights = [parameter for parameter in circuit.parameters if parameter.name.startswith("w")]
    labels = ["I" * (QUBITS - 1 - q) + "Z" + "I" * q for q in range(QUBITS)]
    observable = dict.fromkeys(labels, 1 / QUBITS)
    return DifferentiableCircuit(
        circuit, [observable], inputs=list(x), weights=weights, num_threads=1, noise_model=noise
    )


def noise() -> ParametricNoiseModel:
    """Depolarizing after rotations, depolarizing and damping after CX."""
    model = ParametricNoiseModel()
    model.add_error("depolarizing", 1e-3, ["rx", "ry", "rz"])
    model.add_error("depolarizing2", 1e-2, "cx")
    model.add_error("amplitude_damping", 5e-3, "cx")
    return model


def counted(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> tuple[int, int, int, int]:
    """Python calls inside the package, crossings, forward and backward sweeps of one call."""
    crossings: Counter[str] = Counter()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            crossings[name] += 1
            return original(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        for name, value in list(vars(_native).items()):
            if type(value).__name__ == "nb_func":
                patch.setattr(_native, name, counting(name, value))
            elif type(value).__name__.startswith("nb_type"):
                for member, method in list(vars(value).items()):
                    if type(method).__name__ == "nb_method" and member != "__init__":
                        patch.setattr(value, member, counting(f"{name}.{member}", method))
        calls = calls_of(call, PACKAGE)
    forward, backward = (crossings[name] + crossings[f"pauli_{name}"] for name in ("forward", "backward"))
    return calls, crossings.total(), forward, backward


def warm(name: str, f: DifferentiableCircuit) -> Callable[[], object]:
    """A call that was made before, at some values."""
    rng = np.random.default_rng(1)
    x, w = rng.uniform(-1, 1, (SAMPLES, f.num_inputs)), rng.uniform(-1, 1, f.num_weights)
    cotangents = np.ones((SAMPLES, 1))
    call = {
        "values": lambda: f.values(x, w),
        "vjp and pullback": lambda: f.vjp(x, w)[1](cotangents),
        "jacobian": lambda: f.jacobian(x, w),
    }[name]
    for _ in range(3):
        call()
    return call


@pytest.mark.parametrize("name", LIMITS)
def test_a_warm_call_costs_no_more_than_it_did(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch, warm(name, function()))
    assert all(np.array(found) <= LIMITS[name]), f"{found} where {LIMITS[name]} was the cost"


@pytest.mark.parametrize("name", NOISY_LIMITS)
def test_noise_costs_no_more_than_it_did(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch, warm(name, function(noise())))
    assert all(np.array(found) <= NOISY_LIMITS[name]), f"{found} where {NOISY_LIMITS[name]} was the cost"


def test_the_count_sees_one_call_more(monkeypatch: pytest.MonkeyPatch) -> None:
    f = function()
    w = np.zeros(f.num_weights)
    x = np.zeros((1, f.num_inputs))
    f.values(x, w)
    once, twice = (counted(monkeypatch, lambda n=n: [f.values(x, w) for _ in range(n)]) for n in (1, 2))
    assert twice == tuple(2 * count for count in once)
    assert min(once[:3]) >= 1
