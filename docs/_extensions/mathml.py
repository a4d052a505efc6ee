"""Formulas as MathML, which browsers show by themselves: pages need neither scripts nor a network for them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

logger = getLogger(__name__)


def converted(node: nodes.Element, display: str) -> str:
    """The formula; a command that the converter does not know is a warning."""
    formula = re.sub(
        r"\\mathrm\{(\w)\}", r"\\text{\1}", node.astext()
    )  # a single upright letter
    text = convert(formula, display=display)
    if "\\" in text:
        logger.warning(
            "a formula has a command that is not known: %s",
            node.astext(),
            location=node,
        )
    return text


def inline(translator: Any, node: nodes.Element) -> None:
    """A formula in a line."""
    translator.body.append(converted(node, "inline"))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.Element) -> None:
    """A formula of its own."""
    translator.body.append(f'<div class="math">{converted(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline, None), block_renderers=(block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
