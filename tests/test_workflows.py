"""Workflows, Makefile and scripts: what they name is there, and says what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORKFLOWS = "\n".join(path.read_text() for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")))
MAKEFILE, GUIDE = ((ROOT / name).read_text() for name in ("Makefile", "CONTRIBUTING.md"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_targets_that_they_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z]\w+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:run: |`)make ([a-z]\w+)", WORKFLOWS + GUIDE))
    assert {"arm64", "cross", "demo", "docs", "test", "wheel"} <= named <= targets


def test_help_names_every_target() -> None:
    listed = re.search(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)
    assert listed is not None
    helped = set(re.findall(r"^\t@echo ['\"]make (\w+)", MAKEFILE, re.MULTILINE))
    assert helped == set(listed[1].split()) - {"help", "install"}


def test_files_that_they_name_are_there() -> None:
    scripts = "".join(path.read_text() for path in (ROOT / ".ci").glob("*.py"))
    command = PYPROJECT["tool"]["cibuildwheel"]["test-command"]
    named = set(re.findall(r"(?:tests|\.ci|\.github)/[\w./]*\w", WORKFLOWS + MAKEFILE + GUIDE + scripts + command))
    assert {"tests/ir", "tests/engine/test_engine.py", ".ci/wheel_check.py", ".github/workflows/wheels.yml"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_oldest_torch_is_the_lower_bound() -> None:
    (torch,) = PYPROJECT["project"]["optional-dependencies"]["torch"]
    named = re.findall(r"DEPENDENCIES=oldest TORCH=torch==([\d.]+)", WORKFLOWS + MAKEFILE + GUIDE)
    assert len(named) == 3
    assert {f"torch>={version.removesuffix('.0')}" for version in named} == {torch}


def test_the_first_and_the_last_python_are_tested() -> None:
    classifiers = "\n".join(PYPROJECT["project"]["classifiers"])
    versions = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    (matrix,) = re.findall(r"python: \[(.*)\]", WORKFLOWS)
    assert re.findall(r"[\d.]+", matrix) == [versions[0], versions[-1]]
    assert PYPROJECT["project"]["requires-python"] == f">={versions[0]}"
