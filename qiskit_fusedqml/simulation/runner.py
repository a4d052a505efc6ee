"""`Runner`: a dynamic program on the engine, for many rows of parameter values and many shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..devices import Device, draws_shots
from ..engine.program_function import NO_CONSTANTS, ProgramFunction
from ..errors import OutOfMemoryError
from ..ir.angles import AngleMap
from ..ir.classical import (
    Bits,
    Constant,
    Memory,
    evaluate,
)
from ..ir.dynamic import (
    Assign,
    Branch,
    Break,
    Continue,
    DynamicProgram,
    Measure,
    Node,
    Prepare,
    Repeat,
    Reset,
    Save,
    Segment,
    While,
    final_writes,
    walk,
)
from ..planner import Plan
from .found import Found, gathered
from .lanes import (
    Draws,
    Lanes,
    TooManyLanesError,
    join,
    measure,
)
from .sampling import (
    Shots,
    counted,
    draw,
    outcomes_of_shots,
    written,
)
from .saving import Recorder, Saved
from .states import States

STATES_PER_LANE = 8
"""States that exist at a time for each lane: on the device, as amplitudes, in the parts of a branch, and joined."""

STATES_OF_ONE_LANE = 4
"""The same where there is only one lane, so that branches need not be joined."""

CHUNK_OUTCOMES = 1 << 24
"""Probabilities held at a time."""

_NEEDS_PHASE = frozenset({"statevector", "statevector_dict", "amplitudes"})


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row of parameter values.

    Attributes:
        shots: The classical bits found, as integers with bit 0 lowest; None if nothing is measured.
        saved: What was saved, by label.
    """

    shots: Shots | None
    saved: dict[str, Saved]


@dataclass(frozen=True, slots=True)
class _Flow:
    """Where the lanes are after some nodes: at their end, on their way out of a loop, or on to its next round."""

    done: Lanes | None
    broken: Lanes | None = None
    continued: Lanes | None = None


class Runner:
    """A compiled dynamic program.

    Args:
        dynamic: The program.
        angle_map: From parameter values to the angles its segments' slots refer to.
        constants: The values (K,) of the angle map's last K parameters, which the rows do not hold.
        device: Where states live.
        precision: "double" or "single".
        max_memory_mb: Memory for states; None for what the device says.
    """

    def __init__(
        self,
        dynamic: DynamicProgram,
        angle_map: AngleMap,
        constants: NDArray[np.float64] = NO_CONSTANTS,
        *,
        device: Device,
        precision: str = "double",
        max_memory_mb: float | None = None,
    ) -> None:
        self.dynamic = dynamic
        self.constants = constants
        self.device = device
        self.budget = device.memory_budget() if max_memory_mb is None else int(max_memory_mb * 2**20)
        everything = list(walk(dynamic.nodes))
        self.engines: dict[int, ProgramFunction] = {}
        for node in everything:
            if isinstance(node, Segment) and id(node) not in self.engines:
                angles = angle_map if len(node.slots) == angle_map.num_angles else angle_map.select(node.slots)
                self.engines[id(node)] = ProgramFunction(
                    node.program, angles, None, device=device, precision=precision, max_memory_mb=max_memory_mb
                )
        self.plans: dict[int, Plan] = {}
        self.keep_phase = any(isinstance(node, Save) and node.kind in _NEEDS_PHASE for node in everything)
        self.measures = any(
            isinstance(node, Measure) or (isinstance(node, Assign) and isinstance(node.target, Bits))
            for node in everything
        )
        self.saves = any(isinstance(node, Save) for node in everything)
        self._split()

    def _split(self) -> None:
        """Tell apart what is the same for all shots, what is random, and the measurements at the end."""
        nodes = self.dynamic.nodes
        end = len(nodes)
        while end and isinstance(nodes[end - 1], Measure):
            end -= 1
        start = 0
        while start < end and isinstance(nodes[start], (Segment, Save, Assign)):
            start += 1
        self.shared, self.body = nodes[:start], nodes[start:end]
        writes = final_writes([node for node in nodes[end:] if isinstance(node, Measure)])
        self.final_qubits = sorted({qubit for qubit, _ in writes})
        self.sources = tuple((self.final_qubits.index(qubit), clbit) for qubit, clbit in writes)

    @property
    def samples(self) -> bool:
        """Whether all shots share one final state, from which they are drawn."""
        return not self.body

    def run(
        self,
        values: NDArray[np.float64],
        shots: int,
        generators: Sequence[np.random.Generator],
        *,
        keep: bool,
        of_row: NDArray[np.intp] | None = None,
    ) -> list[RowResult]:
        """Run rows of parameter values.

        Args:
            values: (D, number of parameters).
            shots: Number of shots of each row.
            generators: The randomness of each row.
            keep: Whether the order of the shots is wanted.
            of_row: (R,) for each row wanted which of the values it has, so that rows with the same values share what
                is not random; one row for each of the values by default.

        Raises:
            OutOfMemoryError: If not even one state fits the budget.
        """
        state = self.device.state_bytes(self.dynamic.num_qubits, 1)
        needed = (1 if self.samples else STATES_OF_ONE_LANE) * state
        if needed > self.budget:
            raise OutOfMemoryError(
                f"Insufficient memory for the states of {self.dynamic.num_qubits} qubits. Required memory: "
                f"{needed >> 20}M, max memory: {self.budget >> 20}M. Raise max_memory_mb if the machine has more, or "
                "use precision='single'."
            )
        max_lanes = max(1, self.budget // ((1 if self.samples else STATES_PER_LANE) * state))
        step = max(1, min(max_lanes, CHUNK_OUTCOMES >> len(self.final_qubits)))
        results: list[RowResult] = []
        for start in range(0, len(values) if of_row is None else len(of_row), step):
            rows = slice(start, start + step)
            if of_row is None:
                own = values[rows]
                of_distinct = np.arange(len(own))
            else:
                distinct, of_distinct = np.unique(of_row[rows], return_inverse=True)
                own = values[distinct]
            run = _Run(self, own, of_distinct, shots, generators[rows], max_lanes, keep=keep)
            results += run.results()
        return results


class _Run:
    """One run of some rows: first what their values decide, then what is random."""

    def __init__(
        self,
        runner: Runner,
        values: NDArray[np.float64],
        of_row: NDArray[np.intp],
        shots: int,
        generators: Sequence[np.random.Generator],
        max_lanes: int,
        *,
        keep: bool,
    ) -> None:
        self.runner = runner
        self.values = values
        self.of_row = of_row
        self.shots = shots
        self.generators = generators
        self.max_lanes = max_lanes
        self.keep = keep
        self.recorder = Recorder(len(values))
        self.draws = Draws(generators, shots)
        self.first_shot = 0

    def results(self) -> list[RowResult]:
        runner = self.runner
        if not (runner.measures or runner.saves):
            return [RowResult(None, {}) for _ in self.of_row]
        lanes = self._run(runner.shared, self._start()).done
        assert lanes is not None
        before, self.recorder = self.recorder, Recorder(len(self.of_row))
        # what was saved before anything random is one value for all shots; as on Aer, a list then holds it once if
        # the shots are drawn from one state, else for every shot
        shared = {node.label: node for node in runner.shared if isinstance(node, Save)}
        once = {label for label, save in shared.items() if runner.samples and save.subtype.endswith("list")}
        stands_for = {label: self.shots for label in shared if label not in once}
        if runner.samples:
            drawn = self._sampled(lanes)
        else:
            self.values = self.values[self.of_row]
            drawn = gathered(self._in_chunks(lanes.for_rows(self.of_row)), len(self.of_row))
        return [
            RowResult(shots, before.results(value, stands_for) | self.recorder.results(row, {}))
            for row, (shots, value) in enumerate(zip(drawn, self.of_row.tolist(), strict=True))
        ]

    def _start(self) -> Lanes:
        """One lane a row, standing for all of its shots."""
        dynamic, count = self.runner.dynamic, len(self.values)
        everything = np.arange(count)
        return Lanes(
            States(self.runner.device, dynamic.num_qubits, count),
            Memory.zeros(count, dynamic.num_clbits, dynamic.variables),
            everything,
            everything,
            np.zeros(count, dtype=np.intp),
        )

    def _sampled(self, lanes: Lanes) -> list[Shots]:
        """All shots of a row from its one final state."""
        runner = self.runner
        before = lanes.memory.integers() if lanes.memory.clbits.any() else None
        drawn: list[Shots] = []
        for value, shots in zip(self.of_row.tolist(), self._drawn(lanes.states), strict=True):
            base = None if before is None else np.full(len(shots.outcomes), before[value])
            drawn.append(Shots(written(shots.outcomes, runner.sources, base), shots.counts, shots.sequence))
        return drawn

    def _drawn(self, states: States) -> list[Shots]:
        """Outcomes of the final qubits for every row, by the device if it draws shots itself."""
        runner, shots, keep = self.runner, self.shots, self.keep
        table = np.ones((states.lanes, 1))
        if runner.sources:
            if draws_shots(runner.device):
                keys = np.stack([g.integers(2**64, size=2, dtype=np.uint64) for g in self.generators])
                outcomes = states.sample(runner.final_qubits, shots, keys, self.of_row)
                return [counted(row, keep=keep) for row in outcomes]
            table = states.probabilities(runner.final_qubits)
        rows = zip(self.of_row.tolist(), self.generators, strict=True)
        return [draw(table[value], shots, generator, keep=keep) for value, generator in rows]

    def _in_chunks(self, shared: Lanes) -> list[Found]:
        """Run the random part for as many shots at a time as there is memory for their states."""
        parts = []
        size = self.shots
        while self.first_shot < self.shots:
            size = min(size, self.shots - self.first_shot)
            states = [generator.bit_generator.state for generator in self.generators]
            recorder, self.recorder = self.recorder, Recorder(len(self.of_row))
            self.draws = Draws(self.generators, size)
            try:
                parts.append(self._final(shared.with_shots(size)))
            except TooManyLanesError:
                if size == 1:
                    raise
                for generator, state in zip(self.generators, states, strict=True):
                    generator.bit_generator.state = state
                self.recorder = recorder
                size = (size + 1) // 2
                continue
            recorder.absorb(self.recorder)
            self.recorder = recorder
            self.first_shot += size
        return parts

    def _final(self, lanes: Lanes) -> Found:
        """What the shots have found in the end."""
        runner = self.runner
        end = self._run(runner.body, lanes)
        last = join([end.done, end.broken, end.continued])
        assert last is not None
        before, rows = last.memory.integers(), last.rows[last.lane_of_shot]
        if not runner.sources:
            return Found(before, last.lane_of_shot, rows, last.shots)
        probabilities = last.states.probabilities(runner.final_qubits)
        found = outcomes_of_shots(probabilities, last.lane_of_shot, self.draws.uniform(last))
        pairs, of_shot = np.unique(last.lane_of_shot * probabilities.shape[1] + found, return_inverse=True)
        parents, outcomes = np.divmod(pairs, probabilities.shape[1])
        return Found(written(outcomes, runner.sources, before[parents]), of_shot, rows, last.shots)

    def _run(self, nodes: Sequence[Node], lanes: Lanes | None) -> _Flow:
        """Walk some nodes."""
        broken: list[Lanes | None] = []
        continued: list[Lanes | None] = []
        for kind, group in groupby(nodes, type):
            if lanes is None:
                break
            if kind in (Measure, Reset):
                lanes = self._measured(list(group), lanes)  # type: ignore[arg-type]
                continue
            several = list(group)
            if kind is Save:
                _expect_all(several, lanes)  # type: ignore[arg-type]
            for node in several:
                if lanes is None:
                    break
                flow = self._step(node, lanes)
                lanes = flow.done
                broken.append(flow.broken)
                continued.append(flow.continued)
        return _Flow(lanes, join(broken), join(continued))

    def _step(self, node: Node, lanes: Lanes) -> _Flow:
        match node:
            case Segment():
                return _Flow(self._segment(node, lanes))
            case Prepare(qubits, amplitudes):
                clean, _ = measure(lanes, qubits, self.draws, self.max_lanes, reset=True)
                return _Flow(replace(clean, states=clean.states.prepared(qubits, amplitudes)))
            case Save():
                self.recorder.record(node, lanes, self.first_shot)
                return _Flow(lanes)
            case Assign(target, value):
                return _Flow(replace(lanes, memory=lanes.memory.assign(target, evaluate(value, lanes.memory))))
            case Branch(condition, then, otherwise):
                holds = evaluate(condition, lanes.memory)
                flows = [self._run(then, lanes.take(holds)), self._run(otherwise, lanes.take(~holds))]
                return _Flow(
                    *(join(parts) for parts in zip(*((f.done, f.broken, f.continued) for f in flows), strict=True))
                )
            case Repeat():
                return _Flow(self._repeat(node, lanes))
            case While():
                return _Flow(self._while(node, lanes))
            case Break():
                return _Flow(None, broken=lanes)
            case Continue():
                return _Flow(None, continued=lanes)
        raise AssertionError(node)

    def _segment(self, node: Segment, lanes: Lanes) -> Lanes:
        engine = self.runner.engines[id(node)]
        start = lanes.states.start if node.program.initial_state is None else None
        values, runner = self.values[lanes.rows], self.runner
        ket, plan = engine.final_states(values, start, keep_phase=runner.keep_phase, constants=runner.constants)
        self.runner.plans[id(node)] = plan
        device, num_qubits = self.runner.device, self.runner.dynamic.num_qubits
        return replace(lanes, states=States(device, num_qubits, lanes.count, ket=ket, frame=plan.tape.frame))

    def _measured(self, nodes: Sequence[Measure | Reset], lanes: Lanes) -> Lanes:
        """Measurements, or resets, that come one after the other, as one."""
        qubits = sorted({node.qubit for node in nodes})
        lanes, outcomes = measure(lanes, qubits, self.draws, self.max_lanes, reset=isinstance(nodes[0], Reset))
        clbits = lanes.memory.clbits.copy()
        for node in nodes:
            if isinstance(node, Measure):
                clbits[:, node.clbit] = outcomes >> qubits.index(node.qubit) & 1
        return replace(lanes, memory=Memory(clbits, lanes.memory.variables))

    def _repeat(self, node: Repeat, lanes: Lanes | None) -> Lanes | None:
        left: list[Lanes | None] = []
        for position, nodes in enumerate(node.rounds):
            if lanes is None:
                break
            if node.counter is not None:
                value = evaluate(Constant(node.values[position], node.counter.width), lanes.memory)
                lanes = replace(lanes, memory=lanes.memory.assign(node.counter, value))
            flow = self._run(nodes, lanes)
            left.append(flow.broken)
            lanes = join([flow.done, flow.continued])
        return join([*left, lanes])

    def _while(self, node: While, lanes: Lanes | None) -> Lanes | None:
        left: list[Lanes | None] = []
        while lanes is not None:
            holds = evaluate(node.condition, lanes.memory)
            left.append(lanes.take(~holds))
            flow = self._run(node.body, lanes.take(holds))
            left.append(flow.broken)
            lanes = join([flow.done, flow.continued])
        return join(left)


def _expect_all(saves: Sequence[Save], lanes: Lanes) -> None:
    """Compute all expectation values that several saves want by one call of the device."""
    sums = [observable for save in saves if save.kind in ("expval", "expval_var") for observable in save.argument]
    if sums:
        lanes.states.expectation(list(dict.fromkeys(sums)))
