"""Hessian-vector products and geometric tensors against finite differences of values and states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.engine import rotations, second_order
from qiskit_fusedqml.errors import InvalidInputError

RNG = np.random.default_rng(31)
OBSERVABLES = [SparsePauliOp(["ZXY", "IIZ"], [0.3, 0.9]), SparsePauliOp("XXI")]


def trainable(num_weights: int = 7) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """A feature map with products, and weights in plain and controlled gates, repeated and in sums."""
    x, w = ParameterVector("x", 3), ParameterVector("w", num_weights)
    circuit = QuantumCircuit(3)
    circuit.compose(zz_feature_map(3, reps=1, parameter_prefix="y").assign_parameters(x), inplace=True)
    for k, parameter in enumerate(w):
        circuit.ry(parameter, k % 3)
        circuit.cx(k % 3, (k + 1) % 3)
    circuit.crx(w[0], 0, 1)
    circuit.cu(w[1], 2 * w[2], w[3] - w[1], w[4], 1, 2)
    circuit.mcp(w[5], [0, 1], 2)
    circuit.rxx(w[6] + 2 * w[0], 0, 2)
    circuit.rx(w[0] * w[1].sin() + w[2] ** 2, 1)
    circuit.crz(w[1] / (2 + w[0].cos()) - x[0] * w[3], 2, 0)
    circuit.global_phase = w[5]
    return circuit, x, w


CIRCUIT, X, W = trainable()


def differentiable(**options: Any) -> DifferentiableCircuit:
    return DifferentiableCircuit(CIRCUIT, OBSERVABLES, inputs=X, weights=W, **options)


def data(batch: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return RNG.normal(size=(batch, 3)), RNG.normal(size=7), RNG.normal(size=7)


def values(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Expectation values (B, 2) by Qiskit."""
    rows = [CIRCUIT.assign_parameters({X: row, W: w}) for row in x]
    return np.array([[Statevector(row).expectation_value(o).real for o in OBSERVABLES] for row in rows])


def test_products_with_the_hessian() -> None:
    x, w, v = data()
    cotangents = RNG.normal(size=(3, 2))

    def loss(at: np.ndarray) -> float:
        return float((cotangents * values(x, at)).sum())

    step = 2e-3
    expected = [
        (loss(w + step * (u + v)) - loss(w + step * (u - v)) - loss(w - step * (u - v)) + loss(w - step * (u + v)))
        / (4 * step**2)
        for u in np.eye(7)
    ]
    ours = differentiable().hvp(x, w, v, cotangents)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-4)
    gradient = [differentiable().value_and_vjp(x, w + t * v, cotangents)[2] for t in (1e-5, -1e-5)]
    np.testing.assert_allclose(ours, (gradient[0] - gradient[1]) / 2e-5, rtol=0, atol=1e-8)


def test_the_hessian_is_symmetric_to_machine_precision() -> None:
    x, w, _ = data(2)
    hessian = np.array([differentiable().hvp(x, w, unit) for unit in np.eye(7)])
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-12)
    ones = differentiable().hvp(x, w, np.ones(7), np.ones((2, 2)))
    np.testing.assert_allclose(hessian.sum(axis=0), ones, rtol=0, atol=1e-12)


def test_a_hessian_known_in_closed_form() -> None:
    w = ParameterVector("w", 2)
    circuit = QuantumCircuit(1)
    circuit.ry(w[0] + 3 * w[1], 0)
    f = DifferentiableCircuit(circuit, ["Z"])
    at, v = np.array([0.4, -0.3]), np.array([0.7, 1.1])
    curvature = -np.cos(at @ [1, 3]) * np.outer([1, 3], [1, 3])
    np.testing.assert_allclose(f.hvp(None, at, v), curvature @ v, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(f.hvp(None, at, np.zeros(2)), [0.0, 0.0])
    with pytest.raises(InvalidInputError, match=r"\(3,\); \(2,\)"):
        f.hvp(None, at, np.ones(3))
    with pytest.raises(InvalidInputError, match=r"shape \(2, 1\)"):
        f.hvp(None, at, v, np.ones((2, 1)))


def test_newton_s_method_converges_quadratically() -> None:
    f = DifferentiableCircuit(efficient_su2(2, reps=0), SparsePauliOp(["ZI", "IZ", "XX"], [1, 0.8, 0.3]))
    at, norms = np.array([2.9, 3.0, 0.1, 0.05]), []
    for _ in range(6):
        gradient = f.value_and_vjp(None, at, np.ones((1, 1)))[2]
        norms.append(np.linalg.norm(gradient))
        hessian = np.array([f.hvp(None, at, unit) for unit in np.eye(4)])
        at = at - np.linalg.pinv(hessian, rcond=1e-6) @ gradient
    assert norms[-1] < 1e-12
    assert norms[0] > 1e-2


def states(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.array([Statevector(CIRCUIT.assign_parameters({X: row, W: w})).data for row in x])


@pytest.mark.parametrize("phase_fix", [True, False])
def test_geometric_tensors(phase_fix: bool) -> None:
    x, w, _ = data(2)
    step, weights = 1e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    slopes = [sum(c * states(x, w + k * step * u) for k, c in weights.items()) / step for u in np.eye(7)]
    psi, slopes = states(x, w), np.stack(slopes, axis=1)
    expected = np.einsum("bpi,bqi->bpq", slopes.conj(), slopes)
    if phase_fix:
        along = np.einsum("bi,bqi->bq", psi.conj(), slopes)
        expected -= along.conj()[:, :, None] * along[:, None]
    ours = differentiable().geometric_tensor(x, w, phase_fix=phase_fix)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)
    tight = differentiable(max_memory_mb=3 * 64 * 8 / 2**20)
    assert tight.unrolled.blocks(1, 20)[1] < 20
    np.testing.assert_allclose(tight.geometric_tensor(x, w, phase_fix=phase_fix), ours, rtol=0, atol=1e-12)


def test_the_tensor_of_rows_of_weights() -> None:
    x, w, _ = data(2)
    rows = np.stack([w, 2 * w])
    ours = differentiable().geometric_tensor(x, rows)
    for tensor, features, row in zip(ours, x, rows, strict=True):
        np.testing.assert_allclose(tensor, differentiable().geometric_tensor(features, row)[0], rtol=0, atol=1e-12)


def test_the_comparisons_see_wrong_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    original = rotations.Unrolled.tangents
    monkeypatch.setattr(rotations.Unrolled, "tangents", lambda f, row, which: original(f, row, which) * 1.001)
    with pytest.raises(AssertionError):
        test_geometric_tensors(True)
    monkeypatch.setattr(rotations, "CONTROLLED_SHIFTS", rotations.PLAIN_SHIFTS)
    with pytest.raises(AssertionError):
        test_products_with_the_hessian()


def test_the_comparison_sees_missing_curvature_of_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_order, "_curvature", lambda f, row, v, c: np.zeros(10))
    with pytest.raises(AssertionError):
        test_products_with_the_hessian()
