"""Last touches to the HTML of a page, where lines break and what a picture is called."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

NARROW = re.compile(r'<table.*?</table>|<dt class="sig .*?</dt>', re.DOTALL)
CODE = re.compile(r'(?<=<span class="pre">)[^<]+')
INSIDE_A_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[_.=(])(?=\w)")
MARKS = re.compile(r'(<math [^>]*display="inline">(?:(?!</math>).)*</math>)([.,;:?)]+)')
UNNAMED = re.compile(r'(?<=<img alt=")[^"]*_images/[^"]*(?=")')


def breakable(narrow: re.Match[str]) -> str:
    """Names in cells and signatures, which a narrow window breaks where their parts meet."""
    text = CODE.sub(lambda code: INSIDE_A_NAME.sub("<wbr>", code[0]), narrow[0])
    return text.replace('<span class="sig-paren">(', '<wbr><span class="sig-paren">(')


def finish(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    """No line begins with the mark after a formula, and pictures of notebooks are not called by their files."""
    if "body" in context:
        body = NARROW.sub(breakable, context["body"])
        body = MARKS.sub(r'<span class="unbroken">\1\2</span>', body)
        context["body"] = UNNAMED.sub("what the code above draws", body)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
