"""The form of the tutorials; what they compute is checked where they are executed."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
README = (ROOT / "README.md").read_text()


def faults(path: Path) -> list[str]:
    """What is not right about the form of a tutorial."""
    text = path.read_text()
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    shown = json.dumps([{**output, "data": {**output.get("data", {}), "image/png": ""}} for output in outputs])
    found = {
        "has no number": not re.match(r"\d\d_\w+\.ipynb$", path.name),
        "is too large": len(text) > 300_000,
        "was not run from top to bottom": [c["execution_count"] for c in code] != list(range(1, len(code) + 1)),
        "has no picture": not any("image/png" in output.get("data", {}) for output in outputs),
        "shows an error or a warning": any(
            output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs
        ),
        "shows a place on somebody's disk": re.search(r"/(home|root|tmp|work|usr|Users)/", shown) is not None,
        "has code wider than 88 columns": any(len(line.rstrip("\n")) > 88 for cell in code for line in cell["source"]),
        "has no link to the reference": "](../docs/api/" not in text,
        "does not begin with its title": not "".join(cells[0]["source"]).startswith("# "),
        "does not end with what to try next": "What to try next" not in "".join(cells[-1]["source"]),
        "is not in the README": f"tutorials/{path.name}" not in README,
    }
    return [f"{path.name} {fault}" for fault, is_so in found.items() if is_so]


def test_tutorials_have_their_form() -> None:
    assert [int(path.name[:2]) for path in TUTORIALS] == list(range(1, len(TUTORIALS) + 1))
    assert [fault for path in TUTORIALS for fault in faults(path)] == []


def test_a_badly_kept_tutorial_is_seen(tmp_path: Path) -> None:
    stderr = {"output_type": "stream", "name": "stderr", "text": ["/home/me/lib.py: UserWarning"]}
    code = {"cell_type": "code", "execution_count": None, "outputs": [stderr], "source": [89 * "1"], "metadata": {}}
    path = tmp_path / "notes.ipynb"
    path.write_text(json.dumps({"cells": [code], "padding": 300_000 * "."}))
    assert len(faults(path)) == 11
