"""PennyLane's default.mixed, differentiated by backpropagation through PyTorch."""

from __future__ import annotations

import time
from typing import Any

import noise_workloads as noisy
import numpy as np
import pennylane as qml
import torch
from noise_workloads import NoisyWorkload

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples
from peers.pennylane_circuit import operation

_PAULIS = (np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1]))


def depolarizing(p: float) -> list[Any]:
    """Kraus operators of ``rho -> (1 - p) rho + p 1/4``."""
    pairs = [np.kron(first, second) for first in _PAULIS for second in _PAULIS]
    return [np.sqrt(1 - 15 / 16 * p if k == 0 else p / 16) * pair for k, pair in enumerate(pairs)]


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("pennylane", "torch", "numpy")
    note = "default.mixed, samples broadcast, torch, backprop"

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if workload.noise == "device" or workload.trajectories or workload.shots:
            raise UnsupportedError("the adapter has exact values of depolarizing and damping")
        torch.set_num_threads(threads)
        self.workload, self.batch = workload, 1
        self.inputs = torch.tensor(workload.inputs())
        device = qml.device("default.mixed", wires=workload.num_qubits)
        self.node = qml.QNode(self._circuit, device, interface="torch", diff_method="backprop")
        for number in range(2):
            start = time.perf_counter()
            self.step(workload.weights(number))
            self.seconds = time.perf_counter() - start
            if self.seconds > 1:  # what is done the first time only takes less
                break
        # of few qubits a batch takes little more than a sample
        per_sample = self.seconds / (workload.batch if workload.num_qubits < 6 else 1)
        self.batch = affordable_samples(workload, per_sample, step_limit)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        gradients = self.workload.wanted == "weights"
        w = torch.tensor(weights, requires_grad=gradients)
        with torch.set_grad_enabled(gradients):
            values = torch.stack(self.node(self.inputs[: self.batch], w)).real.mean(0)
        if not gradients:
            return Step(values.numpy()[:, None])
        values.sum().backward()
        return Step(values.detach().numpy()[:, None], weights=w.grad.numpy())

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"seconds_of_a_sample": self.seconds}

    def _circuit(self, x: Any, w: Any) -> Any:
        pair = depolarizing(noisy.P2)
        for gate in self.workload.gates:
            if gate.name == "cx":
                operation(gate, None)
                qml.QubitChannel(pair, wires=gate.qubits)
                if self.workload.noise == "device-like":
                    for q in gate.qubits:
                        qml.AmplitudeDamping(noisy.GAMMA, wires=q)
            else:
                (factor,) = gate.angles[0].factors
                operation(gate, x[:, factor.index] if factor.source == "input" else w[factor.index])
                qml.DepolarizingChannel(3 / 4 * noisy.P1, wires=gate.qubits)  # PennyLane's p is that of an error
        return [qml.expval(qml.Z(q)) for q in range(self.workload.num_qubits)]
