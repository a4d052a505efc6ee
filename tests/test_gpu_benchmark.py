"""The GPU benchmark runs from end to end, on the CPU, and times nothing that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu" / "run.py"


def run(output: Path, *code: str) -> tuple[int, dict]:
    """The script's exit status and result; ``code`` runs before it."""
    prologue = f"import sys, runpy; sys.argv = [{str(SCRIPT)!r}, '--emulate', '--output', {str(output)!r}]"
    program = "\n".join([prologue, *code, f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"])
    answer = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode in {0, 1}, answer.stderr
    return answer.returncode, json.loads(output.read_text())


def test_the_whole_run(tmp_path):
    status, result = run(tmp_path / "result.json")
    assert status == 0
    assert {row["where"] for row in result["conformance"]} == {"warp", "block", "tiles"}
    assert all(row["right"] for row in (*result["conformance"], *result["cases"]))
    assert {(row["name"], row["precision"]) for row in result["cases"]} == {
        (name, precision) for name in ("W1", "W2", "W3", "headline") for precision in ("single", "double")
    }
    headline = next(row for row in result["cases"] if row["name"] == "headline")["headline"]
    assert (headline["measured"], headline["scaled_by"]) == ("scaled", 1000 / 1 * 1000 / 2)
    assert set(result["goals"]) == {"headline_seconds", "times_triton_qml", "share_of_floor"}
    assert result["machine"]["gpu"].startswith("none")
    assert result["left_out"] == []


def test_what_is_wrong_is_not_timed(tmp_path):
    sabotage = (
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})",
        "import cases",
        "make = cases.make",
        "def wrong(*arguments):",
        "    case = make(*arguments)",
        "    case.overlaps = case.overlaps * (1.001 if case.name == 'W2' else 1)",
        "    return case",
        "cases.make = wrong",
    )
    status, result = run(tmp_path / "result.json", *sabotage)
    assert status == 1
    assert {row["name"] for row in result["cases"] if not row["right"]} == {"W2"}
    assert all("step_ms" not in row for row in result["cases"] if row["name"] == "W2")
