"""Formulas as MathML, which browsers show by themselves: pages need neither scripts nor a network for them."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

NAMES = "cos|det|exp|log|max|min|sin|tan|Im|Re|Tr|std"

SPACES = {
    # names of functions have a thin space on both sides
    rf"<m([io])>({NAMES})</m\1>": r'<mo form="prefix" lspace="0.167em" rspace="0.167em">\2</mo>',
    # bars of kets, bras and norms and slashes, which browsers space like a relation and a sum
    r"<mo( [^>]*)?>(?=&#x0007C;)": r'<mo\1 lspace="0.06em" rspace="0.06em">',
    r"<mo>(?=&#x0002F;)": '<mo lspace="0" rspace="0">',
    r"<mo>(&#x02202;)</mo>": r"<mi>\1</mi>",  # no space before a derivative
    # a minus after a bracket, a comma or a relation, which is not between two terms
    r"((?:\[|28;|2C;|3C;|3D;|3E;)</mo><mo)(?=>&#x02212;)": r'\1 form="prefix"',
}
"""What of a formula is spaced otherwise, and how."""


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
    for pattern, spaced in SPACES.items():
        text = re.sub(pattern, spaced, text)
    return text


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
