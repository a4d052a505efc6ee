"""Workloads as files: what a GPU machine without Qiskit and without the compiled module needs to run them.

A case is a tape, planned with the cost model of the devices that are to run it, random angles, the coefficients and
the tables by which a device finds these itself, the observables and, for the first samples, values, gradients and their
overlaps found by the CPU device. Examples are coefficient maps with what the host makes of them
(``tests/support/bindings.py``).
`python benchmarks/gpu/cases.py` writes them all to ``benchmarks/gpu/cases``; it needs the package as installed.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from dataclasses import dataclass
from math import pi
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent, HERE.parent.parent / "tests"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from workloads import sizes  # noqa: E402

FOLDER = HERE / "cases"
EXAMPLES = "coefficient_maps.examples"
"""The file of the examples, beside the cases."""

SIZES = {name: sizes(name) for name in ("W1", "W2", "W3", "W4", "W5", "W6")} | {"headline": (20, 1000, 16)}
"""Qubits, layers, samples of the named cases; the headline job is 1000 samples of the last."""

TABLE = {f"n{n}": (n, 10, min(1000, 2 ** max(28 - n, 0))) for n in range(6, 25, 2)}
"""The batches of 1 to 1000 samples, as many as fit; smaller ones are the first samples of each."""

DRY = {"W1": (4, 2, 6), "W2": (8, 1, 3), "W3": (9, 1, 2), "headline": (10, 1, 2)}
"""For ``--emulate``."""

COEFFICIENTS = (
    "pairs",
    "batched_pairs",
    "matrices",
    "batched_matrices",
    "angles",
    "batched_angles",
    "scales",
    "dense",
)
BATCHED = {"batched_pairs", "batched_matrices", "batched_angles"}
CHECKED_SAMPLES = 2
"""Of large states, one."""


@dataclass
class Case:
    """One workload, planned and bound.

    Attributes:
        name: Its name.
        layers: Layers of the circuit.
        batch: Samples.
        precision: "single" or "double", for which it was planned.
        tape: The tape.
        sums: The observables.
        coefficients: Arrays by name.
        tables: From inputs and weights to the coefficients, for devices that go this way themselves.
        inputs: The angles (B, n) of the encoding.
        weights: The shared angles (L, n, 3).
        values: Values (C, n_obs) of the first C samples.
        overlaps: Their overlaps (C, S) for cotangents of 1; NaN where a device may leave them out.
        gradient: That of the sum of these values with respect to the weights, (L, n, 3).
    """

    name: str
    layers: int
    batch: int
    precision: str
    tape: Any
    sums: tuple[Any, ...]
    coefficients: dict[str, Any]
    tables: Any
    inputs: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    overlaps: np.ndarray
    gradient: np.ndarray

    @property
    def num_qubits(self) -> int:
        """Number of qubits."""
        return int(self.tape.num_qubits)

    def bound(self, samples: int) -> SimpleNamespace:
        """The coefficients of the first samples."""
        arrays = {
            name: np.ascontiguousarray(array[..., :samples]) if name in BATCHED else array
            for name, array in self.coefficients.items()
        }
        return SimpleNamespace(**arrays)


def program(n: int, layers: int) -> Any:
    """RY encoding, then layers of RX RY RZ on every qubit and a ring of CX."""
    from qiskit_fusedqml.ir.program import Program, Rotation

    slots = iter(range(n * (3 * layers + 1)))
    instructions = [Rotation(1 << q, 1 << q, slot=next(slots)) for q in range(n)]
    for _ in range(layers):
        for q in range(n):
            instructions += [Rotation(x << q, z << q, slot=next(slots)) for x, z in ((1, 0), (1, 1), (0, 1))]
        for q in range(n):
            control, target = 1 << q, 1 << (q + 1) % n
            instructions.append(Rotation(target, 0, control, control, theta=pi))
            instructions.append(Rotation(0, 0, control, control, theta=-pi))
    return Program(n, n * (3 * layers + 1), tuple(instructions))


def make(name: str, n: int, layers: int, batch: int, precision: str, cost_model: Any) -> Case:
    """Plan and bind a case and find its answer on the CPU device, in double precision."""
    from qiskit_fusedqml.devices.cpu import CPUDevice
    from qiskit_fusedqml.engine.parameters import ParameterBatch, ParameterSet
    from qiskit_fusedqml.engine.sweeps import PlannedSweeps, PlanRequest
    from qiskit_fusedqml.ir.angles import AngleMap
    from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

    circuit = program(n, layers)
    count = circuit.num_angles
    every = np.arange(count)
    angle_map = AngleMap(count, np.zeros(count), every, every, np.ones(count))
    request = PlanRequest(ParameterSet(every[:n]), ParameterSet(every[n:]), batch)
    sweeps = PlannedSweeps(circuit, angle_map, cost_model, request)
    plan = sweeps.plan
    rng = np.random.default_rng([n, layers])
    weights = rng.uniform(-pi, pi, count - n)
    inputs = rng.uniform(-pi, pi, (batch, n))
    parameters = ParameterBatch(np.concatenate([inputs[0], weights]), request.batched, inputs, batch)
    bound = sweeps.map.bind(parameters).bound.coefficients
    arrays = {field: getattr(bound, field) for field in COEFFICIENTS}
    sums = (PauliSum(n, tuple(PauliTerm(1 / n, 0, 1 << q) for q in range(n))),)
    checked = min(batch, CHECKED_SAMPLES if n < 16 else 1)
    cpu = CPUDevice()
    ket = cpu.allocate(plan.tape, checked, None)
    first = sweeps.map.bind(parameters.part(0, checked))
    coefficients = first.bound.coefficients
    cpu.forward(plan.tape, coefficients, ket)
    values = cpu.expectation(ket, plan.tape.frame, sums)
    bra = cpu.apply_observables(ket, plan.tape.frame, sums, np.ones((checked, 1)))
    overlaps = cpu.backward(plan.tape, coefficients, ket, bra, per_sample=True)
    gradient = sweeps.map.pullback(first, overlaps, per_sample=False)[0][n:].reshape(layers, n, 3)
    overlaps[:, _left_out(plan.tape, coefficients.pairs)] = np.nan
    angles = (inputs, weights.reshape(layers, n, 3))
    return Case(
        name, layers, batch, precision, plan.tape, sums, arrays, sweeps.map.tables, *angles, values, overlaps, gradient
    )


def _left_out(tape: Any, pairs: Any) -> list[int]:
    """Overlaps that a device need not measure."""
    from qiskit_fusedqml.planner.tape import RY

    return [
        operation.overlap + 1
        for block in tape.blocks
        for operation in block.operations
        if isinstance(operation, RY)
        and operation.x_optional
        and not operation.batched
        and RY.is_steep(*pairs[operation.coefficient])
    ]


def save(case: Case, folder: Path) -> Path:
    """Write a case; the file is read by `load` only, as pickles are for files one has written oneself."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name}-{case.precision}.pickle"
    path.write_bytes(pickle.dumps(case))
    return path


def load(path: Path) -> Case:
    """Read a case."""
    case = pickle.loads(path.read_bytes())
    assert isinstance(case, Case)
    return case


def examples(count: int) -> list[Any]:
    """Coefficient maps of every kind, and what the host makes of them."""
    from support.bindings import BindingCase

    return [example for seed in range(count) for example in BindingCase(seed).examples()]


def write_all(
    folder: Path,
    precisions: tuple[str, ...],
    sizes: dict[str, tuple[int, int, int]],
    limits: Any,
    *,
    num_maps: int = 48,
) -> None:
    """Write the cases of all sizes, planned for devices like ``limits``, and examples of so many coefficient maps."""
    from qiskit_fusedqml.devices.gpu.compiled import Geometry
    from qiskit_fusedqml.devices.gpu.device import cost_model
    from qiskit_fusedqml.planner.cost import CostModel

    for precision in precisions:
        model: CostModel = cost_model(Geometry.of(limits, single=precision == "single"))
        for name, (n, layers, batch) in sizes.items():
            path = save(make(name, n, layers, batch, precision, model), folder)
            print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB", flush=True)
    (folder / EXAMPLES).write_bytes(pickle.dumps(examples(num_maps)))


def write_dry(folder: Path) -> None:
    """Write what ``run.py --emulate`` runs."""
    from support.emulation.fake_cupy import ATTRIBUTES

    from qiskit_fusedqml.devices.gpu.limits import Limits

    write_all(folder, ("single", "double"), DRY, Limits.of(ATTRIBUTES), num_maps=8)


def main() -> None:
    """The command line."""
    from qiskit_fusedqml.devices.gpu.limits import Limits

    parser = argparse.ArgumentParser(description="Write the workloads that benchmarks/gpu/run.py runs.")
    parser.add_argument("--shared-kib", type=int, default=227, help="shared memory of a block (H100: 227)")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    write_all(options.folder, ("single", "double"), SIZES | TABLE, Limits(shared_bytes=options.shared_kib << 10))


if __name__ == "__main__":
    sys.modules["cases"] = sys.modules["__main__"]  # so that pickles name this module as run.py knows it
    Case.__module__ = "cases"
    main()
