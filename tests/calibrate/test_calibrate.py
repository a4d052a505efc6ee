"""``python -m qiskit_fusedqml calibrate``: the measuring code on tiny states, with clocks that only count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from support.interpreter import run_program
from support.programs import layered

from qiskit_fusedqml import calibrate as package
from qiskit_fusedqml.__main__ import main
from qiskit_fusedqml.calibrate import Sizes, calibrate, measure
from qiskit_fusedqml.calibrate.probes import (
    Action,
    States,
    Timer,
    layered_program,
    operations_probe,
    program_step,
    traffic_probe,
)
from qiskit_fusedqml.devices import State, calibration
from qiskit_fusedqml.devices._native import Coefficients
from qiskit_fusedqml.devices.calibration import read
from qiskit_fusedqml.devices.cpu import CPUDevice, instruction_set
from qiskit_fusedqml.planner.cost import KINDS
from qiskit_fusedqml.planner.frame import Frame
from qiskit_fusedqml.planner.tape import RY, U2, Dense, Diag, Pauli, Tape

ISA = instruction_set()


def ticking() -> Callable[[], float]:
    """A clock by which everything takes one second."""
    ticks = count()
    return lambda: float(next(ticks))


def tiny(timer: Timer | None = None) -> Sizes:
    """Sizes that take no time, and a clock by which everything takes one second."""
    one_round = Timer(seconds=0.0, fewest_rounds=1, most_rounds=1, clock=ticking())
    return Sizes(2**12, (-1, 0, 1), (1, 2), 2, (1, 2), 1, (3,), timer or one_round)


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's file, which is not there yet."""
    path = tmp_path / "cache" / "calibration.json"
    for module in (calibration, package):
        monkeypatch.setattr(module, "user_file", lambda: path)
    yield path
    calibration._own_table.cache_clear()


class Machine:
    """A clock that actions move on by what they are said to take, now and then disturbed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def action(self, name: str, *seconds: float) -> Action:
        """Takes the given times in turn."""
        times = iter(seconds)

        def act() -> None:
            self.now += next(times)
            self.order.append(name)

        return act

    def timer(self, **options: float) -> Timer:
        return Timer(clock=lambda: self.now, watch=lambda: self.now, **options)


def test_the_least_of_interleaved_times_counts() -> None:
    machine = Machine()
    actions = [machine.action("a", 3.0, 1.0, 9.0), machine.action("b", 2.0, 8.0, 4.0)]
    times = machine.timer(seconds=1e9, fewest_rounds=1, most_rounds=3).fastest(actions)
    assert times == [1.0, 2.0]
    assert machine.order == list("ababab")


def test_a_slip_of_the_clock_does_not_count() -> None:
    machine = Machine()
    times = [5.0, 0.1, *[4.0] * 18]
    assert machine.timer(seconds=1e9, fewest_rounds=1, most_rounds=20).fastest([machine.action("a", *times)]) == [
        pytest.approx(4.0)
    ]


def test_rounds_end_when_there_were_enough() -> None:
    for seconds, fewest, rounds in ((0.0, 2, 2), (3.5, 1, 4), (3.5, 6, 6), (1e9, 1, 7)):
        machine = Machine()
        machine.timer(seconds=seconds, fewest_rounds=fewest, most_rounds=7).fastest([machine.action("a", *[1.0] * 7)])
        assert len(machine.order) == rounds


def test_a_busy_machine_s_other_programs_are_not_counted() -> None:
    # the default clock is this thread's own; the watch is everybody's
    assert Timer().clock is not Timer().watch
    assert Timer().clock.__name__ == "thread_time"


class Recorder(CPUDevice):
    """Keeps the tapes that it is given."""

    def forward(self, tape: Tape, coefficients: Coefficients, ket: State) -> None:
        self.tapes = [*getattr(self, "tapes", []), tape]
        super().forward(tape, coefficients, ket)


@pytest.mark.parametrize("kind", KINDS)
def test_probes_run_what_they_count(kind: str) -> None:
    counts = {  # multiply-adds per amplitude, all overlaps included: forward once, backward ket and bra
        "ry_factored": (RY, 2, 2 * 2 + 4),
        "ry_plain": (RY, 4, 2 * 4 + 4),
        "u2": (U2, 8, 2 * 8 + 8),
        "pauli": (Pauli, 2, 2 * 2 + 2),
        "diag_one_table": (Diag, 4, 2 * 4 + 2),
        "diag_more_tables": (Diag, 8, 2 * 8 + 2),
        "dense_2": (Dense, 16, 32),
        "dense_3": (Dense, 32, 64),
    }
    device = Recorder("double", 1)
    states = States.of(device, 6)
    frame = Frame.identity(6)
    probe = operations_probe(kind, states)
    start = device.amplitudes(states.ket, frame)
    probe.forward()
    assert np.abs(device.amplitudes(states.ket, frame) - start).max() > 1e-3
    probe.backward()
    # factored rotations stretch the state a little, all else is undone
    np.testing.assert_allclose(device.amplitudes(states.ket, frame), start, atol=1e-3)
    operation, forward, backward = counts[kind]
    (block,) = device.tapes[0].blocks
    assert all(isinstance(op, operation) for op in block.operations)
    assert probe.work.forward == forward * len(block.operations) >= 50
    assert probe.work.backward == backward * len(block.operations)


def test_passes_over_a_large_state_move_every_byte() -> None:
    device = CPUDevice("single", 1)
    probe = traffic_probe(States.of(device, 14))
    assert probe.work.forward_bytes == 2 * 2 * 8
    assert probe.work.backward_bytes == 2 * 4 * 8
    probe.forward()
    probe.backward()


def test_the_layered_circuit_is_that_of_the_tests() -> None:
    angles = np.random.default_rng(0).uniform(-3, 3, 3 * 4 * 2)
    ours, theirs = layered_program(4, 2), layered(4, 2)
    np.testing.assert_allclose(run_program(ours, angles), run_program(theirs, [*np.zeros(4), *angles]), atol=1e-12)


def test_a_step_is_both_sweeps_in_the_device_s_tiles() -> None:
    device = Recorder("double", 1, replace(calibration.packaged_table()[ISA, "double"], tile_qubits=3, whole_qubits=1))
    program_step(device, 5, 2, device.cost_model.lanes)()
    assert max(len(block.tile) for block in device.tapes[0].blocks) == 3


class Alternating(Timer):
    """By which every second action takes two seconds and the others one."""

    def fastest(self, actions: Sequence[Action]) -> list[float]:
        for action in actions:
            action()
        return [1.0 + index % 2 for index in range(len(actions))]


@pytest.mark.parametrize("precision", ["double", "single"])
def test_numbers_follow_from_times(precision: str) -> None:
    told: list[str] = []
    entry = measure(precision, tiny(Alternating()), told.append)
    device = CPUDevice(precision, 1)
    qubits = (2**12 // device.cost_model.amplitude_bytes // device.cost_model.lanes).bit_length() - 1
    works = {kind: operations_probe(kind, States.of(device, qubits)).work for kind in KINDS}
    unit = works["ry_factored"].forward
    for kind, (forward, backward) in entry.factors:
        assert forward == pytest.approx(unit / works[kind].forward, rel=0.01)
        assert backward == pytest.approx(2 * unit / works[kind].backward, rel=0.01)
    # three seconds for two passes both ways, less the two rotations'
    amplitudes = device.cost_model.lanes << qubits + 2
    moving = 3.0 * unit * (device.cost_model.lanes << qubits) / amplitudes - 2 * (2 + 4)
    moved = 2 * (2 + 4) * device.cost_model.amplitude_bytes
    assert entry.byte_cost == pytest.approx(max(moving / moved, 0.01), rel=0.01)
    assert entry.tile_qubits == qubits - 1  # the second of three sizes is slow
    assert entry.whole_qubits == qubits - 1  # a state as a whole comes second
    # each size takes a second in narrow vectors and two in wide ones
    has_others = device.cost_model.half_lanes < device.cost_model.lanes
    assert entry.half_width_cost == pytest.approx(0.25 if has_others else 1.0)
    assert entry.cpu == calibration.cpu_model()
    assert entry.date == datetime.now(UTC).date().isoformat()
    assert len(told) == 5


def test_of_equal_sizes_the_usual_one_is_kept() -> None:
    device = CPUDevice("double", 1)
    usual = (2**12 // device.cost_model.amplitude_bytes // device.cost_model.lanes).bit_length() - 1
    entry = measure("double", tiny(), lambda _: None)
    assert entry.tile_qubits == entry.whole_qubits == usual


def test_calibrate_writes_what_the_device_then_uses(own_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "Sizes", tiny)
        assert main(["calibrate"]) == 0
    out = capsys.readouterr().out
    assert out.count(" s  double: ") == out.count(" s  single: ") == 5
    assert f"Written to {own_file}" in out
    table = read(own_file)
    assert set(table) == {(ISA, "double"), (ISA, "single")}
    assert CPUDevice("single").cost_model.factors == table[ISA, "single"].factors
    assert main(["calibrate", "--show"]) == 0
    shown = capsys.readouterr().out
    assert f"measured here on {table[ISA, 'double'].date}" in shown
    assert all(f"cost of a multiply-add, {kind}, backward" in shown for kind in KINDS)
    # nothing but the table was written
    assert [path for path in own_file.parent.parent.rglob("*") if path.is_file()] == [own_file]


def test_the_result_shows_before_and_after(own_file: Path) -> None:
    lines: list[str] = []
    calibrate(None, lines.append, tiny())
    before, after = calibration.packaged_table()[ISA, "double"], read(own_file)[ISA, "double"]
    report = "\n".join(lines)
    assert f"{before.tile_qubits} -> {after.tile_qubits}" in report
    assert f"{before.byte_cost:.3g} -> {after.byte_cost:.3g}" in report


def test_other_instruction_sets_stay_in_the_file(own_file: Path, tmp_path: Path) -> None:
    other = calibration.packaged_table()["neon", "double"]
    output = tmp_path / "table.json"
    calibration.write({("neon", "double"): other}, output)
    assert calibrate(output, lambda _: None, tiny()) == output
    table = read(output)
    assert table["neon", "double"] == other
    assert (ISA, "single") in table
    assert not own_file.exists()


def test_a_broken_table_in_the_cache_is_replaced(own_file: Path) -> None:
    own_file.parent.mkdir()
    own_file.write_text("no table")
    with pytest.warns(UserWarning, match="is not used"):
        calibrate(None, lambda _: None, tiny())
    assert (ISA, "double") in read(own_file)


def test_another_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    assert main(["calibrate", "--output", str(thesis)]) == 1
    assert "would be lost" in capsys.readouterr().err
    assert thesis.read_text() == "years of work"


def test_ctrl_c_leaves_nothing(own_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "measure", interrupted)
    assert main(["calibrate"]) == 130
    assert not own_file.parent.exists()


def test_without_a_home_a_file_is_asked_for(
    own_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "user_file", lambda: None)
    assert main(["calibrate"]) == 1
    assert "--output" in capsys.readouterr().err
