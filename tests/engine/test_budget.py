"""What a call takes, foretold and measured in processes of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from qiskit.circuit.library import real_amplitudes

from qiskit_fusedqml.devices.reference import ReferenceDevice
from qiskit_fusedqml.interfaces.qiskit.circuit import DifferentiableCircuit

FACTOR = 1.5
"""An estimate of more than 32 MiB is that far from what is measured at most, either way."""

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from support.programs import layered
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

def peak():
    return next(int(l.split()[1]) << 10 for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)

case = json.loads(sys.argv[1])
n, layers, batch = case.pop("shape")
program = layered(n, layers)
count = program.num_angles
angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
sums = [PauliSum(n, (PauliTerm(1.0, 0, 1),))]
input_gradients = case.pop("input_gradients", False)
options = EngineOptions(num_threads=2, **case)
f = ProgramFunction(program, angles, sums, options, num_inputs=n, input_gradients=input_gradients)
estimate = f.memory_estimate(batch)
rng = np.random.default_rng(0)
x, w, ones = rng.uniform(-1, 1, (batch, n)), rng.uniform(-1, 1, count - n), np.ones((batch, 1))
before = peak()
f.value_and_vjp(x, w, ones)
print(json.dumps([estimate.total, peak() - before, estimate.rows]))
"""

CASES = {
    "two states": {"shape": [16, 1, 32]},
    "single precision, checkpoints": {"shape": [16, 2, 32], "precision": "single", "checkpoint": 2},
    "a batch in pieces": {"shape": [16, 1, 64], "max_memory_mb": 40},
    "overlaps by sample": {"shape": [4, 40, 8192], "input_gradients": True},
    "tables of a deep circuit": {"shape": [12, 400, 1], "precision": "single"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_what_is_measured(case: str) -> None:
    here = Path(__file__).parent.parent
    path = [str(here), *sys.path]
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{MEASURE}", json.dumps(CASES[case])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    estimate, measured, _ = json.loads(answer.stdout)
    slack = 8 << 20  # pages, stacks, what the first call loads
    assert measured < FACTOR * estimate + slack
    assert measured > estimate / FACTOR - slack


def test_an_estimate_can_be_read() -> None:
    circuit = real_amplitudes(4, reps=2)
    f = DifferentiableCircuit(circuit, ["ZZZZ"], precision="single", checkpoint=1)
    text = str(f.memory_estimate(8))
    assert re.match(r"[\d.]+ KiB for 8 samples, 8 at a time: states 1\.0 KiB, 0 checkpoints 0 B, tables", text)
    shown = f.memory_estimate(8)._repr_html_()
    assert text.partition(":")[0] in shown
    assert "<td>states</td><td>1.0 KiB</td>" in shown
    assert "<td>weights</td><td>12</td>" in f._repr_html_()


def test_the_budget_is_the_devices() -> None:
    class Small(ReferenceDevice):
        def memory_budget(self) -> int:
            return 1 << 10

    f = DifferentiableCircuit(real_amplitudes(4, reps=1), ["ZZZZ"], device=Small())
    assert f.budget == 1 << 10
    assert f.memory_estimate(8).rows == 2
