"""Names in the pages: signatures as they are written in the code, and links from short names to what they stand for."""

from __future__ import annotations

import inspect
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.inspect import stringify_signature

CALLABLE = {"class", "exception", "function", "method"}


def as_written(
    _app: Sphinx,
    what: str,
    _name: str,
    subject: Any,
    _options: Any,
    signature: str | None,
    _returned: str | None,
) -> tuple[str, str | None] | None:
    """The signature with the annotations of the source: `ArrayLike`, not the union that NumPy makes of it."""
    if what not in CALLABLE or not signature:
        return None
    try:
        found = inspect.signature(subject)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    if what == "method" and parameters and parameters[0].name in {"self", "cls", "f"}:
        parameters = parameters[1:]
    text = stringify_signature(
        found.replace(parameters=parameters), unqualified_typehints=True
    )
    text = re.sub(r"<[^>]*>", "...", text)  # a default that is an object
    if what in {"class", "exception"}:
        return text.rpartition(" -> ")[0] or text, None
    head, arrow, answer = text.rpartition(" -> ")
    return (head, answer) if arrow else (text, None)


SENTENCES: dict[str, list[str]] = {}
"""Descriptions of attributes as they were before Napoleon, by name."""


def keep(
    _app: Sphinx, what: str, name: str, _subject: Any, _options: Any, lines: list[str]
) -> None:
    """Napoleon takes for a type what stands before a colon in an attribute's first line; it is a sentence here."""
    if what in {"attribute", "data", "property"} and lines and ":" in lines[0]:
        SENTENCES[name] = list(lines)


def restore(
    _app: Sphinx, _what: str, name: str, _subject: Any, _options: Any, lines: list[str]
) -> None:
    """The sentence again."""
    lines[:] = SENTENCES.pop(name, lines)


MEMBERS = {"attribute", "method", "property"}


def linked(
    app: Sphinx,
    env: BuildEnvironment,
    node: addnodes.pending_xref,
    content: nodes.Element,
) -> Any:
    """A name that its own module does not hold: a member of this class, else the shortest full name.

    `vjp` beside another class is not that of any class that has one; `ProgramFunction.vjp` is.
    """
    if node.get("refdomain") != "py":
        return None
    domain, target = env.domains.python_domain, node["reftarget"]
    home = f"{node.get('py:module')}.{node.get('py:class')}.{target}"
    names = [
        name
        for name, found in domain.objects.items()
        if name == home
        or (
            name.endswith(f".{target}")
            and ("." in target or found.objtype not in MEMBERS)
        )
    ]
    if not names:
        return content if node["reftype"] == "obj" else None
    name = min(names, key=lambda name: (name != home, len(name), name))
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", name, node, content
    )


STANDARD = {"Sequence", "Target"}
"""Classes of the standard library and of Qiskit whose names the inside has, too."""


def unlinked(_app: Sphinx, doctree: nodes.document) -> None:
    """In signatures these names are not ours."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and node["reftarget"] in STANDARD:
            node.replace_self(node.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("doctree-read", unlinked)
    app.connect("missing-reference", linked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
