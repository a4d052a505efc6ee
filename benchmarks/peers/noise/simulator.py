"""This package's backend `FusedSimulator` with a noise model: saved values, or counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from noise_workloads import NoisyWorkload

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError
from peers.noise.device import mean_z, mean_z_table, noisy_circuit
from qiskit_fusedqml import FusedSimulator


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("qiskit", "numpy")

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if workload.wanted != "values" or workload.trajectories:
            raise UnsupportedError("a simulator has values and counts, no gradients")
        self.workload, self.batch, self.inputs = workload, workload.batch, workload.inputs()
        self.made, self.table = noisy_circuit(workload), mean_z_table(workload.num_qubits)
        self.note = f"FusedSimulator, parameter_binds, {workload.shots or 'no'} shots"
        if workload.shots:
            self.circuit, self.options = self.made.measured(), {"shots": workload.shots, "seed_simulator": 3}
        else:
            self.circuit, self.options = self.made.circuit.copy(), {}
            self.circuit.save_expectation_value(self.made.observable, range(self.circuit.num_qubits))
        self.backend = FusedSimulator(noise_model=self.made.noise, max_parallel_threads=threads)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        binds = self.made.binds(self.inputs, weights)
        self.result = self.backend.run(self.circuit, parameter_binds=binds, **self.options).result()
        if not self.result.success:
            raise RuntimeError(self.result.status)
        found = [self.result.data(b) for b in range(self.batch)]
        if self.workload.shots:
            return Step(np.array([[mean_z(data["counts"], self.table)] for data in found]))
        return Step(np.array([[data["expectation_value"]] for data in found]))

    def report(self) -> dict[str, Any]:
        """What the result says of the method."""
        metadata = self.result.results[0].metadata
        return {key: metadata.get(key) for key in ("method", "noise")}
