"""The GPU benchmark runs from end to end, on the CPU, and times nothing that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from qiskit_fusedqml.devices.gpu.sources import kernel_names

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.py"


def run(output: Path, *code: str, options: tuple[str, ...] = ()) -> tuple[int, dict]:
    """The script's exit status and result; ``code`` runs before it."""
    arguments = [str(SCRIPT), "--emulate", "--output", str(output), *options]
    prologue = f"import sys, runpy; sys.argv = {arguments!r}"
    program = "\n".join([prologue, *code, f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"])
    answer = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode in {0, 1}, answer.stderr
    return answer.returncode, json.loads(output.read_text())


def test_the_whole_run_and_one_that_goes_on(tmp_path):
    output = tmp_path / "result.json"
    status, result = run(output)
    assert status == 0
    assert {row["where"] for row in result["conformance"]} == {"warp", "block", "tiles", "shots", "coefficient maps"}
    assert all(row["right"] for row in (*result["conformance"], *result["cases"]))
    assert {(row["name"], row["precision"]) for row in result["cases"]} == {
        (name, precision) for name in ("W1", "W2", "W3", "headline") for precision in ("single", "double")
    }
    assert set(result["cases"][0]["errors"]) == {"values", "overlaps", "on-device values", "gradient"}
    row = next(row for row in result["cases"] if row["name"] == "headline")
    assert (row["headline"]["measured"], row["headline"]["scaled_by"]) == ("scaled", 1000 / 1 * 1000 / 2)
    assert row["share_of_floor"] == row["floor"]["ms"] / row["step_ms"]
    assert result["reached"]["headline_seconds"] == row["headline"]["seconds"]
    assert [row["peer"] for row in result["peers"]] == ["torch", "numpy"]
    for row in result["peers"]:
        assert max(row["errors"].values()) < 1e-4, row
        assert set(row["errors"]) == {"values", "gradient"}
    assert set(result["goals"]) == {"headline_seconds", "times_triton_qml", "share_of_floor"}
    assert set(result["kernels"]["registers_and_local_bytes"]) == set(kernel_names())
    assert result["machine"]["gpu"].startswith("none")
    assert result["left_out"] == []

    # what is missing in a file is made up for, and noted where there is no time for it
    missing = result | {"cases": result["cases"][:3], "left_out": ["the rest"]}
    output.write_text(json.dumps(missing))
    _, late = run(output, options=("--resume", "--seconds", "0"))
    assert late["cases"] == result["cases"][:3]
    assert len(late["left_out"]) == 5
    status, second = run(output, options=("--resume",))
    assert status == 0
    assert second["left_out"] == []
    assert all(second[key] == result[key] for key in ("conformance", "peers", "ceilings"))
    assert [row["file"] for row in second["cases"]] == [row["file"] for row in result["cases"]]
    assert second["cases"][:3] == result["cases"][:3]


def test_what_is_wrong_is_not_timed(tmp_path):
    sabotage = (
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})",
        "import cases",
        "make = cases.make",
        "def wrong(*arguments):",
        "    case = make(*arguments)",
        "    case.overlaps = case.overlaps * (1.001 if case.name == 'W2' else 1)",
        "    case.gradient = case.gradient * (1.001 if case.name == 'W1' else 1)",
        "    return case",
        "cases.make = wrong",
    )
    output = tmp_path / "result.json"
    peers = [{"file": "W3-single.pickle", "peer": peer} for peer in ("torch", "numpy")]
    output.write_text(json.dumps({"kernels": {}, "conformance": [{"right": True}], "peers": peers}))
    status, result = run(output, *sabotage, options=("--resume",))
    assert status == 1
    assert {row["name"] for row in result["cases"] if not row["right"]} == {"W1", "W2"}
    assert all("step_ms" not in row for row in result["cases"] if row["name"] in {"W1", "W2"})
    assert sum("step_ms" in row for row in result["cases"]) == 4
