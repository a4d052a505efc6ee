"""Finite shots: samples of the final states, from which the framework computes what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from .circuits import Reading
from .rows import gather
from .simulation import Simulation


def draw(simulation: Simulation, readings: Sequence[Reading], rng: np.random.Generator) -> list[Any]:
    """Results with shots of tapes of one structure whose measurements need no change of basis.

    Args:
        simulation: Their circuit.
        readings: The tapes.
        rng: Where the shots come from.
    """
    tape = readings[0].tape
    for measurement in tape.measurements:
        if measurement.obs is not None or measurement.mv is not None:
            raise DeviceError(
                f"{measurement} with shots is computed from samples; call the device through a QNode or qml.execute, "
                "whose preprocessing arranges that."
            )
    wires = qml.wires.Wires.all_wires([m.wires for m in tape.measurements]).labels or simulation.circuit.wires
    if any(not measurement.wires for measurement in tape.measurements):
        wires = simulation.circuit.wires
    rows = gather(simulation.circuit, readings)
    weights = simulation.probabilities(rows, wires)
    answers = []
    for reading, place, numbers in zip(readings, rows.slices(), rows.tapes, strict=True):
        own = weights[place if numbers.size is not None else slice(place, place + 1)]  # type: ignore[operator]
        samples = _samples(own, reading.tape.shots.total_shots, len(wires), rng)
        answers.append(_processed(reading.tape, samples if numbers.size is not None else samples[0], wires))
    return answers


def _samples(weights: NDArray[np.float64], shots: int, num_wires: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Bits (R, shots, wires) drawn from probabilities (R, 2**wires), the first wire the highest bit."""
    result = np.empty((len(weights), shots, num_wires), dtype=np.int64)
    places = np.arange(num_wires - 1, -1, -1)
    for row, own in zip(result, weights, strict=True):
        cumulative = np.cumsum(own)
        outcomes = np.searchsorted(cumulative, rng.random(shots) * cumulative[-1], side="right")
        row[...] = np.minimum(outcomes, len(own) - 1)[:, None] >> places & 1
    return result


def _processed(tape: Any, samples: NDArray[np.int64], wires: Sequence[Any]) -> Any:
    """The measurements' results, for each number of shots if there are several."""
    order = qml.wires.Wires(wires)
    answers, start = [], 0
    for shots in tape.shots:
        own = samples[..., start : start + shots, :]
        results = tuple(measurement.process_samples(own, order) for measurement in tape.measurements)
        answers.append(results[0] if len(results) == 1 else results)
        start += shots
    return tuple(answers) if tape.shots.has_partitioned_shots else answers[0]
