"""Tests that need JAX are left out where it is not installed, and the summary says so."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if find_spec("jax") is None:
        without = [item for item in items if item.get_closest_marker("jax") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in without])
        items[:] = without


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_spec("jax") is None:
        terminalreporter.write_line("PennyLane's JAX interface was not tested: JAX is missing (pip install jax).")
