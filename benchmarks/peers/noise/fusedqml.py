"""This package with noise, through `DifferentiableCircuit`; counts are those of `FusedSimulator`."""

from __future__ import annotations

from typing import Any

import numpy as np
from noise_workloads import NoisyWorkload

from peers.adapter import Adapter as AdapterProtocol, Array, Step
from peers.noise.device import noisy_circuit
from peers.noise.simulator import Adapter as Simulator
from qiskit_fusedqml import DifferentiableCircuit


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("qiskit", "numpy")
    note = "DifferentiableCircuit.value_and_vjp"

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:
        """See `peers.adapter.Adapter`."""
        self.workload, self.batch, self.inputs = workload, workload.batch, workload.inputs()
        self.cotangents = np.ones((self.batch, 1))
        self.counts = Simulator(workload, precision, threads, step_limit) if workload.shots else None
        if self.counts is not None:
            self.note = self.counts.note
            return
        made = noisy_circuit(workload)
        self.function = DifferentiableCircuit(
            made.circuit,
            made.observable,
            inputs=made.inputs,
            weights=made.weights,
            noise_model=made.noise,
            precision=precision,
            num_threads=threads,
            trajectories=workload.trajectories or None,
            noise_seed=0,
        )

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        if self.counts is not None:
            return self.counts.step(weights)
        if self.workload.wanted == "values":
            return Step(self.function.values(self.inputs, weights))
        values, _, dw = self.function.value_and_vjp(self.inputs, weights, self.cotangents)
        return Step(values, weights=dw)

    def report(self) -> dict[str, Any]:
        """The plan, and for trajectories the standard deviations of the values."""
        if self.counts is not None:
            return self.counts.report()
        if self.workload.trajectories:
            _, stds = self.function.estimate(self.inputs, self.workload.weights(0))
            return {"stds": stds.tolist()}
        return {"plan": str(self.function.plan)}
