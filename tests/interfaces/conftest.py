"""Tests that need an optional package are left out where it is missing, as the summary says; a count of sweeps."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from qiskit_fusedqml.engine.passes import Passes

OPTIONAL = {
    "jax": ("jax", "PennyLane's JAX interface was not tested: JAX is missing (pip install jax)."),
    "algorithms": (
        "qiskit_algorithms",
        "qiskit-algorithms was not tested: it is missing (pip install qiskit-algorithms).",
    ),
}
"""The packages by the marker of the tests that need them, and what the summary says in their absence."""


def missing() -> list[str]:
    return [marker for marker, (package, _) in OPTIONAL.items() if find_spec(package) is None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    markers = missing()
    without = [item for item in items if not any(map(item.get_closest_marker, markers))]
    config.hook.pytest_deselected(items=[item for item in items if item not in without])
    items[:] = without


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker in missing():
        terminalreporter.write_line(OPTIONAL[marker][1])


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engine's sweeps from now on, "f" and "b"."""
    seen: list[str] = []
    forward, backward = Passes.forward, Passes.backward
    monkeypatch.setattr(Passes, "forward", lambda *a, **k: seen.append("f") or forward(*a, **k))
    monkeypatch.setattr(Passes, "backward", lambda *a, **k: seen.append("b") or backward(*a, **k))
    return seen
