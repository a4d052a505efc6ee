"""Documents: every public name has its entry, every entry its object, and versions agree. Nothing is built here."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import qiskit_fusedqml
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.interfaces.qiskit.backend.options import DEFAULTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "api").glob("*.rst"))

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


ARGUMENTS = re.compile(r"^ *Args:\n(.*?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)


def arguments_described(docstring: str) -> set[str]:
    """Names in the part "Args" of a docstring."""
    part = ARGUMENTS.search(inspect.cleandoc(docstring))
    lines = re.findall(r"^    (\*{0,2}\w[\w, *]*):", part[1], re.MULTILINE) if part else []
    return {name.strip("* ") for line in lines for name in line.split(",")}


OWN = {"self", "cls", "f"}
"""First arguments of methods, some of which are functions of a module; these may describe theirs."""


def arguments_taken(called: Any) -> set[str]:
    """Names in the signature of a function or a class, whose own class may make the instances."""
    made = inspect.isclass(called) and type(called).__call__ is not type.__call__
    return set(inspect.signature(called.__init__ if made else called).parameters) - OWN


def callables(name: str, found: Any) -> Iterator[tuple[str, Any]]:
    """The functions and classes that an entry describes: it, its members and theirs."""
    if inspect.isfunction(found) or inspect.isclass(found):
        yield name, found
    if inspect.isclass(found) or inspect.ismodule(found):
        for member, held in vars(found).items():
            if not member.startswith("_") and getattr(held, "__module__", None) == getattr(found, "__module__", name):
                yield from callables(f"{name}.{member}", held)


def test_arguments_that_are_described_are_those_that_there_are() -> None:
    checked = 0
    for page in PAGES:
        for _, name in entries(page.read_text()):
            for full_name, called in callables(name, resolved(name)):
                described = arguments_described(called.__doc__ or "")
                if described:
                    method = inspect.isclass(resolved(full_name.rpartition(".")[0]))
                    assert described - (set() if method else OWN) == arguments_taken(called), full_name
                    checked += 1
    assert checked > 100


def test_every_entry_says_something() -> None:
    silent = [
        name
        for page in PAGES
        for directive, name in entries(page.read_text())
        if directive in {"autoclass", "autofunction", "automethod"} and not resolved(name).__doc__
    ]
    assert silent == []


def test_tables_have_no_empty_cells() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        rows = re.findall(r"^\|.*\|$", page.read_text(), re.MULTILINE)
        empty = [row for row in rows if re.search(r"[^| ].*\| *\||^[| ]+$", row)]
        assert empty == [], page.name


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    written = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts and page.stem != "index"]
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in [*PAGES, *written]}
    assert pages == set(re.findall(r"^((?:api/|howto/)?[\w-]+)$", index, re.MULTILINE))


def test_words_that_are_searched_lead_to_pages() -> None:
    pages = re.findall(r'^    "(docs/[\w/-]+)": "', (DOCS / "_extensions" / "terms.py").read_text(), re.MULTILINE)
    assert len(pages) > 10
    assert [page for page in pages if not list(ROOT.glob(f"{page}.*"))] == []


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


def test_links_between_documents_lead_to_files() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("tutorials/*.ipynb")]
    links = {
        page: re.findall(r"\]\((?!https?:|#)([\w/.-]+\.\w+)[^)\s]*\)", page.read_text())
        for page in pages
        if "_build" not in page.parts
    }
    assert sum(map(len, links.values())) > 100
    assert [(page.name, link) for page in links for link in links[page] if not (page.parent / link).exists()] == []


def test_the_five_files_to_read_first_are_short() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    files = re.findall(r"^\| `(qiskit_fusedqml/[\w/]+\.py)` \|", text, re.MULTILINE)
    assert len(files) == 5
    assert sum((ROOT / file).read_text().count("\n") for file in files) <= 1400


def test_how_it_works_is_built() -> None:
    assert "\nhow-it-works\n" in (ROOT / "docs" / "index.md").read_text()


SNIPPETS = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
"""Code of a page that runs, and what it prints, where that is shown; what needs other machines is marked ``py``."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

RUN = [
    DOCS / "index.md",
    DOCS / "quickstart.md",
    DOCS / "noise-for-aer-users.md",
    *sorted((DOCS / "howto").glob("*.md")),
]


def run(code: list[tuple[str, str]], name: str) -> dict[str, Any]:
    """The names that pieces of code leave, each of which goes on from those before, and prints what is shown of it.

    Numbers may differ by a fifth: the last digits of a training differ between processors.
    """
    names: dict[str, Any] = {"__name__": "page"}
    for snippet, shown in code:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(snippet, name, "exec"), names)
        if shown:
            assert NUMBER.sub("#", printed.getvalue()).split() == NUMBER.sub("#", shown).split()
            numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed.getvalue(), shown)]
            assert numbers[0] == pytest.approx(numbers[1], rel=0.2)
    return names


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path) -> None:
    if page.stem == "pennylane":
        from support import plugin

        plugin.register()
    snippets = SNIPPETS.findall(page.read_text())
    assert snippets
    names = run(snippets, page.name)
    if page.stem == "noise-for-aer-users":
        assert names["values"].shape == (32, 1)
        assert names["by_noise"].shape == (2,)
        assert names["stds"].min() > 0


def test_code_for_other_machines_is_python() -> None:
    found = [
        code
        for page in DOCS.rglob("*.md")
        for code in re.findall(r"^```py\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    ]
    assert found
    for code in found:
        compile(code, "page", "exec")


def test_how_to_pages_are_short() -> None:
    for page in (DOCS / "howto").glob("*.md"):
        code = "\n".join(code for code, _ in SNIPPETS.findall(page.read_text()))
        assert sum(1 for line in code.splitlines() if line.strip()) <= 40, page.name
        assert max(map(len, code.splitlines())) <= 88, page.name


def test_the_examples_of_the_main_class_run() -> None:
    blocks = re.findall(
        r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", (DOCS / "api" / "circuits.rst").read_text(), re.MULTILINE
    )
    names = run([(textwrap.dedent(block), "") for block in blocks], "circuits.rst")
    assert names["gradient"] == pytest.approx(names["dw"])
    example = qiskit_fusedqml.DifferentiableCircuit.__doc__
    parsed = doctest.DocTestParser().get_doctest(
        example,
        vars(qiskit_fusedqml) | {"DifferentiableCircuit": qiskit_fusedqml.DifferentiableCircuit},
        "example",
        None,
        0,
    )
    assert doctest.DocTestRunner().run(parsed) == doctest.TestResults(failed=0, attempted=3)


def test_the_page_of_the_main_class_has_all_that_is_public() -> None:
    cls = qiskit_fusedqml.DifferentiableCircuit
    public = {f"qiskit_fusedqml.{cls.__name__}.{name}" for name in dir(cls) if not name.startswith("_")}
    inside = {f"qiskit_fusedqml.{cls.__name__}.{name}" for name in ("indices", "pull", "read", "request", "unrolled")}
    listed = [name for _, name in entries((DOCS / "api" / "circuits.rst").read_text()) if name in public]
    assert set(listed) == public - inside
    assert [name.rpartition(".")[2] for name in listed[:4]] == ["values", "value_and_grad", "value_and_vjp", "vjp"]


def rows_of(table: str) -> dict[str, str]:
    """First and second cell of each row, without the backquotes."""
    return dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", table, re.MULTILINE))


def test_tables_of_options_are_complete() -> None:
    text = (DOCS / "options.md").read_text()
    engine, simulator = text.partition("## Of FusedSimulator")[::2]
    defaults = {field.name: field.default for field in fields(EngineOptions)}
    assert {name: ast.literal_eval(value) for name, value in rows_of(engine).items()} == defaults
    assert {name: ast.literal_eval(value) for name, value in rows_of(simulator).items()} == DEFAULTS


def test_the_page_of_classes_has_every_class() -> None:
    text = (DOCS / "which-class.md").read_text()
    named = set(re.findall(r"`(\w+)`", text))
    assert set(qiskit_fusedqml.__all__) - named == {
        "__version__",
        "FusedFidelity",
        "FusedGate",
        "noise_model_from_backend",
        "transpile",
    }
