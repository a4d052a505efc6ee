"""Tables that are made from the code: that of gates."""

from __future__ import annotations

from math import pi
from typing import ClassVar

from docutils.parsers.rst.directives.tables import CSVTable
from qiskit_fusedqml.ir.gates import GATES, Factor
from sphinx.application import Sphinx


class _Table(CSVTable):
    option_spec: ClassVar = {"header-rows": int}
    has_content = False


class GateTable(_Table):
    """``.. gate-table::`` is the table of gates as this version has it."""

    def get_csv_data(self) -> tuple[list[str], str]:
        """Lines of the table, and where they come from."""
        rows = [
            f'``{name}``,{row.num_ctrl},{row.num_targets},{row.num_params},"{spelled(row.product)}"'
            for name, row in sorted(GATES.items())
        ]
        return [
            "name,controls,targets,parameters,product on the targets",
            *rows,
        ], "qiskit_fusedqml.ir.gates"


def spelled(product: tuple[Factor, ...]) -> str:
    """Rotations as their strings and their angles."""
    factors = [f"``{factor.string or '()'}`` ({angle(factor)})" for factor in product]
    return ", ".join(factors) or "the identity"


def angle(factor: Factor) -> str:
    """A sum of parameters and a multiple of pi."""
    terms = [f"{c:+g} θ{k}" for k, c in enumerate(factor.coefficients) if c]
    if factor.constant or not terms:
        terms.append(f"{factor.constant / pi:+g} π")
    return " ".join(terms)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("gate-table", GateTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
