"""The package as a whole: imports point one way and cost little, public names resolve, README's code runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

import qiskit_fusedqml

PACKAGE = Path(qiskit_fusedqml.__file__).parent
ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

ROOMS = "ir planner devices engine simulation distributed interfaces training demo calibrate".split()
"""Folders of the package; each imports only what stands to its left."""

ORDER = ["errors", "arrays", "memory", "files", *ROOMS, "__main__"]
"""Rooms and modules beside them, likewise."""

ALLOWED = {
    "qiskit": ("errors", "interfaces", "demo"),
    "qiskit_machine_learning": ("interfaces", "demo"),
    "mpi4py": ("distributed.communicators",),
    "torch": ("distributed.communicators", "interfaces.torch", "interfaces.pennylane.second_order", "training", "demo"),
    "cupy": ("devices.gpu.runtime",),
    "pennylane": ("interfaces.pennylane",),
    "sklearn": ("demo",),
    "matplotlib": ("planner", "training", "demo"),
}
"""Who may import what is heavy or optional."""


def modules() -> Iterator[tuple[str, str, bool]]:
    """Name within the package, source, and whether it is a package, of every module but the root."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if name:
            yield name, path.read_text(), is_package


def imports(name: str, source: str, is_package: bool) -> Iterator[str]:
    """Absolute names of all that a module imports, in functions too; this package's as ``.part.name``."""
    here = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.replace("qiskit_fusedqml.", ".")
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield "." + ".".join([*base, alias.name])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield re.sub(r"^qiskit_fusedqml\.", ".", f"{node.module}.{alias.name}")


def faults(name: str, source: str, is_package: bool = False) -> list[str]:
    """Imports of a module that break the rules."""
    part, found = name.split(".")[0], []
    if part not in ORDER:
        return [f"{name} has no place in the order of parts"]
    for target in imports(name, source, is_package):
        head = target.split(".")[0]
        if target.startswith("."):
            other = target.split(".")[1]
            if other != "__version__" and (other not in ORDER or ORDER.index(other) > ORDER.index(part)):
                found.append(f"{name} imports {target}")
        elif head in ALLOWED and not any(f"{name}.".startswith(f"{owner}.") for owner in ALLOWED[head]):
            found.append(f"{name} imports {target}")
    return found


def test_imports_point_one_way() -> None:
    assert [fault for module in modules() for fault in faults(*module)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ir.program", "from ..planner import fuse"),
        ("devices.cpu", "from ..engine import program_function"),
        ("devices.cpu", "import qiskit_fusedqml.engine.program_function"),
        ("devices.cpu", "def late():\n    from qiskit_fusedqml.engine import program_function"),
        ("planner.tables", "def late():\n    from .. import interfaces"),
        ("engine.plans", "from qiskit import QuantumCircuit"),
        ("engine.plans", "import torch.nn"),
        ("devices.cpu", "import cupy"),
        ("interfaces.qiskit.estimator", "from torch import nn"),
        ("utilities", "import os"),
    ],
)
def test_a_planted_import_is_found(name: str, source: str) -> None:
    assert len(faults(name, source)) == 1


def test_modules_of_a_part_do_not_import_each_other_in_circles() -> None:
    names = {name for name, _, _ in modules()}

    def known(target: str) -> str | None:
        target = target.removeprefix(".")
        while target and target not in names:
            target = target.rpartition(".")[0]
        return target or None

    graph = {
        name: {found for target in imports(name, source, is_package) if target[0] == "." and (found := known(target))}
        for name, source, is_package in modules()
    }
    done: set[str] = set()
    while free := {name for name in graph if name not in done and graph[name] - done <= {name}}:
        done |= free
    assert set(graph) - done == set()


def fresh(code: str) -> str:
    """Standard output of code in a new interpreter."""
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}), *sys.modules)"


def unmapped(folder: Path, docstring: str) -> set[str]:
    """Modules and folders of a room that the table in its docstring does not name."""
    inside = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return inside - {"__init__", "__main__"} - set(re.findall(r"`(\w+)`", docstring))


MAPS = [
    path for path in PACKAGE.rglob("__init__.py") if "\n====" in (ast.get_docstring(ast.parse(path.read_text())) or "")
]


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.parent.name)
def test_tables_of_modules_are_complete(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert unmapped(path.parent, docstring) == set()
    rows = re.findall(r"^`(\w+)` ", docstring, re.MULTILINE)
    assert len(rows) >= 3
    for name in rows:
        assert (path.parent / f"{name}.py").exists() or (path.parent / name / "__init__.py").exists(), name
        assert unmapped(path.parent, docstring.replace(f"`{name}`", "")) == {name}


def test_a_plain_import_brings_in_nothing() -> None:
    loaded = fresh(f"import qiskit_fusedqml; {LOADED}").split()
    heavy = {"qiskit", "numpy", "scipy", *ALLOWED, "qiskit_fusedqml.devices"}
    assert heavy.isdisjoint(loaded)
    assert "qiskit_fusedqml" in loaded


@pytest.mark.parametrize(
    "name",
    ["DifferentiableCircuit", "FusedEstimator", "FusedSampler", "FusedSimulator", "FusionPass", "ShardedCircuit"],
)
def test_only_the_gradients_need_an_extra(name: str) -> None:
    loaded = fresh(f"from qiskit_fusedqml import {name}; {LOADED}").split()
    assert {"cupy", "matplotlib", "pennylane", "qiskit_aer", "qiskit_machine_learning", "sklearn", "torch"}.isdisjoint(
        loaded
    )


def test_a_bell_pair_brings_in_little_beyond_qiskit() -> None:
    loaded = fresh(
        "from qiskit import QuantumCircuit\nimport sys\nbefore = set(sys.modules)\n"
        "from qiskit_fusedqml import FusedSimulator\n"
        "circuit = QuantumCircuit(2)\ncircuit.h(0)\ncircuit.cx(0, 1)\ncircuit.measure_all()\n"
        "FusedSimulator().run(circuit).result()\nprint(*sys.modules.keys() - before)"
    ).split()
    assert "qiskit_fusedqml.interfaces.qiskit.backend.simulator" in loaded
    assert [name for name in loaded if name.startswith("qiskit_fusedqml.devices.gpu")] == []
    others = [name for name in loaded if not name.startswith(("qiskit_fusedqml", "qiskit."))]
    assert len(others) < 20, others


def test_the_pennylane_device_needs_pennylane_alone() -> None:
    others = "import sys; sys.modules['qiskit_machine_learning'] = sys.modules['qiskit_aer'] = None"
    assert (
        fresh(f"{others}; from qiskit_fusedqml import FusedQubit; print(FusedQubit(wires=1).name)")
        == "fusedqml.qubit\n"
    )


def test_a_missing_extra_is_named() -> None:
    message = fresh(
        "import sys; sys.modules['qiskit_machine_learning'] = None\n"
        "import qiskit_fusedqml\n"
        "from qiskit_fusedqml.errors import MissingExtraError\n"
        "try:\n    qiskit_fusedqml.FusedEstimatorGradient\n"
        "except MissingExtraError as error:\n    print(isinstance(error, ImportError), error.message)\n"
    )
    assert message.strip() == (
        "True FusedEstimatorGradient needs qiskit_machine_learning, which is not installed: install qiskit-fusedqml[ml]"
    )


def test_training_without_torch_reads_files_and_names_the_extra() -> None:
    message = fresh(
        "import sys; sys.modules['torch'] = None\n"
        "import qiskit_fusedqml\n"
        "from qiskit_fusedqml.training import IdxImages, plot, read_metrics\n"
        "from qiskit_fusedqml.errors import MissingExtraError\n"
        "try:\n    qiskit_fusedqml.fit\n"
        "except MissingExtraError as error:\n    print(error.message)\n"
    )
    assert message.strip() == "fit needs torch, which is not installed: install qiskit-fusedqml[torch]"


def test_other_missing_modules_are_not_taken_for_extras() -> None:
    code = "import sys; sys.modules['scipy'] = None\nimport qiskit_fusedqml\nqiskit_fusedqml.DifferentiableCircuit"
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "ModuleNotFoundError" in answer.stderr
    assert "MissingExtraError" not in answer.stderr


def test_public_names_are_the_table() -> None:
    assert set(qiskit_fusedqml.__all__) <= {*qiskit_fusedqml._HOME, "__version__"} <= set(dir(qiskit_fusedqml))
    tree = ast.parse(Path(qiskit_fusedqml.__file__).read_text())
    seen_by_types = {
        alias.name: f".{node.module}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names if alias.name == alias.asname
    }  # fmt: skip
    assert seen_by_types == qiskit_fusedqml._HOME


@pytest.mark.parametrize("package", ["pennylane", "qiskit_machine_learning", "torch"])
def test_all_names_are_those_that_can_be_had(package: str) -> None:
    code = (
        "import importlib.util; find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {package!r} else find(name)\n"
        "from qiskit_fusedqml import *\nimport qiskit_fusedqml\nprint(*sorted(set(dir(qiskit_fusedqml)) - {*vars()}))"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    absent = {package, *(name for name in qiskit_fusedqml._NEEDS.values() if importlib.util.find_spec(name) is None)}
    modules = tuple(start for start, needed in qiskit_fusedqml._NEEDS.items() if needed in absent)
    missing = {name for name, module in qiskit_fusedqml._HOME.items() if module.startswith(modules)}
    assert missing
    assert missing == set(answer.split()) & set(qiskit_fusedqml._HOME)


@pytest.mark.parametrize("name", qiskit_fusedqml.__all__)
def test_public_names_resolve(name: str) -> None:
    value = getattr(qiskit_fusedqml, name)
    assert vars(qiskit_fusedqml)[name] is value  # the second time costs nothing
    assert name in {"__version__", getattr(value, "__name__", None)}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'qiskit_fusedqml' has no attribute 'FusedNothing'"):
        _ = qiskit_fusedqml.FusedNothing


def test_every_listed_name_exists() -> None:
    for info in pkgutil.walk_packages([str(PACKAGE)], "qiskit_fusedqml."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            for name in getattr(module, "__all__", ()):
                assert hasattr(module, name), f"{info.name}.__all__ lists {name}"


def test_extras_named_in_errors_exist() -> None:
    assert set(qiskit_fusedqml._EXTRA.values()) <= set(PROJECT["optional-dependencies"])


def test_entry_points_load() -> None:
    for group, points in PROJECT["entry-points"].items():
        for name, value in points.items():
            assert isinstance(EntryPoint(name, value, group).load(), type)
    for name, value in PROJECT["scripts"].items():
        assert callable(EntryPoint(name, value, "console_scripts").load())


def test_oldest_versions_are_the_lower_bounds() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "requirements.py"), "--oldest", "ml", "torch", "demo"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "numpy==2.0" in lines
    assert "qiskit==2.0" in lines
    assert "qiskit-machine-learning==0.9.1" in lines
    assert any(line.startswith("nanobind>=") for line in lines)


README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_readme_code_runs(snippet: str) -> None:
    if "pennylane" in snippet:
        from support import plugin

        plugin.register()
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    if "counts" in names:
        assert sum(names["counts"].values()) == 1000
        assert set(names["counts"]) == {"00", "11"}
    if "dw" in names:
        f, x, w = names["f"], names["x"], names["w"]
        assert names["values"].shape == (32, 2)
        step = 1e-6 * np.eye(len(w))[3]
        losses = [(f.values(x, w + sign * step) ** 2).sum() for sign in (1, -1)]
        assert names["dw"][3] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-6)
    if "layer" in names:
        assert all(parameter.grad.abs().sum() > 0 for parameter in names["model"].parameters())
    if "weight_gradient" in names:
        assert names["weight_gradient"].shape == (1, 1, names["network"].num_weights)
    if "gradient" in names:
        assert names["gradient"].shape == names["weights"].shape


def test_readme_is_short_and_shows_five_uses() -> None:
    shown = ["DifferentiableCircuit(", "FusedLayer(", "EstimatorQNN(", "FusedSimulator(", "fusedqml.qubit"]
    assert len(SNIPPETS) == len(shown)
    assert all(use in snippet for use, snippet in zip(shown, SNIPPETS, strict=True))
    assert max(len(re.findall(r"^.+$", snippet, re.MULTILINE)) for snippet in SNIPPETS) <= 12
    assert README.count("\n") <= 144


def test_readme_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("https://")]
    assert {"docs/pipeline.svg", "docs/speed.svg", "docs/how-it-works.md", "benchmarks/README.md"} <= set(links)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def check(python: str = sys.executable, compiler: str = sys.executable) -> str:
    """What ``make check`` says; any program passes for a compiler."""
    command = ["make", "--silent", "--no-print-directory", "check", f"PYTHON={python}", f"CXX={compiler}"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (answer.returncode == 0) == (answer.stdout == "")
    return answer.stdout


def test_make_check_is_silent_where_nothing_is_missing() -> None:
    assert check() == ""


@pytest.mark.parametrize(
    ("failing", "message"),
    [("version_info", "Python >= 3.11"), ("ensurepip", "venv module"), ("sysconfig", "header Python.h")],
)
def test_make_check_names_what_python_lacks(failing: str, message: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{failing}*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert re.match(f"Missing: .*{message}.*apt install|Missing: {message}; .* is not", check(python=str(python)))


def test_make_check_names_the_compiler() -> None:
    assert check(compiler="no-such-compiler").startswith(
        "Missing: a C++ compiler, no-such-compiler. Debian, Ubuntu: apt"
    )
