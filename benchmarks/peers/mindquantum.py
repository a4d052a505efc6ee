"""MindQuantum mqvector: `get_expectation_with_grad` with encoder and ansatz, samples in parallel workers."""

from __future__ import annotations

from typing import Any

import mindquantum as mq
import numpy as np
from mindquantum.core.circuit import Circuit
from mindquantum.core.gates import CNOT, RX, RY, RZ, BasicGate, H, Rxx, Ryy, Rzz, X, Z
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.core.parameterresolver import ParameterResolver
from mindquantum.simulator import Simulator
from spec import Angle, Gate, Workload, primitive

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, slopes

_ROTATIONS = {"rx": RX, "ry": RY, "rz": RZ, "rxx": Rxx, "ryy": Ryy, "rzz": Rzz}


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`. Every angle that depends on the inputs is one encoder feature."""

    packages = ("mindquantum", "numpy")

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        self.workload = workload
        self.batch = workload.batch
        workers = min(threads, self.batch)
        self.note = f"get_expectation_with_grad, parallel_worker={workers}"
        self.samples = workload.inputs()
        self.features: dict[Angle, str] = {}
        gates = [part for gate in workload.gates for part in primitive(gate)]
        circuit = Circuit([self._gate(gate) for gate in gates])
        n = workload.num_qubits
        self.simulator = Simulator("mqvector", n, dtype=mq.complex128 if precision == "double" else mq.complex64)
        hamiltonians = [Hamiltonian(_operator(terms)) for terms in workload.observables]
        if precision != "double":
            hamiltonians = [h.astype(mq.complex64) for h in hamiltonians]
        self.operator = self.simulator.get_expectation_with_grad(hamiltonians, circuit, parallel_worker=workers)
        # MindQuantum orders parameters as they appear in the circuit
        self.encoder = [int(name[1:]) for name in circuit.encoder_params_name]
        self.ansatz = [int(name[1:]) for name in circuit.ansatz_params_name]
        if workload.wanted == "weights+inputs":
            angles = list(self.features)
            self.chain = slopes([angles[k] for k in self.encoder], "input", workload.num_inputs)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        arguments = (self._encoded(), weights[self.ansatz]) if self.features else (weights[self.ansatz],)
        values, *gradients = self.operator(*arguments)
        wanted = self.workload.wanted
        values = values.real
        if wanted == "values":
            return Step(values)
        jacobian = np.zeros((*values.shape, self.workload.num_weights))
        jacobian[:, :, self.ansatz] = gradients[-1].real
        if wanted == "jacobian":
            return Step(values, jacobian=jacobian)
        summed = jacobian.sum(axis=(0, 1))
        if wanted == "weights+inputs":
            return Step(values, weights=summed, inputs=gradients[0].real.sum(axis=1) @ self.chain)
        return Step(values, weights=summed)

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {}

    def _gate(self, gate: Gate) -> BasicGate:
        name, qubits = gate.name, list(gate.qubits)
        if not gate.angles:
            if name in {"h", "x"}:
                return {"h": H, "x": X}[name].on(*qubits)
            return {"cx": CNOT.on(qubits[1], qubits[0]), "cz": Z.on(qubits[1], qubits[0])}[name]
        parameter = self._parameter(gate.angles[0])
        if name in _ROTATIONS:
            return _ROTATIONS[name](parameter).on(qubits)
        return _ROTATIONS[name[1:]](parameter).on(qubits[1], qubits[0])

    def _parameter(self, angle: Angle) -> ParameterResolver:
        if angle.uses_inputs:
            if angle.uses_weights:
                raise UnsupportedError("MindQuantum has no products of an input and a weight")
            name = self.features.setdefault(angle, f"x{len(self.features)}")
            return ParameterResolver({name: 1.0}).as_encoder()
        if len(angle.factors) != 1 or angle.factors[0].offset:
            raise UnsupportedError("the adapter trains angles proportional to one weight only")
        factor = angle.factors[0]
        return ParameterResolver({f"w{factor.index}": angle.scale * factor.slope})

    def _encoded(self) -> Array:
        """The features, (B, n_features): angles rather than inputs where an angle is no multiple of an input."""
        none = np.empty(0)
        angles = list(self.features)
        return np.stack([angles[k].evaluate(self.samples, none) for k in self.encoder], axis=1)


def _operator(terms: Any) -> QubitOperator:
    operator = QubitOperator()
    for term in terms:
        operator += QubitOperator(" ".join(f"{letter}{qubit}" for letter, qubit in term.paulis), term.coefficient)
    return operator
