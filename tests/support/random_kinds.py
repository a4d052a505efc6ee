"""Random circuits of kinds that once went wrong, each with what it means, computed in another way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import UnitaryGate
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Operator, Statevector, random_unitary


def controlled(matrix: NDArray[np.complex128], num_controls: int, state: int) -> NDArray[np.complex128]:
    """The matrix of a gate under controls, which are its first qubits, where these have some value."""
    size = 1 << num_controls
    result = np.eye(size * len(matrix), dtype=complex)
    chosen = np.arange(len(matrix)) * size + state
    result[np.ix_(chosen, chosen)] = matrix
    return result


def _body(rng: np.random.Generator, width: int, parameters: Sequence[Parameter | float]) -> QuantumCircuit:
    body = QuantumCircuit(width, global_phase=0.3)
    for parameter in parameters:
        getattr(body, str(rng.choice(["rx", "ry", "rz", "p"])))(parameter, int(rng.integers(width)))
        if width > 1:
            body.cx(*rng.permutation(width)[:2].tolist())
    return body


def custom_gate(rng: np.random.Generator) -> tuple[QuantumCircuit, Parameter]:
    """A controlled gate of one's own, its parameters replaced by expressions in one after it was made."""
    parameters = [Parameter(name) for name in "ab"]
    width, num_controls = (int(rng.integers(1, 3)) for _ in range(2))
    gate = _body(rng, width, parameters).to_gate()
    gate = gate.control(num_controls, ctrl_state=int(rng.integers(2**num_controls)), annotated=bool(rng.integers(2)))
    if rng.integers(2):
        gate = gate.inverse()
    circuit = QuantumCircuit(width + num_controls)
    circuit.h(range(circuit.num_qubits))
    circuit.append(gate, rng.permutation(circuit.num_qubits).tolist())
    circuit.ry(0.4, 0)
    u = Parameter("u")
    return circuit.assign_parameters({parameters[0]: u / 2 + 0.1, parameters[1]: 0.7 - 3 * u}), u


def custom_state(seed: int, value: float) -> Statevector:
    """The state of `custom_gate` of the same seed at a value, by matrices."""
    rng = np.random.default_rng(seed)
    width, num_controls = (int(rng.integers(1, 3)) for _ in range(2))
    matrix = np.asarray(Operator(_body(rng, width, [value / 2 + 0.1, 0.7 - 3 * value])))
    matrix = controlled(matrix, num_controls, int(rng.integers(2**num_controls)))
    rng.integers(2)
    if rng.integers(2):
        matrix = matrix.conj().T
    circuit = QuantumCircuit(width + num_controls)
    circuit.h(range(circuit.num_qubits))
    circuit.append(UnitaryGate(matrix), rng.permutation(circuit.num_qubits).tolist())
    circuit.ry(0.4, 0)
    return Statevector(circuit)


def with_dense_gate(rng: np.random.Generator, seed: int) -> tuple[QuantumCircuit, QuantumCircuit]:
    """A large dense gate, maybe under a control, and the same with the matrix of all its qubits."""
    width, under_control = int(rng.integers(5, 9)), int(rng.integers(2))
    matrix = np.asarray(random_unitary(2**width, seed=seed))
    ours, theirs = (QuantumCircuit(width + under_control) for _ in range(2))
    qubits = rng.permutation(ours.num_qubits).tolist()
    gate = UnitaryGate(matrix)
    for circuit, each in (
        (ours, gate.control(1, annotated=True) if under_control else gate),
        (theirs, UnitaryGate(controlled(matrix, under_control, 1 if under_control else 0))),
    ):
        circuit.h(range(circuit.num_qubits))
        circuit.rz(0.3, 0)
        circuit.append(each, qubits)
    return ours, theirs


def with_many_bits(rng: np.random.Generator, seed: int) -> tuple[QuantumCircuit, dict[int, float]]:
    """Few qubits measured into some of many classical bits, and the distribution of these."""
    n = int(rng.integers(1, 4))
    gates = random_circuit(n, 4, max_operands=2, seed=seed)
    registers = [ClassicalRegister(int(rng.integers(1, 50)), name) for name in ("one", "two")]
    circuit = QuantumCircuit(QuantumRegister(n), *registers)
    circuit.compose(gates, range(n), inplace=True)
    bits = rng.permutation(circuit.num_clbits)[:n].tolist()
    circuit.measure(range(len(bits)), bits)
    distribution: dict[int, float] = {}
    for outcome, probability in enumerate(Statevector(gates).probabilities(range(len(bits)))):
        key = sum((outcome >> k & 1) << bit for k, bit in enumerate(bits))
        distribution[key] = distribution.get(key, 0.0) + float(probability)
    return circuit, distribution
