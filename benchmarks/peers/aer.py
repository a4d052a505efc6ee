"""Qiskit Aer: expectation values saved by the simulator, the parameter-shift rule through bound batches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from qiskit import transpile
from qiskit_aer import AerSimulator
from spec import Workload

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples
from peers.qiskit_circuit import build

_SHIFTED = frozenset({"rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "u"})
_CHUNK = 4096
"""Evaluations a job holds at most."""


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`. Every weight must be the angle of exactly one gate with a two-term shift rule."""

    packages = ("qiskit", "qiskit-aer", "numpy")

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:
        """See `peers.adapter.Adapter`."""
        self.workload = workload
        self.gradients = workload.wanted != "values"
        self.note = "save_expectation_value, parameter_binds; " + ("parameter shift" if self.gradients else "forward")
        if self.gradients:
            _check_shift_rule(workload)
        built = build(workload)
        self.parameters = [*built.inputs, *built.weights]
        circuit = built.circuit
        for k, observable in enumerate(built.observables):
            circuit.save_expectation_value(observable, range(workload.num_qubits), label=f"e{k}")
        self.simulator = AerSimulator(method="statevector", precision=precision, max_parallel_threads=threads)
        self.circuit = transpile(circuit, self.simulator, optimization_level=0)
        self.inputs = workload.inputs()
        self.batch = affordable_samples(workload, self._seconds_per_sample(), step_limit)
        self.inputs = self.inputs[: self.batch]

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        count = self.workload.num_weights
        shifts = np.pi / 2 * np.eye(count) if self.gradients else np.empty((0, count))
        rows = weights + np.concatenate([np.zeros((1, count)), shifts, -shifts])
        grid = np.concatenate([np.tile(np.c_[x[None], w[None]], 1) for w in rows for x in self.inputs])
        values = self._evaluate(grid).reshape(len(rows), self.batch, -1)
        if not self.gradients:
            return Step(values[0])
        jacobian = (values[1 : count + 1] - values[count + 1 :]).transpose(1, 2, 0) / 2
        if self.workload.wanted == "jacobian":
            return Step(values[0], jacobian=jacobian)
        return Step(values[0], weights=jacobian.sum(axis=(0, 1)))

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"seconds_per_evaluation": self.evaluation_seconds}

    def _evaluate(self, rows: Array) -> Array:
        """Values (len(rows), n_obs) at rows of inputs and weights."""
        values = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            binds = {p: part[:, k].tolist() for k, p in enumerate(self.parameters)}
            result = self.simulator.run(self.circuit, parameter_binds=[binds], shots=1).result()
            if not result.success:
                raise RuntimeError(f"Aer: {result.status}")
            labels = [f"e{k}" for k in range(len(self.workload.observables))]
            values += [[result.data(k)[label] for label in labels] for k in range(len(part))]
        return np.array(values)

    def _seconds_per_sample(self) -> float:
        """Two evaluations a weight and one for the value, from the time of a small job."""
        repeated = np.tile(np.concatenate([self.inputs[0], self.workload.weights(0)]), (4, 1))
        self._evaluate(repeated)
        start = time.perf_counter()
        self._evaluate(repeated)
        self.evaluation_seconds = (time.perf_counter() - start) / len(repeated)
        return self.evaluation_seconds * (1 + 2 * self.workload.num_weights * self.gradients)


def _check_shift_rule(workload: Workload) -> None:
    used = [0] * workload.num_weights
    for gate in workload.gates:
        for angle in gate.angles:
            for factor in angle.factors:
                if factor.source == "weight":
                    used[factor.index] += 1
                    if gate.name not in _SHIFTED or abs(angle.scale * factor.slope) != 1 or len(angle.factors) != 1:
                        raise UnsupportedError(f"the adapter has no shift rule for {gate.name} with such an angle")
    if any(count != 1 for count in used) or workload.wanted == "weights+inputs":
        raise UnsupportedError("the adapter shifts weights that belong to one gate each")
