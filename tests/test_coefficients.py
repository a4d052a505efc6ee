"""Quaternions, Euler angles and affine maps against matrices and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from qiskit_fusedqml.affine import Affine
from qiskit_fusedqml.coefficients import RunTable, euler, multiply, rotate_back

PAULIS = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def _matrix(q: np.ndarray) -> np.ndarray:
    return q[0] * np.eye(2) - 1j * np.einsum("a,aij->ij", q[1:], PAULIS)


def _rotation(axis: int, theta: float) -> np.ndarray:
    return np.cos(theta / 2) * np.eye(2) - 1j * np.sin(theta / 2) * PAULIS[axis]


def _random_quaternion(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return q / np.linalg.norm(q)


@pytest.mark.parametrize("seed", range(10))
def test_quaternions_multiply_as_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = _random_quaternion(rng), _random_quaternion(rng)
    np.testing.assert_allclose(_matrix(multiply(p, q)), _matrix(p) @ _matrix(q), atol=1e-14)


@pytest.mark.parametrize("seed", range(10))
def test_rotate_back_is_the_transposed_rotation_of_paulis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, g = _random_quaternion(rng), rng.normal(size=3)
    u = _matrix(q)
    moved = [0.5 * np.trace(np.einsum("aij,a->ij", PAULIS, g) @ u @ p @ u.conj().T).real for p in PAULIS]
    np.testing.assert_allclose(rotate_back(q, g), moved, atol=1e-14)


@pytest.mark.parametrize("q", [*np.eye(4), *(_random_quaternion(np.random.default_rng(s)) for s in range(10))])
def test_euler_angles_rebuild_the_matrix(q: np.ndarray) -> None:
    alpha, beta, gamma = euler(q)
    rebuilt = _rotation(2, alpha) @ _rotation(1, beta) @ _rotation(2, gamma)
    np.testing.assert_allclose(rebuilt, _matrix(q), atol=1e-14)


def test_runs_multiply_in_time_order() -> None:
    rng = np.random.default_rng(0)
    runs = [[(0, 0, 0.0), (1, 1, 0.0), (2, -1, 0.4)], [(1, 2, 0.5)]]
    angles = rng.uniform(-3, 3, 3)
    table = RunTable.build(runs)
    products = table.products(table.gates(angles))
    first = _rotation(2, 0.4) @ _rotation(1, angles[1]) @ _rotation(0, angles[0])
    np.testing.assert_allclose(_matrix(products[:, 0]), first, atol=1e-14)
    np.testing.assert_allclose(_matrix(products[:, 1]), _rotation(1, angles[2] + 0.5), atol=1e-14)


@pytest.mark.parametrize(
    "rows",
    [
        [(0.5, [(2, 1.5)]), (0.0, [(0, -1.0)])],
        [(0.5, []), (0.1, [(1, 2.0)])],
        [(0.5, [(2, 1.5), (0, 1.0), (2, 0.5)]), (0.0, [(1, -1.0)])],
        [],
    ],
)
@pytest.mark.parametrize("lead", [(), (4,)])
def test_affine_maps_and_their_pullbacks(rows: list, lead: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    dense = np.zeros((len(rows), 3))
    for k, (_, sources) in enumerate(rows):
        for source, weight in sources:
            dense[k, source] += weight
    affine = Affine(rows, 3)
    x, dy = rng.normal(size=(*lead, 3)), rng.normal(size=(*lead, len(rows)))
    np.testing.assert_allclose(affine.evaluate(x), x @ dense.T + [constant for constant, _ in rows], atol=1e-14)
    np.testing.assert_allclose(affine.pullback(dy), dy @ dense, atol=1e-14)
