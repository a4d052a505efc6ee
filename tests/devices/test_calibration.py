"""Tables of calibrations: which one is used, what is refused, and that writing is all or nothing."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from qiskit_fusedqml.devices import _native, calibration
from qiskit_fusedqml.devices.calibration import (
    PACKAGED,
    Caches,
    Calibration,
    TableError,
    caches,
    cpu_model,
    find,
    nearest,
    packaged_table,
    read,
    user_file,
    write,
)
from qiskit_fusedqml.devices.cpu import CPUDevice, instruction_set
from qiskit_fusedqml.devices.info import describe
from qiskit_fusedqml.planner.cost import KINDS, CostModel, Factors
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.tape import Tape

ISA = instruction_set()
USER_FILE = user_file  # before conftest puts another in its place
OWN = Calibration(7, 9, 1.0, 2.5, Factors(u2=(0.25, 0.75)), cpu_model(), "2026-01-02")


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's file, which is not there yet."""
    path = tmp_path / "folder" / "calibration.json"
    monkeypatch.setattr(calibration, "user_file", lambda: path)
    yield path
    calibration._own_table.cache_clear()


def test_the_package_has_every_instruction_set_in_full() -> None:
    entries = json.loads(PACKAGED.read_text())["entries"]
    assert set(entries) == {"avx512", "avx2", "sse2", "neon"}
    assert set(_native.instruction_sets()) <= set(entries)
    for precisions in entries.values():
        assert set(precisions) == {"double", "single"}
        for entry in precisions.values():
            assert set(entry) == {"measured", "tile_qubits", "whole_qubits", "half_width_cost", "byte_cost", "factors"}
            assert set(entry["factors"]) == set(KINDS)
            assert entry["tile_qubits"] <= entry["whole_qubits"]
            if entry["measured"] is not None:
                assert entry["measured"]["cpu"]
                date.fromisoformat(entry["measured"]["date"])
                assert entry["factors"]["ry_factored"]["forward"] == 1.0


def test_what_nobody_measured_says_so() -> None:
    entries = json.loads(PACKAGED.read_text())["entries"]
    for isa, precisions in entries.items():
        for entry in precisions.values():
            unit = {"forward": 1.0, "backward": 1.0}
            defaults = all(factor == unit for factor in entry["factors"].values())
            assert (entry["measured"] is None) == defaults == (isa == "neon")


def test_the_device_plans_with_the_package_s_numbers() -> None:
    for precision in ("double", "single"):
        entry = json.loads(PACKAGED.read_text())["entries"][ISA][precision]
        model, fitted = CPUDevice(precision, 3).cost_model, packaged_table()[ISA, precision].fitted(caches())
        assert packaged_table()[ISA, precision].tile_qubits == entry["tile_qubits"]
        assert (model.tile_qubits, model.whole_qubits) == (fitted.tile_qubits, fitted.whole_qubits)
        assert model.byte_cost == entry["byte_cost"]
        assert model.factors.u2 == (entry["factors"]["u2"]["forward"], entry["factors"]["u2"]["backward"])
        assert model.threads == 3
        assert len({model, CPUDevice(precision, 3).cost_model, CostModel()}) == 2  # hashable, equal


def test_the_user_s_file_comes_first(own_file: Path) -> None:
    assert find(ISA, "single") == find(ISA, "single")
    assert "the package's" in find(ISA, "single")[1]
    write({(ISA, "single"): OWN}, own_file)
    numbers, source = find(ISA, "single")
    assert numbers == OWN
    assert source == f"measured here on 2026-01-02 ({own_file})"
    model = CPUDevice("single").cost_model
    assert (model.tile_qubits, model.whole_qubits, model.byte_cost) == (7, 9, 2.5)
    assert model.factors.u2 == (0.25, 0.75)
    # the other precision is not in it
    assert find(ISA, "double")[0] == packaged_table()[ISA, "double"].fitted(caches())


def test_a_new_file_is_seen(own_file: Path) -> None:
    write({(ISA, "double"): OWN}, own_file)
    assert find(ISA, "double")[0] == OWN
    newer = replace(OWN, tile_qubits=8)
    write({(ISA, "double"): newer}, own_file)
    assert find(ISA, "double")[0] == newer
    own_file.unlink()
    assert find(ISA, "double")[0] == packaged_table()[ISA, "double"].fitted(caches())


def test_another_instruction_set_s_numbers_are_left_alone(own_file: Path) -> None:
    write({("other", "double"): OWN}, own_file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(ISA, "double")[0] == packaged_table()[ISA, "double"].fitted(caches())


def test_a_given_calibration_beats_both(own_file: Path) -> None:
    write({(ISA, "double"): OWN}, own_file)
    assert CPUDevice("double", calibration=replace(OWN, tile_qubits=5)).cost_model.tile_qubits == 5


def test_half_width_is_a_choice() -> None:
    full, half = (CPUDevice("double", 1, replace(OWN, half_width_cost=cost)) for cost in (1.0, 0.55))
    model = full.cost_model
    tape = Tape(4, (), Frame.identity(4), 0)
    sizes = [device.allocate(tape, model.half_lanes, None).bytes for device in (full, half)]
    assert sizes[0] == sizes[1] * model.lanes // model.half_lanes


@pytest.mark.parametrize("cost", [0.57, 1.0])
def test_odd_numbers_of_groups_take_narrow_vectors_where_these_are_cheap(cost: float) -> None:
    device = CPUDevice("double", 2, replace(OWN, half_width_cost=cost))
    model, tape = device.cost_model, Tape(6, (), Frame.identity(6), 0)
    if model.half_lanes == model.lanes:
        assert device.allocate(tape, 3 * model.lanes, None).bytes == 3 * model.lanes * 16 << 6
        return
    # turns of two threads: 2 of three or four groups in wide vectors; in narrow ones 3 of five or six, 4 of eight
    for batch in range(2 * model.lanes + 1, 4 * model.lanes + 1):
        narrow = cost < 1 and batch <= 3 * model.lanes
        lanes = model.half_lanes if narrow else model.lanes
        assert device.allocate(tape, batch, None).bytes == -(-batch // lanes) * lanes * 16 << 6


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 2, "entries": {}}', "\xff"])
def test_a_corrupt_file_is_named_once(own_file: Path, content: str) -> None:
    own_file.parent.mkdir()
    own_file.write_bytes(content.encode("latin-1"))
    with pytest.warns(UserWarning, match="is not used: It is .*The package's numbers are used.*calibrate") as seen:
        numbers, _ = find(ISA, "double")
    assert numbers == packaged_table()[ISA, "double"].fitted(caches())
    assert str(own_file) in str(seen[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CPUDevice()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "pipe": _pipe,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "sparse": _sparse,
    "deep": lambda path: path.write_text("[" * 100_000),
    "deeper": lambda path: path.write_text('{"format":' * 100_000),
    "digits": lambda path: path.write_text("9" * 5000),
    "numbers": lambda path: path.write_text(_table_with(10**400)),
    "long names": lambda path: path.write_text(json.dumps({"format": 1, "entries": {"x" * 10**5: 3}})),
    "long values": lambda path: path.write_text(_table_with(["x"] * 10**5)),
}


def _table_with(cost: Any) -> str:
    return json.dumps({"format": 1, "entries": {ISA: {"double": {"byte_cost": cost, "factors": dict.fromkeys(KINDS)}}}})


@pytest.mark.parametrize("kind", UNREADABLE)
def test_whatever_is_wrong_with_a_file_it_is_named_once(own_file: Path, kind: str) -> None:
    own_file.parent.mkdir()
    UNREADABLE[kind](own_file)
    with pytest.warns(UserWarning, match="The package's numbers are used.*calibrate") as seen:
        numbers, _ = find(ISA, "double")
    assert numbers == packaged_table()[ISA, "double"].fitted(caches())
    text = str(seen[0].message)
    assert (len(seen), text.count(str(own_file))) == (1, 1)
    assert len(text) < 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CPUDevice()


def test_another_machine_s_file_is_named_once(own_file: Path) -> None:
    write({(ISA, "double"): replace(OWN, cpu="Z80")}, own_file)
    with pytest.warns(UserWarning, match="was measured on Z80; this is .*The package's numbers are used"):
        numbers, _ = find(ISA, "double")
    assert numbers == packaged_table()[ISA, "double"].fitted(caches())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find(ISA, "double")


FAULTS: dict[str, Any] = {
    "tile_qubits": 0,
    "whole_qubits": 11.5,
    "half_width_cost": True,
    "byte_cost": -1.0,
    "byte_cost ": "1",
    "byte_cost  ": float("nan"),
    "factors/u2/forward": 0,
    "factors/u2/backward": 1e9,
    "factors/u2": 2.0,
    "factors/u3": {"forward": 1.0, "backward": 1.0},
    "factors": {},
    "measured": "here",
    "measured/cpu": "",
    "measured/date": None,
}
"""Entries, by their place, that must not be there."""


@pytest.mark.parametrize("place", FAULTS)
def test_numbers_that_cannot_be_true_are_refused(place: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write({(ISA, "double"): OWN}, path)
    assert read(path) == {(ISA, "double"): OWN}
    content = json.loads(path.read_text())
    *outer, name = place.strip().split("/")
    entry = content["entries"][ISA]["double"]
    for part in outer:
        entry = entry[part]
    entry[name] = FAULTS[place]
    path.write_text(json.dumps(content))
    with pytest.raises(TableError, match=f"{ISA}, double"):
        read(path)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_changes_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    write({(ISA, "double"): OWN}, path)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(type(error)):
            write({}, path)
    assert read(path) == {(ISA, "double"): OWN}
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    end = Path("qiskit_fusedqml", "calibration.json")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert USER_FILE() == tmp_path / end
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for other in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert USER_FILE() == tmp_path / "home" / ".cache" / end


def test_info_says_which_table_is_in_use(own_file: Path) -> None:
    def line() -> str:
        (found,) = [line for line in describe().splitlines() if line.startswith("cost model")]
        return found

    assert "the package's" in line()
    write({(ISA, "single"): OWN}, own_file)
    assert f"single: measured here on 2026-01-02 ({own_file})" in line()
    write({(ISA, "single"): OWN, (ISA, "double"): OWN}, own_file)
    assert line().split(maxsplit=2)[2] == f"measured here on 2026-01-02 ({own_file})"


SMALL, LARGE = Caches(2**15, 2**20), Caches(3 * 2**14, 2**21)


def test_the_family_with_the_nearest_caches_counts() -> None:
    small, large = (replace(OWN, tile_qubits=k, caches=c) for k, c in ((11, SMALL), (12, LARGE)))
    unmeasured = replace(OWN, cpu=None, date=None)
    tables = [
        {("a", "double"): unmeasured, ("b", "double"): unmeasured},
        {("a", "double"): small},
        {("a", "double"): large},
    ]
    for here, expected in (
        (SMALL, small),
        (LARGE, large),
        (Caches(2**15, 2**19), small),
        (Caches(2**16, 2**22), large),
    ):
        assert nearest(tables, here) == {("a", "double"): expected, ("b", "double"): unmeasured}


def test_tiles_take_the_same_share_of_another_cache() -> None:
    own = replace(OWN, tile_qubits=11, whole_qubits=14, caches=SMALL)
    sizes = {k: own.fitted(Caches(2**15, 2**k)).tile_qubits for k in range(17, 25)}
    assert sizes == {17: 9, 18: 9, 19: 10, 20: 11, 21: 12, 22: 13, 23: 13, 24: 13}
    assert own.fitted(LARGE) == replace(own, tile_qubits=12)
    assert own.fitted(Caches(2**15, 5 << 18)) == own
    assert replace(own, whole_qubits=11).fitted(LARGE).whole_qubits == 12
    assert replace(own, caches=None).fitted(LARGE).tile_qubits == 11


def test_caches_are_read_from_the_system(tmp_path: Path) -> None:
    assert calibration._caches(tmp_path) == Caches()
    texts = [("Data", "1", "48K"), ("Instruction", "1", "32K"), ("Unified", "2", "2048K"), ("Unified", "3", "32M")]
    for number, values in enumerate(texts):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, value in zip(("type", "level", "size"), values, strict=True):
            (folder / name).write_text(value + "\n")
    assert calibration._caches(tmp_path) == LARGE
    (tmp_path / "index2" / "size").write_text("0K\n")
    (tmp_path / "index0" / "size").unlink()
    assert calibration._caches(tmp_path) == Caches()


def test_caches_of_macos_are_a_performance_cores() -> None:
    def answers(**sizes: int) -> Caches:
        said = {f"hw.{name.replace('__', '.')}": size.to_bytes(8, "little") for name, size in sizes.items()}
        return calibration._caches_of_macos(said.get)

    assert answers() == Caches()
    assert answers(l1dcachesize=3 << 14, l2cachesize=1 << 18) == Caches(3 << 14, 1 << 18)  # Intel
    m1 = {"l1dcachesize": 1 << 16, "l2cachesize": 4 << 20}  # of the efficiency cores
    m1 |= {"perflevel0__l1dcachesize": 1 << 17, "perflevel0__l2cachesize": 12 << 20, "perflevel0__cpusperl2": 4}
    assert answers(**m1) == Caches(1 << 17, 3 << 20)


def test_numbers_that_nobody_measured_have_tiles_for_this_machines_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "caches", lambda: Caches(2**17, 2**22))
    defaults = read(PACKAGED)["neon", "double"]
    fitted, words = find("neon", "double")
    assert fitted.cpu is None
    assert fitted.tile_qubits == defaults.tile_qubits + 2
    assert "tiles fitted to 4096 KiB of cache, which nobody has measured for neon" in words


def test_a_table_notes_the_caches(own_file: Path) -> None:
    noted = replace(OWN, caches=LARGE)
    write({(ISA, "double"): noted, (ISA, "single"): OWN}, own_file)
    assert read(own_file) == {(ISA, "double"): noted, (ISA, "single"): OWN}
    content = json.loads(own_file.read_text())
    content["entries"][ISA]["double"]["measured"]["l2"] = "much"
    own_file.write_text(json.dumps(content))
    with pytest.raises(TableError, match=r"measured\.l2 is 'much'; a number of bytes is expected"):
        read(own_file)
