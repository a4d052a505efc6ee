"""This package, through `DifferentiableCircuit`."""

from __future__ import annotations

import statistics
import time
from typing import Any, cast

import numpy as np
from spec import Workload

from peers.adapter import Adapter as AdapterProtocol, Array, Step
from peers.qiskit_circuit import build
from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.devices import Device


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
        """Seconds of lowering, the seconds and the share of a step outside the device, and the plan."""
        return {
            "circuit_seconds": self.circuit_seconds,
            "lowering_seconds": self.lowering_seconds,
            **self._outside(),
            "plan": str(self.function.plan),
            "plan_fma": self._plan_fma(),
        }

    def _plan_fma(self) -> float:
        """Multiply-adds of a step's sweeps as the plan counts them, observables not included."""
        work, wanted = self.function.plan.work, self.workload.wanted
        forwards, backwards = 1, 1
        if wanted == "values":
            backwards = 0
        elif wanted == "jacobian":
            forwards, backwards = 2, len(self.workload.observables)
        per_amplitude = forwards * work.forward + backwards * work.backward
        return per_amplitude * self.batch * 2**self.workload.num_qubits

    def _outside(self) -> dict[str, float]:
        """Steps with a stopwatch around every call of the device: the rest is binding, the pullback and Python."""
        device, holders = self.function.device, (self.function, self.function.passes)
        stopwatch = _Stopwatch(device)
        for holder in holders:
            holder.device = cast(Device, stopwatch)
        totals, outside = [], []
        deadline = time.perf_counter() + 1.0
        for step in range(200):
            weights = self.workload.weights(step)
            stopwatch.seconds = 0.0
            start = time.perf_counter()
            self.step(weights)
            totals.append(time.perf_counter() - start)
            outside.append(totals[-1] - stopwatch.seconds)
            if time.perf_counter() > deadline:
                break
        for holder in holders:
            holder.device = device
        seconds = statistics.median(outside)
        return {"outside_seconds": seconds, "outside_sweeps": seconds / statistics.median(totals)}


class _Stopwatch:
    """A device that adds up the time spent in it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.device, name)
        if not callable(attribute):
            return attribute

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = attribute(*arguments, **options)
            self.seconds += time.perf_counter() - start
            return result

        return timed
