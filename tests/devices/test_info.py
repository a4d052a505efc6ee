"""``python -m qiskit_fusedqml info``."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from qiskit_fusedqml.__main__ import main
from qiskit_fusedqml.devices import info

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_fact_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    report = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != "i")
    assert {
        "python",
        "qiskit-fusedqml",
        "qiskit",
        "numpy",
        "processor",
        "features",
        "threads",
        "memory",
        "CUDA",
    } <= set(report)
    import qiskit

    assert report["qiskit"] == qiskit.__version__
    assert report["python"].startswith(sys.version.split()[0])


def test_instruction_set_is_the_devices(capsys: pytest.CaptureFixture[str]) -> None:
    from qiskit_fusedqml.devices.cpu import instruction_set

    main(["info"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("instruction set")]
    assert instruction_set() in line.split(maxsplit=2)[2]


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(info, "version", nothing)
    monkeypatch.setattr(info.shutil, "which", lambda *_, **__: None)
    report = {line[:24].strip(): line[24:] for line in info.describe().splitlines()}
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    for package, extra in info._EXTRAS.items():
        assert report[package] == f'not installed: pip install "qiskit-fusedqml[{extra}]"'
        assert any(re.match(rf"{package}\b", requirement) for requirement in extras[extra])
    assert 'pip install "qiskit-fusedqml[mpi]"' in report["MPI"]
    for line in info._OF_CUDA:
        assert 'pip install "qiskit-fusedqml[cuda13]", or [cuda12]' in report[line]


def test_neither_cupy_nor_torch_is_imported() -> None:
    code = (
        "import sys; from qiskit_fusedqml.__main__ import main; main(['info']);"
        "sys.exit(bool({'cupy', 'torch', 'pennylane', 'qiskit_machine_learning'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=False).returncode == 0


class Driver:
    """A CUDA driver with so many devices."""

    def __init__(self, status: int, names: tuple[bytes, ...]) -> None:
        self.status, self.names = status, names

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, handle: Any, number: int) -> int:
        handle._obj.value = number
        return 0

    def cuDeviceGetName(self, text: Any, size: int, handle: Any) -> int:
        text.value = self.names[handle.value]
        return 0


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert info.cuda_state() == "no CUDA: this machine has no driver; for an NVIDIA GPU, install NVIDIA's"


@pytest.mark.parametrize("driver", [Driver(100, ()), Driver(0, ())])
def test_driver_without_device(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert info.cuda_state().startswith("no CUDA: there is a driver, but no device")


def test_devices_are_named_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(0, (b"NVIDIA One", b"NVIDIA Two")))
    assert info.cuda_state() == "NVIDIA One, NVIDIA Two"
