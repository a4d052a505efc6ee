"""AngleMap: parameter values -> the angles of a program, for a whole batch, and its pullback.

`angle_map` holds the map, `formulas` the compiler from the text of an expression to NumPy, `duals` the second
derivatives.
"""

from __future__ import annotations

from .angle_map import AngleMap, FormulaGroup
from .formulas import Formula, parse

__all__ = ["AngleMap", "Formula", "FormulaGroup", "parse"]
