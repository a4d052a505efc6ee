"""Programs that measure: `nodes` is their grammar, `simplify` puts off measurements and joins segments."""

from __future__ import annotations

from .nodes import (
    SAVE_KINDS,
    SAVE_SUBTYPES,
    Assign,
    Branch,
    Break,
    Continue,
    DynamicProgram,
    Measure,
    Node,
    Prepare,
    Repeat,
    Reset,
    Save,
    Segment,
    While,
    children,
    final_writes,
    validate,
    walk,
)
from .simplify import simplify

__all__ = [
    "SAVE_KINDS",
    "SAVE_SUBTYPES",
    "Assign",
    "Branch",
    "Break",
    "Continue",
    "DynamicProgram",
    "Measure",
    "Node",
    "Prepare",
    "Repeat",
    "Reset",
    "Save",
    "Segment",
    "While",
    "children",
    "final_writes",
    "simplify",
    "validate",
    "walk",
]
