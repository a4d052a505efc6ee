"""Workloads with noise, N1 to N6, in the language of `spec`; `find` gives those of `workloads`, too.

====  ============================================================================================================
N1    4 qubits, 5 layers, 32 samples, `hea` with the noise "device-like"
N2    8 qubits, 10 layers, 32 samples
N3    8 qubits, 5 layers, 32 samples, the inputs encoded before every layer (`reupload`)
N4    10 qubits, 5 layers, 32 samples
N4x   12 qubits, 5 layers, one sample
N5    ZZFeatureMap (one repetition, linear) and RealAmplitudes (three, linear) of 7 qubits transpiled to the device of
      ``jakarta.json``, with its noise, 32 samples
N6    16 qubits, 5 layers, one sample, estimated from 256 trajectories; N6s has 12 qubits
====  ============================================================================================================

Noise "device-like": depolarizing of `P1` after every rotation (``rho -> (1 - p) rho + p 1/2``), and after every CX
depolarizing of `P2` on both qubits, then amplitude damping of `GAMMA` on each. "Pauli" is without the damping.

A name may end in ``-values``, for values without a gradient, or in ``-counts``, for 1024 shots of misread bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from math import pi
from typing import Any, Literal

import numpy as np
import workloads
from numpy.typing import NDArray
from spec import Workload

P1, P2, GAMMA = 1e-3, 1e-2, 5e-3

SHOTS = 1024
TRAJECTORIES = 256

SAMPLING_TOLERANCE = 0.15
"""What sampled values may differ by: five standard errors at least of each workload here."""


@dataclass(frozen=True, slots=True)
class NoisyWorkload(Workload):
    """A workload with noise.

    Attributes:
        noise: Which one; "device" is that of ``jakarta.json``, with a circuit of its own.
        samples: Number of samples that are drawn; the batch is the first ones.
        trajectories: What values are estimated from; 0 for exact ones.
        shots: Counts of this many are wanted; 0 for values. Their means are what is returned.
    """

    noise: Literal["device-like", "Pauli", "device"] = "device-like"
    samples: int = 1
    trajectories: int = 0
    shots: int = 0

    @property
    def tolerance(self) -> float | None:
        """How far values may differ; None for as far as rounding."""
        return SAMPLING_TOLERANCE if self.trajectories or self.shots else None

    def inputs(self, seed: int = 11) -> NDArray[np.float64]:
        """The samples, (B, n_inputs), uniform in [-pi, pi], those of the device's feature map in [-1, 1]."""
        return self._data(seed)[0][: self.batch]

    def weights(self, step: int, seed: int = 11) -> NDArray[np.float64]:
        """The weights of one training step, (n_weights,): a little different at every step."""
        return self._data(seed)[1] + 0.01 * np.sin(np.arange(self.num_weights) + step)

    def _data(self, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rng, width = np.random.default_rng(seed), 1.0 if self.noise == "device" else pi
        x = rng.uniform(-width, width, (self.samples, self.num_inputs))
        return x, rng.uniform(-pi, pi, self.num_weights)


def _noisy(workload: Workload, **more: Any) -> NoisyWorkload:
    own = {field.name: getattr(workload, field.name) for field in fields(workload)}
    return NoisyWorkload(**own | {"samples": workload.batch, "useful_fma": None} | more)


def hea(n: int, layers: int, batch: int) -> NoisyWorkload:
    """`workloads.hea`, with noise."""
    return _noisy(workloads.hea(n, layers, batch))


def reupload(n: int, layers: int, batch: int) -> NoisyWorkload:
    """The same with the encoding before every layer."""
    pure = workloads.hea(n, layers, batch)
    return _noisy(replace(pure, prefix=(), layer=(*pure.prefix, *pure.layer)))


def trajectories(n: int, layers: int, batch: int) -> NoisyWorkload:
    """`hea` with Pauli noise, from trajectories."""
    return _noisy(workloads.hea(n, layers, batch), noise="Pauli", trajectories=TRAJECTORIES)


def device(n: int, layers: int, batch: int) -> NoisyWorkload:
    """The circuit that `peers.noise.device` transpiles: its gates are Qiskit's affair."""
    weights = n * (layers + 1)
    empty = Workload("", n, n, weights, batch, (), (), 0, 0, workloads.mean_z(n))
    return _noisy(empty, noise="device")


FAMILIES: dict[str, Callable[[int, int, int], NoisyWorkload]] = {
    "noisy_hea": hea,
    "noisy_reupload": reupload,
    "noisy_trajectories": trajectories,
    "noisy_device": device,
}

NAMED: dict[str, str] = {
    "N1": "noisy_hea:n=4,L=5,B=32",
    "N2": "noisy_hea:n=8,L=10,B=32",
    "N3": "noisy_reupload:n=8,L=5,B=32",
    "N4": "noisy_hea:n=10,L=5,B=32",
    "N4x": "noisy_hea:n=12,L=5,B=1",
    "N5": "noisy_device:n=7,L=3,B=32",
    "N6s": "noisy_trajectories:n=12,L=5,B=1",
    "N6": "noisy_trajectories:n=16,L=5,B=1",
}
"""The fixed cases."""


@lru_cache(maxsize=64)
def find(name: str) -> Workload:
    """A workload with noise by its name, or one without by its name in `workloads`.

    Raises:
        ValueError: For a name that is neither.
    """
    stem, _, wanted = name.partition("-")
    match = re.fullmatch(r"(\w+):n=(\d+),L=(\d+),B=(\d+)", NAMED.get(stem, stem))
    if match is None or match[1] not in FAMILIES:
        return workloads.get(name)
    if wanted not in {"", "values", "counts"}:
        raise ValueError(f"The workload {name!r} ends in {wanted!r}; values and counts are known.")
    workload = replace(FAMILIES[match[1]](*(int(match[k]) for k in (2, 3, 4))), name=name)
    if wanted:
        workload = replace(workload, wanted="values", shots=SHOTS * (wanted == "counts"))
    return workload
