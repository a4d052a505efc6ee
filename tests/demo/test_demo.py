"""``python -m qiskit_fusedqml demo``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qiskit.quantum_info import Statevector
from sklearn.datasets import load_digits
from support.idx_files import write_mnist

from qiskit_fusedqml.__main__ import _parser, main
from qiskit_fusedqml.demo import Options
from qiskit_fusedqml.demo.data import Data, load
from qiskit_fusedqml.demo.network import (
    Trainer,
    class_observables,
    classifier_circuit,
    fused_network,
    stock_network,
    time_stock_step,
)
from qiskit_fusedqml.errors import InvalidInputError


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    return write_mnist(tmp_path)


def test_features_are_angles_and_classes_are_balanced() -> None:
    data = load(None, num_qubits=8, num_classes=4, samples=None, seed=1)
    assert data.x_train.shape[1] == data.x_test.shape[1] == 8
    assert np.abs(data.x_train).max() == pytest.approx(np.pi / 2)
    assert np.abs(data.x_test).max() <= np.pi / 2
    assert data.names == (0, 1, 2, 3)
    counts = np.bincount(data.y_test) / np.bincount(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_allclose(counts, 0.25, atol=0.01)
    assert min(data.logistic_regression()) > 0.9


def test_idx_data_keeps_its_own_split(mnist: Path) -> None:
    data = load(mnist, num_qubits=3, num_classes=3, samples=50, seed=0)
    labels = load_digits(return_X_y=True)[1]
    assert len(data.y_train) == 50
    assert len(data.y_test) == np.sum(labels[400:500] < 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 11}, "--classes 11: .* have only 10"),
        ({"num_qubits": 65}, "--qubits 65: .* have only 64 principal components"),
        ({"samples": 2}, "too few for 4 classes; raise --samples"),
    ],
)
def test_data_that_does_not_do_is_refused(changes: dict[str, int], message: str) -> None:
    wanted = {"num_qubits": 4, "num_classes": 4, "samples": None, "seed": 0}
    with pytest.raises(InvalidInputError, match=message):
        load(None, **(wanted | changes))


def test_observables_are_distinct_z_strings() -> None:
    observables = class_observables(3, 7)
    assert [observable.paulis.to_labels()[0] for observable in observables] == "IIZ IZI ZII IZZ ZIZ ZZI ZZZ".split()


def test_network_values_are_those_of_the_circuit() -> None:
    network = fused_network(4, 2, 3, num_threads=1)
    rng = np.random.default_rng(5)
    x, weights = rng.uniform(-1.5, 1.5, (3, 4)), rng.uniform(-3, 3, network.num_weights)
    circuit, inputs, parameters = classifier_circuit(4, 2)
    for row, values in zip(x, network.forward(x, weights), strict=True):
        state = Statevector(circuit.assign_parameters(dict(zip([*inputs, *parameters], [*row, *weights], strict=True))))
        expected = [state.expectation_value(observable).real for observable in class_observables(4, 3)]
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_gradients_agree_with_parameter_shift_and_time_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    fused, stock = fused_network(3, 1, 2, num_threads=1), stock_network(3, 1, 2)
    weights = rng.uniform(-3, 3, fused.num_weights)
    clock = iter([1.0, 4.0])
    monkeypatch.setattr("qiskit_fusedqml.demo.network.time.perf_counter", lambda: next(clock))
    seconds, difference = time_stock_step(stock, fused, rng.uniform(-1.5, 1.5, (2, 3)), weights)
    assert seconds == 1.5  # of a sample, of two that took three seconds
    assert difference < 1e-12


def test_a_wrong_gradient_shows_in_the_comparison() -> None:
    class Wrong:
        def backward(self, x: np.ndarray, weights: np.ndarray) -> tuple[None, np.ndarray]:
            return None, 1.001 * stock.backward(x, weights)[1]

    stock = stock_network(2, 1, 2)
    _, difference = time_stock_step(stock, Wrong(), np.array([[0.3, 0.4]]), np.linspace(0.1, 0.9, stock.num_weights))
    assert difference > 1e-6


def test_four_classes_are_learned() -> None:
    data = load(None, num_qubits=8, num_classes=4, samples=None, seed=3)
    trainer = Trainer(fused_network(8, 6, 4, None), data, batch_size=32, seed=3)
    trainer.run(6)
    assert trainer.history[-1].metrics["test"] >= 0.92
    assert trainer.history[-1].loss < trainer.history[0].loss
    before = trainer.weights.copy()
    assert trainer.step_seconds(2) > 0
    np.testing.assert_array_equal(trainer.weights, before)


def test_same_seed_same_training() -> None:
    data = load(None, num_qubits=3, num_classes=2, samples=40, seed=0)

    def losses() -> list[float]:
        trainer = Trainer(fused_network(3, 1, 2, 1), data, batch_size=16, seed=4)
        trainer.run(2)
        return [epoch.loss for epoch in trainer.history]

    assert losses() == losses()


SMALL = "--qubits 3 --layers 1 --classes 3 --epochs 2 --samples 60 --stock-samples 1 --threads 1".split()


def test_demo_tells_its_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / "folder" / "picture.png"
    assert main(["demo", *SMALL, "--output", str(picture)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"this network +[\d.]+% +[\d.]+%", told)
    assert re.search(r"logistic regression +[\d.]+% +[\d.]+%", told)
    assert re.search(r"one epoch +[\d.]+ s \(median; 2 steps of 32 samples\)", told)
    assert re.search(r"one step +[\d.]+ ms \(32 samples", told)
    assert re.search(r"stock gradient +\d+ s .*scaled from 1 sample, which took [\d.]+ s\): [\d,]+ times", told)
    assert re.search(r"differ by at most \de-1[3-7]", told)
    assert f"picture               {picture}" in told
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_reads_idx_files(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", *SMALL, "--data", str(mnist), "--output", str(mnist / "picture.svg")]) == 0
    assert f"the IDX files in {mnist}: 60 to learn" in capsys.readouterr().out
    assert "<svg" in (mnist / "picture.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "picture.txt"], "error: --output picture.txt: the name must end in one of .*\\.png"),
        (["--output", "picture"], "the name must end in one of"),
        (["--classes", "300"], "error: --classes 300: 8 qubits have only 255 Z observables"),
        (["--classes", "12"], "error: --classes 12: .* have only 10"),
        (["--data", "nowhere"], "error: nowhere: there is no such folder"),
    ],
)
def test_bad_options_are_explained(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 1
    told = capsys.readouterr()
    assert re.search(message, told.err)
    assert "training" not in told.err


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--qubits", "1"], ["--seed", "-1"], ["--layers", "many"], ["--no"]]
)
def test_impossible_options_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_tells_the_true_defaults() -> None:
    demo = _parser()._subparsers._group_actions[0].choices["demo"]
    told = {action.dest: re.search(r"\((\S+)\)$", action.help) for action in demo._actions}
    for name in ("qubits", "layers", "classes", "epochs", "batch_size", "stock_samples", "seed", "output"):
        assert told[name].group(1) == str(getattr(Options(), name))


def test_a_missing_extra_stops_the_demo_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qiskit_fusedqml.demo.find_spec", lambda name: None if name in {"torch", "tqdm"} else name)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "error: The demo needs torch, tqdm: install qiskit-fusedqml[ml,torch,demo]\n"


def test_ctrl_c_reports_what_was_reached(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    command = [
        sys.executable,
        "-P",
        "-u",
        "-c",
        # background jobs of a shell inherit an ignored Ctrl-C
        (
            "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "runpy.run_module('qiskit_fusedqml', run_name='__main__')"
        ),
        "demo",
        *SMALL,
        "--epochs",
        "100000",
        "--output",
        str(picture),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        seen = ""
        while "test=" not in seen and (character := process.stderr.read(1)):  # the first one follows the first epoch
            seen += character
        assert "test=" in seen, process.stdout.read()
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert re.search(r"interrupted +after \d+ of 100000 epochs", told)
    assert re.search(r"this network +[\d.]+%", told)
    assert picture.exists()
    assert "Traceback" not in errors


def test_ctrl_c_outside_the_training_is_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> Data:
        raise KeyboardInterrupt

    monkeypatch.setattr("qiskit_fusedqml.demo.run.load", interrupt)
    assert main(["demo", *SMALL]) == 130
    assert capsys.readouterr().err == "Stopped by Ctrl-C.\n"
