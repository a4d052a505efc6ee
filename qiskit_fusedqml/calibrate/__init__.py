"""``python -m qiskit_fusedqml calibrate``: measures what the planner has to know about this machine.

`probes` are what is timed, undisturbed by other programs, `measure` makes the numbers of
`qiskit_fusedqml.devices.calibration` of them. This module is the command around it. One file is written, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ..devices import PRECISIONS
from ..devices.calibration import (
    Calibration,
    Table,
    TableError,
    cpu_model,
    find,
    read,
    user_file,
    write,
)
from ..devices.cpu import instruction_set
from ..errors import InvalidInputError
from ..planner.cost import KINDS
from .measure import Report, Sizes, measure

__all__ = ["Sizes", "calibrate", "describe", "measure", "show"]


def calibrate(output: Path | None, report: Report, sizes: Sizes | None = None) -> Path:
    """Measure the instruction set in use in both precisions, and write the table.

    A table in the file keeps what it says about other instruction sets.

    Args:
        output: The file; by default the one in the user's cache folder that the CPU device reads.
        report: Told about the progress and the result, a line or some at a time.
        sizes: What is timed.

    Returns:
        The file.

    Raises:
        InvalidInputError: If there is no cache folder, or the output is a file of another kind.
        OSError: If the file cannot be written.
    """
    path = user_file() if output is None else output
    if path is None:
        raise InvalidInputError("There is no home folder for the table; name a file with --output FILE.")
    table = _kept(path, given=output is not None)
    isa = instruction_set()
    before = {precision: find(isa, precision)[0] for precision in PRECISIONS}
    start = time.monotonic()

    after = {}
    for precision in PRECISIONS:

        def progress(what: str, precision: str = precision) -> None:
            report(f"{time.monotonic() - start:5.1f} s  {precision}: {what}")

        after[precision] = measure(precision, sizes or Sizes(), progress)
    table.update({(isa, precision): entry for precision, entry in after.items()})
    write(table, path)
    report("\n" + describe(isa, before, after))
    report(f"\nWritten to {path}")
    return path


def show(report: Report) -> None:
    """Report the numbers in use and where they come from."""
    isa = instruction_set()
    found = {precision: find(isa, precision) for precision in PRECISIONS}
    for precision, (_, source) in found.items():
        report(f"{precision}: {source}")
    report("\n" + describe(isa, {precision: numbers for precision, (numbers, _) in found.items()}))


def describe(isa: str, before: Mapping[str, Calibration], after: Mapping[str, Calibration] | None = None) -> str:
    """Calibrations by precision as a table for people; with ``after``, each number as "before -> after"."""
    columns = []
    for precision, old in before.items():
        rows = _rows(old)
        if after is not None:
            rows = {name: f"{text} -> {_rows(after[precision])[name]}" for name, text in rows.items()}
        columns.append(rows)
    lines = [f"{isa + ' on ' + cpu_model():<52}" + "".join(f"{precision:>18}" for precision in before)]
    lines += [f"{name:<52}" + "".join(f"{column[name]:>18}" for column in columns) for name in columns[0]]
    return "\n".join(lines)


def _rows(numbers: Calibration) -> dict[str, str]:
    rows = {
        "qubits of a tile that is copied": str(numbers.tile_qubits),
        "qubits of a state worked on as a whole": str(numbers.whole_qubits),
        "half-width vectors for small batches": "yes" if numbers.half_width else "no",
        "multiply-adds while a byte moves": f"{numbers.byte_cost:.3g}",
    }
    for kind in KINDS:
        for direction, factor in zip(("forward", "backward"), getattr(numbers.factors, kind), strict=True):
            rows[f"cost of a multiply-add, {kind}, {direction}"] = f"{factor:.3g}"
    return rows


def _kept(path: Path, *, given: bool) -> Table:
    """What a file already says; a broken table in the cache is replaced, some other file is not."""
    if not path.exists():
        return {}
    try:
        return read(path)
    except TableError as error:
        if given:
            raise InvalidInputError(f"{path} exists and would be lost: {error} Name another file.") from None
        return {}
