"""Files of programs: an ``.npz`` of arrays and a header in JSON, without pickle.

What is read is what `write` writes, each part of its type; whether it is a program is for `program.validate` to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import shown
from ..errors import InvalidInputError
from ..files import regular, replacing


class StoredInstruction(NamedTuple):
    """An instruction as a file has it.

    Attributes:
        kind: "rotation", "diagonal", "matrix" or "channel".
        fields: A rotation's numbers; the qubits of another instruction and, of a channel, the name of its family (""
            for none), its slots and constants.
        entries: A table or matrix; a channel's transfer matrix or the base of its powers; None where there is none.
    """

    kind: str
    fields: tuple[Any, ...]
    entries: NDArray[Any] | None


class StoredProgram(NamedTuple):
    """A program as a file has it; the attributes of `program.Program`."""

    num_qubits: int
    num_angles: int
    instructions: tuple[StoredInstruction, ...]
    initial_state: NDArray[np.complex128] | None
    cuts: tuple[int, ...]


def write(path: Path, stored: StoredProgram) -> None:
    """Write a program, whole or not at all.

    Raises:
        InvalidInputError: If the path is a folder, a pipe or a device.
        OSError: If the file cannot be written; the former one is as it was.
    """
    header = {
        "num_qubits": stored.num_qubits,
        "num_angles": stored.num_angles,
        "instructions": [[kind, *fields] for kind, fields, _ in stored.instructions],
        "cuts": list(stored.cuts),
    }
    arrays: dict[str, Any] = {f"a{k}": i.entries for k, i in enumerate(stored.instructions) if i.entries is not None}
    if stored.initial_state is not None:
        arrays["initial_state"] = stored.initial_state
    with replacing(path) as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **arrays)


def read(path: Path) -> StoredProgram:
    """Read what `write` has written.

    Raises:
        InvalidInputError: If the file holds something else or is damaged; the message names it.
        OSError: If it cannot be read.
    """
    with damage_named(path), regular(path) as file, np.load(file, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        num_qubits, num_angles, instructions = (header[name] for name in ("num_qubits", "num_angles", "instructions"))
        cuts = header.get("cuts", [])  # files of earlier versions have none
        for value, kind in ((num_qubits, int), (num_angles, int), (instructions, list), (cuts, list)):
            if type(value) is not kind:
                raise InvalidInputError(f"The header has {shown(value)} in the place of the type {kind.__name__}.")
        if not _are_integers(cuts):
            raise InvalidInputError(f"The cuts are {shown(cuts)}; integers are expected.")
        state = _array(arrays, "initial_state", np.complex128) if "initial_state" in arrays else None
        return StoredProgram(num_qubits, num_angles, tuple(_instructions(instructions, arrays)), state, tuple(cuts))


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Name a file in whatever goes wrong while it is read."""
    try:
        yield
    except Exception as error:  # of zipfile, zlib, json and NumPy, which have no base in common
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = error.message if isinstance(error, InvalidInputError) else f"{type(error).__name__}: {error}"
        raise InvalidInputError(f"{path} is no saved program, or is damaged: {reason}") from error


def _instructions(entries: list[Any], arrays: Mapping[str, Any]) -> Iterator[StoredInstruction]:
    for position, entry in enumerate(entries):
        kind, *fields = entry if type(entry) is list and entry else (None,)
        if kind == "rotation" and _are_integers(fields[:5]) and len(fields) == 6 and type(fields[5]) in {int, float}:
            yield StoredInstruction(kind, tuple(fields), None)
        elif kind in ("diagonal", "matrix") and len(fields) == 1 and type(fields[0]) is list and _are_integers(*fields):
            yield StoredInstruction(kind, (tuple(fields[0]),), _array(arrays, f"a{position}", np.complex128))
        elif kind == "channel" and _is_channel(fields):
            qubits, family, slots, constants = fields
            matrix = _array(arrays, f"a{position}", np.float64) if f"a{position}" in arrays else None
            yield StoredInstruction(kind, (tuple(qubits), family, tuple(slots), tuple(constants)), matrix)
        else:
            raise InvalidInputError(f"Instruction {position} is {shown(entry)}, which is none that is written.")


def _are_integers(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)  # True is none


def _is_channel(fields: list[Any]) -> bool:
    if [type(field) for field in fields] != [list, str, list, list]:
        return False
    qubits, _, slots, constants = fields
    return _are_integers(qubits) and _are_integers(slots) and all(type(value) in {int, float} for value in constants)


def _array(arrays: Mapping[str, Any], name: str, kind: type[np.generic]) -> NDArray[Any]:
    array: NDArray[Any] = arrays[name]
    if array.dtype != kind:
        raise InvalidInputError(f"The array {name} is of type {array.dtype}; {kind.__name__} is expected.")
    return array
