"""PennyLane lightning.qubit: adjoint through the device's own interface, without the cost of a QNode.

A tape holds its angles, so a step at new weights builds its tapes anew: one a sample, broadcasting being unsupported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.tape import QuantumScript
from spec import Workload, primitive

from peers.adapter import Adapter as AdapterProtocol, Array, Step, slopes
from peers.pennylane_circuit import observable, operation


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("pennylane", "pennylane-lightning", "numpy")
    note = "execute_and_compute_derivatives of the device, adjoint, tapes rebuilt every step"

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        self.workload = workload
        self.batch = workload.batch
        self.inputs = workload.inputs()
        self.gates = [part for gate in workload.gates for part in primitive(gate)]
        dtype = np.complex128 if precision == "double" else np.complex64
        self.device = qml.device("lightning.qubit", wires=workload.num_qubits, c_dtype=dtype)
        self.config = self.device.setup_execution_config(ExecutionConfig(gradient_method="adjoint"))
        self.measurements = [qml.expval(observable(terms)) for terms in workload.observables]
        angles = [gate.angles[0] for gate in self.gates if gate.angles]
        sources = {"weights": "w", "jacobian": "w", "weights+inputs": "wx", "values": ""}[workload.wanted]
        self.trainable = [
            k for k, a in enumerate(angles) if ("w" in sources and a.uses_weights) or ("x" in sources and a.uses_inputs)
        ]
        trained = [angles[k] for k in self.trainable]
        self.weight_chain = slopes(trained, "weight", workload.num_weights) if "w" in sources else None
        self.input_chain = slopes(trained, "input", workload.num_inputs) if "x" in sources else None

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        tapes = self._tapes(weights)
        shape = (self.batch, len(self.measurements))
        if self.workload.wanted == "values":
            return Step(np.array(self.device.execute(tapes, self.config)).reshape(shape))
        values, gradients = self.device.execute_and_compute_derivatives(tapes, self.config)
        slopes_of_angles = np.array(gradients).reshape(*shape, len(self.trainable))
        values = np.array(values).reshape(shape)
        if self.workload.wanted == "jacobian":
            return Step(values, jacobian=slopes_of_angles @ self.weight_chain)
        summed = slopes_of_angles.sum(axis=1)
        inputs = None if self.input_chain is None else summed @ self.input_chain
        return Step(values, weights=summed.sum(axis=0) @ self.weight_chain, inputs=inputs)

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {}

    def _tapes(self, weights: Array) -> list[QuantumScript]:
        rows = []
        for gate in self.gates:
            theta = gate.angles[0].evaluate(self.inputs, weights) if gate.angles else np.zeros(())
            rows.append(np.broadcast_to(theta, (self.batch,)).tolist())
        return [
            QuantumScript(
                [operation(gate, row[sample]) for gate, row in zip(self.gates, rows, strict=True)],
                self.measurements,
                trainable_params=self.trainable,
            )
            for sample in range(self.batch)
        ]
