"""Measured numbers of CPUs: the table in the package, and a machine's own one in the user's cache folder.

A table is a JSON file, ``{"format": 1, "entries": {instruction set: {precision: entry}}}``; an entry holds the fields
of `Calibration`. ``python -m qiskit_fusedqml calibrate`` writes such a file for the machine it runs on, and
`find` prefers it over the package's for the CPU model it was measured on.
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from ..arrays import shown
from ..errors import InvalidInputError
from ..files import regular, replacing
from ..planner.cost import KINDS, Factors

FORMAT = 1
PACKAGED = Path(__file__).with_name("calibration.json")
MAX_BYTES = 1 << 20
"""No table is larger."""

COMMAND = "python -m qiskit_fusedqml calibrate"

_MOST_QUBITS = 30
_LONGEST = 200
_MOST_COST = 1e4
"""Nothing costs this much more than a factored RY; a number beyond it is a mistake."""


@dataclass(frozen=True)
class Calibration:
    """What was measured for one instruction set and precision.

    Attributes:
        tile_qubits: Dimensions of a tile that is copied into a buffer.
        whole_qubits: A state of up to this many dimensions is worked on where it lies.
        half_width: Whether vectors of half the width pay for batches that do not fill the full width.
        byte_cost: See `CostModel`.
        factors: See `CostModel`.
        cpu: The CPU model it was measured on, None for numbers that were not measured.
        date: Day of the measurement, YYYY-MM-DD, or None.
    """

    tile_qubits: int
    whole_qubits: int
    half_width: bool
    byte_cost: float
    factors: Factors
    cpu: str | None = None
    date: str | None = None


Table: TypeAlias = dict[tuple[str, str], Calibration]
"""Calibrations by instruction set and precision."""


class TableError(ValueError):
    """A file is no table of calibrations; the message says where and why."""


@lru_cache(maxsize=1)
def cpu_facts() -> dict[str, str]:
    """What the system says about its first processor, by the system's names; nothing where it is not Linux."""
    facts: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """The CPU as its system names it."""
    facts = cpu_facts()
    named = facts.get("model name") or platform.processor() or platform.machine()
    # virtual machines are vague about names, not about numbers
    numbers = [f"{key} {facts[key]}" for key in ("cpu family", "model", "CPU implementer", "CPU part") if key in facts]
    return f"{named} ({', '.join(numbers)})" if numbers else named


def user_file() -> Path | None:
    """Where this user's own table is, or would be; None if there is no home folder."""
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    return _user_file(os.environ.get("XDG_CACHE_HOME", ""), home)


@lru_cache(maxsize=4)
def _user_file(given: str, home: str | None) -> Path | None:  # noqa: ARG001 - with another home it is another file
    cache = Path(given)
    if not cache.is_absolute():  # as the XDG specification wants it
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            return None
    return cache / "qiskit_fusedqml" / "calibration.json"


def find(isa: str, precision: str) -> tuple[Calibration, str]:
    """The numbers to plan with, and in words where they come from.

    Args:
        isa: Instruction set.
        precision: "double" or "single".

    Warns:
        UserWarning: Once for a file of the user's that cannot be used.
    """
    path = user_file()
    if path is not None:
        own = own_table(path).get((isa, precision))
        if own is not None:
            return own, f"measured here on {own.date} ({path})"
    packaged = packaged_table()[isa, precision]
    if packaged.cpu is None:
        return packaged, f"the package's defaults, which nobody has measured for {isa}; to do so: {COMMAND}"
    here = "this CPU model" if packaged.cpu == cpu_model() else f"{packaged.cpu}; for this machine's own: {COMMAND}"
    return packaged, f"the package's, measured on {here}"


def own_table(path: Path) -> Table:
    """A user's table as far as it holds for this machine: nothing if there is no file or it cannot be used."""
    try:
        version = path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except OSError:  # whatever is wrong with it is found again, and said, when it is read
        version = 0
    return _own_table(path, version)


@lru_cache(maxsize=4)
def _own_table(path: Path, version: int) -> Table:  # noqa: ARG001 - another version of the file is read again
    remedy = f"The package's numbers are used. Delete the file, or measure again: {COMMAND}"
    try:
        table = read(path)
    except (OSError, TableError) as error:
        named = str(error) if str(path) in str(error) else f"{path} is not used: {error}"
        warnings.warn(f"{named} {remedy}", stacklevel=4)
        return {}
    strangers = {str(entry.cpu) for entry in table.values()} - {cpu_model()}
    if strangers:
        theirs = ", ".join(sorted(strangers))[:_LONGEST]
        warnings.warn(f"{path} was measured on {theirs}; this is {cpu_model()}. {remedy}", stacklevel=4)
    return {key: entry for key, entry in table.items() if entry.cpu == cpu_model()}


@lru_cache(maxsize=1)
def packaged_table() -> Table:
    """The table that comes with the package; it has every instruction set that can be compiled in."""
    return read(PACKAGED)


def read(path: Path) -> Table:
    """A table from its file.

    Raises:
        TableError: If the file is something else, or a number cannot be true.
        OSError: If it cannot be read.
    """
    try:
        with regular(path, MAX_BYTES) as file:
            content = json.loads(file.read())
    except InvalidInputError as error:
        raise TableError(error.message) from None
    except (ValueError, RecursionError) as error:
        raise TableError(f"It is not JSON: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("entries"), dict):
        raise TableError(f"It is no table of calibrations in format {FORMAT}.")
    return {
        (isa, precision): _entry(f"{isa}, {precision}"[:80], entry)
        for isa, precisions in content["entries"].items()
        for precision, entry in _mapping(isa[:80], precisions).items()
    }


def write(table: Mapping[tuple[str, str], Calibration], path: Path) -> None:
    """Write a table in one step: a reader sees the old file or the new one, whatever interrupts this.

    Raises:
        OSError: If the folder or the file cannot be written.
    """
    entries: dict[str, dict[str, Any]] = {}
    for (isa, precision), entry in table.items():
        entries.setdefault(isa, {})[precision] = _plain(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((json.dumps({"format": FORMAT, "entries": entries}, indent=2) + "\n").encode())


def _plain(entry: Calibration) -> dict[str, Any]:
    return {
        "measured": None if entry.cpu is None else {"cpu": entry.cpu, "date": entry.date},
        "tile_qubits": entry.tile_qubits,
        "whole_qubits": entry.whole_qubits,
        "half_width": entry.half_width,
        "byte_cost": entry.byte_cost,
        "factors": {kind: {"forward": forward, "backward": backward} for kind, (forward, backward) in entry.factors},
    }


def _entry(where: str, entry: Any) -> Calibration:
    entry = _mapping(where, entry)
    measured = entry.get("measured")
    by = {} if measured is None else _mapping(f"{where}: measured", measured)
    factors = _mapping(f"{where}: factors", entry.get("factors"))
    if set(factors) != set(KINDS):
        raise TableError(f"{where}: factors for {', '.join(KINDS)} are expected, got {shown(list(factors))}.")
    return Calibration(
        tile_qubits=_checked(where, entry, "tile_qubits", "qubits"),
        whole_qubits=_checked(where, entry, "whole_qubits", "qubits"),
        half_width=_checked(where, entry, "half_width", "flag"),
        byte_cost=float(_checked(where, entry, "byte_cost", "number", "cost")),
        factors=Factors(**{kind: _both_ways(f"{where}: {kind}", factors[kind]) for kind in KINDS}),
        cpu=_checked(f"{where}: measured", by, "cpu", "text") if by else None,
        date=_checked(f"{where}: measured", by, "date", "text") if by else None,
    )


def _both_ways(where: str, factor: Any) -> tuple[float, float]:
    factor = _mapping(where, factor)
    forward, backward = (_checked(where, factor, way, "number", "cost") for way in ("forward", "backward"))
    return float(forward), float(backward)


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TableError(f"{where}: names with values are expected, got {shown(value)}.")
    return value


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "qubits": (lambda v: type(v) is int and 1 <= v <= _MOST_QUBITS, f"a whole number from 1 to {_MOST_QUBITS}"),
    "flag": (lambda v: isinstance(v, bool), "true or false"),
    "number": (lambda v: type(v) is int or (type(v) is float and isfinite(v)), "a number"),
    "cost": (lambda v: 0 < v < _MOST_COST, f"more than 0 and less than {_MOST_COST:g}"),
    "text": (lambda v: isinstance(v, str) and 0 < len(v) <= _LONGEST, f"a text of at most {_LONGEST} characters"),
}
"""What a value must be, and the words for it."""


def _checked(where: str, values: Mapping[str, Any], name: str, *kinds: str) -> Any:
    value = values.get(name)
    for kind in kinds:
        is_good, expected = _CHECKS[kind]
        if not is_good(value):
            raise TableError(f"{where}: {name} is {shown(value)}; {expected} is expected.")
    return value
