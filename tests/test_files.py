"""Files: what takes the place of another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from qiskit_fusedqml import files


@pytest.mark.parametrize(("refusals", "succeeds"), [(0, True), (2, True), (3, False)])
def test_a_reader_who_keeps_a_file_from_being_replaced_is_waited_for(
    refusals: int, succeeds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TRIES", 3)  # as on Windows
    monkeypatch.setattr(files, "_PAUSE", 0.0)
    replace, calls = Path.replace, []

    def refused_at_first(draft: Path, path: Path) -> Path:
        calls.append(path)
        if len(calls) <= refusals:
            raise PermissionError(path)
        return replace(draft, path)

    monkeypatch.setattr(Path, "replace", refused_at_first)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    if succeeds:
        with files.replacing(path) as file:
            file.write(b"new")
    else:
        with pytest.raises(PermissionError), files.replacing(path) as file:
            file.write(b"new")
    assert path.read_bytes() == (b"new" if succeeds else b"old")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
