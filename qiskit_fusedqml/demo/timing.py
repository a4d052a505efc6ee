"""One step of the demo's network with this package's gradient and with the stock parameter-shift gradient."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StockStep:
    """The stock gradient, really run on a few samples.

    Attributes:
        samples: How many samples were run.
        seconds: How long forward and backward took for them together.
        difference: Largest difference of its gradients from this package's.
    """

    samples: int
    seconds: float
    difference: float

    def scaled(self, batch_size: int) -> float:
        """Seconds for a whole batch, were each sample to take as long: parameter shift runs them one by one."""
        return self.seconds * batch_size / self.samples


def time_stock_step(stock: Any, fused: Any, x: NDArray[np.float64], weights: NDArray[np.float64]) -> StockStep:
    """Run forward and backward of the stock network.

    Args:
        stock: A network with the stock gradient.
        fused: The same network with this package's gradient.
        x: The few samples (N, num_inputs).
        weights: The weights (num_weights,).

    Returns:
        Time and agreement.
    """
    start = time.perf_counter()
    stock.forward(x, weights)
    _, expected = stock.backward(x, weights)
    seconds = time.perf_counter() - start
    _, found = fused.backward(x, weights)
    return StockStep(len(x), seconds, float(np.abs(found - expected).max()))
