"""Checkpoint files: everything comes back, damage is seen, and a kill never costs the former file."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.forked import in_child
from support.saves import save_and_die, save_in_place_and_die, state

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.files import replacing
from qiskit_fusedqml.training.checkpoint import load_checkpoint, save_checkpoint

TENSORS = {
    "float": torch.tensor([1.5, -0.0, math.inf, math.nan]),
    "double": torch.tensor([[1 / 3, 2 / 3]], dtype=torch.float64),
    "bfloat": torch.tensor([[1.25], [-3.0]], dtype=torch.bfloat16),
    "scalar bfloat": torch.tensor(2.5, dtype=torch.bfloat16),
    "complex": torch.tensor([1 + 2j], dtype=torch.complex128),
    "conjugated": torch.tensor([1 + 2j, 3j], dtype=torch.complex64).conj(),
    "scalar": torch.tensor(7),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(6).reshape(2, 3).T,
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "file.pt", {"here": [TENSORS[name]]})
    found = load_checkpoint(tmp_path / "file.pt")["here"][0]
    assert (found.dtype, found.shape) == (TENSORS[name].dtype, TENSORS[name].shape)
    expected = TENSORS[name].resolve_conj().contiguous().reshape(-1)
    assert bytes(found.reshape(-1).view(torch.uint8).numpy()) == bytes(expected.view(torch.uint8).numpy())


VALUES = [
    None,
    True,
    3,
    -(10**30),
    0.1 + 0.2,
    -math.inf,
    "text",
    [],
    {},
    (1, (2.0, [3])),
    {"a": {0: "zero", 1.5: None, (1, 2): "pair"}, "": [[]]},
    Counter({30: 2, 10: 1}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_with_their_types(tmp_path: Path, value: Any) -> None:
    save_checkpoint(tmp_path / "file.pt", value)
    found = load_checkpoint(tmp_path / "file.pt")
    assert found == value
    assert type(found) is type(value)


def test_numbers_of_numpy_come_back_as_python_s(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "file.pt", OrderedDict({np.int64(3): np.float64(0.1), "flag": np.bool_(True)}))
    assert repr(load_checkpoint(tmp_path / "file.pt")) == "{3: 0.1, 'flag': True}"


def test_torch_alone_reads_the_weights_and_runs_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "file.pt", {"model": torch.nn.Linear(2, 1).state_dict()})
    model = torch.nn.Linear(2, 1)
    model.load_state_dict(torch.load(tmp_path / "file.pt", weights_only=True)["model"])
    assert torch.equal(model.weight, load_checkpoint(tmp_path / "file.pt")["model"]["weight"])


class Touch:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": Touch(tmp_path / "run")}, tmp_path / "file.pt")
    with pytest.raises(InvalidInputError, match=r"file\.pt is no checkpoint or is damaged"):
        load_checkpoint(tmp_path / "file.pt")
    assert not (tmp_path / "run").exists()
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "run").exists()  # the file would have done it


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.arange(3), deque([1]), torch.nn.Linear(1, 1)], ids=lambda value: type(value).__name__
)
def test_what_could_not_be_read_is_refused_by_name(tmp_path: Path, value: object) -> None:
    path = tmp_path / "file.pt"
    path.write_text("before")
    with pytest.raises(InvalidInputError, match=rf"cannot hold here/0, a {type(value).__name__}:"):
        save_checkpoint(path, {"here": [value]})
    assert path.read_text() == "before"


def test_damage_is_seen_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    save_checkpoint(path, {"weights": torch.arange(64.0), "rate": 0.1})
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position])
        with pytest.raises(InvalidInputError, match=r"no checkpoint or is damaged .* Move it away"):
            load_checkpoint(path)
    marker = whole.index(torch.arange(64.0).numpy().tobytes())
    path.write_bytes(whole[: marker + 9] + bytes([whole[marker + 9] ^ 1]) + whole[marker + 10 :])
    with pytest.raises(InvalidInputError, match="damaged"):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    path.write_text("before")
    with pytest.raises(OSError, match="disk full"), replacing(path) as file:  # noqa: PT012
        file.write(b"half of ")
        raise OSError("disk full")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file.pt", "before")]


LAST = 25
"""Calls from the end of the file's content to the end of the save, and some more."""


def test_killed_anywhere_in_a_save_one_whole_checkpoint_is_left(tmp_path: Path) -> None:
    path, part, told = tmp_path / "file.pt", tmp_path / "file.pt.part", tmp_path / "calls"
    save_checkpoint(path, state(1))
    assert in_child(save_and_die, path, -1, told) == 0
    calls = int(told.read_text())
    found, parts = [], []
    # all of the last ones, where the file gets its name, and a sample of those before
    for at in [*range(1, calls - LAST, calls // 10), *range(calls - LAST, calls + 1)]:
        save_checkpoint(path, state(1))
        part.unlink(missing_ok=True)
        assert in_child(save_and_die, path, at) == -9
        loaded = load_checkpoint(path)
        assert loaded["model"]["weight"].eq(loaded["number"]).all()
        found.append(loaded["number"])
        parts.append(part.stat().st_size if part.exists() else -1)
    whole = path.stat().st_size
    assert found == sorted(found)  # the former one up to a point, and from there on the new one
    assert set(found) == {1, 2}
    before_write, mid_write, before_rename = -1 in parts, any(0 <= size < whole for size in parts), whole in parts
    assert before_write
    assert mid_write
    assert before_rename
    save_checkpoint(path, state(3))  # what a kill has left is in nobody's way
    assert load_checkpoint(path)["number"] == 3
    assert not part.exists()


def test_a_save_in_place_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    save_checkpoint(path, state(1))
    assert in_child(save_in_place_and_die, path) == -9
    with pytest.raises(InvalidInputError, match="damaged"):
        load_checkpoint(path)
