"""Documents: every public name has its entry, every entry its object, and versions agree. Nothing is built here."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qiskit_fusedqml

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "api").glob("*.rst"))

INSIDE = """
    devices.Device ir.program.Program ir.program.Rotation ir.program.validate ir.gates.GATES planner.tape.Tape
    planner.cost.CostModel ir.observables.PauliSum planner.fuse planner.Plan
    engine.program_function.ProgramFunction interfaces.qiskit.backend.save
""".split()
"""What is not public by name, but what a gate, a device or an interface is written against."""


def entries(text: str) -> Iterator[tuple[str, str]]:
    """Directive and full name of everything a page describes."""
    module = ""
    for directive, name in re.findall(r"^\.\. ([\w:]+):: (\S+)$", text, re.MULTILINE):
        if directive == "currentmodule":
            module = name
        elif directive.startswith(("auto", "py:")):
            yield directive, name if name.startswith("qiskit_fusedqml") else f"{module}.{name}"
            module = name if directive == "automodule" else module


def resolved(name: str) -> Any:
    """What a full name stands for: a module, or a path of attributes below one."""
    head, _, tail = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(resolved(head), tail)


def described(pages: list[Path]) -> set[str]:
    """Full names of all entries; a module stands for the members it lists."""
    names: set[str] = set()
    for page in pages:
        for directive, name in entries(page.read_text()):
            names.add(name)
            if directive == "automodule" and name != "qiskit_fusedqml":
                module = resolved(name)
                listed = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
                names |= {f"{name}.{member}" for member in listed}
    return names


def test_every_public_name_has_an_entry() -> None:
    wanted = {f"qiskit_fusedqml.{name}" for name in [*qiskit_fusedqml.__all__, *INSIDE]}
    assert wanted - described(PAGES) == set()


def test_a_missing_page_is_seen() -> None:
    pages = [page for page in PAGES if page.name != "torch.rst"]
    assert "qiskit_fusedqml.FusedLayer" not in described(pages)


def test_every_entry_exists() -> None:
    names = [name for page in PAGES for _, name in entries(page.read_text())]
    assert len(names) == len(set(names))
    for name in names:
        resolved(name)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert {f"api/{page.stem}" for page in PAGES} == set(re.findall(r"^(api/\w+)$", index, re.MULTILINE))


def test_versions_agree() -> None:
    version = qiskit_fusedqml.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation
    assert "2603.02804" in citation
    assert re.search(
        rf"^What will be {re.escape(version)},|^## {re.escape(version)} ",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )


def test_files_that_documents_name_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "docs/how-it-works.md"):
        text = (ROOT / name).read_text()
        named = set(re.findall(r"`((?:benchmarks|docs|qiskit_fusedqml|tests|tutorials)/[\w./-]+)`", text))
        missing = [path for path in sorted(named - {"docs/_build/html"}) if not (ROOT / path).exists()]
        assert missing == [], name


def test_the_five_files_to_read_first_are_short() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    files = re.findall(r"^\| `(qiskit_fusedqml/[\w/]+\.py)` \|", text, re.MULTILINE)
    assert len(files) == 5
    assert sum((ROOT / file).read_text().count("\n") for file in files) <= 1400


def test_how_it_works_is_built() -> None:
    assert "\nhow-it-works\n" in (ROOT / "docs" / "index.md").read_text()


def test_the_how_to_on_noise_runs() -> None:
    text = (ROOT / "docs" / "noise-for-aer-users.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    for snippet in snippets:  # each goes on from those before
        exec(compile(snippet, "noise-for-aer-users.md", "exec"), names)
    assert len(snippets) == 4
    assert names["values"].shape == (32, 1)
    assert names["by_noise"].shape == (2,)
    assert names["stds"].min() > 0
