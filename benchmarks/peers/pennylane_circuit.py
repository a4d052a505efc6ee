"""What the two PennyLane adapters share: gates and observables by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pennylane as qml
from spec import Gate, Term

OPERATIONS = {
    "h": qml.Hadamard, "x": qml.PauliX, "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT, "cz": qml.CZ,
    "rxx": qml.IsingXX, "ryy": qml.IsingYY, "rzz": qml.IsingZZ, "crx": qml.CRX, "cry": qml.CRY, "crz": qml.CRZ,
}  # fmt: skip
_PAULIS = {"X": qml.PauliX, "Y": qml.PauliY, "Z": qml.PauliZ}


def operation(gate: Gate, theta: Any) -> Any:
    """The operation of a primitive gate; the angle is ignored by gates without one."""
    wires = list(gate.qubits)
    return OPERATIONS[gate.name](theta, wires=wires) if gate.angles else OPERATIONS[gate.name](wires=wires)


def observable(terms: Sequence[Term]) -> Any:
    """The observable; wires are qubits."""
    strings = [qml.prod(*(_PAULIS[letter](qubit) for letter, qubit in term.paulis)) for term in terms]
    return qml.Hamiltonian([term.coefficient for term in terms], strings)
