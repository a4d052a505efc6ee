"""Dynamic circuits stay within the memory that is allowed, whatever grows: states, shots, saved values."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from support.peak_memory import peak

from qiskit_fusedqml import FusedSampler, FusedSimulator
from qiskit_fusedqml.errors import OutOfMemoryError
from qiskit_fusedqml.interfaces.qiskit.backend import save

ALLOWED = 24.0
"""MiB; a state of 12 qubits takes a sixteenth of one."""


def turned(circuit: QuantumCircuit) -> None:
    for qubit in range(circuit.num_qubits):
        circuit.ry(0.3 + qubit, qubit)
    for qubit in range(circuit.num_qubits - 1):
        circuit.cx(qubit, qubit + 1)


def leaving_while() -> QuantumCircuit:
    """Shots leave a loop one by one, and need their states afterwards."""
    circuit = QuantumCircuit(12, 12)
    circuit.h(range(12))
    circuit.measure(0, 0)
    with circuit.while_loop((0, False)):
        turned(circuit)
        circuit.measure([1, 2, 3, 0], [1, 2, 3, 0])
    circuit.h(range(12))
    circuit.measure(range(12), range(12))
    return circuit


def leaving_for() -> QuantumCircuit:
    circuit = QuantumCircuit(12, 12)
    circuit.h(range(12))
    with circuit.for_loop(range(30)):
        turned(circuit)
        circuit.measure([1, 2, 3, 0], [1, 2, 3, 0])
        with circuit.if_test((0, True)):
            circuit.break_loop()
    circuit.h(range(12))
    circuit.measure(range(12), range(12))
    return circuit


def parted() -> QuantumCircuit:
    """Many outcomes at once, then branches in branches."""
    circuit = QuantumCircuit(12, 12)
    turned(circuit)
    circuit.measure(range(10), range(10))
    for k in range(3):
        with circuit.if_test((k, True)):
            circuit.h(10)
            with circuit.if_test((k + 4, True)):
                circuit.h(11)
                circuit.cx(11, k)
    circuit.h(range(12))
    circuit.measure(range(12), range(12))
    return circuit


def narrow() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.h(0)
    with circuit.if_test((0, True)):
        circuit.x(1)
    circuit.measure(0, 1)
    return circuit


def sampled() -> QuantumCircuit:
    """One state, whose probabilities take half as much again, and as many shots as outcomes are worth."""
    circuit = QuantumCircuit(19)
    turned(circuit)
    circuit.measure_all()
    return circuit


CASES: dict[str, tuple[Callable[[], QuantumCircuit], int]] = {
    "while": (leaving_while, 400),
    "for": (leaving_for, 400),
    "branches": (parted, 400),
    "shots": (narrow, 1_000_000),
    "outcomes": (sampled, 350_000),
}


def grown(case: str, allowed: float) -> None:
    """Write by how much the peak grows."""
    make, shots = CASES[case]
    circuit = make()
    simulator, sampler = FusedSimulator(max_memory_mb=allowed), FusedSampler(max_memory_mb=allowed, seed=1)
    for each in (circuit, leaving_while(), narrow()):
        simulator.run(each, shots=2).result()
        sampler.run([each], shots=2).result()
    before = peak()
    counts = simulator.run(circuit, shots=shots, seed_simulator=1).result().get_counts()
    if case == "shots":
        sampler.run([circuit], shots=shots).result()
    assert sum(counts.values()) == shots
    sys.stdout.write(f"{peak() - before}")


def growth(case: str, allowed: float) -> float:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    code = f"import test_memory as t; t.grown({case!r}, {allowed})"
    command = [sys.executable, "-P", "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.parametrize("case", CASES)
def test_the_peak_stays_within_what_is_allowed(case: str) -> None:
    assert growth(case, ALLOWED) < ALLOWED


def test_the_measurement_sees_what_more_memory_is_used_for() -> None:
    assert growth("while", 4000.0) > 2 * ALLOWED


def test_the_probabilities_of_outcomes_are_counted() -> None:
    circuit = sampled()  # 8 MiB, and 4 MiB
    fitting, tight = FusedSimulator(max_memory_mb=12.01), FusedSimulator(max_memory_mb=11.99)
    assert (fitting.num_qubits, tight.num_qubits) == (19, 18)
    assert fitting.run(circuit, shots=10).result().success
    (result,) = tight.run(circuit, shots=10).result().results
    assert "state of 19 qubits and the probabilities of outcomes" in result.status
    sampler = FusedSampler(max_memory_mb=12.01)
    assert sampler.run([circuit], shots=10).result()[0].data.meas.num_shots == 10
    with pytest.raises(OutOfMemoryError, match="probabilities"):  # twice: one more table of their sums
        sampler.run([circuit, circuit], shots=10).result()
    circuit.remove_final_measurements()
    assert tight.run(save(circuit, "expval", [0], operator="Z")).result().success


def test_results_that_do_not_fit_are_refused() -> None:
    circuit = narrow()
    (result,) = FusedSimulator(max_memory_mb=1).run(circuit, shots=10**6).result().results
    assert "results of 1000000 shots of 1 parameter sets" in result.status
    saved = save(circuit, "statevector", pershot=True)
    (result,) = FusedSimulator(max_memory_mb=1).run(saved, shots=20_000).result().results
    assert "what is saved as 'statevector'" in result.status
    assert FusedSimulator(max_memory_mb=1).run(saved, shots=2000).result().success


def test_a_state_that_fits_is_saved() -> None:
    circuit = QuantumCircuit(14)
    circuit.h(range(14))
    save(save(circuit, "statevector"), "probabilities", list(range(14)))
    (result,) = FusedSimulator(max_memory_mb=0.25).run(circuit, shots=10).result().results
    assert result.success
    save(circuit, "density_matrix", list(range(14)))
    (result,) = FusedSimulator(max_memory_mb=0.25).run(circuit, shots=10).result().results
    assert "what is saved as 'density_matrix'" in result.status


def test_results_of_a_seed_do_not_depend_on_the_memory() -> None:
    circuit = save(leaving_while(), "probabilities", [5], pershot=True)
    tight, wide = (
        FusedSimulator(max_memory_mb=allowed).run(circuit, shots=40, seed_simulator=4, memory=True).result()
        for allowed in (2, 4000)
    )
    assert tight.get_memory() == wide.get_memory()
    np.testing.assert_allclose(tight.data()["probabilities"], wide.data()["probabilities"], atol=1e-12)
