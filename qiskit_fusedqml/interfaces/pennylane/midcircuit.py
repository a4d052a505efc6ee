"""Measurements in the middle of circuits with shots: trajectories, which need no more wires than the circuit has.

The framework's side is `by_samples`: what is measured is computed from samples of the wires at the end and of the
outcomes on the way, which is all that it asks of the device. The device's side is `Trajectories`: the circuit as a
`DynamicProgram`, whose shots share states as long as their outcomes agree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import CountsMP, ExpectationMP, ProbabilityMP, SampleMP, VarianceMP
from pennylane.ops import Conditional, MeasurementValue, MidMeasure
from pennylane.transforms import split_non_commuting

from ...ir.classical import (
    BOOL,
    Apply,
    Bits,
    Constant,
    Expression,
)
from ...ir.dynamic import (
    Branch as BranchNode,
    DynamicProgram,
    Measure,
    Node,
    Prepare,
    Reset,
    Segment,
)
from ...ir.program import Program, Rotation
from ...simulation import Runner
from .circuits import (
    Circuit,
    Reading,
    is_supported,
    read_operations,
    wire_order,
)
from .rows import gather
from .simulation import EngineOptions
from .whole import Structure

Bits01 = NDArray[np.int64]

MAX_CONDITION_OUTCOMES = 12
"""A condition on more outcomes would have too many cases."""

_INVALID = np.iinfo(np.int32).min
"""What the framework puts where a shot was not selected and all samples are wanted."""


def measures_midway(tape: Any) -> bool:
    """Whether a circuit measures before its end."""
    return any(isinstance(op, MidMeasure) for op in tape.operations)


def is_dynamic(op: Any) -> bool:
    """Whether an operation is one of trajectories: a measurement, or one that depends on outcomes."""
    return isinstance(op, MidMeasure) or (isinstance(op, Conditional) and is_supported(op.base))


def conditions_inside(operations: Sequence[Any]) -> list[Any]:
    """The operations, with those that depend on outcomes decomposed until they are supported."""
    result: list[Any] = []
    for op in operations:
        if isinstance(op, Conditional) and not is_supported(op.base) and op.base.has_decomposition:
            with qml.QueuingManager.stop_recording():
                parts = [Conditional(op.meas_val, part) for part in op.base.decomposition()]
            result += conditions_inside(parts)
        else:
            result.append(op)
    return result


def by_samples(tape: Any, basis_changes: Callable[[Any], list[Any]], postselect_mode: str | None) -> Any:
    """Everything from samples of circuits that end in the eigenbasis of what is measured.

    Args:
        tape: A circuit with measurements on the way, with shots and without broadcasting.
        basis_changes: From measurements to the gates that diagonalise them.
        postselect_mode: "pad-invalid-samples" to keep the places of shots that are not selected.
    """
    for m in tape.measurements:
        if not isinstance(m, CountsMP | ExpectationMP | ProbabilityMP | SampleMP | VarianceMP):
            raise DeviceError(f"{m} cannot be estimated from shots of a circuit that measures midway.")
    outcomes = [op for op in tape.operations if isinstance(op, MidMeasure)]
    own = [m for m in tape.measurements if m.mv is None]
    whole = tape.copy(measurements=own, shots=tape.shots.total_shots)
    tapes, merge = split_non_commuting(whole) if own else ((whole,), lambda _: ())
    order = qml.wires.Wires([(outcome.meas_uid, "outcome") for outcome in outcomes])
    of_outcomes = [_relabelled(m) for m in tape.measurements if m.mv is not None]
    selected = np.array([-1 if op.postselect is None else int(op.postselect) for op in outcomes])
    sampled, wires = [], qml.wires.Wires.all_wires([tape.wires, *(m.wires for m in own)])
    for each in tapes:
        operations = [*each.operations, *basis_changes(each.measurements)]
        found = [qml.sample(wires=wires), qml.sample(op=[MeasurementValue([outcome]) for outcome in outcomes])]
        sampled.append(tape.copy(operations=operations, measurements=found))

    def one(results: Sequence[Any]) -> Any:
        parts, first = [], None
        for each, (samples, found) in zip(tapes, results, strict=True):
            valid = np.all((found == selected) | (selected < 0), axis=1)
            first = (found, valid) if first is None else first
            values = tuple(_value(m, samples, wires, valid, postselect_mode) for m in each.measurements)
            parts.append(values[0] if len(values) == 1 else values)
        merged = merge(tuple(parts)) if own else ()
        mine = iter(merged if len(own) > 1 else (merged,))
        assert first is not None
        theirs = iter([_value(m, first[0], order, first[1], postselect_mode) for m in of_outcomes])
        answers = tuple(next(mine) if m.mv is None else next(theirs) for m in tape.measurements)
        return answers[0] if len(answers) == 1 else answers

    def process(results: Any) -> Any:
        if tape.shots.has_partitioned_shots:
            return tuple(one(results_of_part) for results_of_part in zip(*results, strict=True))
        return one(results)

    return sampled, process


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


def _value(measurement: Any, samples: Bits01, order: Any, valid: NDArray[np.bool_], mode: str | None) -> Any:
    if isinstance(measurement, SampleMP) and mode == "pad-invalid-samples":
        found = np.array(measurement.process_samples(samples, order))
        found[~valid] = _INVALID
        return found
    if not valid.any():  # as the framework has it
        shape = measurement.eigvals() if isinstance(measurement, ProbabilityMP) else 0.0
        return np.nan * np.ones_like(shape, dtype=np.float64)
    return measurement.process_samples(samples[valid], order)


_SAMPLED = [(SampleMP, None, False), (SampleMP, None, True)]
"""What `by_samples` leaves to be measured: wires at the end, and outcomes."""

Step = tuple[str, Any, Any]
"""("gate", None, None), ("if", the outcomes' numbers, their values for which it holds), or ("measure", wire, reset)."""


class Outline:
    """A circuit that measures midway: its gates, and when they are applied.

    Args:
        tape: The circuit as `by_samples` leaves it.
        labels: The device's wires in order, or None to find them in the circuit.

    Attributes:
        key: Equal for circuits that differ in angles only.
        gates: The gates.
        steps: For every operation what it is.
        order: The wires in order.
        measured: The wires that are sampled at the end.
    """

    def __init__(self, tape: Any, labels: tuple[Hashable, ...] | None) -> None:
        self.gates: list[Any] = []
        self.steps: list[Step] = []
        numbers: dict[Any, int] = {}
        for op in tape.operations:
            if isinstance(op, MidMeasure):
                numbers[op.meas_uid] = len(numbers)
                self.steps.append(("measure", op.wires[0], bool(op.reset)))
                continue
            is_conditional = isinstance(op, Conditional)
            self.gates.append(op.base if is_conditional else op)
            self.steps.append(_condition(op.meas_val, numbers) if is_conditional else ("gate", None, None))
        self.num_outcomes = len(numbers)
        if [(type(m), m.obs, isinstance(m.mv, list)) for m in tape.measurements] != _SAMPLED:
            raise DeviceError(
                "Circuits that measure midway are run for samples; call the device through a QNode or qml.execute, "
                "whose preprocessing arranges that."
            )
        self.measured = tape.measurements[0].wires.labels
        self.order = wire_order(tape.operations, tape.measurements[:1], labels)
        self.structure, self.data = read_operations(self.gates)
        self.reading = Reading(None, tape, self.gates, self.data)
        self.key: tuple[Structure, Hashable, Hashable, Hashable]
        self.key = (self.structure, tuple(self.steps), self.order, self.measured)


def _condition(value: Any, numbers: dict[Any, int]) -> Step:
    own = tuple(numbers[m.meas_uid] for m in value.measurements)
    if len(own) > MAX_CONDITION_OUTCOMES:
        raise DeviceError(
            f"An operation depends on {len(own)} outcomes; at most {MAX_CONDITION_OUTCOMES} are possible. Use "
            "mcm_method='deferred'."
        )
    ordered = sorted(own)  # the framework's order is another one each time
    shifts = [ordered.index(number) for number in own]
    branches = [branch for branch, found in value.items() if found]
    held = sorted(sum(int(bit) << k for k, bit in zip(shifts, branch, strict=True)) for branch in branches)
    return "if", tuple(ordered), tuple(held)


class Trajectories:
    """A circuit that measures midway, ready to run.

    Args:
        outline: The circuit.
        options: How the engine is made.
    """

    def __init__(self, outline: Outline, options: EngineOptions) -> None:
        self._circuit = Circuit(outline.gates, outline.order)
        self._num_outcomes = outline.num_outcomes
        width = outline.num_outcomes + len(outline.measured)
        last = [Measure(self._circuit.qubit[wire], outline.num_outcomes + k) for k, wire in enumerate(outline.measured)]
        self._width = width
        nodes = (*self._nodes(outline), *last)
        self._options = options
        self._program = DynamicProgram(self._circuit.num_qubits, width, nodes)
        self._angles = self._circuit.angle_map(range(len(self._circuit.columns)))
        self._runner: Runner | None = None

    def sample(self, outline: Outline, shots: int, rng: np.random.Generator) -> tuple[Bits01, Bits01]:
        """Samples (shots, wires) at the end, and outcomes (shots, n) on the way."""
        rows = gather(self._circuit, [outline.reading])
        runner = self._prepared(rows.states) if self._circuit.has_amplitudes else self._runner or self._made()
        found = runner.run(np.atleast_2d(rows.weights), shots, [rng], keep=True)[0].shots
        assert found is not None
        assert found.sequence is not None
        bits = (found.outcomes[:, None] >> np.arange(self._width) & 1).astype(np.int64)[found.sequence]
        return bits[:, self._num_outcomes :], bits[:, : self._num_outcomes]

    def _made(self, *first: Node) -> Runner:
        program = replace(self._program, nodes=(*first, *self._program.nodes))
        runner = Runner(
            program,
            self._angles,
            device=self._options.device,
            precision=self._options.precision,
            max_memory_mb=self._options.max_memory_mb,
        )
        if not first:
            self._runner = runner
        return runner

    def _prepared(self, states: Any) -> Runner:
        return self._made(Prepare(tuple(range(self._circuit.num_qubits)), states[0]))

    def _nodes(self, outline: Outline) -> list[Node]:
        nodes: list[Node] = []
        start = gate = outcome = 0
        for kind, which, how in outline.steps:
            if kind == "gate":
                gate += 1
                continue
            nodes += self._segment(start, gate)
            start = gate
            if kind == "measure":
                qubit = self._circuit.qubit[which]
                nodes.append(Measure(qubit, outcome))
                nodes += [Reset(qubit)] if how else []
                outcome += 1
            else:
                gate += 1
                nodes.append(BranchNode(_expression(which, how), tuple(self._segment(start, gate))))
                start = gate
        return nodes + self._segment(start, gate)

    def _segment(self, start: int, stop: int) -> list[Node]:
        """Gates as a segment of their own."""
        (low, first), (high, last) = self._circuit.ends[start], self._circuit.ends[stop]
        instructions = [
            each._replace(slot=each.slot - first) if isinstance(each, Rotation) and each.slot >= 0 else each
            for each in self._circuit.program.instructions[low:high]
        ]
        if not instructions:
            return []
        program = Program(self._circuit.num_qubits, last - first, tuple(instructions))
        return [Segment(program, tuple(range(first, last)))]


def _expression(outcomes: tuple[int, ...], held: tuple[int, ...]) -> Expression:
    """Whether outcomes, as an integer with the first one lowest, have one of some values."""
    width = len(outcomes)
    result: Expression = Constant(value=False, width=BOOL)
    for value in held:
        equal = Apply("EQUAL", (Bits(outcomes, width), Constant(value, width)), BOOL)
        result = Apply("LOGIC_OR", (result, equal), BOOL)
    return result
