"""Devices with far more wires than a circuit acts on, against default.qubit on those that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

qml = pytest.importorskip("pennylane")

from pennylane import numpy as pnp  # noqa: E402
from pennylane.exceptions import DeviceError  # noqa: E402

FEW = [3, 10, 20, 55]


def circuit(x: Any, y: Any) -> list[Any]:
    qml.RX(x, 55)
    qml.CRY(y, [55, 3])
    return [
        qml.expval(qml.Z(3)),
        qml.expval(qml.Z(10) @ qml.X(3)),
        qml.expval(qml.X(10) @ qml.Z(3)),
        qml.var(qml.Z(3) @ qml.Z(20)),
        qml.var(qml.Y(10)),
        qml.expval(qml.Projector([0, 1], wires=[20, 55])),
        qml.expval(qml.Hadamard(10)),
        qml.probs(wires=[20, 3]),
        qml.purity(wires=[3]),
    ]


@pytest.mark.parametrize("wires", [60, 300])
def test_results_and_gradients(wires: int) -> None:
    def both(device: Any, **options: Any) -> Any:
        node = qml.QNode(circuit, device, **options)

        def total(x: Any, y: Any) -> Any:
            return sum(pnp.sum(part) * (k + 1) for k, part in enumerate(node(x, y)))

        x, y = pnp.array(0.4, requires_grad=True), pnp.array(0.9, requires_grad=True)
        return np.hstack(node(x, y)), np.hstack(qml.grad(total)(x, y))

    found = both(qml.device("fusedqml.qubit", wires=wires), diff_method="adjoint")
    want = both(qml.device("default.qubit", wires=FEW), diff_method="backprop")
    for mine, other in zip(found, want, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-10)


def test_batches_and_many_idle_observables() -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=120))
    def node(x: Any) -> Any:
        qml.RX(x, 100)
        return [qml.expval(qml.Z(k)) for k in range(120)]

    x = np.array([0.1, 0.2, 0.3])
    found = np.array(node(x))
    want = np.ones((120, 3))
    want[100] = np.cos(x)
    np.testing.assert_allclose(found, want, atol=1e-12)


def test_prepared_states() -> None:
    state = np.array([0.6, 0.0, 0.0, 0.8])

    def body() -> Any:
        qml.StatePrep(state, wires=[55, 3])
        qml.RY(0.3, 3)
        return qml.expval(qml.Z(3)), qml.expval(qml.Z(10) @ qml.Z(55)), qml.probs(wires=[3, 20])

    devices = qml.device("fusedqml.qubit", wires=60), qml.device("default.qubit", wires=FEW)
    results = (qml.QNode(body, device)() for device in devices)
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_basis_states_on_all_wires() -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=8))
    def node() -> Any:
        qml.BasisState(np.array([1, 0, 1]), wires=[0, 4, 7])
        return qml.probs(wires=[7, 4, 0]), qml.state()

    probabilities, state = node()
    assert probabilities[0b101] == pytest.approx(1)
    assert abs(state[0b10000001]) == pytest.approx(1)


def test_shots() -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=60, seed=1), shots=2000)
    def node(x: float) -> Any:
        qml.RX(x, 55)
        qml.CNOT([55, 3])
        return qml.counts(), qml.sample(wires=[20, 3]), qml.expval(qml.Z(10) @ qml.Z(3))

    counts, samples, value = node(0.4)
    ones = "".join("1" if k in (3, 55) else "0" for k in range(60))
    assert set(counts) == {"0" * 60, ones}
    assert samples.shape == (2000, 2)
    assert not samples[:, 0].any()
    assert value == pytest.approx(np.cos(0.4), abs=0.05)


def test_measurements_midway() -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=50, seed=1), shots=500, mcm_method="one-shot")
    def node() -> Any:
        qml.X(40)
        idle, taken = qml.measure(10, reset=True), qml.measure(40)
        qml.cond(taken, qml.X)(7)
        return qml.counts(wires=[7, 10, 40]), qml.counts(op=[idle, taken])

    at_end, midway = node()
    assert at_end == {"101": 500}
    assert midway == {"01": 500}


def test_too_many_wires_in_use() -> None:
    @qml.qnode(qml.device("fusedqml.qubit", wires=60))
    def node() -> Any:
        for k in range(41):
            qml.Hadamard(k)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="41 of the circuit's 60 wires"):
        node()

    @qml.qnode(qml.device("fusedqml.qubit", wires=60))
    def state() -> Any:
        qml.Hadamard(0)
        return qml.state()

    with pytest.raises(DeviceError, match="60 of the circuit's 60 wires"):
        state()
