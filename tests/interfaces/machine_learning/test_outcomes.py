"""Outcomes of circuits with several registers, high classical bits, and layouts, against `Statevector`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Statevector

from qiskit_fusedqml import FusedSamplerGradient, FusedSamplerQNN

networks = pytest.importorskip("qiskit_machine_learning.neural_networks")

INPUT, WEIGHT = Parameter("x"), Parameter("w")


def _ansatz(*registers: ClassicalRegister) -> QuantumCircuit:
    """Two qubits whose three probable outcomes differ."""
    circuit = QuantumCircuit(QuantumRegister(2, "q"), *registers)
    circuit.ry(INPUT, 0)
    circuit.ry(WEIGHT, 1)
    circuit.cx(0, 1)
    return circuit


HIGH = _ansatz(ClassicalRegister(70, "c"))
HIGH.measure([0, 1], [66, 3])
UNUSED = _ansatz(ClassicalRegister(2, "c"))
UNUSED.measure_all()
SEVERAL = _ansatz(*(ClassicalRegister(size, name) for name, size in (("a", 1), ("idle", 3), ("b", 2))))
SEVERAL.measure([0, 1], [4, 0])
TRANSPILED = transpile(_ansatz(), coupling_map=[[0, 1], [1, 2], [2, 3]], initial_layout=[3, 1], seed_transpiler=1)
TRANSPILED.measure_all()
MEASURED_FIRST = _ansatz(ClassicalRegister(2, "c"))
MEASURED_FIRST.measure([0, 1], [0, 1])
MEASURED_FIRST = transpile(
    MEASURED_FIRST, coupling_map=[[0, 1], [1, 2], [2, 3]], initial_layout=[3, 1], seed_transpiler=1
)
OUTCOMES = {  # the outcome for each of 00, 01, 10, 11, where the first digit is qubit 1
    "high bits": (HIGH, [0, 1 << 66, 1 << 3, 1 << 66 | 1 << 3]),
    "a register that nothing is measured into": (UNUSED, [0, 1, 2, 3]),
    "several registers": (SEVERAL, [0, 2, 1, 3]),
    "transpiled, then measured": (TRANSPILED, [0, 1, 2, 3]),
    "measured, then transpiled": (MEASURED_FIRST, [0, 1, 2, 3]),
}


@pytest.mark.parametrize("sampler", [None, StatevectorSampler(default_shots=4000, seed=1)])
@pytest.mark.parametrize("kind", OUTCOMES)
def test_outcomes_are_those_of_the_registers_measured_into(kind: str, sampler: Any) -> None:
    circuit, outcomes = OUTCOMES[kind]
    order = {outcome: k for k, outcome in enumerate(outcomes)}
    interpret, shape = (order.__getitem__, 4) if kind == "high bits" else (None, None)
    network = FusedSamplerQNN(
        circuit=circuit,
        sampler=sampler,
        input_params=[INPUT],
        weight_params=[WEIGHT],
        interpret=interpret,
        output_shape=shape,
    )
    inputs = np.array([[0.7], [1.9]])
    place = list(range(4)) if interpret else outcomes

    def expected(weight: float) -> np.ndarray:
        states = [Statevector(_ansatz().assign_parameters({INPUT: x, WEIGHT: weight})) for x in inputs[:, 0]]
        return np.array([state.probabilities() for state in states])

    # 4000 shots: five standard deviations
    atol = 1e-12 if sampler is None else 5 * np.sqrt(0.25 / 4000)
    np.testing.assert_allclose(network.forward(inputs, [1.1])[:, place], expected(1.1), rtol=0, atol=atol)
    slope = (expected(1.1 + 1e-6) - expected(1.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(network.backward(inputs, [1.1])[1][:, place, 0], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["a register that nothing is measured into", "transpiled, then measured"])
def test_a_stock_network_gets_the_outcomes_that_it_counts(kind: str) -> None:
    circuit, _ = OUTCOMES[kind]
    parts = {"circuit": circuit, "input_params": [INPUT], "weight_params": [WEIGHT]}
    stock = networks.SamplerQNN(**parts, gradient=FusedSamplerGradient())
    found, expected = (each.backward([[0.7]], [1.1])[1] for each in (stock, FusedSamplerQNN(**parts)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.abs(expected).max() > 0.1
