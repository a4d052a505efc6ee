"""Sphinx: pages of `docs/`, the notebooks of `tutorials/` and the log of changes, from the repository's root."""

from __future__ import annotations

from math import pi
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst.directives.tables import CSVTable
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from qiskit_fusedqml import __version__
from qiskit_fusedqml.ir.gates import GATES, Factor

project = "qiskit-fusedqml"
author = "The qiskit_fusedqml developers"
project_copyright = "The qiskit_fusedqml developers"
release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "tutorials/*.ipynb", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = ["docs/_build/**"]

html_theme = "furo"
html_title = f"qiskit-fusedqml {release}"

# a name in single backticks is a link where these pages hold it (see `linked`), and code elsewhere
default_role = "py:obj"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of dataclasses are documented by their class
python_maximum_signature_line_length = 100

nb_execution_mode = "off"  # what is shown is what was committed; `make test` executes the notebooks
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", linked)
    app.add_directive("gate-table", GateTable)


def linked(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element) -> Any:
    """A name in single backticks that its own module does not hold: the shortest full name that ends in it."""
    if node.get("reftype") != "obj":
        return None
    domain, ending = env.domains.python_domain, f".{node['reftarget']}"
    names = sorted((name for name in domain.objects if name.endswith(ending)), key=len)
    if not names:
        return content
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", names[0], node, content)


class GateTable(CSVTable):
    """``.. gate-table::`` is the table of gates as this version has it."""

    option_spec: ClassVar = {"header-rows": int}
    has_content = False

    def get_csv_data(self) -> tuple[list[str], str]:
        """Lines of the table, and where they come from."""
        rows = [
            f'``{name}``,{row.num_ctrl},{row.num_targets},{row.num_params},"{", ".join(map(spelled, row.product))}"'
            for name, row in sorted(GATES.items())
        ]
        return ["name,controls,targets,parameters,product on the targets", *rows], "qiskit_fusedqml.ir.gates"


def spelled(factor: Factor) -> str:
    """A rotation as its string and its angle."""
    terms = [f"{c:+g} θ{k}" for k, c in enumerate(factor.coefficients) if c]
    if factor.constant or not terms:
        terms.append(f"{factor.constant / pi:+g} π")
    return f"``{factor.string or '()'}`` ({' '.join(terms)})"
