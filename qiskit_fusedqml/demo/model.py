"""The demo's quantum neural network: a stock `EstimatorQNN`, with and without this package."""

from __future__ import annotations

from itertools import combinations, islice
from typing import Any

from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.neural_networks import EstimatorQNN

from ..interfaces.machine_learning.gradients import FusedEstimatorGradient
from ..interfaces.qiskit.estimator import FusedEstimator


def classifier_circuit(num_qubits: int, num_layers: int) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """A feature a qubit in RY, then layers of RX, RY, RZ and a ring of CX; the circuit, its inputs, its weights."""
    inputs, weights = ParameterVector("x", num_qubits), ParameterVector("w", 3 * num_qubits * num_layers)
    circuit, weight = QuantumCircuit(num_qubits), iter(weights)
    for qubit, angle in enumerate(inputs):
        circuit.ry(angle, qubit)
    for _ in range(num_layers):
        for qubit in range(num_qubits):
            circuit.rx(next(weight), qubit)
            circuit.ry(next(weight), qubit)
            circuit.rz(next(weight), qubit)
        for qubit in range(num_qubits):
            circuit.cx(qubit, (qubit + 1) % num_qubits)
    return circuit, inputs, weights


def class_observables(num_qubits: int, num_classes: int) -> list[SparsePauliOp]:
    """One observable a class: Z on one qubit after the other, then on pairs, triples, ..."""
    strings = (qubits for size in range(1, num_qubits + 1) for qubits in combinations(range(num_qubits), size))
    return [
        SparsePauliOp.from_sparse_list([("Z" * len(qubits), list(qubits), 1.0)], num_qubits)
        for qubits in islice(strings, num_classes)
    ]


def stock_network(num_qubits: int, num_layers: int, num_classes: int, **options: Any) -> Any:
    """The network as Qiskit Machine Learning makes it by default: exact values, parameter-shift gradient."""
    circuit, inputs, weights = classifier_circuit(num_qubits, num_layers)
    return EstimatorQNN(
        circuit=circuit,
        observables=class_observables(num_qubits, num_classes),
        input_params=list(inputs),
        weight_params=list(weights),
        **options,
    )


def fused_network(num_qubits: int, num_layers: int, num_classes: int, num_threads: int | None) -> Any:
    """The network whose values and gradients this package computes: two arguments more."""
    return stock_network(
        num_qubits,
        num_layers,
        num_classes,
        estimator=FusedEstimator(num_threads=num_threads),
        gradient=FusedEstimatorGradient(num_threads=num_threads),
    )
