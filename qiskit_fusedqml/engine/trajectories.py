"""Noise by trajectories of pure states: what `pauli_trajectories` and `kraus_trajectories` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import FloatArray
from ..errors import FusedQMLError
from ..ir.angles import AngleMap
from ..ir.measurement import Measurement
from .options import EngineOptions
from .parameters import ParameterBatch, checked_cotangents

CALLED_BEFORE = "This pullback was called before; each belongs to one backward sweep. Call vjp again."


class Estimate(NamedTuple):
    """Values (B, K) and their standard deviations."""

    values: NDArray[np.floating]
    stds: NDArray[np.floating]


class Estimated(Protocol):
    """What is read of a `ProgramFunction`."""

    num_inputs: int
    input_gradients: bool
    dtype: np.dtype[Any]


def estimate_of(f: Any, x: ArrayLike | None = None, w: ArrayLike | None = None) -> Estimate:
    """Values (B, n_obs) and their standard deviations, which are 0 unless trajectories estimate them."""
    if f.sampled is None:
        values = f.values(x, w)
        return Estimate(values, np.zeros_like(values))
    values, stds = f.sampled.estimate(f.read(x, w))
    return Estimate(values.astype(f.dtype, copy=False), stds.astype(f.dtype, copy=False))


class TrajectoryEstimator(ABC):
    """Values, gradients and probabilities of a program with noise, estimated from trajectories of pure states.

    Args:
        angle_map: From parameters to angles.
        num_observables: The number K of observables.
        options: How many trajectories are drawn, and from which seed.
    """

    def __init__(self, angle_map: AngleMap, num_observables: int, options: EngineOptions) -> None:
        assert options.trajectories is not None
        self._angle_map, self._count, self._num_observables = angle_map, options.trajectories, num_observables
        seed = options.noise_seed
        self._seed = int(np.random.default_rng().integers(2**63)) if seed is None else seed

    @abstractmethod
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        """Values and their standard deviations."""

    @abstractmethod
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        """The estimate, and a pullback from cotangents (..., B, K) to gradients (..., B, P); to be called once."""

    @abstractmethod
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        """Probabilities (B, 2**num_clbits) as of `ProgramFunction.probabilities`."""

    def gradients(
        self, f: Estimated, parameters: ParameterBatch
    ) -> tuple[NDArray[np.floating], Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]]:
        """Values and pullback as of `ProgramFunction.vjp`, for a function f of this program."""
        estimate, pull = self.vjp(parameters)
        unused = [pull]

        def pullback(cotangents: ArrayLike) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
            checked = checked_cotangents(cotangents, (parameters.batch, self._num_observables))
            if not unused:
                raise FusedQMLError(CALLED_BEFORE)
            found = unused.pop()(checked).astype(f.dtype, copy=False)
            dx, dw = found[:, : f.num_inputs], found[:, f.num_inputs :]
            return (dx if f.input_gradients else None), (dw if parameters.per_sample else dw.sum(axis=0))

        return estimate.values.astype(f.dtype, copy=False), pullback

    def jacobian(self, parameters: ParameterBatch) -> FloatArray:
        """Derivatives (B, K, P) of the estimate."""
        count, batch = self._num_observables, parameters.batch
        cotangents = np.zeros((count, batch, count))
        cotangents[np.arange(count), :, np.arange(count)] = 1.0
        return np.ascontiguousarray(self.vjp(parameters)[1](cotangents).swapaxes(0, 1))
