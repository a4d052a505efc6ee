"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qiskit_fusedqml.devices import calibration
from qiskit_fusedqml.engine.plans import SHARED

# what tests start finds what is installed, not the source tree around it, which has no compiled module
os.environ["PYTHONSAFEPATH"] = "1"


@pytest.fixture(autouse=True, scope="session")
def packaged_numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Plans are made with the package's table, whatever the user of this machine has measured."""
    nothing: Path = tmp_path_factory.mktemp("cache") / "calibration.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "user_file", lambda: nothing)
        yield


@pytest.fixture(autouse=True)
def no_plans() -> None:
    """Every test makes its own plans."""
    SHARED.clear()
