"""Names in the pages: signatures as they are written in the code, and links from short names to what they stand for."""

from __future__ import annotations

import inspect
import re
import sys
from pydoc import locate
from typing import Any

import qiskit_fusedqml
from docutils import nodes
from qiskit_fusedqml import errors
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
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
    if getattr(subject, "_is_protocol", False):
        return "", None
    try:
        made = what == "class" and type(subject).__call__ is not type.__call__
        found = inspect.signature(subject.__init__ if made else subject)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    bound = what == "method" or made  # a class whose own class makes the instances
    if bound and parameters and parameters[0].name in {"self", "cls", "f"}:
        parameters = parameters[1:]
    text = stringify_signature(
        found.replace(parameters=parameters), unqualified_typehints=True
    )
    text = re.sub(r"<[^>]*>", "...", text)  # a default that is an object
    if what in {"class", "exception"}:
        return text.rpartition(" -> ")[0] or text, None
    head, arrow, answer = text.rpartition(" -> ")
    return (head, answer) if arrow else (text, None)


UNSHOWN = {
    *("object", "Generic", "NamedTuple", "Protocol"),
    *("ArrayParts", "GPUParts"),
    *("EnginePrimitive", "LentEngineOptions", "TypedDerivatives"),
}
"""Bases that say nothing to a reader."""


def shown_bases(
    _app: Sphinx, _name: str, _subject: Any, _options: Any, bases: list[Any]
) -> None:
    """Those that a reader may know."""
    names = [getattr(base, "__name__", str(base)) for base in bases]
    bases[:] = [
        base
        for base, name in zip(bases, names, strict=True)
        if name not in UNSHOWN and not name.startswith("_")
    ]


def skipped(
    _app: Sphinx, _what: str, _name: str, subject: Any, _skip: bool, _options: Any
) -> bool | None:
    """Fields of a named tuple are in its signature and its description."""
    return True if type(subject).__name__ == "_tuplegetter" else None


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


def named(
    _app: Sphinx, what: str, name: str, _subject: Any, _options: Any, lines: list[str]
) -> None:
    """The name of a module above what it says: several follow each other on a page."""
    if what == "module":
        lines[:0] = [f".. rubric:: {name}", ""]


MEMBERS = {"attribute", "method", "property"}


def written_in(node: addnodes.pending_xref) -> Any:
    """The module whose code or docstring has a name; this one for pages, which import nothing."""
    documented = locate(node.get("py:module") or __name__)
    cls = getattr(documented, node.get("py:class") or "", None)
    return sys.modules.get(getattr(cls, "__module__", ""), documented)


def linked(
    app: Sphinx,
    env: BuildEnvironment,
    node: addnodes.pending_xref,
    content: nodes.Element,
) -> Any:
    """A name that its own module does not hold: a member of this class, else the shortest full name.

    `vjp` beside another class is not that of any class that has one; `ProgramFunction.vjp` is. A name that a module
    has imported is what it has imported.
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
    held = getattr(written_in(node), target, None)
    if held is not None and home not in names:
        names = [name for name in names if locate(name) is held]
    if not names and node.get("home"):  # an attribute that its class describes
        names = [node["home"]]
    if not names:
        ours = target.startswith("qiskit_fusedqml.")
        return content if node["reftype"] == "obj" and not ours else None
    name = min(names, key=lambda name: (name != home, len(name), name))
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", name, node, content
    )


STANDARD = {"Sequence", "Target", "Task"}
"""Classes of the standard library and of Qiskit whose names the inside has, too."""


def unlinked(_app: Sphinx, doctree: nodes.document) -> None:
    """In signatures these names are not ours, and no line says that there are no bases."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and node["reftarget"] in STANDARD:
            node.replace_self(node.children)
        node.attributes.pop("refspecific", None)  # `linked` chooses, and not by chance
    for node in list(doctree.findall(nodes.paragraph)):
        if node.astext().strip() == "Bases:":
            node.parent.remove(node)


PUBLIC = {
    name: f"qiskit_fusedqml.{name}"
    for name in set(qiskit_fusedqml.__all__) - {"transpile"}  # Qiskit's, mostly
} | {
    name: f"qiskit_fusedqml.errors.{name}"
    for name in vars(errors)
    if name.endswith(("Error", "Warning")) and name != "QiskitError"
}


def code_linked(app: Sphinx, doctree: nodes.document) -> None:
    """In pages and notebooks `FusedLayer` and `FusedLayer.forward(x)` lead to the reference."""
    page = app.env.docname
    if app.env.doc2path(page).suffix == ".rst":
        return  # double backticks there say that it is no link
    for node in list(doctree.findall(nodes.literal)):
        name, dot, member = node.astext().partition("(")[0].partition(".")
        if name in PUBLIC and isinstance(node.parent, nodes.paragraph):
            xref = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=PUBLIC[name] + dot + member
            )
            xref["refdoc"], xref["home"] = page, PUBLIC[name]
            node.replace_self(xref)
            xref += node


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-bases", shown_bases)
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-process-docstring", named, priority=700)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-skip-member", skipped)
    app.connect("doctree-read", code_linked)
    app.connect("doctree-read", unlinked)
    app.connect("missing-reference", linked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
