"""What an adapter provides: a class named ``Adapter`` with the attributes and methods of the protocol here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from spec import Angle, Workload

Array = NDArray[np.float64]


class UnsupportedError(Exception):
    """The tool cannot run the workload, or not in the time allowed; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step returns; which fields are set follows from `Workload.wanted`.

    Attributes:
        values: (b, n_obs), b the adapter's batch.
        weights: (n_weights,) the gradient of the sum of all values.
        inputs: (b, n_inputs) its gradient with respect to each sample's inputs.
        jacobian: (b, n_obs, n_weights).
    """

    values: Array
    weights: Array | None = None
    inputs: Array | None = None
    jacobian: Array | None = None


class Adapter(Protocol):
    """A workload made ready in one tool.

    Attributes:
        packages: The distributions whose versions are reported.
        batch: Samples a step really runs, the first ones of the workload's; fewer than the workload's batch only where
            a step of the whole batch would take longer than allowed. The runner scales the time and says so.
        note: How the tool is used, in words.
    """

    packages: tuple[str, ...]
    batch: int
    note: str

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:
        """Build and compile; raises `UnsupportedError`. No step may take longer than ``step_limit`` seconds."""

    def step(self, weights: Array) -> Step:
        """One real training step at new weights, finished when it returns."""

    def report(self) -> dict[str, Any]:
        """Anything else worth keeping beside the times."""


def affordable_samples(workload: Workload, seconds_per_sample: float, step_limit: float) -> int:
    """Samples of a step that stays within the limit.

    Raises:
        UnsupportedError: When not even one does.
    """
    if seconds_per_sample > step_limit:
        raise UnsupportedError(
            f"one sample would take about {seconds_per_sample:.0f} s, the limit for a step is {step_limit:.0f} s"
        )
    return min(workload.batch, max(1, int(step_limit / seconds_per_sample)))


def slopes(angles: Sequence[Angle], source: Literal["weight", "input"], count: int) -> Array:
    """Derivatives of the angles, (n_angles, count), by entries of the weights or the inputs.

    Raises:
        UnsupportedError: For an angle that is not proportional to one entry.
    """
    result = np.zeros((len(angles), count))
    for row, angle in enumerate(angles):
        if any(factor.source == source for factor in angle.factors):
            if len(angle.factors) != 1:
                raise UnsupportedError(f"the adapter has no gradient of products by the {source}s")
            factor = angle.factors[0]
            result[row, factor.index] = angle.scale * factor.slope
    return result
