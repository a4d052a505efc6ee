"""A stand-in for the package's compiled module, on machines that have not built it: as much as running cases needs."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

NAME = "qiskit_fusedqml.devices._native"


class Coefficients:
    """The arrays of one call, as attributes."""

    def __init__(self, **arrays: Any) -> None:
        vars(self).update(arrays)


class Bound:
    """Named by the package's interface; cases hold coefficients only."""


def install() -> bool:
    """Put the stand-in in the module's place if that cannot be imported; whether it did."""
    package = find_spec("qiskit_fusedqml")
    assert package is not None
    assert package.submodule_search_locations is not None
    folders = [f"{folder}/devices" for folder in package.submodule_search_locations]
    if PathFinder.find_spec("_native", folders) is not None:
        return False
    module = ModuleType(NAME)
    module.Coefficients, module.Bound = Coefficients, Bound  # type: ignore[attr-defined]
    sys.modules[NAME] = module
    return True
