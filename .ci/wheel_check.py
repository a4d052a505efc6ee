"""Run the README's examples and the command line with the package that is installed.

    python -P .ci/wheel_check.py [--demo]

Each example runs in a process of its own; those whose extra is not installed are named and left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def missing(example: str) -> list[str]:
    """Packages that an example imports and that are not installed."""
    names = re.findall(r"^(?:import|from) (\w+)", example, re.MULTILINE)
    names += ["torch"] * ("FusedLayer" in example) + ["qiskit_machine_learning"] * ("EstimatorGradient" in example)
    return sorted({name for name in names if find_spec(name) is None})


def main(arguments: list[str]) -> None:
    """Run all, and stop at the first that fails."""
    if find_spec("qiskit_fusedqml") is None:
        sys.exit("The package is not installed.")
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for number, example in enumerate(examples, start=1):
        if absent := missing(example):
            print(f"example {number}: left out, as {', '.join(absent)} is not installed", flush=True)
            continue
        subprocess.run([sys.executable, "-P", "-c", example], check=True, stdout=subprocess.DEVNULL)
        print(f"example {number}: runs", flush=True)
    for command in (["info"], *([["demo", "--quick"]] if "--demo" in arguments else [])):
        subprocess.run([sys.executable, "-P", "-m", "qiskit_fusedqml", *command], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
