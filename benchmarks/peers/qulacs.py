"""Qulacs: a parametric circuit for each sample, `backprop` for the gradient and a forward run for the value."""

from __future__ import annotations

from typing import Any

import numpy as np
import qulacs
from spec import Angle, Gate, Term, Workload, primitive

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, slopes

_PAULI = {"X": 1, "Y": 2, "Z": 3}


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("qulacs", "numpy")
    note = (
        "ParametricQuantumCircuit per sample, built once; set_parameter, get_expectation_value and backprop every step"
    )

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if precision != "double":
            raise UnsupportedError("Qulacs computes in double precision only")
        if workload.wanted == "weights+inputs":
            raise UnsupportedError("the encoding is built into the circuits here, so there are no input gradients")
        self.workload = workload
        self.batch = workload.batch
        self.observables = [_observable(terms, workload.num_qubits) for terms in workload.observables]
        total = [term for terms in workload.observables for term in terms]
        self.total = _observable(total, workload.num_qubits)
        self.inputs = workload.inputs()
        self.parts = [part for gate in workload.gates for part in primitive(gate)]
        self.slots: list[Angle] = []
        self.circuits = [self._circuit(sample) for sample in range(self.batch)]
        self.chain = -slopes(self.slots, "weight", workload.num_weights)
        self.state = qulacs.QuantumState(workload.num_qubits)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        # Qulacs rotates by +i theta/2
        angles = [-float(angle.evaluate(self.inputs, weights)) for angle in self.slots]
        values = np.empty((self.batch, len(self.observables)))
        wanted = self.workload.wanted
        per_observable = self.observables if wanted == "jacobian" else [self.total]
        gradients = np.zeros((self.batch, len(per_observable), len(angles)))
        for sample, circuit in enumerate(self.circuits):
            for slot, angle in enumerate(angles):
                circuit.set_parameter(slot, angle)
            self.state.set_zero_state()
            circuit.update_quantum_state(self.state)
            values[sample] = [o.get_expectation_value(self.state) for o in self.observables]
            if wanted != "values":
                gradients[sample] = [circuit.backprop(o) for o in per_observable]
        if wanted == "values":
            return Step(values)
        if wanted == "jacobian":
            return Step(values, jacobian=gradients @ self.chain)
        return Step(values, weights=gradients.sum(axis=(0, 1)) @ self.chain)

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {}

    def _circuit(self, sample: int) -> Any:
        circuit = qulacs.ParametricQuantumCircuit(self.workload.num_qubits)
        self.slots = []
        row = self.inputs[sample : sample + 1]
        for gate in self.parts:
            if gate.angles and gate.angles[0].uses_weights:
                self._add_parametric(circuit, gate)
            else:
                theta = float(np.squeeze(gate.angles[0].evaluate(row, np.empty(0)))) if gate.angles else 0.0
                _add_constant(circuit, gate, theta)
        return circuit

    def _add_parametric(self, circuit: Any, gate: Gate) -> None:
        angle = gate.angles[0]
        if angle.uses_inputs:
            raise UnsupportedError("the adapter has no products of an input and a weight")
        name, qubits = gate.name, list(gate.qubits)
        if name in {"rx", "ry", "rz"}:
            getattr(circuit, f"add_parametric_{name.upper()}_gate")(*qubits, 0.0)
            self.slots.append(angle)
        elif name in {"rxx", "ryy", "rzz"}:
            circuit.add_parametric_multi_Pauli_rotation_gate(qubits, [_PAULI[name[1].upper()]] * 2, 0.0)
            self.slots.append(angle)
        else:
            # C[exp(-i t/2 P)] = exp(-i t/4 P) exp(+i t/4 Z P)
            control, target = qubits
            pauli = _PAULI[name[2].upper()]
            getattr(circuit, f"add_parametric_{name[1:].upper()}_gate")(target, 0.0)
            self.slots.append(Angle(angle.scale / 2, angle.factors))
            circuit.add_parametric_multi_Pauli_rotation_gate([control, target], [3, pauli], 0.0)
            self.slots.append(Angle(-angle.scale / 2, angle.factors))


def _add_constant(circuit: Any, gate: Gate, theta: float) -> None:
    name, qubits = gate.name, gate.qubits
    if name in {"rx", "ry", "rz"}:
        getattr(circuit, f"add_{name.upper()}_gate")(*qubits, -theta)
    elif name in {"h", "x"}:
        getattr(circuit, f"add_{name.upper()}_gate")(*qubits)
    elif name == "cx":
        circuit.add_CNOT_gate(*qubits)
    elif name == "cz":
        circuit.add_CZ_gate(*qubits)
    elif name in {"rxx", "ryy", "rzz"}:
        circuit.add_multi_Pauli_rotation_gate(list(qubits), [_PAULI[name[1].upper()]] * 2, -theta)
    else:
        raise UnsupportedError(f"the adapter has no constant {name}")


def _observable(terms: Any, n: int) -> Any:
    observable = qulacs.Observable(n)
    term: Term
    for term in terms:
        observable.add_operator(term.coefficient, " ".join(f"{letter} {qubit}" for letter, qubit in term.paulis))
    return observable
