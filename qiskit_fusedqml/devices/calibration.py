"""Measured numbers of CPUs: the tables in the package, and a machine's own one in the user's cache folder.

A table is a JSON file, ``{"format": 1, "entries": {instruction set: {precision: entry}}}``; an entry holds the fields
of `Calibration`. ``python -m qiskit_fusedqml calibrate`` writes such a file for the machine it runs on, and
`find` prefers it over the package's for the CPU model it was measured on. The package has one for each family of CPUs
it was tuned on (``calibration*.json`` beside this module); that with the nearest caches counts, and its tiles are made
to fit this machine's.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ..arrays import shown
from ..errors import InvalidInputError
from ..files import regular, replacing
from ..planner.cost import KINDS, Factors

FORMAT = 1
PACKAGED = Path(__file__).with_name("calibration.json")
SYSTEM_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
MAX_BYTES = 1 << 20
"""No table is larger."""

COMMAND = "python -m qiskit_fusedqml calibrate"

_LONGEST = 200
"""Characters of a text in a table."""

Check: TypeAlias = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and the words for what is."""

_QUBITS: Check = (lambda v: type(v) is int and 1 <= v <= 30, "a whole number from 1 to 30")
# nothing costs so much more than a factored RY; a number beyond it is a mistake
_COST: Check = (lambda v: type(v) in (int, float) and 0 < v < 1e4, "a number above 0 and below 10000")
_TEXT: Check = (lambda v: isinstance(v, str) and 0 < len(v) <= _LONGEST, f"a text of at most {_LONGEST} characters")

_NUMBERS = {
    "tile_qubits": _QUBITS,
    "whole_qubits": _QUBITS,
    "half_width_cost": _COST,
    "byte_cost": _COST,
    **{f"factors.{kind}.{direction}": _COST for kind in KINDS for direction in ("forward", "backward")},
}
_CACHE: Check = (lambda v: type(v) is int and 2**10 <= v <= 2**40, "a number of bytes")
_MEASURED = {"measured.cpu": _TEXT, "measured.date": _TEXT}
"""What an entry of a table must hold, by its place, and where it was measured if it was."""


class Caches(NamedTuple):
    """A core's own data caches, in bytes: the first and the second level."""

    l1: int = 2**15
    l2: int = 2**20


@dataclass(frozen=True)
class Calibration:
    """What was measured for one instruction set and precision.

    Attributes:
        tile_qubits: Dimensions of a tile that is copied into a buffer.
        whole_qubits: A state of up to this many dimensions is worked on where it lies.
        half_width_cost: Time of a group of samples in vectors of half the width, beside one in full ones:
            0.5 and a little where the data paths are half as wide as the vectors, 1 where they are as wide.
        byte_cost: See `CostModel`.
        factors: See `CostModel`.
        cpu: The CPU model it was measured on, None for numbers that were not measured.
        date: Day of the measurement, YYYY-MM-DD, or None.
        caches: Those of that CPU, None if they were not noted.
    """

    tile_qubits: int
    whole_qubits: int
    half_width_cost: float
    byte_cost: float
    factors: Factors
    cpu: str | None = None
    date: str | None = None
    caches: Caches | None = None

    def fitted(self, here: Caches) -> Calibration:
        """The numbers with a copied tile that takes the same share of another second-level cache."""
        if self.caches is None:
            return self
        wider = max(min(round(log2(here.l2 / self.caches.l2)), 2), -2)
        tile = max(self.tile_qubits + wider, 1)
        return replace(self, tile_qubits=tile, whole_qubits=max(self.whole_qubits, tile))


Table: TypeAlias = dict[tuple[str, str], Calibration]
"""Calibrations by instruction set and precision."""


class TableError(ValueError):
    """A file is no table of calibrations; the message says where and why."""


@lru_cache(maxsize=1)
def cpu_facts() -> dict[str, str]:
    """What the system says about its first processor, by Linux' names; nothing where it is neither Linux nor macOS."""
    facts: dict[str, str] = {}
    if sys.platform == "darwin" and (name := _sysctl("machdep.cpu.brand_string")):
        facts["model name"] = name.rstrip(b"\0").decode()
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    return facts


@lru_cache(maxsize=1)
def caches() -> Caches:
    """A fast core's caches as the system tells them; what it does not tell is as on most machines."""
    return _caches_of_macos(_sysctl) if sys.platform == "darwin" else _caches(SYSTEM_CACHES)


def _caches(folder: Path) -> Caches:
    found: dict[str, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        except OSError:
            continue
        if kind != "Instruction" and level in {"1", "2"} and size[:-1].isdecimal() and size[-1] in "KM":
            found[f"l{level}"] = int(size[:-1]) << (10 if size[-1] == "K" else 20)
    return Caches(**{name: size for name, size in found.items() if _CACHE[0](size)})


def _caches_of_macos(sysctl: Callable[[str], bytes | None]) -> Caches:
    """Those of a performance core, where there are two kinds; of a second level that cores share, a core's part."""
    found: dict[str, int] = {}
    for level, name in (("l1", "l1dcachesize"), ("l2", "l2cachesize")):
        answer = sysctl(f"hw.perflevel0.{name}") or sysctl(f"hw.{name}")
        if answer is not None:
            found[level] = int.from_bytes(answer, "little")
    sharing = int.from_bytes(sysctl("hw.perflevel0.cpusperl2") or b"", "little")
    if "l2" in found:
        found["l2"] //= max(sharing, 1)
    return Caches(**{name: size for name, size in found.items() if _CACHE[0](size)})


def _sysctl(name: str) -> bytes | None:
    """What macOS says under a name: a number or a text in bytes, or None."""
    answer, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    failed = ctypes.CDLL(None).sysctlbyname(name.encode(), answer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else answer.raw[: size.value]


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
    if packaged.cpu is None:  # numbers for common caches
        packaged = replace(packaged, caches=Caches())
    fitted = packaged.fitted(caches())
    tiles = f", tiles fitted to {caches().l2 >> 10} KiB of cache" if fitted != packaged else ""
    if packaged.cpu is None:
        return fitted, f"the package's defaults{tiles}, which nobody has measured for {isa}; to do so: {COMMAND}"
    here = "this CPU model" if packaged.cpu == cpu_model() else f"{packaged.cpu}; for this machine's own: {COMMAND}"
    return fitted, f"the package's{tiles}, measured on {here}"


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
    """The package's numbers of the families whose caches are most like this machine's.

    It has every instruction set that can be compiled in.
    """
    return nearest([read(path) for path in sorted(PACKAGED.parent.glob(f"{PACKAGED.stem}*.json"))], caches())


def nearest(tables: Sequence[Table], here: Caches) -> Table:
    """Of each instruction set and precision the entry that was measured on caches most like these.

    Args:
        tables: One for each family of CPUs; where two are as near, the first counts.
        here: This machine's caches.
    """

    def distance(entry: Calibration) -> float:
        there = entry.caches or Caches()
        return abs(log2(here.l1 / there.l1)) + abs(log2(here.l2 / there.l2)) + (100.0 if entry.cpu is None else 0.0)

    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: min((table[key] for table in tables if key in table), key=distance) for key in keys}


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
    table: Table = {}
    for isa, precisions in content["entries"].items():
        if not isinstance(precisions, dict):
            raise TableError(f"{isa[:80]}: precisions with entries are expected, got {shown(precisions)}.")
        for precision, entry in precisions.items():
            table[isa, precision] = _entry(f"{isa}, {precision}"[:80], entry)
    return table


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
        "measured": None if entry.cpu is None else {"cpu": entry.cpu, "date": entry.date} | _noted(entry.caches),
        "tile_qubits": entry.tile_qubits,
        "whole_qubits": entry.whole_qubits,
        "half_width_cost": entry.half_width_cost,
        "byte_cost": entry.byte_cost,
        "factors": {kind: {"forward": forward, "backward": backward} for kind, (forward, backward) in entry.factors},
    }


def _noted(caches: Caches | None) -> dict[str, int]:
    return {} if caches is None else caches._asdict()


def _entry(where: str, entry: Any) -> Calibration:
    is_measured = _at(entry, "measured") is not None
    values = {}
    # files of before do not note the caches
    noted = {f"measured.{name}": _CACHE for name in Caches._fields if _at(entry, "measured.l1") is not None}
    for place, (is_allowed, expected) in (_NUMBERS | (_MEASURED | noted if is_measured else {})).items():
        values[place] = value = _at(entry, place)
        if not is_allowed(value):
            raise TableError(f"{where}: {place} is {shown(value)}; {expected} is expected.")
    if set(entry["factors"]) != set(KINDS):
        given = shown(list(entry["factors"]))
        raise TableError(f"{where}: factors for {', '.join(KINDS)} are expected, got {given}.")
    factors = {k: (float(values[f"factors.{k}.forward"]), float(values[f"factors.{k}.backward"])) for k in KINDS}
    return Calibration(
        values["tile_qubits"],
        values["whole_qubits"],
        float(values["half_width_cost"]),
        float(values["byte_cost"]),
        Factors(**factors),
        values.get("measured.cpu"),
        values.get("measured.date"),
        Caches(*(values[place] for place in noted)) if noted else None,
    )


def _at(entry: Any, place: str) -> Any:
    """What an entry has at a place; None where there is nothing."""
    for name in place.split("."):
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry
