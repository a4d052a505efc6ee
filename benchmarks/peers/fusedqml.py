"""This package, through `DifferentiableCircuit`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from spec import Workload

from peers.adapter import Adapter as AdapterProtocol, Array, Step
from peers.qiskit_circuit import build
from qiskit_fusedqml import DifferentiableCircuit


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("qiskit", "numpy")
    note = "DifferentiableCircuit.value_and_vjp"

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        self.workload = workload
        self.batch = workload.batch
        self.inputs = workload.inputs() if workload.num_inputs else None
        self.cotangents = np.ones((self.batch, len(workload.observables)))
        start = time.perf_counter()
        built = build(workload)
        self.circuit_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self.function = DifferentiableCircuit(
            built.circuit,
            built.observables,
            inputs=built.inputs,
            weights=built.weights,
            input_gradients=workload.wanted == "weights+inputs",
            precision=precision,
            num_threads=threads,
        )
        self.lowering_seconds = time.perf_counter() - start

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        x, wanted = self.inputs, self.workload.wanted
        if wanted == "values":
            return Step(self.function.values(x, weights))
        if wanted == "jacobian":
            return Step(self.function.values(x, weights), jacobian=self.function.jacobian(x, weights))
        values, dx, dw = self.function.value_and_vjp(x, weights, self.cotangents)
        return Step(values, weights=dw, inputs=dx)

    def report(self) -> dict[str, Any]:
        """Seconds of lowering, and the plan as text."""
        return {
            "circuit_seconds": self.circuit_seconds,
            "lowering_seconds": self.lowering_seconds,
            "plan": str(self.function.plan),
        }
