"""Training the demo's network with torch, through Qiskit Machine Learning's `TorchConnector`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit_machine_learning.connectors import TorchConnector

from ..training import Epoch, fit
from .data import Data

LEARNING_RATE = 0.05
INITIAL_SPREAD = 0.1
"""Standard deviation of the weights at the start: near the identity, where gradients do not vanish."""
LOGIT_SCALE = 10.0
"""Expectation values lie in [-1, 1], too narrow a range for the logits of cross entropy."""


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
        fit(
            self._model,
            self._optimizer,
            _loss,
            (self._x, self._y),
            epochs=epochs,
            batch_size=self._batch_size,
            seed=self._seed,
            scheduler=schedule,
            callback=self._finish_epoch,
            progress=True,
        )

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
