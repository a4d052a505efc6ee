"""The benchmark of training under noise: what its workloads are, and that all of it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit.quantum_info import DensityMatrix, Kraus
from qiskit_aer.noise import NoiseModel

import qiskit_fusedqml

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import measure as measuring  # noqa: E402
import noise  # noqa: E402
import noise_workloads as noisy  # noqa: E402
from peers.noise import NOISE_PEERS  # noqa: E402
from peers.noise.device import Jakarta, mean_z, mean_z_table, noisy_circuit  # noqa: E402


def test_the_sizes() -> None:
    found = {name: noisy.find(name) for name in noisy.NAMED}
    assert {name: (w.num_qubits, w.num_layers, w.batch, w.num_weights) for name, w in found.items()} == {
        "N1": (4, 5, 32, 60),
        "N2": (8, 10, 32, 240),
        "N3": (8, 5, 32, 120),
        "N4": (10, 5, 32, 150),
        "N4x": (12, 5, 1, 180),
        "N5": (7, 0, 32, 28),
        "N6s": (12, 5, 1, 180),
        "N6": (16, 5, 1, 240),
    }
    assert sum(gate.name == "ry" and gate.angles[0].uses_inputs for gate in found["N3"].gates) == 40
    assert [noisy.find(f"N5{end}").shots for end in ("", "-values", "-counts")] == [0, 0, 1024]
    assert noisy.find("W1").num_qubits == 4
    with pytest.raises(ValueError, match="values and counts are known"):
        noisy.find("N1-nothing")
    with pytest.raises(ValueError, match="There is no workload"):
        noisy.find("N7")


def test_data_is_that_of_the_whole_batch() -> None:
    from dataclasses import replace

    workload = noisy.find("N1")
    few = replace(workload, batch=3)
    np.testing.assert_array_equal(few.inputs(), workload.inputs()[:3])
    np.testing.assert_array_equal(few.weights(2), workload.weights(2))
    assert np.abs(workload.weights(1) - workload.weights(0)).max() < 0.03


@pytest.mark.parametrize("name", ["noisy_hea:n=3,L=2,B=2", "noisy_reupload:n=3,L=1,B=2"])
def test_values_are_those_of_kraus_operators(name: str) -> None:
    from peers.noise.fusedqml import Adapter

    workload = noisy.find(name)
    x, w, n = workload.inputs(), workload.weights(0), workload.num_qubits
    made = noisy_circuit(workload)
    step = Adapter(workload, "double", 1, 10.0).step(w)
    one = 1 - 3 / 4 * noisy.P1
    flips = [np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
    single = Kraus([np.sqrt(one if k == 0 else noisy.P1 / 4) * p for k, p in enumerate(flips)])
    pairs = [np.kron(a, b) for a in flips for b in flips]
    double = Kraus([np.sqrt(1 - 15 / 16 * noisy.P2 if k == 0 else noisy.P2 / 16) * p for k, p in enumerate(pairs)])
    damping = Kraus([np.diag([1, np.sqrt(1 - noisy.GAMMA)]), np.array([[0, np.sqrt(noisy.GAMMA)], [0, 0]])])
    for row, value in zip(x, step.values[:, 0], strict=True):
        bound = made.circuit.assign_parameters(dict(zip([*made.inputs, *made.weights], [*row, *w], strict=True)))
        state = DensityMatrix.from_label("0" * n)
        for instruction in bound.data:
            places = [bound.find_bit(q).index for q in instruction.qubits]
            state = state.evolve(instruction.operation, places)
            if len(places) == 1:
                state = state.evolve(single, places)
            else:
                state = state.evolve(double, places).evolve(damping, places[:1]).evolve(damping, places[1:])
        assert value == pytest.approx(state.expectation_value(made.observable).real, abs=1e-12)


def test_the_device_is_the_fake_one() -> None:
    backend = Jakarta()
    model = NoiseModel.from_backend(backend)
    assert sorted(model.noise_instructions) == ["cx", "id", "measure", "reset", "sx", "x"]
    made = noisy_circuit(noisy.find("N5"))
    assert dict(made.circuit.count_ops()) == {"rz": 83, "sx": 63, "cx": 51}
    assert sorted(made.final) == list(range(7))
    with pytest.raises(NotImplementedError):
        backend.run(made.circuit)


def test_means_of_counts() -> None:
    table = mean_z_table(3)
    assert table.tolist() == pytest.approx([1, 1 / 3, 1 / 3, -1 / 3, 1 / 3, -1 / 3, -1 / 3, -1])
    assert mean_z({"0x0": 3, "0x7": 1}, table) == pytest.approx(0.5)


def test_a_quick_run_agrees_and_makes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "quick.json"
    monkeypatch.setenv("PYTHONPATH", str(Path(qiskit_fusedqml.__file__).parent.parent))
    tools = "general,simulator,aer,default.mixed"
    options = ["--workloads", "N1,N5-counts", "--peers", tools, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["noise.py", "--quick", "--threads", "1", *options])
    assert noise.main() == 0
    record: dict[str, Any] = json.loads(path.read_text())
    assert [result["step"] for result in record["results"]] == ["values, gradient", "values", "counts"]
    for result in record["results"]:
        for tool, entry in result["entries"].items():
            assert entry["status"] == "ok", (result["workload"], tool, entry)
            assert entry["median"] > 0
            assert max(entry["errors"].values()) < (noisy.find(result["workload"]).tolerance or 1e-6)
    assert record["command"].startswith("python benchmarks/noise.py")

    table, first = noise.table(record), record["results"][0]
    assert table.count("\n| noisy_") == 3
    assert "MiB at most" in table
    by_hand = first["entries"]["default.mixed"]["median"] / first["entries"]["ours"]["median"]
    assert noise.ratios(first)["ours"] == ("default.mixed", pytest.approx(by_hand))
    readme = (BENCHMARKS / "README.md").read_text()
    assert noise.insert(readme, table, noise.KIND).count("| noisy_") == 3


def test_goals_are_compared_with_figures() -> None:
    def entry(median: float) -> dict[str, Any]:
        return {"status": "ok", "median": median, "peak_mib": 240.0, "imported_mib": 200.0, "gradient_error": 2e-6}

    result = {"workload": "N2", "precision": "double", "entries": {"ours": entry(0.02), "jax": entry(5.0)}}
    result["entries"] |= {"general": entry(0.2), "default.mixed": entry(100.0)}
    single = {"workload": "N2", "precision": "single", "entries": {"ours": entry(0.01)}}
    lines = noise.goals({"results": [result, single]}).splitlines()[2:]
    assert lines == [
        "| N2, general | jax | **25** | 20 | 45 |",
        "| N2, ours | jax | **250** | 250 | 600 |",
        "| N2, ours | default.mixed | **5000** | 400 | 1000 |",
        "| MiB of N2 | | **40** | at most 50 | |",
        "| error of single precision on N2 | | **2e-06** | at most 3e-05 | |",
    ]
    named = {(case.workload, tool) for case in noise.CASES for tool in case.peers}
    assert {(goal.workload, goal.tool) for goal in noise.GOALS} <= named


def test_single_precision_has_its_error() -> None:
    truth = {"weights": [3.0, 4.0]}
    assert measuring.gradient_error({"weights": [3.0, 4.5]}, truth) == pytest.approx(0.1)
    assert measuring.gradient_error({"weights": None}, truth) is None


def test_every_peer_has_its_adapter() -> None:
    for peer in NOISE_PEERS.values():
        assert (BENCHMARKS / f"{peer.module.replace('.', '/')}.py").exists()
    named = {tool for case in noise.CASES for tool in case.peers}
    assert named == set(NOISE_PEERS)
    assert {case.workload.partition("-")[0] for case in noise.CASES} == set(noisy.NAMED)


def test_a_tool_without_noise_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from peers import PEERS
    from peers.session import PeerError, Session

    monkeypatch.setenv("PYTHONPATH", str(Path(qiskit_fusedqml.__file__).parent.parent))
    with Session(PEERS["ours"], Path(), 1) as session, pytest.raises(PeerError, match="knows no noise"):
        session.ask("build", 60.0, workload="N1", precision="double", threads=1, step_limit=1.0)
