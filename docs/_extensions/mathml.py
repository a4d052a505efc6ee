"""Formulas as MathML, which browsers show by themselves: pages need neither scripts nor a network for them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

FUNCTIONS = re.compile(r"<m([io])>(cos|det|exp|log|max|min|sin|tan|Im|Re|Tr|std)</m\1>")
"""Names of functions, which have a thin space on both sides."""

BARS = '<mo stretchy="false">&#x0007C;</mo>'
"""Bars of kets, bras and norms, which browsers space like a relation."""


def converted(node: nodes.Element, formula: str, display: str) -> str:
    """A formula, or a part; a command that the converter does not know is a warning."""
    formula = re.sub(
        r"\\mathrm\{(\w)\}", r"\\text{\1}", formula
    )  # a single upright letter
    text = convert(formula, display=display)
    if "\\" in text:
        logger.warning(
            "a formula has a command that is not known: %s",
            node.astext(),
            location=node,
        )
    text = FUNCTIONS.sub(
        r'<mo form="prefix" lspace="0.167em" rspace="0.167em">\2</mo>', text
    )
    return text.replace(
        BARS, BARS.replace("<mo", '<mo lspace="0.06em" rspace="0.06em"')
    )


def inline(translator: Any, node: nodes.Element) -> None:
    """A formula in a line."""
    translator.body.append(converted(node, node.astext(), "inline"))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.Element) -> None:
    r"""A formula of its own; `\qquad` separates parts that may stand below each other."""
    parts = [
        converted(node, part.strip(), "block")
        for part in node.astext().split(r"\qquad")
    ]
    translator.body.append(f'<div class="math">{"".join(parts)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline, None), block_renderers=(block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
