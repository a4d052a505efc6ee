"""Tests that need NVRTC are left out where it is not installed, and the summary says so."""

from __future__ import annotations

import pytest
from support import nvrtc


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if nvrtc.find() is None:
        without = [item for item in items if item.get_closest_marker("nvrtc") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in without])
        items[:] = without


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if nvrtc.find() is None:
        terminalreporter.write_line(
            "The CUDA kernels were not compiled for any GPU: NVRTC is missing (pip install nvidia-cuda-nvrtc)."
        )
