"""Tests that need JAX are left out where it is not installed, and the summary says so; a count of sweeps."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from qiskit_fusedqml.engine.passes import Passes


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if find_spec("jax") is None:
        without = [item for item in items if item.get_closest_marker("jax") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in without])
        items[:] = without


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_spec("jax") is None:
        terminalreporter.write_line("PennyLane's JAX interface was not tested: JAX is missing (pip install jax).")


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engine's sweeps from now on, "f" and "b"."""
    seen: list[str] = []
    forward, backward = Passes.forward, Passes.backward
    monkeypatch.setattr(Passes, "forward", lambda *a, **k: seen.append("f") or forward(*a, **k))
    monkeypatch.setattr(Passes, "backward", lambda *a, **k: seen.append("b") or backward(*a, **k))
    return seen
