"""Training the demo's network with torch, through Qiskit Machine Learning's `TorchConnector`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit_machine_learning.connectors import TorchConnector
from tqdm import tqdm

from .data import Data

LEARNING_RATE = 0.05
INITIAL_SPREAD = 0.1
"""Standard deviation of the weights at the start: near the identity, where gradients do not vanish."""
LOGIT_SCALE = 10.0
"""Expectation values lie in [-1, 1]; cross entropy wants logits that can be sure of themselves."""


@dataclass(frozen=True)
class Epoch:
    """What one pass through the training images reached.

    Attributes:
        loss: Mean training loss during it.
        train: Training accuracy after it.
        test: Test accuracy after it.
        seconds: Time of its training steps, evaluation not counted.
    """

    loss: float
    train: float
    test: float
    seconds: float


class Trainer:
    """A network, its optimiser and its data.

    Attributes:
        history: The finished epochs; grows while `run` runs, so that it is there when training is interrupted.
    """

    def __init__(self, network: Any, data: Data, *, batch_size: int, seed: int) -> None:
        self.history: list[Epoch] = []
        self._data, self._batch_size = data, batch_size
        self._generator = torch.Generator().manual_seed(seed)
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
        # where nobody watches a terminal, a line a second is enough
        interval = 0.1 if sys.stderr.isatty() else 1.0
        # the rate falls to zero, so that the last epoch is no better or worse than its neighbours by chance
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, T_max=epochs * steps)
        with tqdm(
            total=epochs * steps, desc="training", unit="step", mininterval=interval, maxinterval=interval
        ) as bar:
            for epoch in range(epochs):
                self._epoch(bar, schedule)
                last = self.history[-1]
                bar.set_postfix(epoch=epoch + 1, loss=f"{last.loss:.3f}", test=f"{last.test:.1%}", refresh=False)

    def step(self, rows: Any) -> float:
        """One training step on the samples of the given rows; returns the loss before it."""
        self._optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(LOGIT_SCALE * self._model(self._x[rows]), self._y[rows])
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most likely class (N,) of each sample (N, num_qubits)."""
        with torch.no_grad():
            outputs = self._model(torch.as_tensor(x, dtype=torch.float32))
        return np.asarray(outputs.argmax(dim=1).numpy(), dtype=np.int64)

    def accuracy(self) -> tuple[float, float]:
        """Accuracy with the present weights, in training and test."""
        data = self._data
        train, test = self.predict(data.x_train) == data.y_train, self.predict(data.x_test) == data.y_test
        return float(train.mean()), float(test.mean())

    def step_seconds(self, repeats: int) -> float:
        """Median time of one training step on a full batch; the weights are restored afterwards."""
        saved = {name: value.clone() for name, value in self._model.state_dict().items()}
        rows = torch.arange(min(self._batch_size, len(self._y)))
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            self.step(rows)
            times.append(time.perf_counter() - start)
        self._model.load_state_dict(saved)
        return float(np.median(times[1:]))  # the first one warms up

    def _epoch(self, bar: Any, schedule: Any) -> None:
        order = torch.randperm(len(self._y), generator=self._generator)
        total, start = 0.0, time.perf_counter()
        for rows in torch.split(order, self._batch_size):
            total += self.step(rows) * len(rows)
            schedule.step()
            bar.update()
        seconds = time.perf_counter() - start
        self.history.append(Epoch(total / len(order), *self.accuracy(), seconds))
