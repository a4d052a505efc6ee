"""States kept from a forward pass for the derivatives: how often sweeps are made, and that answers stay right."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import Statevector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.engine import forward_cache
from qiskit_fusedqml.engine.forward_cache import KEPT
from qiskit_fusedqml.engine.passes import Passes
from qiskit_fusedqml.errors import InvalidInputError

FEATURES, ANSATZ = zz_feature_map(3, reps=1), real_amplitudes(3, reps=1)
PARITIES = np.array([value.bit_count() % 2 for value in range(8)])
Point = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def _without_states_of_other_tests() -> None:
    for key in list(KEPT._kept):
        KEPT.drop(key)


def circuit(**options: Any) -> DifferentiableCircuit:
    return DifferentiableCircuit(
        FEATURES.compose(ANSATZ), ["ZII", "XXI"], FEATURES.parameters, ANSATZ.parameters, **options
    )


def points(count: int, batch: int = 3) -> list[Point]:
    rng = np.random.default_rng(5)
    return [(rng.normal(size=(batch, 3)), rng.normal(size=6)) for _ in range(count)]


def values(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """By Qiskit; parity of the outcomes last."""
    ansatz = ANSATZ.assign_parameters(w)
    states = [Statevector(FEATURES.assign_parameters(row).compose(ansatz)).data for row in x]
    z, xx = np.diag([1.0, -1.0]), np.kron([[0, 1], [1, 0]], [[0, 1], [1, 0]])
    matrices = [np.kron(z, np.eye(4)), np.kron(xx, np.eye(2)), np.diag(PARITIES)]
    return np.array([[np.vdot(state, matrix @ state).real for matrix in matrices] for state in states])


def jacobian(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """By parameter shift."""
    return np.stack([(values(x, w + s) - values(x, w - s)) / 2 for s in np.pi / 2 * np.eye(6)], axis=-1)


class Expectations:
    """Values and derivatives of the observables."""

    columns = slice(0, 2)

    def forward(self, f: DifferentiableCircuit, point: Point) -> np.ndarray:
        return f.values(*point)

    def backward(self, f: DifferentiableCircuit, point: Point) -> np.ndarray:
        return f.jacobian(*point)


class Probabilities:
    """The probability of odd parity; its derivatives cost fewer sweeps backward than forward."""

    columns = slice(2, 3)
    groups = np.where(PARITIES, 0, -1)

    def forward(self, f: DifferentiableCircuit, point: Point) -> np.ndarray:
        return f.grouped_probabilities(*point, self.groups, 1)

    def backward(self, f: DifferentiableCircuit, point: Point) -> np.ndarray:
        return f.probability_jacobian(*point, self.groups, 1)


KINDS = pytest.mark.parametrize("kind", [Expectations(), Probabilities()], ids=["values", "probabilities"])


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each forward sweep."""
    seen: list[int] = []
    forward = Passes.forward

    def counted(self: Any, sweeps: Any, rows: Any, *rest: Any, **options: Any) -> Any:
        seen.append(rows.batch)
        return forward(self, sweeps, rows, *rest, **options)

    monkeypatch.setattr(Passes, "forward", counted)
    return seen


@KINDS
@pytest.mark.parametrize("device", ["reference", "CPU"])
def test_one_forward_sweep_for_values_and_derivatives_at_the_same_point(
    kind: Any, device: str, sweeps: list[int]
) -> None:
    f, (a, b, c) = circuit(device=device), points(3)
    for point, forward, backward in ((a, 1, 1), (b, 1, 0), (b, 1, 0), (c, 1, 0)):
        found = kind.forward(f, point)
        assert len(sweeps) == forward
        slopes = kind.backward(f, point)
        assert len(sweeps) == forward + backward
        np.testing.assert_allclose(found, values(*point)[:, kind.columns], atol=1e-12)
        np.testing.assert_allclose(slopes, jacobian(*point)[:, kind.columns], atol=1e-12)
        sweeps.clear()
    kind.backward(f, c)  # the states were used up
    assert len(sweeps) == 1


@KINDS
def test_other_values_free_the_states(kind: Any, sweeps: list[int]) -> None:
    f, (a, b) = circuit(), points(2)
    kind.forward(f, a), kind.backward(f, a)
    changed = (a[0].copy(), a[1])
    for other in (b, (a[0][:2], a[1]), (a[0], b[1]), changed):
        kind.forward(f, a)
        assert KEPT.size == f.device.state_bytes(3, 3)
        changed[0][2, 1] += 1e-15
        sweeps.clear()
        np.testing.assert_allclose(kind.backward(f, other), jacobian(*other)[:, kind.columns], atol=1e-12)
        assert sweeps == [len(other[0])]
        assert KEPT.size == 0
    kind.forward(f, a)
    np.testing.assert_allclose(kind.forward(f, b), values(*b)[:, kind.columns], atol=1e-12)
    np.testing.assert_allclose(kind.backward(f, a), jacobian(*a)[:, kind.columns], atol=1e-12)


def test_values_alone_keep_nothing() -> None:
    f, (a, b) = circuit(), points(2)
    for point in (a, b, a):
        f.values(*point)
        assert KEPT.size == 0
    f.jacobian(*b)
    f.values(*b)
    assert KEPT.size == 0


def test_derivatives_of_another_kind_are_right() -> None:
    f, (a,) = circuit(), points(1)
    for kind in (Expectations(), Probabilities(), Expectations(), Expectations(), Probabilities()):
        np.testing.assert_allclose(kind.forward(f, a), values(*a)[:, kind.columns], atol=1e-12)
        other = Probabilities() if kind.columns == slice(0, 2) else Expectations()
        for each in (other, kind):
            np.testing.assert_allclose(each.backward(f, a), jacobian(*a)[:, each.columns], atol=1e-12)
    f.values(*a), f.jacobian(*a), f.values(*a)
    whole = f.jacobian(*a, wrt="all")
    np.testing.assert_allclose(whole[..., 3:], jacobian(*a)[:, :2], atol=1e-12)


@KINDS
def test_large_batches_and_checkpoints_keep_nothing(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    point = points(1, 8)[0]
    state = 16 * 8 * 2**3
    for options, most in (
        ({"max_memory_mb": 3.5 * state / 2**20}, forward_cache.MAX_BYTES),
        ({}, state - 1),
        ({"checkpoint": 2}, forward_cache.MAX_BYTES),
    ):
        monkeypatch.setattr(KEPT, "bound", most)
        f = circuit(**options)
        for _ in range(3):
            np.testing.assert_allclose(kind.forward(f, point), values(*point)[:, kind.columns], atol=1e-12)
            assert KEPT.size == 0
            np.testing.assert_allclose(kind.backward(f, point), jacobian(*point)[:, kind.columns], atol=1e-12)


def test_states_end_with_their_program() -> None:
    f, (a,) = circuit(), points(1)
    for _ in range(2):
        f.values(*a)
        kept = KEPT.size
        f.jacobian(*a)
    f.values(*a)
    assert KEPT.size == kept > 0
    del f
    assert KEPT.size == 0  # at once, not when the garbage collector comes by


def test_states_of_many_programs_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, (a,) = [circuit() for _ in range(4)], points(1)
    state = programs[0].device.state_bytes(3, 3)
    monkeypatch.setattr(KEPT, "bound", 2 * state)
    for f in programs:
        f.values(*a), f.jacobian(*a)
    for f in programs:
        f.values(*a)
    assert KEPT.size == 2 * state
    for f in programs:  # from what was kept, or from the beginning
        np.testing.assert_allclose(f.jacobian(*a), jacobian(*a)[:, :2], atol=1e-12)


@KINDS
def test_eight_threads_share_a_program(kind: Any) -> None:
    f, chosen = circuit(), points(4)
    expected = [jacobian(*point)[:, kind.columns] for point in chosen]

    def work(k: int) -> None:
        for step in range(12):
            point = chosen[(k + step) % 4]
            kind.forward(f, point)
            np.testing.assert_allclose(kind.backward(f, point), expected[(k + step) % 4], atol=1e-12)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, k) for k in range(8)]:
            done.result()
    kind.forward(f, chosen[0]), kind.backward(f, chosen[0])
    assert KEPT.size == 0


@pytest.mark.parametrize(
    "broken", [lambda *_: True, lambda one, other: np.array_equal(one.shared, other.shared)], ids=["never", "first row"]
)
def test_a_comparison_that_misses_a_change_is_seen(
    broken: Callable[..., bool], sweeps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_cache, "_equal", broken)
    with pytest.raises((AssertionError, InvalidInputError)):
        test_other_values_free_the_states(Expectations(), sweeps)
