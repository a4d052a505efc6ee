"""The stock `EstimatorQNN` of Qiskit Machine Learning, whose default gradient is the parameter-shift rule."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from qiskit_machine_learning.neural_networks import EstimatorQNN
from spec import Workload

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples
from peers.qiskit_circuit import build

_SAMPLES = 8
"""Samples of a step at most."""


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("qiskit", "qiskit-machine-learning", "numpy")
    note = "EstimatorQNN with default arguments: forward, then backward"

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if precision != "double":
            raise UnsupportedError("the stock estimator computes in double precision only")
        self.workload = workload
        built = build(workload)
        self.network = EstimatorQNN(
            circuit=built.circuit,
            observables=built.observables,
            input_params=list(built.inputs),
            weight_params=list(built.weights),
            input_gradients=workload.wanted == "weights+inputs",
        )
        self.inputs = workload.inputs()
        # samples are evaluated one by one: a few of them tell the rest
        self.batch = min(_SAMPLES, affordable_samples(workload, self._seconds_per_sample(), step_limit))
        self.inputs = self.inputs[: self.batch]

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        values = self._forward(self.inputs, weights)
        if self.workload.wanted == "values":
            return Step(values)
        inputs, jacobian = self.network.backward(self.inputs, weights)
        jacobian = np.asarray(jacobian)
        if self.workload.wanted == "jacobian":
            return Step(values, jacobian=jacobian)
        slopes = None if inputs is None else np.asarray(inputs).sum(axis=1)
        return Step(values, weights=jacobian.sum(axis=(0, 1)), inputs=slopes)

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"seconds_per_evaluation": self.evaluation_seconds}

    def _forward(self, inputs: Array, weights: Array) -> Array:
        return np.asarray(self.network.forward(inputs, weights)).reshape(len(inputs), -1)

    def _seconds_per_sample(self) -> float:
        """Two evaluations for each parametrised gate and observable; one is timed."""
        weights, rows = self.workload.weights(0), self.inputs[:_SAMPLES]
        self._forward(rows, weights)
        start = time.perf_counter()
        self._forward(rows, weights)
        self.evaluation_seconds = (time.perf_counter() - start) / len(rows)
        evaluations = 1
        if self.workload.wanted != "values":
            trained = [a for g in self.workload.gates for a in g.angles if a.factors]
            own = [a for a in trained if a.uses_weights or self.workload.wanted == "weights+inputs"]
            evaluations += 2 * len(own) * len(self.workload.observables)
        return evaluations * self.evaluation_seconds
