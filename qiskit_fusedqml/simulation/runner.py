"""`Runner`: a dynamic program on the engine, for many parameter sets and many shots."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..devices import draws_shots
from ..engine.options import EngineOptions
from ..engine.passes import Passes
from ..errors import OutOfMemoryError, SimulationError
from ..ir.angles import AngleMap
from ..ir.classical import Bits
from ..ir.dynamic import (
    NEVER,
    Assign,
    DynamicProgram,
    Measure,
    Prepare,
    Reset,
    Save,
    Segment,
    final_writes,
    walk,
)
from ..ir.measurement import Confusion, Measurement, misreading
from ..memory import format_bytes
from ..planner import Plan
from .interpreter import STATES_AT_WORK, STATES_OF_ONE, Interpreter, flatten
from .kraus import Noise, unraveled
from .pauli_shots import PauliShots, straight_line
from .sampling import (
    Indices,
    Shots,
    ShotTable,
    counted,
    draw,
    misread_counts,
    outcomes_of_shots,
    present_numbers,
    written,
)
from .saving import Recorder, Saved
from .states import States
from .trajectories import Draws, TooManyTrajectoriesError, Trajectories

CHUNK_OUTCOMES = 1 << 24
"""Probabilities held at a time."""

PROBABILITY_BYTES = 8
"""Memory of a probability."""

SHOT_BYTES = 128
"""Memory that measuring takes for each shot."""

DRAWN_BYTES = 32
"""Memory that drawing takes for each shot, and for each outcome where there are fewer of them."""

RESULT_BYTES = 4
"""Memory that the result of a shot takes besides its classical bits."""

SMALL_RESULTS = 1 << 20
"""Results of fewer bytes are not counted."""

_NEEDS_PHASE = frozenset({"statevector", "statevector_dict", "amplitudes"})


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The results of one parameter set.

    Attributes:
        shots: The classical bits of the shots, as integers with bit 0 lowest; None if nothing is measured.
        saved: What was saved, by label.
    """

    shots: Shots | None
    saved: dict[str, Saved]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a runner: R parameter sets.

    Attributes:
        values: (D, number of parameters).
        value_of_set: (R,) the place of each parameter set's values among them; sets share what is not random.
        shots: Number of shots of each parameter set.
        generators: The randomness of each parameter set; None where nothing is random.
        keep: Whether the order of the shots is wanted.
    """

    values: NDArray[np.float64]
    value_of_set: Indices
    shots: int
    generators: Sequence[Any]
    keep: bool

    def part(self, sets: slice) -> Request:
        """Some of the parameter sets."""
        distinct, value_of_set = np.unique(self.value_of_set[sets], return_inverse=True)
        return Request(self.values[distinct], value_of_set, self.shots, self.generators[sets], self.keep)

    def keys(self) -> NDArray[np.uint64]:
        """A key (R, 2) of random numbers for each parameter set."""
        return np.stack([each.integers(2**64, size=2, dtype=np.uint64) for each in self.generators])


class Runner:
    """A compiled dynamic program, whose segments' slots are those of the angle map.

    Parameter sets do not hold the map's last K parameters: their values (K,) are the constants. States are density
    matrices if ``mixed``; else channels have shots go on with the states that Kraus operators leave (`kraus`).
    ``readout`` are readout errors at the end of all shots, besides those of measurements.

    Attributes:
        device: Where states live.
        budget: Bytes that states may take.
        plans: The plans by which each segment was run the last time, by its identity.
        measures: Whether classical bits are written.
        saves: Whether anything is saved.
        samples: Whether all shots share one final state, from which they are drawn.
        mixes_unitaries: Whether the channels that trajectories go through are mixtures of unitaries.
    """

    def __init__(
        self,
        dynamic: DynamicProgram,
        angle_map: AngleMap,
        options: EngineOptions,
        constants: Sequence[float] | NDArray[np.float64] = (),
        *,
        mixed: bool = False,
        readout: Sequence[Confusion] = (),
    ) -> None:
        self.dynamic = dynamic
        self._nodes = dynamic.nodes if mixed else unraveled(dynamic.nodes)
        self.constants = np.array(constants, np.float64)
        self.device = options.make_device(mixed=mixed)
        self._is_mixed = mixed
        options = options.with_device(self.device)
        self.budget = options.budget(self.device)
        # a trajectory's classical values, too; a quarter of the memory is for shots
        classical = dynamic.num_clbits + 8 * len(dynamic.variables)
        self._state_bytes = self.device.state_bytes(dynamic.num_qubits, 1)
        self._max_states = max(STATES_OF_ONE, 3 * self.budget // (4 * (self._state_bytes + classical)))
        self.plans: dict[int, tuple[Plan, ...]] = {}
        everything = list(walk(self._nodes))
        known: dict[Hashable, Passes] = {}
        self._segments = {
            id(node): self._prepared(node, angle_map, options, known)
            for node in everything
            if isinstance(node, Segment)
        }
        self._num_averages = self._averages() if mixed else 0
        kinds = {*map(type, everything)}
        self.saves = Save in kinds
        self._keep_phase = self.saves and any(isinstance(n, Save) and n.kind in _NEEDS_PHASE for n in everything)
        writes = (isinstance(node, Assign) and isinstance(node.target, Bits) for node in everything)
        self.measures = Measure in kinds or any(writes)
        noise = (channel for node in everything if isinstance(node, Noise) for channel in node.channels)
        self.mixes_unitaries = all(channel.constant is not None for channel in noise)
        straight = straight_line(dynamic, angle_map.num_angles) if Noise in kinds else None
        self._split(at_end=straight is not None)
        arguments = angle_map, self.constants, options, self._final_qubits
        self._pauli_shots = None if straight is None else PauliShots(straight, *arguments)
        self._check_ranks()
        self._readout = Measurement(self._writes, dynamic.num_clbits, (*self._final_flips, *readout))

    def _check_ranks(self) -> None:
        if self._body and self.device.cost_model.global_qubits:
            raise SimulationError(
                "The circuit measures, resets or branches before its end, which a state that ranks share does not do. "
                "Gates, saves and measurements at the end are allowed; leave comm=... out for the rest."
            )

    def _averages(self) -> int:
        """Number of observables whose averages are all that is wanted of one segment's states; 0 if more is."""
        first, *others = self._nodes or (None,)
        saves = [node for node in others if isinstance(node, Save) and node.kind in {"expval", "expval_var"}]
        is_all = isinstance(first, Segment) and len(saves) == len(others)
        return sum(len(save.argument) for save in saves) if is_all else 0

    def _prepared(
        self, segment: Segment, angle_map: AngleMap, options: EngineOptions, known: dict[Hashable, Passes]
    ) -> tuple[Passes, Indices, NDArray[np.float64]]:
        """What runs a segment, the parameters it needs and its constants; the rounds of a loop share the first."""
        free = angle_map.num_parameters - len(self.constants)
        if len(segment.slots) == angle_map.num_angles:  # it is the only one
            return Passes(segment.program, angle_map, options), np.arange(free), self.constants
        angles, used = angle_map.select(segment.slots).compact()
        if not angles.groups:  # finite values have finite angles: no message names a parameter
            angles = replace(angles, names=())
        structure = None if segment.program.initial_state is not None else angles.structure()
        key = id(segment) if structure is None else (segment.program.structure(), structure, np.sum(used < free))
        if key not in known:
            known[key] = Passes(segment.program, angles, options)
        return known[key], used[used < free], self.constants[used[used >= free] - free]

    def _split(self, *, at_end: bool) -> None:
        """Tell apart what is the same for all shots, what is random, and the measurements at the end, or all."""
        nodes = self._nodes
        end = len(nodes)
        while end and isinstance(nodes[end - 1], Measure):
            end -= 1
        start = 0
        certain = (Segment, Save, Assign, Reset, Prepare) if self._is_mixed else (Segment, Save, Assign)
        while start < end and isinstance(nodes[start], certain):
            start += 1
        self._shared, self._body = flatten(nodes[:start]), flatten(nodes[start:end])
        self.samples = not self._body
        self._shared_saves = {node.label: node for node in nodes[:start] if isinstance(node, Save)}
        final = [node for node in (nodes if at_end else nodes[end:]) if isinstance(node, Measure)]
        last = {node.clbit: node.flips for node in final}
        self._final_flips = [misreading(clbit, flips) for clbit, flips in last.items() if flips != NEVER]
        self._writes = tuple(final_writes(final))
        self._final_qubits = sorted({qubit for qubit, _ in self._writes})
        self._sources = tuple((self._final_qubits.index(qubit), clbit) for qubit, clbit in self._writes)
        self._are_in_order = all(bit == clbit for bit, clbit in self._sources)

    @property
    def is_random(self) -> bool:
        """Whether results depend on the randomness of a parameter set."""
        return bool(self._body or self._sources or self._readout.readout)

    def run(self, request: Request) -> list[Outcomes]:
        """Run parameter sets.

        Raises:
            OutOfMemoryError: If not even one state fits the budget.
        """
        of_set, shots = request.value_of_set, request.shots
        step = self._sets_at_a_time(shots, are_shared=len(of_set) > len(request.values))
        if not (self.measures or self.saves):
            return [Outcomes(None, {}) for _ in of_set]
        each = RESULT_BYTES + self.dynamic.num_clbits // 8
        results = each * shots * len(of_set) if request.keep or not self.samples else 0
        if results > SMALL_RESULTS:
            self._check(results, f"results of {shots} shots of {len(of_set)} parameter sets", "ask for fewer shots")
        if 0 < len(of_set) <= step:
            return self._run(request)
        parts = (request.part(slice(start, start + step)) for start in range(0, len(of_set), step))
        return [outcomes for part in parts for outcomes in self._run(part)]

    def fits(self, shots: int) -> bool:
        """Whether there is memory for one parameter set."""
        try:
            self._sets_at_a_time(shots, are_shared=False)
        except OutOfMemoryError:
            return False
        return True

    def _sets_at_a_time(self, shots: int, *, are_shared: bool) -> int:
        """How many parameter sets can be run together; several may share a state."""
        qubits, num_final = self.dynamic.num_qubits, len(self._final_qubits)
        needed = (1 if self.samples else STATES_OF_ONE) * self._state_bytes
        advice, what = "use precision='single'", f"states of {qubits} qubits"
        if self._is_mixed:
            advice = "use method='statevector', which runs trajectories of pure states"
            what = f"density matrix of {qubits} qubits ({format_bytes(needed)})"
        self._check(needed, what, advice)
        drawing = self._drawing_bytes(shots, are_shared=are_shared)
        advice = f"measure fewer qubits, or {advice}"
        self._check(needed + drawing, f"state of {qubits} qubits and the probabilities of outcomes", advice)
        each = self._state_bytes + (PROBABILITY_BYTES << num_final) + SHOT_BYTES * shots
        most = self.budget // each if self.samples else self._max_states // STATES_AT_WORK
        return max(1, min(most, CHUNK_OUTCOMES >> num_final))

    def _drawing_bytes(self, shots: int, *, are_shared: bool) -> int:
        """Memory that drawing from one state takes besides: probabilities, their sums, points and outcomes."""
        if not (self.samples and self._sources) or draws_shots(self.device):
            return 0
        num_outcomes = 1 << len(self._final_qubits)
        drawn = DRAWN_BYTES * min(shots, num_outcomes)
        # sums take the probabilities' place where no other parameter set needs these
        return PROBABILITY_BYTES * num_outcomes * (1 + are_shared) + (drawn if drawn > SMALL_RESULTS else 0)

    def _check(self, needed: int, what: str, advice: str) -> None:
        if needed > self.budget:
            raise OutOfMemoryError(
                f"Insufficient memory for the {what}. Required memory: {needed >> 20}M, max memory: "
                f"{self.budget >> 20}M. Raise max_memory_mb if the machine has more, or {advice}."
            )

    def _run(self, request: Request) -> list[Outcomes]:
        """Run parameter sets whose states fit: first what their values decide, then what is random."""
        if self._pauli_shots is not None:
            return [Outcomes(drawn, {}) for drawn in self._pauli_sampled(request, self._pauli_shots)]
        count, shots = len(request.values), request.shots
        before, after = self._recorder(count), self._recorder(len(request.value_of_set))
        start = Trajectories.start(self.dynamic, self.device, count)
        run_segment = partial(self._after_segment, request.values)
        (shared,) = Interpreter(run_segment, Draws(), before, STATES_AT_WORK * count).run(self._shared, start)
        drawn = self._sampled(request, shared) if self.samples else self._followed(request, shared, after)
        # what was saved before anything random is one value for all shots; as on Aer, a list then holds it once if
        # the shots are drawn from one state, else for every shot
        stands_for = {
            label: 1 if self.samples and save.subtype.endswith("list") else shots
            for label, save in self._shared_saves.items()
        }
        return [
            Outcomes(found, before.results(value, stands_for) | after.results(number))
            for number, (found, value) in enumerate(zip(drawn, request.value_of_set.tolist(), strict=True))
        ]

    def _recorder(self, num_sets: int) -> Recorder:
        # where a state fits, so does a copy of it
        return Recorder(num_sets, self.budget + self._state_bytes + SMALL_RESULTS)

    def _after_segment(self, values: NDArray[np.float64], segment: Segment, trajectories: Trajectories) -> States:
        """The states of trajectories after a segment, if parameter set k has ``values[k]``."""
        start = trajectories.states.start if segment.program.initial_state is None else None
        passes, own, constants = self._segments[id(segment)]
        own_values = values[trajectories.parameter_sets[:, None], own]
        summed = trajectories.count > self._num_averages > 0
        ket, sweeps = passes.run(own_values, start, constants, keep_phase=self._keep_phase, summed=summed)
        self.plans[id(segment)] = sweeps.plans
        return trajectories.states.evolved(trajectories.count, ket, sweeps.frame)

    def _sampled(self, request: Request, shared: Trajectories) -> list[Shots]:
        """All shots of a parameter set from its one final state, by the device if it draws shots itself."""
        states, of_set, shots = shared.states, request.value_of_set, request.shots
        before = shared.memory.integers()
        if self._readout.readout and self._sources and shots >= 1 << len(self._readout.clbits) and not before.any():
            return self._sampled_as_read(request, states)
        keep = request.keep and not self._readout.readout  # what is misread gets its order afterwards
        if not self._sources:  # all shots have the same bits
            places = np.zeros(shots, dtype=np.uint8) if keep else None
            drawn = [Shots(np.zeros(1, np.int64), np.array([shots]), places) for _ in of_set]
        elif draws_shots(self.device):
            outcomes = states.sample(self._final_qubits, shots, request.keys(), of_set)
            drawn = [counted(each, keep=keep) for each in outcomes]
        else:
            table = states.probabilities(self._final_qubits)
            sets = zip(of_set.tolist(), request.generators, (np.bincount(of_set) == 1)[of_set].tolist(), strict=True)
            drawn = [draw(table[value], shots, generator, keep=keep, overwrite=once) for value, generator, once in sets]
        return self._as_read(request, drawn, before)

    def _pauli_sampled(self, request: Request, source: PauliShots) -> list[Shots]:
        outcomes = source.draw(request.values, request.value_of_set, request.keys(), request.shots)
        self.plans[id(source)] = (source.plan,)
        drawn = [counted(each, keep=request.keep and not self._readout.readout) for each in outcomes]
        return self._as_read(request, drawn, np.zeros(len(request.values), np.int64))

    def _as_read(self, request: Request, drawn: list[Shots], before: NDArray[Any]) -> list[Shots]:
        """Outcomes of the final qubits as classical bits, which were ``before`` by value, and may be misread."""
        if before.any() or not self._are_in_order:
            drawn = [
                replace(each, outcomes=written(each.outcomes, self._sources, before[value]))
                for each, value in zip(drawn, request.value_of_set.tolist(), strict=True)
            ]
        if not self._readout.readout:
            return drawn
        return [
            misread_counts(each, self._readout, generator, keep=request.keep)
            for each, generator in zip(drawn, request.generators, strict=True)
        ]

    def _sampled_as_read(self, request: Request, states: States) -> list[Shots]:
        """The same by the probabilities of what is read, where there are as many shots as values."""
        table, values = self._readout.read(states.probabilities(self._final_qubits)), self._readout.values_read()
        of_set = zip(request.value_of_set.tolist(), request.generators, strict=True)
        drawn = (draw(table[value], request.shots, generator, keep=request.keep) for value, generator in of_set)
        return [replace(each, outcomes=values[each.outcomes]) for each in drawn]

    def _followed(self, request: Request, shared: Trajectories, recorder: Recorder) -> list[Shots]:
        """Run the random part, for as many shots at a time as there is memory for their states."""
        values, keys = request.values[request.value_of_set], request.keys()
        table = ShotTable(len(values), request.shots)
        first, size = 0, max(1, self.budget // (4 * SHOT_BYTES * len(values)))
        while first < request.shots:
            draws = Draws(keys, range(first, min(first + size, request.shots)))
            attempt = self._recorder(len(values))
            interpreter = Interpreter(partial(self._after_segment, values), draws, attempt, self._max_states)
            try:
                for trajectories in interpreter.run(self._body, shared.spread(request.value_of_set, draws.shots)):
                    self._finish(trajectories, draws, table)
            except TooManyTrajectoriesError:
                assert len(draws.shots) > 1  # one shot of each parameter set fits
                size = (len(draws.shots) + 1) // 2
                continue
            recorder.absorb(attempt)
            first += len(draws.shots)
        if not self._readout.readout:
            return table.drawn()
        return [
            counted(self._readout.misread(each.outcomes[each.sequence], generator), keep=request.keep)
            for each, generator in zip(table.drawn(), request.generators, strict=True)
        ]

    def _finish(self, trajectories: Trajectories, draws: Draws, table: ShotTable) -> None:
        """Measure the final qubits of trajectories at the end."""
        bits, of_shot = trajectories.memory.integers(), trajectories.of_shot
        sets = trajectories.parameter_sets[of_shot]
        if self._sources:
            probabilities = trajectories.states.probabilities(self._final_qubits)
            drawn = outcomes_of_shots(probabilities, of_shot, draws.uniform(trajectories))
            pairs, of_shot = present_numbers(of_shot * probabilities.shape[1] + drawn, probabilities.size)
            parents, outcomes = np.divmod(pairs, probabilities.shape[1])
            is_done = self._are_in_order and not bits.any()
            bits = outcomes if is_done else written(outcomes, self._sources, bits[parents])
        table.fill(bits, of_shot, sets, trajectories.shots)
