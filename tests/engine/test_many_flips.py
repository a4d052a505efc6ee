"""Observables with many flips, such as those of molecules: values and bras are made together."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit.library import efficient_su2, real_amplitudes
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.errors import FusedQMLError

LABELS = [
    "XXYY",
    "YYXX",
    "XYYX",
    "YXXY",
    "ZZII",
    "IXXI",
    "IYYZ",
    "XIIX",
    "ZYIY",
    "IIZZ",
    "XXXX",
    "YYYY",
    "IXIX",
    "ZIII",
]


def hamiltonian(n: int) -> SparsePauliOp:
    rng = np.random.default_rng(n)
    labels = ["I" * left + label + "I" * (n - 4 - left) for left in range(n - 3) for label in LABELS]
    return SparsePauliOp(labels, rng.normal(size=len(labels)))


def exact(circuit, weights, observable) -> float:
    return float(np.real(Statevector(circuit.assign_parameters(weights)).expectation_value(observable)))


def exact_gradient(circuit, weights, observable) -> np.ndarray:
    """By parameter shifts."""
    shifts = np.pi / 2 * np.eye(len(weights))
    return np.array(
        [(exact(circuit, weights + s, observable) - exact(circuit, weights - s, observable)) / 2 for s in shifts]
    )


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("make", [efficient_su2, real_amplitudes])
@pytest.mark.parametrize("options", [{}, {"max_memory_mb": 0.02}, {"device": "reference"}])
def test_values_and_gradients(make, precision, options) -> None:
    n, batch = 6, 5
    circuit, observable = make(n, reps=1), hamiltonian(n)
    if "device" in options and precision == "single":
        options = {**options, "device": "CPU", "num_threads": 1}
    f = DifferentiableCircuit(circuit, [observable], precision=precision, **options)
    w = np.random.default_rng(1).normal(size=(batch, circuit.num_parameters))
    cotangents = np.random.default_rng(2).normal(size=(batch, 1))
    tolerance = {"double": 1e-11, "single": 2e-4}[precision]
    values, pullback = f.vjp(w=w)
    assert values[:, 0] == pytest.approx([exact(circuit, row, observable) for row in w], abs=tolerance)
    expected = [c * exact_gradient(circuit, row, observable) for c, row in zip(cotangents[:, 0], w, strict=True)]
    assert pullback(cotangents)[1] == pytest.approx(np.array(expected), abs=10 * tolerance)
    with pytest.raises(FusedQMLError):
        pullback(cotangents)


def test_after_values_at_the_same_weights() -> None:
    circuit, observable = efficient_su2(5, reps=1), hamiltonian(5)
    f = DifferentiableCircuit(circuit, [observable])
    for seed in range(4):
        w = np.random.default_rng(seed).normal(size=circuit.num_parameters)
        assert f.values(w=w)[0, 0] == pytest.approx(exact(circuit, w, observable), abs=1e-11)
        value, gradient = f.value_and_grad(w=w)
        assert value == pytest.approx(exact(circuit, w, observable), abs=1e-11)
        assert gradient == pytest.approx(exact_gradient(circuit, w, observable), abs=1e-10)


def test_the_observable_is_applied_once(monkeypatch) -> None:
    circuit = efficient_su2(5, reps=1)
    f = DifferentiableCircuit(circuit, [hamiltonian(5)])
    for name in ("expectation", "apply_observables"):
        monkeypatch.setattr(f.device, name, lambda *_, name=name: pytest.fail(f"{name} was called"))
    f.value_and_grad(w=np.ones(circuit.num_parameters))
