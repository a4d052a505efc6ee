"""`noise_model_from_backend`: the noise that a backend's target reports, as ``NoiseModel.from_backend`` makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Gate, Measure
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from ....arrays import FloatArray, shown
from ....errors import InvalidInputError
from ....ir.channels import tensor
from .errors import PlacedChannel, constant
from .model import relaxation
from .parametric import NoiseRule, ParametricNoiseModel

_HZ_PER_MILLIKELVIN = 47.99243e-9
"""Planck's over Boltzmann's constant, in millikelvin a hertz."""


def noise_model_from_backend(
    backend: BackendV2,
    *,
    gate_error: bool = True,
    readout_error: bool = True,
    thermal_relaxation: bool = True,
    temperature: float = 0.0,
) -> ParametricNoiseModel:
    """The noise that a backend reports, without qiskit-aer: the same as of its ``NoiseModel.from_backend``.

    Every instruction is followed by depolarizing and by the relaxation of its qubits for as long as it takes, the first
    so strong that both together have the reported error (one minus the average gate fidelity). Measurements are
    misread, and delays relax.

    Args:
        backend: A backend with a target, a fake one for instance.
        gate_error: Whether gates depolarize.
        readout_error: Whether measurements are misread.
        thermal_relaxation: Whether qubits relax.
        temperature: Of the qubits, in millikelvin: they relax to the share ``1 / (1 + exp(h f / k T))`` of ``|1>``.

    Raises:
        InvalidInputError: If it is no backend with a target.
    """
    target = getattr(backend, "target", None)
    if not isinstance(target, Target):
        raise InvalidInputError(f"backend is {shown(backend)}; a BackendV2, which has a target, is expected.")
    model = ParametricNoiseModel()
    qubits = _Qubits(target, temperature) if thermal_relaxation and target.qubit_properties else None
    if readout_error:
        _add_readout_errors(model, target)
    for name, by_qubits in target.items():
        operation = target.operation_from_name(name)
        if isinstance(operation, Measure) or by_qubits is None:
            continue
        for places, properties in by_qubits.items():
            if properties is None or places is None:
                continue
            relaxed = qubits.relaxed(places, properties.duration) if qubits and properties.duration else None
            error = properties.error if gate_error and isinstance(operation, Gate) else None
            channels = _channels(len(places), error, relaxed)
            if channels:
                model.rules.append(NoiseRule((name,), tuple(places), channels))
    if qubits is not None:
        model.add_delay_relaxation(qubits.t1s, qubits.t2s, target.dt, qubits.excited)
    return model


class _Qubits:
    """Times and populations of all qubits of a target; what is not known is infinite, or 0."""

    def __init__(self, target: Target, temperature: float) -> None:
        properties = target.qubit_properties
        self.t1s = np.array([math.inf if each.t1 is None else each.t1 for each in properties], dtype=np.float64)
        t2s = np.array([math.inf if each.t2 is None else each.t2 for each in properties], dtype=np.float64)
        self.t2s = np.minimum(t2s, 2 * self.t1s)
        self.excited = np.array([_excited(each.frequency, temperature) for each in properties])

    def relaxed(self, qubits: Sequence[int], time: float) -> FloatArray:
        """The transfer matrix of the relaxation of some qubits."""
        return tensor(relaxation(self.t1s[q], self.t2s[q], time, self.excited[q]) for q in qubits)


def _excited(frequency: float | None, temperature: float) -> float:
    """The share of ``|1>`` in equilibrium."""
    if frequency is None or not temperature:
        return 0.0
    exponent = _HZ_PER_MILLIKELVIN * frequency / abs(temperature)
    share = 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0
    return share if temperature > 0 else 1 - share


def _channels(num_qubits: int, error: float | None, relaxed: FloatArray | None) -> tuple[PlacedChannel, ...]:
    """Depolarizing, if the error asks for it, followed by relaxation, as one channel."""
    size, dim = 4**num_qubits, 2**num_qubits
    matrix = np.eye(size) if relaxed is None else relaxed
    # of the average gate fidelity (dim F_pro + 1) / (dim + 1), with F_pro = Tr T / 4**k
    fidelity = (dim * np.trace(matrix) / size + 1) / (dim + 1)
    if error and error > 1 - fidelity:
        strength = dim * (min(error, dim / (dim + 1)) - (1 - fidelity)) / (dim * fidelity - 1)
        kept = np.full(size, 1 - min(strength, size / (size - 1)))
        kept[0] = 1.0
        matrix = matrix * kept
    return constant(tuple(range(num_qubits)), matrix, "The error of an instruction")


def _add_readout_errors(model: ParametricNoiseModel, target: Target) -> None:
    for qubits, properties in (target["measure"] or {}).items() if "measure" in target else ():
        if properties is not None:
            by_outcome: list[Any] = [
                getattr(properties, name, None) for name in ("prob_meas1_prep0", "prob_meas0_prep1")
            ]
            flips = [properties.error or 0.0] * 2 if None in by_outcome else by_outcome
            model.add_readout_error([[1 - flips[0], flips[0]], [flips[1], 1 - flips[1]]], qubits)
