"""`FusedSimulator` beside `AerSimulator`, forward only, in one process, taking turns.

``python benchmarks/simulator.py [--largest 24] [--seconds 5] [--json FILE]``; qiskit-aer must be installed beside this
package (extra ``aer``). Both get the same circuits in Aer's basis and the same number of threads; what is timed is
``run(...).result()``:

* *new*: the first run of a circuit of a structure that was never seen. All shared plans are forgotten before it, so
  that reading, planning and running are all paid;
* *bound*: the first run of a circuit object whose structure is known and whose angles are new, as where an ansatz is
  bound to other values at every step; where there are no angles, a copy. It is read again, but not planned;
* *again*: the same circuit object once more, as a training loop does.

Before anything is timed the answers are compared: expectation values, probabilities, or counts with a bound that fails
once in a million. Tasks without fusion, which is for comparisons and for the search for errors, are not part of the
means.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import QFTGate, efficient_su2
from qiskit.quantum_info import SparsePauliOp, random_unitary
from qiskit_aer import AerSimulator

from qiskit_fusedqml import FusedSimulator
from qiskit_fusedqml.engine.plans import SHARED


@dataclass(frozen=True)
class Task:
    """A circuit and the options it is run with."""

    name: str
    circuit: QuantumCircuit
    options: dict[str, Any] = field(default_factory=dict)
    counts: bool = True
    """Whether it is part of the means."""


def bell() -> QuantumCircuit:
    """The smallest circuit that samples: what a call of ``run`` costs."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def many_bindings(rows: int) -> Task:
    """10 qubits, 50 layers, every angle a parameter."""
    n, layers = 10, 50
    theta = iter(parameters := ParameterVector("t", n * layers))
    circuit = QuantumCircuit(n)
    for layer in range(layers):
        for q in range(n):
            (circuit.ry if layer % 2 else circuit.rz)(next(theta), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    circuit.measure_all()
    values = np.random.default_rng(0).normal(size=(rows, n * layers))
    binds = {parameter: column.tolist() for parameter, column in zip(parameters, values.T, strict=True)}
    return Task(f"{rows} bindings, 10 qubits", circuit, {"parameter_binds": [binds], "shots": 1024})


def feed_forward() -> Task:
    """12 qubits, 15 measurements in the middle, each with a correction."""
    rng = np.random.default_rng(1)
    circuit = QuantumCircuit(12, 27)
    clbits = iter(range(15))
    for _ in range(5):
        for q in range(12):
            circuit.ry(rng.normal(), q)
        for q in range(11):
            circuit.cx(q, q + 1)
        for q in range(0, 12, 4):
            clbit = next(clbits)
            circuit.measure(q, clbit)
            with circuit.if_test((clbit, True)):
                circuit.x(q)
                circuit.rz(0.3, q + 1)
    circuit.measure(range(12), range(15, 27))
    return Task("10,000 shots with feed-forward, 12 qubits", circuit, {"shots": 10_000})


def many_observables() -> Task:
    """100 random Pauli strings on 14 qubits."""
    rng = np.random.default_rng(3)
    circuit = efficient_su2(14, reps=3)
    circuit = circuit.assign_parameters(rng.normal(size=circuit.num_parameters))
    for k in range(100):
        pauli = SparsePauliOp("".join(rng.choice(list("IXYZ"), 14)))
        circuit.save_expectation_value(pauli, range(14), label=str(k))
    return Task("100 observables, 14 qubits", circuit)


def sampled(n: int) -> Iterator[Task]:
    """Four families of circuits, sampled."""
    rng = np.random.default_rng(n)
    qft = QuantumCircuit(n)
    qft.ry(0.3, range(n))
    qft.compose(QFTGate(n).definition, inplace=True)
    layers = QuantumCircuit(n)
    for layer in range(5):
        for q in range(layer % 2, n - 1, 2):
            layers.unitary(random_unitary(4, seed=int(rng.integers(2**31))), [q, q + 1])
    ansatz = efficient_su2(n, reps=3)
    ansatz = ansatz.assign_parameters(rng.normal(size=ansatz.num_parameters))
    qaoa = QuantumCircuit(n)
    qaoa.h(range(n))
    for _ in range(4):
        for step in (1, 3):
            for q in range(n):
                qaoa.rzz(0.3, q, (q + step) % n)
        qaoa.rx(0.4, range(n))
    for name, circuit in (("QFT", qft), ("SU(4) layers", layers), ("EfficientSU2", ansatz), ("QAOA", qaoa)):
        circuit.measure_all()
        yield Task(f"{name}, {n} qubits", circuit)
    yield Task(f"EfficientSU2, {n} qubits, no fusion", ansatz, {"fusion_enable": False}, counts=False)


def tasks(largest: int) -> Iterator[Task]:
    """All tasks up to a number of qubits."""
    yield Task("Bell pair", bell())
    yield many_bindings(1000)
    yield many_observables()
    yield feed_forward()
    for n in (12, 16, 20, 24):
        if n <= largest:
            yield from sampled(n)


def check(ours: Any, theirs: Any) -> None:
    """Compare the first experiment of two results.

    Raises:
        AssertionError: If they disagree.
    """
    first, second = ours.data(0), theirs.data(0)
    if "counts" not in first:
        for label, value in second.items():
            assert abs(first[label] - value) < 1e-9, label
        return
    # counts of two samples, sorted into 16 classes by a hash of the outcome
    table = np.zeros((2, 16))
    for row, counts in zip(table, (first["counts"], second["counts"]), strict=True):
        for key, count in counts.items():
            value = int(key, 16)
            row[(value * 2654435761 >> 7) % 16] += count
    shots = table.sum(axis=1)
    pooled = table.sum(axis=0) / shots.sum()
    expected = np.outer(shots, pooled)
    used = pooled > 0
    chi2 = float((((table - expected) ** 2)[:, used] / expected[:, used]).sum())
    freedom = max(int(used.sum()) - 1, 1)
    assert chi2 < freedom + 6 * math.sqrt(2 * freedom) + 20, f"counts differ: chi-square {chi2:.1f}"


def rebound(circuit: QuantumCircuit, rng: np.random.Generator) -> QuantumCircuit:
    """The circuit with other angles; those of Clifford and T gates and in blocks of control flow stay."""

    def other_angle(param: float) -> float:
        return float(rng.uniform(0.1, 0.7)) if abs(math.remainder(param, math.pi / 4)) > 1e-9 else param

    other = circuit.copy()
    for position, instruction in enumerate(circuit.data):
        if instruction.is_standard_gate() and all(isinstance(param, float) for param in instruction.params):
            other.data[position] = instruction.replace(params=[other_angle(param) for param in instruction.params])
    return other


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(task: Task, aer: AerSimulator, ours: FusedSimulator, seconds: float) -> dict[str, Any]:
    """Times of both simulators, in turns, until the time is used up (three turns at least)."""
    circuit = transpile(task.circuit, aer, optimization_level=0)
    check(ours.run(circuit, **task.options).result(), aer.run(circuit, **task.options).result())
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {"aer": [], "new": [], "bound": [], "again": []}
    began = time.perf_counter()
    while len(times["aer"]) < 3 or (time.perf_counter() - began < seconds and len(times["aer"]) < 200):
        copy, other = circuit.copy(), rebound(circuit, rng)
        times["aer"].append(timed(lambda: aer.run(circuit, **task.options).result()))
        SHARED.clear()
        for name, run in (("new", copy), ("bound", other), ("again", copy)):
            times[name].append(timed(lambda run=run: ours.run(run, **task.options).result()))  # type: ignore[misc]
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {"task": task.name, "counts": task.counts, "medians": medians, "seconds": times}


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--largest", type=int, default=24, help="largest number of qubits")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each task")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--json", type=Path, help="where to write everything")
    arguments = parser.parse_args()
    aer = AerSimulator(method="statevector", max_parallel_threads=arguments.threads)
    ours = FusedSimulator(max_parallel_threads=arguments.threads)
    report: dict[str, Any] = machine.report(threads=arguments.threads, entries=[])
    kinds = ("new", "bound", "again")
    print(f"{'':<44}{'Aer':>11}" + "".join(f"{kind:>11}{'ratio':>7}" for kind in kinds))
    for task in tasks(arguments.largest):
        entry = measure(task, aer, ours, arguments.seconds)
        report["entries"].append(entry)
        times = entry["medians"]
        columns = "".join(f"{times[kind] * 1e3:>8.2f} ms{times['aer'] / times[kind]:>7.1f}" for kind in kinds)
        print(f"{task.name:<44}{times['aer'] * 1e3:>8.2f} ms{columns}", flush=True)
    for kind in kinds:
        ratios = [entry["medians"]["aer"] / entry["medians"][kind] for entry in report["entries"] if entry["counts"]]
        report[f"mean_{kind}"] = statistics.geometric_mean(ratios)
        print(f"geometric mean of Aer / {kind}: {report[f'mean_{kind}']:.1f}, least {min(ratios):.1f}")
    machine.save(report, arguments.json)


if __name__ == "__main__":
    main()
