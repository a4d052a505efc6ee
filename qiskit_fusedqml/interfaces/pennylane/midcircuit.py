"""Measurements in the middle of circuits with shots: trajectories, which need no more wires than the circuit has.

What is measured is computed from samples of the wires at the end and of the outcomes in the middle
(`sampling.by_samples`). `Trajectories` takes them: the circuit as a `DynamicProgram`, whose shots share states as long
as their outcomes agree.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.measurements import SampleMP
from pennylane.ops import Conditional, MidMeasure
from pennylane.transforms import broadcast_expand

from ...arrays import Int64Array
from ...engine.options import EngineOptions
from ...ir.classical import BOOL, Apply, Bits, Constant, Expression
from ...ir.dynamic import Branch, DynamicProgram, Measure, Node, Prepare, Reset, Segment
from ...ir.program import Program
from ...ir.slots import numbered
from ...simulation import Request, Runner
from .circuits import Circuit
from .operations import is_supported
from .samples import gather
from .tapes import ParsedTape, read_operations, unchanged, wire_order

MAX_CONDITION_OUTCOMES = 12
"""A condition on more outcomes would have too many cases."""

_SAMPLED = [(SampleMP, None, False), (SampleMP, None, True)]
"""What `by_samples` leaves to be measured: wires at the end, and outcomes."""


def measures_midway(tape: Any) -> bool:
    """Whether a circuit measures before its end."""
    return any(isinstance(op, MidMeasure) for op in tape.operations)


def stops_decomposition(op: Any) -> bool:
    """Whether trajectories can run an operation."""
    return isinstance(op, MidMeasure) or is_supported(op.base if isinstance(op, Conditional) else op)


@qml.transform  # type: ignore[untyped-decorator]
def expanded(tape: Any) -> Any:
    """A transform: circuits that measure midway sample by sample, without conditions on what is not supported."""
    if not measures_midway(tape):
        return unchanged(tape)
    return broadcast_expand(tape.copy(operations=_supported_conditions(tape.operations)))


def _supported_conditions(operations: Sequence[Any]) -> list[Any]:
    result: list[Any] = []
    for op in operations:
        if isinstance(op, Conditional) and not is_supported(op.base) and op.base.has_decomposition:
            with qml.QueuingManager.stop_recording():
                parts = [Conditional(op.meas_val, part) for part in op.base.decomposition()]
            result += _supported_conditions(parts)
        else:
            result.append(op)
    return result


class DynamicTape:
    """A circuit that measures midway: its gates, and when they are applied.

    Args:
        tape: The circuit as `by_samples` leaves it.
        labels: The device's wires in order, or None to find them in the circuit.

    Attributes:
        steps: For every operation what it is: ("gate", None, None), ("if", the outcomes' numbers, their values for
            which it holds), or ("measure", wire, reset).
        num_outcomes: Number of measurements.
        order: The wires in order.
        measured: The wires that are sampled at the end.
        gates: The gates as a tape of their own, whose key is equal for circuits that differ in angles only.
    """

    def __init__(self, tape: Any, labels: tuple[Hashable, ...] | None) -> None:
        if [(type(m), m.obs, isinstance(m.mv, list)) for m in tape.measurements] != _SAMPLED:
            raise DeviceError(
                "Circuits that measure midway are run for samples; call the device through a QNode or qml.execute, "
                "whose preprocessing arranges that."
            )
        gates: list[Any] = []
        numbers: dict[Any, int] = {}
        self.steps: list[tuple[str, Any, Any]] = []
        for op in tape.operations:
            if isinstance(op, MidMeasure):
                numbers[op.meas_uid] = len(numbers)
                self.steps.append(("measure", op.wires[0], bool(op.reset)))
                continue
            is_conditional = isinstance(op, Conditional)
            gates.append(op.base if is_conditional else op)
            self.steps.append(("if", *_condition(op.meas_val, numbers)) if is_conditional else ("gate", None, None))
        self.num_outcomes = len(numbers)
        self.measured = tape.measurements[0].wires.labels
        self.order = wire_order(tape.operations, tape.measurements[:1], labels)
        layout, data = read_operations(gates)
        self.gates = ParsedTape((layout.structure, tuple(self.steps), self.order, self.measured), tape, layout, data)


def _condition(value: Any, numbers: dict[Any, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
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
    return tuple(ordered), tuple(held)


class Trajectories:
    """A circuit that measures midway, ready to run."""

    def __init__(self, dynamic: DynamicTape, options: EngineOptions) -> None:
        self._options = options
        self._circuit = Circuit(dynamic.gates.layout.operations, dynamic.order, ())
        self._num_outcomes = dynamic.num_outcomes
        self._width = dynamic.num_outcomes + len(dynamic.measured)
        at_end = enumerate(dynamic.measured, dynamic.num_outcomes)
        qubit = self._circuit.qubit  # idle wires are found in 0
        nodes = (*self._nodes(dynamic), *(Measure(qubit[wire], clbit) for clbit, wire in at_end if wire in qubit))
        self._program = DynamicProgram(self._circuit.num_qubits, self._width, nodes)
        self._runner: Runner | None = None

    def sample(self, dynamic: DynamicTape, shots: int, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
        """Samples (shots, wires) at the end, and outcomes (shots, n) in the middle."""
        batch = gather(self._circuit, [dynamic.gates])
        request = Request(np.atleast_2d(batch.weights), np.zeros(1, np.intp), shots, [rng], keep=True)
        found = self._prepared(batch.states).run(request)[0].shots
        assert found is not None
        assert found.sequence is not None
        bits = (found.outcomes[:, None] >> np.arange(self._width) & 1).astype(np.int64)[found.sequence]
        return bits[:, self._num_outcomes :], bits[:, : self._num_outcomes]

    def _prepared(self, states: Any) -> Runner:
        """What runs the circuit; made anew where it begins with amplitudes, which are a part of the program."""
        if self._runner is not None:
            return self._runner
        program = self._program
        if states is not None:
            start = Prepare(tuple(range(program.num_qubits)), states[0])
            program = replace(program, nodes=(start, *program.nodes))
        runner = Runner(program, self._circuit.angle_map(range(self._circuit.num_columns)), self._options)
        if states is None:
            self._runner = runner
        return runner

    def _nodes(self, dynamic: DynamicTape) -> list[Node]:
        nodes: list[Node] = []
        start = gate = outcome = 0
        for kind, which, how in dynamic.steps:
            if kind == "gate":
                gate += 1
                continue
            nodes += self._segment(start, gate)
            start = gate
            if kind == "measure":
                qubit = self._circuit.qubit.get(which)
                if qubit is not None:
                    nodes += [Measure(qubit, outcome), Reset(qubit)] if how else [Measure(qubit, outcome)]
                outcome += 1
            else:
                start = gate = gate + 1
                nodes.append(Branch(_expression(which, how), tuple(self._segment(gate - 1, gate))))
        return nodes + self._segment(start, gate)

    def _segment(self, start: int, stop: int) -> list[Node]:
        """Gates as a segment of their own."""
        low, high = self._circuit.ends[start], self._circuit.ends[stop]
        instructions, slots = numbered(self._circuit.program.instructions[low:high])
        if not instructions:
            return []
        return [Segment(Program(self._circuit.num_qubits, len(slots), instructions), slots)]


def _expression(outcomes: tuple[int, ...], held: tuple[int, ...]) -> Expression:
    """Whether outcomes, as an integer with the first one lowest, have one of some values."""
    width = len(outcomes)
    result: Expression = Constant(value=False, width=BOOL)
    for value in held:
        equal = Apply("EQUAL", (Bits(outcomes, width), Constant(value, width)), BOOL)
        result = Apply("LOGIC_OR", (result, equal), BOOL)
    return result
