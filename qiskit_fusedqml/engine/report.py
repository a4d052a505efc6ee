"""What a notebook shows of a function."""

from __future__ import annotations

from ..planner.report import table
from .program_function import ProgramFunction


def as_table(f: ProgramFunction) -> str:
    """Sizes and options of a function as an HTML table; nothing is planned or run."""
    rows: list[tuple[str, object]] = [
        ("qubits", f.num_qubits),
        ("instructions", len(f.program.instructions)),
        ("inputs", f.num_inputs),
        ("weights", f.num_weights),
        ("observables", f.num_observables if f.observables is not None else "no"),
        ("noise", "yes" if f.program.is_noisy else "no"),
        ("device", f.options.device),
        ("precision", f.options.precision),
    ]
    return table(type(f).__name__, rows)
