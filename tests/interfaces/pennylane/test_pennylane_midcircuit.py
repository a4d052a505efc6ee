"""Circuits that measure midway, on trajectories, beside default.qubit, which puts measurements off to further wires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qiskit_fusedqml.interfaces.pennylane import FusedQubit

SHOTS = 20_000
X, W = 0.9, np.array([0.7, -1.3, 0.4])


def teleport(x: Any, w: Any) -> Any:
    qml.Rot(x, w[1], w[2], wires=0)
    qml.Hadamard(1)
    qml.CNOT([1, 2])
    qml.CNOT([0, 1])
    qml.Hadamard(0)
    first, second = qml.measure(0), qml.measure(1)
    qml.cond(second, qml.X)(2)
    qml.cond(first, qml.Z)(2)
    return qml.expval(qml.X(2)), qml.expval(qml.Y(2)), qml.var(qml.Z(2)), qml.probs(op=[first, second])


def resets(x: Any, w: Any) -> Any:
    qml.RY(x, wires=0)
    first = qml.measure(0, reset=True)
    qml.RX(w[0], wires=0)
    qml.CRY(w[1], wires=[0, 1])
    second = qml.measure(0)
    third = qml.measure(1)
    qml.cond(first + 2 * second == 1, qml.RY, qml.RX)(x, wires=0)
    qml.cond((first | third) & ~second, qml.IsingXX)(w[2], wires=[0, 1])
    return qml.expval(first * third + second), qml.probs(wires=[1, 0]), qml.expval(qml.Z(0) @ qml.X(1)), qml.var(third)


def prepared(x: Any, w: Any) -> Any:
    qml.StatePrep(np.array([0.6, 0.0, 0.0, 0.8j]), wires=[1, 0])
    qml.RX(x, wires=0)
    outcome = qml.measure(1)
    qml.cond(outcome, qml.StronglyEntanglingLayers)(np.reshape(np.tile(w, 2), (1, 2, 3)), wires=[0, 1])
    return qml.expval(qml.Z(0)), qml.expval(qml.Hermitian(np.array([[1.0, 0.5j], [-0.5j, 2.0]]), wires=1))


def selected(x: Any, w: Any) -> Any:
    qml.RX(x, wires=0)
    qml.CRY(w[0], wires=[0, 1])
    outcome = qml.measure(0, postselect=1)
    qml.cond(outcome, qml.RY)(w[1], wires=1)
    return qml.expval(qml.Z(1)), qml.probs(wires=[1]), qml.expval(outcome)


CIRCUITS: list[Callable[..., Any]] = [teleport, resets, prepared, selected]


def run(circuit: Any, device: Any, x: Any = X, **options: Any) -> Any:
    return qml.QNode(circuit, device, **options)(x, W)


@pytest.mark.parametrize("method", [None, "tree-traversal"])
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_shots_agree_with_exact_results(circuit: Any, method: str | None) -> None:
    wires = 3 if circuit is teleport else 2
    estimates = run(circuit, FusedQubit(wires=wires, seed=8), shots=SHOTS, mcm_method=method)
    for estimate, exact in zip(estimates, run(circuit, qml.device("default.qubit")), strict=True):
        assert np.shape(estimate) == np.shape(exact)
        np.testing.assert_allclose(estimate, exact, atol=0.03)


def test_broadcast_parameters_and_wires_that_are_found_in_the_circuit() -> None:
    angles = np.array([0.2, 1.4, -0.6])
    estimates = run(resets, FusedQubit(seed=2), angles, shots=SHOTS)
    for estimate, exact in zip(estimates, run(resets, qml.device("default.qubit"), angles), strict=True):
        np.testing.assert_allclose(estimate, exact, atol=0.03)


def test_samples_and_counts_belong_to_the_same_shots() -> None:
    @qml.qnode(FusedQubit(wires=2, seed=5), shots=[7, (40, 2)])
    def circuit() -> Any:
        qml.Hadamard(0)
        outcome = qml.measure(0)
        qml.cond(outcome, qml.X)(1)
        return qml.sample(outcome), qml.sample(wires=[1]), qml.counts(outcome), qml.counts(all_outcomes=True)

    parts = circuit()
    assert [len(part[0]) for part in parts] == [7, 40, 40]
    for outcomes, samples, counts, all_counts in parts:
        np.testing.assert_array_equal(outcomes, np.ravel(samples))
        assert counts[1] == outcomes.sum() == all_counts["11"]
        assert all_counts["01"] == all_counts["10"] == 0


def test_functions_of_one_outcome_are_told_apart() -> None:
    def circuit() -> Any:
        qml.RX(1.0, wires=0)
        outcome = qml.measure(0)
        return [qml.expval(value) for value in (outcome, 2 * outcome, outcome, 1 - outcome)]

    mean, double, again, rest = qml.QNode(circuit, FusedQubit(wires=1, seed=1), shots=100)()
    assert 0 < mean < 1
    np.testing.assert_allclose((double, again, rest), (2 * mean, mean, 1 - mean))


def test_shots_that_are_not_selected_are_left_out() -> None:
    @qml.qnode(FusedQubit(wires=1, seed=5), shots=400)
    def circuit(angle: Any, wanted: int) -> Any:
        qml.RX(angle, wires=0)
        outcome = qml.measure(0, postselect=wanted)
        return qml.sample(outcome), qml.expval(qml.Z(0)), qml.probs(op=outcome)

    samples, mean, weights = circuit(np.pi / 2, 1)
    assert 150 < len(samples) < 250
    assert samples.all()
    assert mean == -1.0
    np.testing.assert_array_equal(weights, [0.0, 1.0])
    nothing = circuit(0.0, 1)[1:]
    assert np.isnan(nothing[0])
    assert np.isnan(nothing[1]).all()


def test_circuits_are_compiled_once() -> None:
    device = FusedQubit(wires=2, seed=1)
    for x in (0.1, 0.2):
        run(resets, device, x, shots=10)
    before = len(device._simulations)
    run(resets, device, 0.3, shots=10)
    assert len(device._simulations) == before


def test_the_device_chooses_what_suits_the_shots() -> None:
    estimate = run(resets, FusedQubit(wires=2, seed=3), shots=SHOTS, mcm_method="device")
    exact = run(resets, FusedQubit(wires=5), mcm_method="device")  # three of them are for outcomes
    for first, second, expected in zip(estimate, exact, run(resets, qml.device("default.qubit")), strict=True):
        np.testing.assert_allclose(first, expected, atol=0.03)
        np.testing.assert_allclose(second, expected, atol=1e-10)


def test_shifted_circuits_estimate_the_gradient() -> None:
    def circuit(x: Any) -> Any:
        qml.RX(x, wires=0)
        outcome = qml.measure(0)
        qml.cond(outcome, qml.RY)(0.4, wires=1)
        return qml.expval(qml.Z(1))

    estimate = qml.grad(qml.QNode(circuit, FusedQubit(wires=2, seed=3), shots=SHOTS))(pnp.array(X))
    exact = qml.grad(qml.QNode(circuit, qml.device("default.qubit")))(pnp.array(X))
    np.testing.assert_allclose(estimate, exact, atol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mcm_method": "tree-traversal"}, "needs shots"),
        ({"mcm_method": "one-shot", "postselect_mode": "fill-shots", "shots": 5}, "hw-like"),
        ({"mcm_method": "single-branch-statistics"}, "'deferred' is"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        run(selected, FusedQubit(wires=2), **options)


@pytest.mark.parametrize(("shots", "message"), [(None, "not supported"), (5, "through a QNode")])
def test_the_device_itself_takes_what_preprocessing_leaves(shots: int | None, message: str) -> None:
    with qml.queuing.AnnotatedQueue() as queue:
        qml.cond(qml.measure(0), qml.X)(1)
        qml.expval(qml.Z(1))
    with pytest.raises(DeviceError, match=message):
        FusedQubit().execute(qml.tape.QuantumScript.from_queue(queue, shots=shots))
