"""Last touches to the HTML of a page, where lines break and what a picture is called."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

NARROW = re.compile(r'<table.*?</table>|<dt class="sig .*?</dt>', re.DOTALL)
CODE = re.compile(r'(?<=<span class="pre">)[^<]+')
LONG = re.compile(r'(?<=<span class="pre">)[^<]{30,}')
INSIDE_A_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[_=(/])(?=\w)|(?<=\.)(?=[^\W\d])")
MARKS = re.compile(r'(<math [^>]*display="inline">(?:(?!</math>).)*</math>)([.,;:?)]+)')
UNNAMED = re.compile(r'(?<=<img alt=")[^"]*_images/[^"]*(?=")')


def in_parts(code: re.Match[str]) -> str:
    """A name that may break where its parts meet."""
    return INSIDE_A_NAME.sub("<wbr>", code[0])


def breakable(narrow: re.Match[str]) -> str:
    """All names of a table or a signature, which a narrow window breaks."""
    text = CODE.sub(in_parts, narrow[0])
    return text.replace('<span class="sig-paren">(', '<wbr><span class="sig-paren">(')


def finish(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    """Names break in parts, marks stay at their formula, and pictures of notebooks are not called by their files."""
    if "body" in context:
        body = LONG.sub(in_parts, NARROW.sub(breakable, context["body"]))
        body = MARKS.sub(r'<span class="unbroken">\1\2</span>', body)
        context["body"] = UNNAMED.sub("what the code above draws", body)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
