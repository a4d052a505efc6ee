"""The language workloads are written in: circuits, observables and data as plain values, for any simulator.

A `Workload` is a circuit (a prefix, then one layer repeated), the observables, the batch, and what is wanted from a
step. Every adapter in `peers/` builds its own circuit from these values, in the idiom of its tool. Qubit q is bit q of
a basis state's index; controls come first; rotations are ``exp(-i theta/2 P)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Wanted: TypeAlias = Literal["weights", "weights+inputs", "jacobian", "values"]
"""What a step returns beside the values: the weight gradient of their sum over batch and observables; that and the
gradient with respect to every sample's inputs; the Jacobian (B, n_obs, n_weights); or nothing."""


@dataclass(frozen=True, slots=True)
class Factor:
    """``offset + slope * v`` for one entry v of the inputs or the weights."""

    source: Literal["input", "weight"]
    index: int
    slope: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Angle:
    """``scale`` times the product of the factors, in radians."""

    scale: float = 1.0
    factors: tuple[Factor, ...] = ()

    @property
    def uses_inputs(self) -> bool:
        """Whether the angle differs from sample to sample."""
        return any(factor.source == "input" for factor in self.factors)

    @property
    def uses_weights(self) -> bool:
        """Whether the angle is trained."""
        return any(factor.source == "weight" for factor in self.factors)

    def shifted(self, weights: int) -> Angle:
        """The same angle reading weights that lie ``weights`` places further on."""
        moved = (replace(f, index=f.index + weights) if f.source == "weight" else f for f in self.factors)
        return Angle(self.scale, tuple(moved))

    def evaluate(self, inputs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angle of every sample, shape (B,) or, without inputs in it, ()."""
        result: NDArray[np.float64] = np.asarray(self.scale)
        for factor in self.factors:
            source = inputs[:, factor.index] if factor.source == "input" else weights[factor.index]
            result = result * (factor.offset + factor.slope * source)
        return result


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate by its Qiskit name; see `PRIMITIVES` and `primitive`."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[Angle, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """``coefficient`` times a Pauli string, given as pairs (letter, qubit)."""

    coefficient: float
    paulis: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """One measured case.

    Attributes:
        name: The name it was asked for by.
        num_qubits: Number of qubits n.
        num_inputs: Length of one sample's inputs.
        num_weights: Number of weights.
        batch: Number of samples B.
        prefix: The gates before the layers.
        layer: The gates of layer 0.
        num_layers: How often the layer is repeated (L).
        weights_per_layer: Layer l reads its weights this many places times l further on.
        observables: Each a sum of terms with the coefficients' absolute values adding up to at most 1.
        wanted: What a step returns.
        useful_fma: Multiply-adds of a step by the count in `workloads.hea`; None where there is no such count.
    """

    name: str
    num_qubits: int
    num_inputs: int
    num_weights: int
    batch: int
    prefix: tuple[Gate, ...]
    layer: tuple[Gate, ...]
    num_layers: int
    weights_per_layer: int
    observables: tuple[tuple[Term, ...], ...]
    wanted: Wanted = "weights"
    useful_fma: int | None = None

    @property
    def first_weight(self) -> int:
        """Index of layer 0's first weight: the prefix owns those before."""
        return self.num_weights - self.num_layers * self.weights_per_layer

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The whole circuit, layers written out."""
        gates = list(self.prefix)
        for number in range(self.num_layers):
            shift = number * self.weights_per_layer
            gates += [replace(g, angles=tuple(a.shifted(shift) for a in g.angles)) for g in self.layer]
        return tuple(gates)

    def inputs(self, seed: int = 0) -> NDArray[np.float64]:
        """The samples, (B, n_inputs), uniform in [-pi/2, pi/2]."""
        return np.random.default_rng([seed, 1]).uniform(-pi / 2, pi / 2, (self.batch, self.num_inputs))

    def weights(self, step: int, seed: int = 0) -> NDArray[np.float64]:
        """The weights of one training step, (n_weights,), uniform in [-pi, pi]; new ones for every step."""
        return np.random.default_rng([seed, 2, step]).uniform(-pi, pi, self.num_weights)


PRIMITIVES = frozenset({"h", "x", "rx", "ry", "rz", "cx", "cz", "rxx", "ryy", "rzz", "crx", "cry", "crz"})
"""Every adapter speaks these; the workloads use `u` and `p` besides, which `primitive` rewrites."""


def primitive(gate: Gate) -> tuple[Gate, ...]:
    """The gate in `PRIMITIVES`, up to a global phase."""
    if gate.name in PRIMITIVES:
        return (gate,)
    if gate.name == "p":
        return (Gate("rz", gate.qubits, gate.angles),)
    if gate.name == "u":
        theta, phi, lam = gate.angles
        parts = (("rz", lam), ("ry", theta), ("rz", phi))
        return tuple(Gate(name, gate.qubits, (angle,)) for name, angle in parts)
    raise ValueError(f"The benchmarks have no rule for gate {gate.name!r}; they know p, u and {sorted(PRIMITIVES)}.")
