"""The GPU benchmark runs from end to end, on the CPU, times nothing that is wrong, and goes on after what fails."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.emulation import fake_cupy

from qiskit_fusedqml.devices.gpu.compiled import Geometry
from qiskit_fusedqml.devices.gpu.device import GPUDevice, cost_model
from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.runtime import Runtime
from qiskit_fusedqml.devices.gpu.sources import kernel_names

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def modules(monkeypatch):
    """The benchmark's modules, by name."""
    for file in (*FOLDER.glob("*.py"), *FOLDER.parent.glob("*.py")):  # both folders have a run.py
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
    before = set(sys.modules)
    for place in (FOLDER, FOLDER.parent):
        monkeypatch.syspath_prepend(str(place))
    yield __import__
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists() or (FOLDER.parent / f"{name}.py").exists():
            del sys.modules[name]


def run(output: Path, *options: str) -> tuple[int, dict]:
    """The script's exit status and result."""
    command = [sys.executable, "-P", str(FOLDER / "run.py"), "--emulate", "--output", str(output), *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode in {0, 1}, answer.stderr
    return answer.returncode, json.loads(output.read_text())


@pytest.mark.slow
def test_the_whole_run_and_one_that_goes_on(tmp_path):
    output = tmp_path / "result.json"
    status, result = run(output, "--folder", str(tmp_path / "cases"))
    assert result["errors"] == {}
    assert status == 0
    assert {row["smoke"] for row in result["smoke"]} == {"kernel", "graph", "shared memory", "dlpack"}
    assert {row["where"] for row in result["conformance"]} == {"warp", "block", "tiles", "shots", "coefficient maps"}
    assert all(row["right"] for row in (*result["conformance"], *result["cases"], *result["training_loops"]))
    assert {(row["name"], row["precision"]) for row in result["cases"]} == {
        (name, precision) for name in ("W1", "W2", "W3", "headline") for precision in ("single", "double")
    }
    assert set(result["cases"][0]["errors"]) == {"values", "overlaps", "on-device values", "gradient"}
    row = next(row for row in result["cases"] if row["name"] == "headline")
    assert (row["headline"]["measured"], row["headline"]["scaled_by"]) == ("scaled", 1000 / 1 * 1000 / 2)
    assert row["share_of_floor"] == row["floor"]["ms"] / row["step_ms"]
    assert row["flowing"]["host_ms"] <= row["flowing"]["ms"]
    assert result["reached"]["headline_seconds"] == row["headline"]["seconds"]
    assert [row["peer"] for row in result["peers"]] == ["torch", "numpy"]
    for row in result["peers"]:
        assert max(row["errors"].values()) < 1e-4, row
        assert set(row["errors"]) == {"values", "gradient"}
    assert set(result["goals"]) == {"headline_seconds", "times_triton_qml", "share_of_floor"}
    assert set(result["kernels"]["registers_and_local_bytes"]) == set(kernel_names())
    assert result["machine"]["gpu"].startswith("none")
    assert {tuple(each.values())[:2] for each in result["variants"]["W3-single.pickle"]} == {
        (12, 1), (12, 4), (13, 1), (13, 4)
    }  # fmt: skip
    assert {row["elsewhere"]["thread"] for row in result["training_loops"]} == {0.0}
    assert result["left_out"] == []

    # what is missing in a file is made up for, and noted where there is no time for it
    gone = [name for name in result["done"] if name.startswith("table") and "W2" in name]
    output.write_text(json.dumps(result | {"done": [name for name in result["done"] if name not in gone]}))
    late = run(output, "--resume", "--seconds", "0", "--folder", str(tmp_path / "cases"))[1]
    assert late["left_out"] == gone
    status, second = run(output, "--resume", "--folder", str(tmp_path / "cases"))
    assert (status, second["left_out"], len(second["cases"])) == (0, [], len(result["cases"]) + len(gone))


def test_what_is_wrong_is_not_timed_and_what_fails_is_noted(tmp_path, monkeypatch, modules):
    """One case that is right, one with a wrong answer, one that cannot be read; then a stage that dies at once."""
    cases, stages = modules("cases"), modules("stages")
    folder, output = tmp_path / "cases", tmp_path / "result.json"
    model = cost_model(Geometry.of(Limits(shared_bytes=227 << 10), single=True))
    for name in ("W1", "W2"):
        case = cases.make(name, 3, 1, 2, "single", model)
        cases.save(replace(case, overlaps=case.overlaps * (1.001 if name == "W2" else 1)), folder)
    (folder / "W3-single.pickle").write_bytes(pickle.dumps("no case")[:-1])
    monkeypatch.setattr(stages, "STAGES", ("smoke", "named", "no such stage"))
    result = modules("run").Run(output, folder, 300.0, emulated=True, resume=False).all()
    assert {row["name"]: row["right"] for row in result["cases"]} == {"W1": True, "W2": False}
    assert [row["name"] for row in result["cases"] if "step_ms" in row] == ["W1"]
    assert set(result["errors"]) == {"named: W3-single.pickle", "no such stage: start"}
    error = result["errors"]["named: W3-single.pickle"]
    assert set(error) == {"first", "with CUDA_LAUNCH_BLOCKING=1"}
    assert all("exit status 1" in text and "pickle" in text for text in error.values())
    assert result["left_out"] == []


def test_each_kernel_of_a_step_is_timed(monkeypatch, modules):
    """Those of graphs count once for each replay."""
    cases, timing = modules("cases"), modules("timing")
    cupy = fake_cupy.make()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.runtime._kernels", {})
    monkeypatch.setattr("qiskit_fusedqml.devices.gpu.sequences.WAVES", 0)
    runtime = Runtime()
    runtime.limits = replace(runtime.limits, cache_bytes=60_000)
    geometry = Geometry(False, 8, 8, 10, runtime.limits)
    case = cases.make("x", 10, 2, 3, "double", cost_model(geometry))

    def clock(call):
        call()
        cupy.cuda.Device().synchronize()
        return 1e-6

    rows = timing.kernel_times(GPUDevice(runtime, "double", geometry), case, 3, clock, 2)
    sweeps = [row for row in rows if "sweep" in row["kernel"]]
    blocks = len(case.tape.blocks)
    assert blocks > 1
    assert all(row["in_graph"] for row in sweeps)
    # forward on two samples and on one, back on one at a time
    assert sum(row["launches"] for row in sweeps) == (2 + 3) * blocks
    assert {row["us_each"] for row in rows} == {0.5}
    assert {"fusedqml::bind_values", "fusedqml::pull_values", "fusedqml::expectation<double>"} <= {
        row["kernel"] for row in rows
    }
