"""Finite shots: everything is computed from samples of circuits that end in the eigenbasis of what is measured.

`by_samples` is the framework's side: it asks the device for samples of the wires at the end and, where a circuit
measures midway, of the outcomes there, and processes them. `draw` is the device's side for circuits without outcomes,
`midcircuit.Trajectories` for the others.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import CountsMP, ExpectationMP, ProbabilityMP, SampleMP, VarianceMP
from pennylane.ops import MeasurementValue, MidMeasure
from pennylane.transforms import split_non_commuting

from ...arrays import FloatArray, Int64Array
from .operations import holds_matrix, identity
from .samples import gather, unwrapped
from .simulation import Simulation
from .tapes import ParsedTape, unchanged

_INVALID = np.iinfo(np.int32).min
"""What the framework puts where a shot was not selected and all samples are wanted."""


@qml.transform  # type: ignore[untyped-decorator]
def by_samples(tape: Any, postselect_mode: str | None) -> Any:
    """A transform: everything from samples.

    Args:
        tape: A circuit; with shots, and without broadcasting if it measures midway.
        postselect_mode: "pad-invalid-samples" to keep the places of shots that are not selected.
    """
    if not tape.shots:
        return unchanged(tape)
    midway = [op for op in tape.operations if isinstance(op, MidMeasure)]
    for m in tape.measurements if midway else ():
        if not isinstance(m, CountsMP | ExpectationMP | ProbabilityMP | SampleMP | VarianceMP):
            raise DeviceError(f"{m} cannot be estimated from shots of a circuit that measures midway.")
    at_end = [m for m in tape.measurements if m.mv is None or not midway]
    of_outcomes = [_relabelled(m) for m in tape.measurements if m.mv is not None and midway]
    full = tape.copy(measurements=at_end, shots=tape.shots.total_shots)
    tapes, merge = split_non_commuting(full) if at_end else ((full,), lambda _: ())
    wires = [tape.wires if midway else _measured_wires(each) for each in tapes]

    def answers(results: Sequence[Any]) -> Any:
        """What is measured, for one number of shots."""
        drawn = [_drawn(result, midway) for result in results]
        parts = [
            unwrapped([_value(m, samples, own, valid, postselect_mode) for m in each.measurements])
            for each, own, (samples, _, valid) in zip(tapes, wires, drawn, strict=True)
        ]
        merged = merge(tuple(parts))
        found = iter(merged if len(at_end) > 1 else (merged,))
        # where nothing but identities is measured, nothing is drawn
        _, outcomes, valid = drawn[0] if drawn else (None, None, None)
        order = qml.wires.Wires([(op.meas_uid, "outcome") for op in midway])
        others = (_value(m, outcomes, order, valid, postselect_mode) for m in of_outcomes)
        return unwrapped([next(others if m.mv is not None and midway else found) for m in tape.measurements])

    def process(results: Any) -> Any:
        if tape.shots.has_partitioned_shots:
            return tuple(answers(of_part) for of_part in zip(*results, strict=True))
        return answers(results)

    sampled = [[qml.sample(wires=own)] for own in wires]
    if midway:
        sampled = [[*own, qml.sample(op=[MeasurementValue([outcome]) for outcome in midway])] for own in sampled]
    operations = [[*each.operations, *_basis_changes(each.measurements)] for each in tapes]
    pairs = zip(operations, sampled, strict=True)
    return [tape.copy(operations=own, measurements=measured) for own, measured in pairs], process


def _drawn(result: Any, midway: Sequence[Any]) -> tuple[Any, Any, NDArray[np.bool_] | None]:
    """Samples at the end and, of circuits that measure midway, outcomes there and which shots were selected."""
    if not midway:
        return result, None, None
    samples, outcomes = result
    selected = np.array([-1 if op.postselect is None else int(op.postselect) for op in midway])
    return samples, outcomes, np.all((outcomes == selected) | (selected < 0), axis=1)


def _value(measurement: Any, samples: Any, order: Any, valid: NDArray[np.bool_] | None, mode: str | None) -> Any:
    """What the valid samples of wires amount to."""
    if valid is None:
        return measurement.process_samples(samples, order)
    if isinstance(measurement, SampleMP) and mode == "pad-invalid-samples":
        found = np.array(measurement.process_samples(samples, order))
        found[~valid] = _INVALID
        return found
    if not valid.any():  # as the framework has it
        shape = measurement.eigvals() if isinstance(measurement, ProbabilityMP) else 0.0
        return np.nan * np.ones_like(shape, dtype=np.float64)
    return measurement.process_samples(samples[valid], order)


def _measured_wires(tape: Any) -> Any:
    measured = qml.wires.Wires.all_wires([m.wires for m in tape.measurements])
    return measured if all(m.wires for m in tape.measurements) else tape.wires


def _relabelled(measurement: Any) -> Any:
    """A measurement of outcomes with a wire for each of them."""

    def moved(value: Any) -> Any:
        own = [qml.map_wires(m, {m.wires[0]: (m.meas_uid, "outcome")}) for m in value.measurements]
        return MeasurementValue(own, value.processing_fn if value.has_processing else None)

    values = measurement.mv
    with qml.QueuingManager.stop_recording():
        found = moved(values) if isinstance(values, MeasurementValue) else [moved(value) for value in values]
        if isinstance(measurement, CountsMP):
            return CountsMP(obs=found, all_outcomes=measurement.all_outcomes)
        return type(measurement)(obs=found)


def _basis_changes(measurements: Sequence[Any]) -> list[Any]:
    """The gates that diagonalise what is measured; those that several measurements share, once."""
    gates: dict[Hashable, list[Any]] = {}
    for measurement in measurements:
        of_wires: dict[Any, list[Any]] = {}
        for gate in measurement.diagonalizing_gates() if measurement.obs is not None else ():
            of_wires.setdefault(gate.wires, []).append(gate)
        for wires, own in of_wires.items():
            gates.setdefault((wires, tuple(map(identity, own)), tuple(map(_numbers, own))), own)
    return [gate for own in gates.values() for gate in own]


def _numbers(gate: Any) -> tuple[float, ...]:
    return () if holds_matrix(gate) else tuple(map(float, gate.data))


def draw(
    simulation: Simulation, tapes: Sequence[ParsedTape], rng: np.random.Generator, misreading: float = 0.0
) -> list[Any]:
    """Results with shots of tapes of one structure whose measurements need no change of basis.

    Every bit is misread with the probability ``misreading``.
    """
    measurements = tapes[0].tape.measurements
    for measurement in measurements:
        if measurement.obs is not None or measurement.mv is not None:
            raise DeviceError(
                f"{measurement} with shots is computed from samples; call the device through a QNode or qml.execute, "
                "whose preprocessing arranges that."
            )
    wires = qml.wires.Wires.all_wires([m.wires for m in measurements])
    if not wires or not all(m.wires for m in measurements):
        wires = qml.wires.Wires(simulation.wires)
    own = [wire for wire in wires if wire in simulation.circuit.qubit]  # all others are found in 0
    columns = [wires.index(wire) for wire in own]
    batch = gather(simulation.circuit, tapes)
    weights = simulation.probabilities(batch, own)
    answers = []
    for tape, _, place in batch.tapes:
        found, shots = np.atleast_2d(weights[place]), tape.tape.shots.total_shots
        # samples of active wires and of all, and what drawing a row takes: numbers, outcomes and the framework's copy
        numbers = len(found) * (len(own) + 2 * len(wires)) + 2
        simulation.check_output(batch, 8 * numbers * shots, f"samples of {shots} shots")
        own_samples = _samples(found, shots, len(own), rng)
        samples = np.zeros((*own_samples.shape[:2], len(wires)), dtype=np.int64)
        samples[..., columns] = own_samples
        if misreading:
            samples ^= rng.random(samples.shape) < misreading
        drawn = samples[0] if isinstance(place, int) else samples
        of_parts = [
            unwrapped([m.process_samples(drawn[..., slice(*part), :], wires) for m in tape.tape.measurements])
            for part in tape.tape.shots.bins()
        ]
        answers.append(tuple(of_parts) if tape.tape.shots.has_partitioned_shots else of_parts[0])
    return answers


def _samples(weights: FloatArray, shots: int, num_wires: int, rng: np.random.Generator) -> Int64Array:
    """Bits (R, shots, wires) drawn from probabilities (R, 2**wires), the first wire the highest bit."""
    result = np.empty((len(weights), shots, num_wires), dtype=np.int64)
    places = np.arange(num_wires - 1, -1, -1)
    for samples, own in zip(result, weights, strict=True):
        cumulative = np.cumsum(own)
        outcomes = np.searchsorted(cumulative, rng.random(shots) * cumulative[-1], side="right")
        samples[...] = np.minimum(outcomes, len(own) - 1)[:, None] >> places & 1
    return result
