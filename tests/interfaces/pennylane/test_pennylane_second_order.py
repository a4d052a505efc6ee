"""Second derivatives on the device: refused by its own gradients, right by parameter shift; first ones undisturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

qml = pytest.importorskip("pennylane")
torch = pytest.importorskip("torch")

from pennylane.exceptions import DeviceError  # noqa: E402

X, W = np.array([0.3, 0.7]), np.array(0.4)
DEVICE = qml.device("fusedqml.qubit", wires=2)
MESSAGE = r'Second derivatives are not available.*diff_method="parameter-shift", max_diff=2'


def sandwich(x: Any, w: Any) -> Any:
    qml.RX(x[0], wires=0)
    qml.RY(x[1], wires=1)
    qml.CNOT([0, 1])
    qml.CRY(w, wires=[0, 1])
    return qml.expval(qml.Z(1) @ qml.X(0))


def two_results(x: Any, w: Any) -> Any:
    return sandwich(x, w), qml.probs(wires=1)


def with_coefficients(x: Any, w: Any) -> Any:
    qml.RY(x[0], wires=0)
    return qml.expval(qml.Hamiltonian([w, x[1]], [qml.Z(0), qml.X(0)]))


def with_amplitudes(x: Any, w: Any) -> Any:
    qml.AmplitudeEmbedding(qml.math.stack([x[0], x[1], w, 0.3 * w]), wires=[0, 1], normalize=True)
    qml.RY(w, wires=0)
    return qml.expval(qml.Z(0))


CIRCUITS = [sandwich, two_results, with_amplitudes]


def loss(circuit: Callable[..., Any], sums: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    node = qml.QNode(circuit, DEVICE, **options)

    def function(x: Any, w: Any) -> Any:
        result = node(3 * x, w)
        parts = result if isinstance(result, tuple) else (result,)
        return sums([(part**2).sum() for part in parts]) + w * (x**2).sum()  # the classical part has derivatives, too

    return function


def trained(*numbers: np.ndarray) -> list[Any]:
    return [qml.numpy.array(number, requires_grad=True) for number in numbers]


def tensors(*numbers: np.ndarray) -> list[Any]:
    return [torch.tensor(number, requires_grad=True) for number in numbers]


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("second", [0, 1])
def test_autograd_refuses(circuit: Callable[..., Any], first: int, second: int) -> None:
    gradient = qml.grad(loss(circuit, sum), argnums=first)
    assert np.all(np.isfinite(gradient(*trained(X, W))))
    with pytest.raises(DeviceError, match=MESSAGE):
        qml.jacobian(gradient, argnums=second)(*trained(X, W))


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("vectorize", [False, True])
def test_torch_refuses(circuit: Callable[..., Any], vectorize: bool) -> None:
    function, (x, w) = loss(circuit, sum), tensors(X, W)
    first = torch.autograd.grad(function(x, w), (x, w))
    again = torch.autograd.grad(function(x, w), (x, w), create_graph=True)
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other.detach())
    for part in again:
        with pytest.raises(DeviceError, match=MESSAGE):
            torch.autograd.grad(part.sum(), (x, w), retain_graph=True)
    with pytest.raises(DeviceError, match=MESSAGE):
        torch.autograd.functional.hessian(function, (x, w), vectorize=vectorize)


def test_a_gradient_penalty_is_refused() -> None:
    x, w = tensors(X, W)
    gradient = torch.autograd.grad(loss(sandwich, sum)(x, w), x, create_graph=True)[0]
    with pytest.raises(DeviceError, match=MESSAGE):
        (gradient**2).sum().backward()


def test_the_way_out_is_right() -> None:
    options = {"diff_method": "parameter-shift", "max_diff": 2}
    expected = loss(sandwich, sum, **options)
    step = 1e-5
    shifts = step * np.eye(2)

    def gradient(x: np.ndarray) -> np.ndarray:
        return qml.grad(loss(sandwich, sum), argnums=0)(*trained(x, W))

    differences = [(gradient(X + shift) - gradient(X - shift)) / (2 * step) for shift in shifts]
    found = qml.jacobian(qml.grad(expected, argnums=0), argnums=0)(*trained(X, W))
    np.testing.assert_allclose(found, differences, rtol=0, atol=1e-8)
    in_torch = torch.autograd.functional.hessian(expected, tuple(tensors(X, W)))
    np.testing.assert_allclose(in_torch[0][0], differences, rtol=0, atol=1e-8)


def test_first_derivatives_of_batches_and_jacobians_are_as_before() -> None:
    samples = np.random.default_rng(4).uniform(-1, 1, (2, 5))
    results = []
    for device in (DEVICE, qml.device("default.qubit", wires=2)):
        node = qml.QNode(two_results, device)
        x, w = tensors(samples, W)
        rows = torch.autograd.functional.jacobian(lambda x, w, node=node: node(x, w)[1], (x, w))
        boxes = trained(samples, W)
        in_autograd = qml.jacobian(lambda x, w, node=node: node(x, w)[1])(*boxes)
        results.append([*map(np.asarray, rows), *in_autograd])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)


def test_derivatives_by_coefficients_are_right_in_what_they_know() -> None:
    """The framework multiplies by the coefficients itself, so that these derivatives may be differentiated again."""
    function = loss(with_coefficients, sum)
    by_angle, by_coefficient = (qml.grad(function, argnums=k) for k in (0, 1))
    step = 1e-5
    differences = [
        (by_coefficient(*trained(X + shift, W)) - by_coefficient(*trained(X - shift, W))) / (2 * step)
        for shift in step * np.eye(2)
    ]
    found = qml.jacobian(by_coefficient, argnums=0)(*trained(X, W))
    np.testing.assert_allclose(found, differences, rtol=0, atol=1e-8)
    for second in (0, 1):
        with pytest.raises(DeviceError, match=MESSAGE):
            qml.jacobian(by_angle, argnums=second)(*trained(X, W))


def test_watched_devices_refuse_too() -> None:
    """Where a tracker counts operations, they are not stacked."""
    with qml.Tracker(DEVICE), pytest.raises(DeviceError, match=MESSAGE):
        torch.autograd.functional.hessian(loss(sandwich, sum), tuple(tensors(X, W)))
