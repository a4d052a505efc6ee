"""The demo's network, a stock `EstimatorQNN` with and without this package, and its training through torch."""

from __future__ import annotations

import time
from itertools import combinations, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN

from ..interfaces.machine_learning.gradients import FusedEstimatorGradient
from ..interfaces.qiskit.estimator import FusedEstimator
from ..training import Epoch, fit
from .data import Data

LEARNING_RATE = 0.05
INITIAL_SPREAD = 0.1
"""Standard deviation of the weights at the start: near the identity, where gradients do not vanish."""
LOGIT_SCALE = 10.0
"""Expectation values lie in [-1, 1], too narrow a range for the logits of cross entropy."""


def classifier_circuit(num_qubits: int, num_layers: int) -> tuple[QuantumCircuit, ParameterVector, ParameterVector]:
    """A feature a qubit in RY, then layers of RX, RY, RZ and a ring of CX; the circuit, its inputs, its weights."""
    inputs, weights = ParameterVector("x", num_qubits), ParameterVector("w", 3 * num_qubits * num_layers)
    circuit, weight = QuantumCircuit(num_qubits), iter(weights)
    for qubit, angle in enumerate(inputs):
        circuit.ry(angle, qubit)
    for _ in range(num_layers):
        for qubit in range(num_qubits):
            circuit.rx(next(weight), qubit)
            circuit.ry(next(weight), qubit)
            circuit.rz(next(weight), qubit)
        for qubit in range(num_qubits):
            circuit.cx(qubit, (qubit + 1) % num_qubits)
    return circuit, inputs, weights


def class_observables(num_qubits: int, num_classes: int) -> list[SparsePauliOp]:
    """One observable a class: Z on one qubit after the other, then on pairs, triples, ..."""
    strings = (qubits for size in range(1, num_qubits + 1) for qubits in combinations(range(num_qubits), size))
    return [
        SparsePauliOp.from_sparse_list([("Z" * len(qubits), list(qubits), 1.0)], num_qubits)
        for qubits in islice(strings, num_classes)
    ]


def stock_network(num_qubits: int, num_layers: int, num_classes: int, **options: Any) -> Any:
    """The network as Qiskit Machine Learning makes it by default: exact values, parameter-shift gradient."""
    circuit, inputs, weights = classifier_circuit(num_qubits, num_layers)
    observables = class_observables(num_qubits, num_classes)
    return EstimatorQNN(
        circuit=circuit, observables=observables, input_params=list(inputs), weight_params=list(weights), **options
    )


def fused_network(num_qubits: int, num_layers: int, num_classes: int, num_threads: int | None) -> Any:
    """The network whose values and gradients this package computes: two arguments more."""
    estimator, gradient = FusedEstimator(num_threads=num_threads), FusedEstimatorGradient(num_threads=num_threads)
    return stock_network(num_qubits, num_layers, num_classes, estimator=estimator, gradient=gradient)


class Trainer:
    """A network, its optimiser and its data.

    Attributes:
        history: The finished epochs, with the accuracies in training and test as metrics; grows while `run` runs.
    """

    def __init__(self, network: Any, data: Data, *, batch_size: int, seed: int) -> None:
        self.history: list[Epoch] = []
        self._data, self._batch_size, self._seed = data, batch_size, seed
        start = INITIAL_SPREAD * np.random.default_rng(seed).standard_normal(network.num_weights)
        self._model = TorchConnector(network, initial_weights=start)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)
        self._x, self._y = torch.as_tensor(data.x_train, dtype=torch.float32), torch.as_tensor(data.y_train)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights as they are now, (num_weights,)."""
        return np.asarray(self._model.weight.detach().numpy(), dtype=np.float64)

    def run(self, epochs: int) -> None:
        """Train, showing progress on standard error, and append to `history`."""
        steps = -(-len(self._y) // self._batch_size)
        # the rate falls to zero, so that the last epoch is no better or worse than its neighbours by chance
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, T_max=epochs * steps)
        options = {"batch_size": self._batch_size, "seed": self._seed, "scheduler": schedule, "progress": True}
        data = self._x, self._y
        fit(self._model, self._optimizer, _loss, data, epochs=epochs, callback=self._finish_epoch, **options)

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most likely class (N,) of each sample (N, num_qubits)."""
        with torch.no_grad():
            outputs = self._model(torch.as_tensor(x, dtype=torch.float32))
        return np.asarray(outputs.argmax(dim=1).numpy(), dtype=np.int64)

    def accuracy(self) -> dict[str, float]:
        """Accuracy with the present weights, in training and test."""
        data = self._data
        pairs = {"train": (data.x_train, data.y_train), "test": (data.x_test, data.y_test)}
        return {name: float((self.predict(x) == y).mean()) for name, (x, y) in pairs.items()}

    def step_seconds(self, repeats: int) -> float:
        """Median time of one training step on a full batch; the weights are restored afterwards."""
        saved = {name: value.clone() for name, value in self._model.state_dict().items()}
        x, y = self._x[: self._batch_size], self._y[: self._batch_size]
        steps = fit(self._model, self._optimizer, _loss, (x, y), epochs=repeats + 1, batch_size=len(y), progress=False)
        self._model.load_state_dict(saved)
        return float(np.median([step.seconds for step in steps[1:]]))  # the first one warms up

    def _finish_epoch(self, epoch: Epoch) -> dict[str, float]:
        metrics = self.accuracy()
        self.history.append(Epoch(epoch.number, epoch.step, epoch.loss, epoch.seconds, metrics))
        return metrics


def time_stock_step(
    stock: Any, fused: Any, x: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Seconds a sample of the stock network, forward and backward, and the largest difference of the two gradients.

    Parameter shift runs samples one by one: a few, x (N, num_inputs), are enough.
    """
    start = time.perf_counter()
    stock.forward(x, weights)
    _, expected = stock.backward(x, weights)
    seconds = time.perf_counter() - start
    _, found = fused.backward(x, weights)
    return seconds / len(x), float(np.abs(found - expected).max())


def _loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(LOGIT_SCALE * outputs, labels)
