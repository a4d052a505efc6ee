"""Qiskit Aer with noise: values and counts from density matrices, values from trajectories; it has no gradients."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from noise_workloads import NoisyWorkload
from qiskit_aer import AerSimulator

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples
from peers.noise.device import mean_z, mean_z_table, noisy_circuit


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`. Of three ways to run a batch the fastest is taken."""

    packages = ("qiskit", "qiskit-aer", "numpy")

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if workload.wanted != "values":
            raise UnsupportedError("no gradient; a parameter shift takes two evaluations a weight and sample")
        self.workload, self.made, self.threads = workload, noisy_circuit(workload), threads
        self.table = mean_z_table(workload.num_qubits)
        shots = workload.shots or workload.trajectories or 1
        self.options: dict[str, Any] = {"shots": shots, "seed_simulator": 5}
        if workload.shots:
            self.circuit, self.method = self.made.measured(), "automatic"
        else:
            self.circuit = self.made.circuit.copy()
            self.circuit.save_expectation_value(self.made.observable, range(self.circuit.num_qubits))
            self.method = "statevector" if workload.trajectories else "density_matrix"
        self.inputs = workload.inputs()
        self.batch = workload.batch
        seconds = self._fastest_way()
        self.batch = affordable_samples(workload, seconds, step_limit)
        self.note = f"{self.method}, parameter_binds, shots={shots}, {self.way or 'as it is'}"

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        binds = self.made.binds(self.inputs[: self.batch], weights)
        self.result = self.simulator.run(self.circuit, parameter_binds=binds, **self.options).result()
        if not self.result.success:
            raise RuntimeError(f"Aer: {self.result.status}")
        found = [self.result.data(b) for b in range(self.batch)]
        if self.workload.shots:
            return Step(np.array([[mean_z(data["counts"], self.table)] for data in found]))
        return Step(np.array([[data["expectation_value"]] for data in found]))

    def report(self) -> dict[str, Any]:
        """What the result says of the method."""
        metadata = self.result.results[0].metadata
        return {key: metadata.get(key) for key in ("method", "noise")} | {"seconds_per_sample": self.seconds}

    def _fastest_way(self) -> float:
        """Choose the options of the simulator; seconds a sample."""
        ways: list[dict[str, Any]] = [{}]
        if self.workload.batch > 1:
            ways += [{"max_parallel_experiments": self.threads}, {"runtime_parameter_bind_enable": True}]
            self.batch = min(self.batch, 2 * self.threads if self.workload.num_qubits < 9 else self.threads)
        self.seconds: list[float] = []
        weights = self.workload.weights(0)
        for way in ways:
            self._use(way)
            start = time.perf_counter()
            try:
                self.step(weights)
            except RuntimeError:  # binding at run time knows no parameters in a global phase
                self.seconds.append(float("inf"))
            else:
                self.seconds.append((time.perf_counter() - start) / self.batch)
        self._use(ways[int(np.argmin(self.seconds))])
        return min(self.seconds)

    def _use(self, way: dict[str, Any]) -> None:
        self.way = way
        self.simulator = AerSimulator(
            method=self.method, noise_model=self.made.noise, max_parallel_threads=self.threads, **way
        )
