"""Jacobians of many observables with respect to few parameters: in forward mode, the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector, random_pauli, random_statevector
from support.calls import calls_of

from qiskit_fusedqml import DifferentiableCircuit, FusedEstimatorGradient
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.engine import rotations

N = 4


def circuit() -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """Controls, repeated parameters, expressions that are not linear, inputs."""
    x, w = ParameterVector("x", 2), ParameterVector("w", 3)
    made = QuantumCircuit(N)
    for qubit in range(N):
        made.ry(x[qubit % 2] * (qubit + 1), qubit)
    made.crx(w[0], 0, 2)
    made.cp(w[1] * w[0], 1, 3)
    made.rzz(w[2], 0, 3)
    made.ry(w[0] / 2 + w[2], 1)
    made.cx(1, 2)
    made.rx(w[1].sin(), 2)
    return made, x, w


def observables(count: int) -> list[SparsePauliOp]:
    """Random sums of two Pauli strings."""
    labels = [random_pauli(N, seed=seed).to_label().lstrip("-i") for seed in range(2 * count)]
    return [SparsePauliOp([labels[2 * k], labels[2 * k + 1]], [1.0, 0.3 + 0.01 * k]) for k in range(count)]


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("wrt", ["weights", "inputs", "all"])
def test_both_modes_give_the_same(wrt: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, inputs, weights = circuit()
    f = DifferentiableCircuit(made, observables(60), inputs=inputs, weights=weights, precision=precision)
    rng = np.random.default_rng(1)
    x, w = rng.uniform(-1, 1, (5, 2)), rng.uniform(-1, 1, 3)
    found = f.jacobian(x, w, wrt)
    monkeypatch.setattr(rotations, "MANY_OBSERVABLES", 1000)
    reverse = f.jacobian(x, w, wrt)
    assert found.dtype == reverse.dtype
    assert found.shape == (5, 60, {"weights": 3, "inputs": 2, "all": 5}[wrt])
    np.testing.assert_allclose(found, reverse, atol=1e-11 if precision == "double" else 2e-5)


def test_the_comparison_sees_wrong_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "CONTROLLED_SHIFTS", rotations.PLAIN_SHIFTS)
    with pytest.raises(AssertionError):
        test_against_differences_of_statevectors()


def test_forward_mode_is_taken_where_it_costs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    made, inputs, weights = circuit()
    x, w = np.zeros((1, 2)), np.ones(3)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    many = DifferentiableCircuit(made, observables(60), inputs=inputs, weights=weights)
    few = DifferentiableCircuit(made, observables(10), inputs=inputs, weights=weights)
    expected = few.jacobian(x, w)
    with monkeypatch.context() as patch:
        patch.setattr(many.passes, "backward", refuse)
        assert many.jacobian(x, w).shape == (1, 60, 3)
    monkeypatch.setattr(rotations.Unrolled, "value_jacobian", refuse)
    np.testing.assert_array_equal(few.jacobian(x, w), expected)


def test_against_differences_of_statevectors() -> None:
    made, inputs, weights = circuit()
    measured = observables(40)
    f = DifferentiableCircuit(made, measured, inputs=inputs, weights=weights)
    x, w, step = np.array([[0.3, -0.7]]), np.array([0.4, 1.1, -0.2]), 1e-5

    def values(at: np.ndarray) -> np.ndarray:
        state = Statevector(made.assign_parameters({inputs: x[0], weights: at}))
        return np.array([state.expectation_value(each).real for each in measured])

    found = f.jacobian(x, w)[0]
    for k in range(3):
        shift = step * np.eye(3)[k]
        np.testing.assert_allclose(found[:, k], (values(w + shift) - values(w - shift)) / (2 * step), atol=1e-8)


def test_initial_states_by_sample_and_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made, inputs, weights = circuit()
    f = DifferentiableCircuit(made, observables(30), inputs=inputs, weights=weights)
    x, w = np.random.default_rng(2).uniform(-1, 1, (6, 2)), np.array([0.4, 1.1, -0.2])
    states = np.array([random_statevector(2**N, seed=seed).data for seed in range(6)])
    whole = f.jacobian(x, w, "all", initial_states=states)
    one = f.jacobian(x, w, "all", initial_states=states[2])
    monkeypatch.setattr(rotations, "SHIFTED_BYTES", 3000)
    np.testing.assert_allclose(f.jacobian(x, w, "all", initial_states=states), whole, atol=1e-13)
    np.testing.assert_allclose(f.jacobian(x, w, "all", initial_states=states[2]), one, atol=1e-13)
    monkeypatch.setattr(rotations, "MANY_OBSERVABLES", 1000)
    np.testing.assert_allclose(f.jacobian(x, w, "all", initial_states=states), whole, atol=1e-11)
    np.testing.assert_allclose(f.jacobian(x, w, "all", initial_states=states[2]), one, atol=1e-11)


def test_the_gradient_of_a_thousand_observables_is_one_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    angle = Parameter("a")
    made = QuantumCircuit(6)
    for qubit in range(6):
        made.ry(angle * (qubit + 1), qubit)
    labels = [random_pauli(6, seed=seed).to_label().lstrip("-i") for seed in range(1000)]
    operators, sweeps = [SparsePauliOp(label) for label in labels], Counter[str]()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            sweeps[name] += 1
            return original(*arguments, **options)

        return wrapper

    for name in ("forward", "backward", "apply_observables"):
        monkeypatch.setattr(CPUDevice, name, counting(name, getattr(CPUDevice, name)))

    def differentiate() -> None:
        found = FusedEstimatorGradient().run([made] * 1000, operators, [[0.3]] * 1000)
        assert len(found.result().gradients) == 1000

    assert calls_of(differentiate) < 600 * 1000  # Qiskit's are among them: 560 an observable with 2.0, fewer later
    assert sweeps == {"forward": 1}


def test_initial_states_changed_before_the_pullback() -> None:
    made, inputs, weights = circuit()
    states = np.array([random_statevector(2**N, seed=seed).data for seed in range(64)])
    x, w = np.random.default_rng(2).uniform(-1, 1, (64, 2)), np.array([0.4, 1.1, -0.2])
    expected = DifferentiableCircuit(made, ["ZZII"], inputs, weights).vjp(x, w, initial_states=states)[1](
        np.ones((64, 1))
    )
    f = DifferentiableCircuit(made, ["ZZII"], inputs, weights, max_memory_mb=0.02)
    given = states.copy()
    _, pullback = f.vjp(x, w, initial_states=given)
    given[...] = 0.0
    np.testing.assert_allclose(pullback(np.ones((64, 1)))[1], expected[1], atol=1e-11)
