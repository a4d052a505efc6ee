"""The instruction sets of the tests. Those that need NVRTC or CuPy are left out without it, and the summary says so."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from support import nvrtc
from support.sass import program

from qiskit_fusedqml.devices import _native

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


@pytest.fixture(params=_native.instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set of this machine, which devices that are made then use."""
    monkeypatch.setenv("FUSEDQML_ISA", request.param)
    return str(request.param)


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
