"""JAX, with and without jit: in a lane of its own, because it is large and nothing else needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
import pytest

from qiskit_fusedqml.interfaces.pennylane import FusedQubit

pytestmark = [
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
]


def circuit(device: Any, **options: Any) -> Any:
    @qml.qnode(device, diff_method="adjoint" if isinstance(device, FusedQubit) else "backprop", **options)
    def run(features: Any, x: Any, w: Any) -> Any:
        qml.AmplitudeEmbedding(features, wires=[2, 0], normalize=True)
        qml.RX(x, wires=1)
        qml.CNOT(wires=[1, 2])
        qml.IsingXY(w, wires=[0, 3])
        return qml.expval(qml.Z(0) @ qml.X(2) + qml.Y(1)), qml.probs(wires=[0, 1])

    return run


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("jit", [False, True])
def test_gradients_and_jacobians(batch: tuple[int, ...], *, jit: bool) -> None:
    import jax

    jax.config.update("jax_enable_x64", val=True)
    rng = np.random.default_rng(0)
    arguments = [jax.numpy.array(rng.normal(size=shape)) for shape in ((*batch, 4), batch, ())]
    answers = []
    for device in (FusedQubit(wires=4), qml.device("default.qubit", wires=4)):

        def loss(*a: Any, run: Any = circuit(device)) -> Any:  # noqa: B008
            value, weights = run(*a)
            return (value**2).sum() + (weights * np.arange(weights.size).reshape(weights.shape)).sum()

        gradient = jax.grad(loss, argnums=(0, 1, 2))
        jacobian = jax.jacobian(circuit(device), argnums=(1, 2))
        if jit:
            gradient, jacobian = jax.jit(gradient), jax.jit(jacobian)
        answers.append(jax.tree.leaves((gradient(*arguments), jacobian(*arguments))))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_vmap_with_weights_that_samples_share_or_do_not() -> None:
    import jax

    jax.config.update("jax_enable_x64", val=True)
    rng = np.random.default_rng(1)
    features, x, w = (jax.numpy.array(rng.normal(size=shape)) for shape in ((3, 4), 3, ()))
    each = jax.numpy.array(rng.normal(size=3))
    answers = []
    for device in (FusedQubit(wires=4), qml.device("default.qubit", wires=4)):

        def loss(*a: Any, run: Any = circuit(device)) -> Any:  # noqa: B008
            value, weights = run(*a)
            return value**2 + (weights * np.arange(4)).sum()

        total = jax.grad(lambda f, x, w, g=loss: jax.vmap(g, (0, 0, None))(f, x, w).sum(), argnums=(0, 1, 2))
        by_sample = jax.vmap(jax.grad(loss, argnums=(0, 1, 2)), (0, 0, None))
        own = jax.vmap(jax.grad(loss, argnums=(1, 2)))
        total, by_sample, own = map(jax.jit, (total, by_sample, own))
        found = total(features, x, w), by_sample(features, x, w), own(features, x, each)
        answers.append(jax.tree.leaves(found))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_forward_mode() -> None:
    import jax

    jax.config.update("jax_enable_x64", val=True)
    features = np.random.default_rng(2).normal(size=4)
    point, direction = (jax.numpy.array(0.3), jax.numpy.array(-0.8)), (jax.numpy.array(1.5), jax.numpy.array(0.2))
    answers = []
    for device, options in ((FusedQubit(wires=4), {"grad_on_execution": True}), (qml.device("default.qubit"), {})):

        def run(x: Any, w: Any, f: Any = circuit(device, **options)) -> Any:  # noqa: B008
            return f(features, x, w)

        def both(*a: Any, run: Any = run) -> Any:
            return jax.jvp(run, a, direction), jax.jacfwd(run)(*a)

        answers.append(jax.tree.leaves(jax.jit(both)(*point)))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("jit", [False, True])
def test_vmap_with_gradients_on_execution(*, jit: bool) -> None:
    import jax

    jax.config.update("jax_enable_x64", val=True)
    rng = np.random.default_rng(3)
    features, x, w = rng.normal(size=4), jax.numpy.array(rng.normal(size=3)), jax.numpy.array(0.7)

    def functions(f: Any) -> list[Any]:
        def one(x: Any, w: Any) -> Any:
            value, weights = f(features, x, w)
            return value**2 + (weights * np.arange(4)).sum()

        def total(x: Any, w: Any) -> Any:
            return jax.vmap(one, (0, None))(x, w).sum()

        directed = jax.vmap(lambda x, w: jax.jvp(one, (x, w), (w, x)), (0, None))
        slopes = [jax.vmap(way(one, argnums=(0, 1)), (0, None)) for way in (jax.grad, jax.jacfwd)]
        return [jax.vmap(one, (0, None)), directed, *slopes, jax.grad(total, argnums=(0, 1)), jax.jacfwd(total)]

    mine, other = circuit(FusedQubit(wires=4), grad_on_execution=True), circuit(qml.device("default.qubit", wires=4))
    for ours, theirs in zip(functions(mine), functions(other), strict=True):
        found = jax.tree.leaves((jax.jit(ours) if jit else ours)(x, w))
        for result, expected in zip(found, jax.tree.leaves(theirs(x, w)), strict=True):
            np.testing.assert_allclose(result, expected, atol=1e-10)


def test_all_samples_are_kept_where_their_number_must_not_change() -> None:
    import jax

    @qml.qnode(FusedQubit(wires=1, seed=5), shots=50)
    def circuit(angle: Any) -> Any:
        qml.RX(angle, wires=0)
        outcome = qml.measure(0, postselect=1)
        return qml.sample(outcome), qml.expval(qml.Z(0))

    samples, mean = circuit(jax.numpy.array(np.pi / 2))
    assert samples.shape == (50,)
    assert set(np.asarray(samples).tolist()) == {1, np.iinfo(np.int32).min}
    assert mean == -1.0


def single_number(device: Any, **options: Any) -> Any:
    @qml.qnode(device, **options)
    def run(x: Any) -> Any:
        qml.RX(x, wires=0)
        qml.RY(0.3, wires=1)
        qml.CNOT([0, 1])
        qml.RY(2 * x, wires=1)
        return qml.expval(qml.Z(1))

    return run


@pytest.mark.parametrize("grad_on_execution", [False, True])
@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("kind", [float, np.float64, np.float32, "jax32", "jax64"])
def test_numbers_of_every_type(kind: Any, precision: str, grad_on_execution: bool) -> None:
    """Python's numbers, and others than JAX's own precision, by every derivative that the mode has."""
    import jax

    jax.config.update("jax_enable_x64", val=True)
    options = {"grad_on_execution": True} if grad_on_execution else {}
    ours = single_number(FusedQubit(wires=2, precision=precision), **options)
    theirs = single_number(qml.device("default.qubit", wires=2))
    x = jax.numpy.array(0.4, kind.replace("jax", "float")) if isinstance(kind, str) else kind(0.4)
    expected = float(theirs(0.4)), float(jax.grad(theirs)(0.4))
    for compiled in (lambda f: f, jax.jit):
        for derivative in (jax.grad, jax.jacobian, *((jax.jacfwd,) if grad_on_execution else ())):
            np.testing.assert_allclose(compiled(derivative(ours))(x), expected[1], atol=1e-5)
        np.testing.assert_allclose(compiled(jax.value_and_grad(ours))(x), expected, atol=1e-5)
    samples = jax.numpy.array([0.4, 0.4], getattr(x, "dtype", float))
    over_samples = jax.jit(jax.vmap(jax.grad(ours))) if grad_on_execution else jax.vmap(jax.grad(ours))
    np.testing.assert_allclose(over_samples(samples), 2 * [expected[1]], atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("grad_on_execution", [False, True])
def test_second_derivatives_are_refused(grad_on_execution: bool, jit: bool) -> None:
    import jax

    options = {"grad_on_execution": True} if grad_on_execution else {}
    run = single_number(FusedQubit(wires=2), **options)
    for second in (jax.hessian(run), jax.jacrev(jax.jacrev(run)), jax.grad(lambda x: jax.grad(run)(x) ** 2)):
        with pytest.raises((qml.exceptions.DeviceError, ValueError), match=r"Second derivatives|do not support JVP"):
            (jax.jit(second) if jit else second)(0.4)
    by_shifts = single_number(FusedQubit(wires=2), diff_method="parameter-shift", max_diff=2)
    expected = jax.hessian(single_number(qml.device("default.qubit", wires=2)))(0.4)
    np.testing.assert_allclose(jax.hessian(by_shifts)(jax.numpy.array(0.4)), expected, atol=1e-5)
