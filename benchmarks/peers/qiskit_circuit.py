"""What the Qiskit adapters share: the workload as a `QuantumCircuit` and its observables as `SparsePauliOp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from spec import Angle, Workload


@dataclass(frozen=True)
class Built:
    """A circuit and what belongs to it."""

    circuit: QuantumCircuit
    observables: list[SparsePauliOp]
    inputs: ParameterVector
    weights: ParameterVector


def build(workload: Workload) -> Built:
    """The workload in Qiskit, with parameters ``x`` for the inputs and ``w`` for the weights."""
    inputs, weights = ParameterVector("x", workload.num_inputs), ParameterVector("w", workload.num_weights)
    circuit = QuantumCircuit(workload.num_qubits)
    for gate in workload.gates:
        getattr(circuit, gate.name)(*(_expression(angle, inputs, weights) for angle in gate.angles), *gate.qubits)
    return Built(circuit, [_observable(terms, workload.num_qubits) for terms in workload.observables], inputs, weights)


def _expression(angle: Angle, inputs: ParameterVector, weights: ParameterVector) -> Any:
    # plain parameters stay plain: Qiskit is slower on 1.0 * w[0]
    result: Any = None if angle.scale == 1 and angle.factors else angle.scale
    for factor in angle.factors:
        value: Any = (inputs if factor.source == "input" else weights)[factor.index]
        if factor.slope != 1:
            value = factor.slope * value
        if factor.offset:
            value = factor.offset + value
        result = value if result is None else result * value
    return result


def _observable(terms: Any, num_qubits: int) -> SparsePauliOp:
    entries = [
        ("".join(letter for letter, _ in term.paulis), [qubit for _, qubit in term.paulis], term.coefficient)
        for term in terms
    ]
    return SparsePauliOp.from_sparse_list(entries, num_qubits)
