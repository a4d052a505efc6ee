"""Files of programs: what is damaged or was written by something else is refused, with its path."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calls import calls_of

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.channel_table import CHANNELS, powered
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import Diagonal, Matrix, Program, Rotation

PROGRAM = Program(
    2,
    1,
    (
        Rotation(1, 0, slot=0),
        Matrix((0, 1), np.eye(4, dtype=complex)),
        Diagonal((1,), np.array([1.0, 1.0j])),
        Rotation(0, 2, theta=0),  # an integer, as JSON keeps it
        Channel((1,), np.diag([1.0, 0.9, 0.9, 0.9])),
        Channel((0,), None, CHANNELS["bit_flip"], (0,), (0.0,)),
        Channel((0,), None, powered(np.diag([1.0, 0.8, 0.9, 0.9])), (-1,), (2,)),
    ),
    np.array([0.6, 0.8, 0.0, 0.0], dtype=complex),
    cuts=(1, 2),
)


def _saved(path: Path) -> bytes:
    PROGRAM.save(path)
    return path.read_bytes()


def _rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """The file with another header or other arrays."""
    PROGRAM.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    other = change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header if other is None else other).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _refused(path: Path) -> str:
    with pytest.raises(InvalidInputError) as raised:
        Program.load(path)
    assert raised.value.message.startswith(f"{path} is no saved program, or is damaged: ")
    assert len(raised.value.message) < 600
    return raised.value.message


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "program.npz"
    _rewritten(path, lambda *_: None)
    loaded = Program.load(path)
    assert (loaded.num_qubits, loaded.num_angles, loaded.cuts) == (2, 1, (1, 2))
    assert [type(each) for each in loaded.instructions] == [Rotation, Matrix, Diagonal, Rotation, *[Channel] * 3]
    assert loaded.structure() == PROGRAM.structure()
    assert loaded.instructions[0] == PROGRAM.instructions[0]
    np.testing.assert_array_equal(loaded.initial_state, PROGRAM.initial_state)


def _pickled() -> bytes:
    np.save(file := io.BytesIO(), np.array([object()]), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: content[:-20],
        lambda content: b"junk" * 100,
        lambda content: bytes(24),
        gzip.compress,
        lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:],
        lambda content: _pickled(),
        lambda content: b"PK\x03\x04" + content[4:90] + bytes(40),
    ],
    ids=range(9),
)
def test_damaged_files(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "program.npz"
    path.write_bytes(damage(_saved(path)))
    _refused(path)


DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]

HEADERS: list[dict[str, Any]] = [
    {"num_angles": -1},
    {"num_angles": True},
    {"num_angles": None},
    {"num_qubits": 0},
    {"num_qubits": 2.0},
    {"num_qubits": "x"},
    {"num_qubits": 10**400},
    {"cuts": [0.5]},
    {"cuts": None},
    {"cuts": [True]},
    {"cuts": [9]},
    {"cuts": DEEP},
    {"instructions": None},
    {"instructions": {}},
    {"instructions": [[]]},
    {"instructions": [3]},
    {"instructions": ["rotation"]},
    {"instructions": [["x"]]},
    {"instructions": [[["rotation"]]]},
    {"instructions": [["rotation", 1]]},
    {"instructions": [["rotation", 1.5, 0, 0, 0, -1, 0.0]]},
    {"instructions": [["rotation", True, 0, 0, 0, -1, 0.0]]},
    {"instructions": [["rotation", 1, 0, 0, 0, -1, "0"]]},
    {"instructions": [["rotation", 1, 0, 0, 0, -1, float("nan")]]},
    {"instructions": [["rotation", 1, 0, 0, 0, -1, 0.0, 0.0]]},
    {"instructions": [["matrix", [0.0, 1]]]},
    {"instructions": [["matrix", [0, 1]], ["matrix", [0, 1]]]},
    {"instructions": [["matrix", [[0], 1]]]},
    {"instructions": [["matrix"]]},
    {"instructions": [["channel", [1], "", [], []]]},
    {"instructions": [["channel", [1], "x", [], []]]},
    {"instructions": [["channel", [1], "power", [0], [0.0]]]},
    {"instructions": [["channel", [1], "bit_flip", [0], ["0"]]]},
    {"instructions": [["channel", [1], "bit_flip", [True], [0.0]]]},
    {"instructions": [["channel", [1], "bit_flip", [-1], [float("nan")]]]},
    {"instructions": [["channel", [1], "bit_flip", [-1], [1.5]]]},
    {"instructions": [["channel", [1], "bit_flip", [1], [0.0]]]},
    {"instructions": [["channel", [1], ["bit_flip"], [0], [0.0]]]},
    {"instructions": [["channel", 1, "bit_flip", [0], [0.0]]]},
    {"instructions": [["channel"]]},
    {"instructions": DEEP},
]


@pytest.mark.parametrize("fields", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_mean_no_program(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "program.npz"
    _rewritten(path, lambda header, _: header.update(fields))
    _refused(path)


@pytest.mark.parametrize("header", [[], 3, "x", {}, {"num_qubits": 2}], ids=range(5))
def test_other_headers(tmp_path: Path, header: Any) -> None:
    path = tmp_path / "program.npz"
    _rewritten(path, lambda *_: header)
    _refused(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a1", lambda array: array.real.astype(np.float32)),
        ("a1", lambda array: array.astype(np.complex64)),
        ("a1", lambda array: array.real),
        ("a1", lambda array: array[:2]),
        ("a1", lambda array: 2 * array),
        ("a1", lambda array: np.nan * array),
        ("a2", lambda array: array.astype(str)),
        ("a2", lambda array: array[0]),
        ("a4", lambda array: array.astype(complex)),
        ("a4", lambda array: 0.9 * array),
        ("a4", lambda array: array[:3]),
        ("a4", lambda array: np.diag([1.0, 1.0, 1.0, -1.0])),
        ("a6", lambda array: array.astype(np.float32)),
        ("a6", lambda array: -array),
        ("a6", lambda array: 0.9 * array),
        ("initial_state", lambda array: array.real),
        ("initial_state", lambda array: array[0]),
        ("initial_state", lambda array: 2 * array),
        ("header", lambda array: array[:10]),
    ],
    ids=range(19),
)
def test_arrays_of_another_kind(tmp_path: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "program.npz"
    PROGRAM.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name] = change(arrays[name])
    with path.open("wb") as file:
        np.savez(file, **arrays)
    _refused(path)
    del arrays[name]
    if name != "initial_state":
        with path.open("wb") as file:
            np.savez(file, **arrays)
        _refused(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        Program.load(tmp_path / "none.npz")
    assert "no regular file" in _refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in _refused(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="pipe is no regular file"):
        PROGRAM.save(tmp_path / "pipe")


def test_a_save_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "program.npz"
    before = _saved(path)

    def fail(file: Any, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="No space left"):
            Program(1, 0, ()).save(path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("program.npz", before)]


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "program.npz"
    threads = [threading.Thread(target=PROGRAM.save, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Program.load(path).cuts == (1, 2)
    assert [*tmp_path.iterdir()] == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "program.npz")
    PROGRAM.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert Program.load(tmp_path / "program.npz").cuts == (1, 2)


def test_loading_takes_a_few_calls_an_instruction(tmp_path: Path) -> None:
    def calls(count: int) -> int:
        path = tmp_path / f"{count}.npz"
        Program(20, 1, tuple(Rotation(1 << (k % 20), 0, slot=0) for k in range(count))).save(path)
        assert len(Program.load(path).instructions) == count  # what is imported on first use does not count
        return calls_of(lambda: Program.load(path))

    short, medium, long = map(calls, (1000, 2000, 3000))
    assert 0 < medium - short < 40 * 1000
    assert long - medium <= 1.01 * (medium - short)
