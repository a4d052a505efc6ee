"""PennyLane's own test suite for devices: some of it always, all of it with ``-m slow``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pennylane.devices.tests
import pytest
from support import plugin

SUITE = Path(pennylane.devices.tests.__file__).parent
LAUNCH = """
import sys
import pytest; from support import plugin
import qiskit_fusedqml  # before pytest puts the folder of the suite first, where another one may be installed
plugin.register()
for shots in ("None", "20000"):
    status = pytest.main([f"--shots={shots}", *sys.argv[1:]])
    if status:
        sys.exit(status)
"""


DEVICES = ["fusedqml.qubit", "fusedqml.mixed"]


def run(device: str, *files: Path) -> int:
    """Run files of the suite without and with shots, as ``pl-device-test`` does; the number of tests that passed."""
    options = [f"--device={device}", "--no-flaky-report", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-c", LAUNCH, *options, *map(str, files)]
    paths = os.pathsep.join([str(Path(plugin.__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    answer = subprocess.run(command, cwd=SUITE, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-6000:] + answer.stderr
    found = re.findall(r"(\d+) passed", answer.stdout)
    assert len(found) == 2, "once without, once with shots"
    return sum(map(int, found))


@pytest.mark.parametrize("device", DEVICES)
def test_some_of_the_suite(device: str) -> None:
    files = ("test_wires.py", "test_return_system.py", "test_gates_with_expval.py")
    assert run(device, *(SUITE / file for file in files)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_whole_suite(device: str) -> None:
    assert run(device, SUITE) > 700
