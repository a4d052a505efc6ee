"""Shots of programs with Pauli noise that measure at their end: errors as signs of angles, frames as flipped outcomes.

Every shot is the program without noise at angles of which some have turned their sign, and a frame that flips outcomes
(`qiskit_fusedqml.engine.pauli_frames`). Shots with the same signs are drawn from one state, those without an error all
from that of the program without noise; the others start from its state near their first error
(`qiskit_fusedqml.engine.prefixes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from ..engine.distinct_states import distinct
from ..engine.options import EngineOptions
from ..engine.pauli_frames import PauliFrames, pauli_probabilities
from ..engine.prefixes import PassRun, Prefixes, Start, irrelevant
from ..ir.angles import AngleMap
from ..ir.channels import Channel
from ..ir.dynamic import DynamicProgram, Measure, Segment
from ..ir.program import Instruction, Program, support
from ..ir.slots import with_slots
from ..planner import Plan
from .sampling import Indices, outcomes_of_shots
from .trajectories import Draws

EXPECTED = 256
"""Shots whose first errors say where states are kept."""

DRAWN_BYTES = 1 << 25
"""Bytes of strings and signs at a time, about."""


class Errors(NamedTuple):
    """The shots with an error: (H,) their parameter sets, numbers and frames' masks x, and (H, R) signs of angles."""

    sets: Indices
    shots: Indices
    x: NDArray[np.uint64]
    signs: NDArray[np.int8]


class PauliShots:
    """Draws shots of a program with Pauli noise.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        constants: The last parameters (K,).
        options: Where and how it runs.
        qubits: The qubits that are measured, ascending.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        constants: FloatArray,
        options: EngineOptions,
        qubits: Sequence[int],
    ) -> None:
        self._angle_map, self._constants, self._qubits = angle_map, constants, np.array(qubits, np.uint64)
        frames = self._frames = PauliFrames.of(program, empty_at_end=False)
        self._irrelevant = irrelevant(frames.program)
        none = np.array([channel.cumulative[0] for channel in frames.noise])
        self._log_survival = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(none, 1e-300)))])
        expected = self._signs(frames.sample(range(EXPECTED), 0))[0]
        first, nothing = distinct(expected)[1], np.empty(0, np.intp)
        self._prefixes = Prefixes.of(frames.program, first, nothing, options, populations=True)

    @property
    def plan(self) -> Plan:
        """The plan of what shots with an early error run."""
        model = self._prefixes.device.cost_model
        return self._prefixes.whole(model.lanes * model.threads, backward=False).plan

    def draw(self, values: FloatArray, of_set: Indices, keys: NDArray[np.uint64], shots: int) -> NDArray[np.int64]:
        """Outcomes (R, shots) of parameter sets with ``values[of_set]`` and their keys; bit j is the j-th qubit.

        Shot s of a set with the key (a, b) takes number s of decision d (`Draws`): those of even decisions below 2 C
        say which of the C channels is the next one with an error, those of odd ones which error it is, and that of 2 C
        is for the outcome.
        """
        parameters = np.concatenate([values, np.tile(self._constants, (len(values), 1))], axis=1)
        angles = self._frames.angles(self._angle_map.evaluate(parameters))
        result = np.empty((len(of_set), shots), np.int64)
        each = len(self._frames.slots) + len(self._frames.noise) + 64
        step = max(DRAWN_BYTES // (each * len(of_set)), 1)
        starts, run = self._prefixes.common(angles + self._frames.offsets, None, backward=False)
        common = self._probabilities(run)
        for first in range(0, shots, step):
            draws = Draws(keys, range(first, min(first + step, shots)))
            self._fill(result[:, first : first + step], angles, of_set, draws, starts, common)
        return result

    def _fill(
        self,
        result: NDArray[np.int64],
        angles: FloatArray,
        of_set: Indices,
        draws: Draws,
        starts: Sequence[Start],
        common: FloatArray,
    ) -> None:
        """Outcomes (R, S) of some shots, where states (V, 2**n) without an error have the probabilities ``common``."""
        decision = 2 * len(self._frames.noise)
        uniform = np.stack([draws.numbers(number, decision) for number in range(len(of_set))])
        errors = self._errors(draws, len(of_set))
        rows, first, state_of = distinct(errors.signs, of_set[errors.sets])
        others = np.ones(result.shape, bool)
        struck = state_of > 0
        others[errors.sets[struck], errors.shots[struck]] = False
        sets, numbers = np.nonzero(others)
        result[sets, numbers] = outcomes_of_shots(common, of_set[sets], uniform[sets, numbers])
        for place, states in self._prefixes.pieces(first):
            own, start = of_set[errors.sets[rows[states]]], starts[place]
            points = errors.signs[rows[states]] * angles[own] + self._frames.offsets
            start = start if start is None or start.ndim == 1 else start[own]
            run = self._prefixes.parted_by_row(place, points, start)
            inside = np.flatnonzero((state_of > states.start) & (state_of <= states.stop))
            at = errors.sets[inside], errors.shots[inside]
            result[at] = outcomes_of_shots(self._probabilities(run), state_of[inside] - 1 - states.start, uniform[at])
        flips = (errors.x[:, None] >> self._qubits & np.uint64(1)).astype(np.int64)
        result[errors.sets, errors.shots] ^= flips @ (1 << np.arange(len(self._qubits)))

    def _errors(self, draws: Draws, count: int) -> Errors:
        """The errors of all shots of so many parameter sets."""
        found: list[tuple[Indices, Indices, NDArray[np.uint8]]] = []
        for number in range(count):
            shots, strings = self._strings(draws, number)
            found.append((np.full(len(shots), number), shots, strings))
        sets, numbers, strings = (np.concatenate(each) for each in zip(*found, strict=True))
        signs, x = self._signs(strings)
        return Errors(sets, numbers, x, signs)

    def _strings(self, draws: Draws, number: int) -> tuple[Indices, NDArray[np.uint8]]:
        """The shots (H,) of a parameter set that have an error, and the strings (H, C) of their channels."""
        noise, survival = self._frames.noise, self._log_survival
        shots, after = np.arange(len(draws.shots)), np.zeros(len(draws.shots), np.intp)
        hits: list[tuple[Indices, Indices, NDArray[np.uint8]]] = []
        decision = 0
        while len(shots):
            target = survival[after] + np.log1p(-draws.numbers(number, decision)[shots])
            channel = np.searchsorted(-survival[1:], -target, side="right")
            struck = channel < len(noise)
            shots, channel = shots[struck], channel[struck]
            drawn = draws.numbers(number, decision + 1)[shots] if len(shots) else np.empty(0)
            strings = np.empty(len(shots), np.uint8)
            for own in np.unique(channel).tolist():
                chosen, cumulative = channel == own, noise[own].cumulative
                points = cumulative[0] + (1.0 - cumulative[0]) * drawn[chosen]
                place = np.searchsorted(cumulative, points, side="right")
                strings[chosen] = place.clip(1, len(cumulative) - 1)
            hits.append((shots, channel, strings))
            after, decision = channel + 1, decision + 2
        numbers, rows = np.unique(np.concatenate([each[0] for each in hits]), return_inverse=True)
        result = np.zeros((len(numbers), len(noise)), np.uint8)
        result[rows, np.concatenate([each[1] for each in hits])] = np.concatenate([each[2] for each in hits])
        return numbers, result

    def _signs(self, strings: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.uint64]]:
        """Signs (N, R) that matter to outcomes, and the frames' masks x (N,)."""
        drawn = self._frames.propagate(strings)
        drawn.signs[:, self._irrelevant] = 1
        return drawn.signs, drawn.x

    def _probabilities(self, run: PassRun) -> FloatArray:
        device, qubits = self._prefixes.device, [int(q) for q in self._qubits]
        return device.probabilities(run.ket, run.sweeps.frame, qubits)


def straight_line(dynamic: DynamicProgram, num_angles: int) -> Program | None:
    """What comes before the measurements of a program that measures at its end, with the whole program's slots.

    None where something else happens, such as a qubit that is used after it was measured, or there is other noise than
    mixtures of Pauli strings, or none.
    """
    instructions: list[Instruction] = []
    start, measured, is_noisy = None, 0, False
    for node in dynamic.nodes:
        if isinstance(node, Measure):
            measured |= 1 << node.qubit
            continue
        if not isinstance(node, Segment) or (node.program.initial_state is not None and instructions):
            return None
        start = node.program.initial_state if start is None else start
        for instruction in node.program.instructions:
            if support(instruction) & measured:
                return None
            if isinstance(instruction, Channel):
                is_noisy = True
                if pauli_probabilities(instruction) is None:
                    return None
            instructions.append(with_slots(instruction, node.slots.__getitem__))
    return Program(dynamic.num_qubits, num_angles, tuple(instructions), start) if is_noisy and measured else None
