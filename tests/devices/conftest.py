"""Tests that need NVRTC or CuPy are left out where they are not installed, and the summary says so."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from support import nvrtc
from support.sass import program

NEEDS = {
    "nvrtc": (
        lambda: nvrtc.find() is not None,
        "The CUDA kernels were not compiled for any GPU: NVRTC is missing (pip install nvidia-cuda-nvrtc).",
    ),
    "nvdisasm": (
        lambda: nvrtc.find() is not None and program.find() is not None,
        "No machine code was executed: nvdisasm is missing (pip install nvidia-cuda-nvdisasm).",
    ),
    "cupy": (
        lambda: find_spec("cupy") is not None,
        "CuPy's own interface was not asked: CuPy is missing (pip install cupy-cuda13x nvidia-cuda-nvrtc).",
    ),
}
"""By marker: whether there is what tests need, and what is said if not."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, (is_there, _) in NEEDS.items():
        if not is_there():
            without = [item for item in items if item.get_closest_marker(marker) is None]
            config.hook.pytest_deselected(items=[item for item in items if item not in without])
            items[:] = without


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for is_there, missing in NEEDS.values():
        if not is_there():
            terminalreporter.write_line(missing)
