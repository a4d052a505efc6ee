"""Values and gradients of programs with Pauli noise by trajectories (`pauli_frames`), on every device.

With probability p_0 no error occurs; that trajectory is run once, and N others are drawn from those with an error::

    f = p_0 f(no error) + (1 - p_0) mean_t f(trajectory t),
    std = (1 - p_0) / sqrt(N) (standard deviation over t).

The gradient is that of this estimate, exactly. The same seed gives the same trajectories.

Trajectories whose angles have the same signs are one state; their frames differ. All are the trajectory without an
error up to their first error and start from its state near there (`prefixes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import ComplexArray, FloatArray
from ..ir.angles import AngleMap
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum
from ..ir.program import Program
from .distinct_states import DistinctStates, Strings
from .options import EngineOptions
from .parameters import ParameterBatch
from .pauli_frames import BLOCK, PauliFrames, Trajectories
from .prefixes import PassRun, Prefixes, Start, irrelevant
from .trajectories import Estimate, TrajectoryEstimator

HELD_BYTES = 1 << 24
"""What was drawn is kept up to this size, and drawn again for every call beyond it."""


class Samples(NamedTuple):
    """Some of the samples of a batch: which, the angles (B, R) before signs and offsets, and where they start."""

    rows: slice
    angles: FloatArray
    start: Start


class Swept(NamedTuple):
    """The sweep of some states: the place where they start, which of those drawn they are, and the run."""

    place: int
    states: slice
    run: PassRun


class Observed(NamedTuple):
    """Forward sweeps of all trajectories.

    Attributes:
        starts: The kept states.
        run: The sweep without an error.
        values: Of the observables, (N, B, K).
        swept: The other sweeps, of those drawn at a time; none where they are not kept.
    """

    starts: list[Start]
    run: PassRun
    values: FloatArray
    swept: list[list[Swept]]


class PauliTrajectories(TrajectoryEstimator):
    """A program with Pauli noise, estimated from trajectories.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables.
        options: Where and how it runs, how many trajectories are drawn, and from which seed.

    Raises:
        UnsupportedInstructionError: For other noise than mixtures of Pauli strings with constant probabilities.
    """

    def __init__(
        self, program: Program, angle_map: AngleMap, observables: Sequence[PauliSum], options: EngineOptions
    ) -> None:
        super().__init__(angle_map, len(observables), options)
        self._strings = Strings.of(observables)
        frames = self._frames = PauliFrames.of(program, empty_at_end=self._strings is None)
        self._sums = tuple(observables) if self._strings is None else self._strings.sums
        self._options = replace(options, trajectories=None)
        self._populations = all(observable.is_diagonal for observable in self._sums)
        self._irrelevant = irrelevant(frames.program) if self._populations else np.empty(0, np.intp)
        each = len(frames.slots) + 8 * (len(self._sums) + 4)
        self._at_a_time = max(HELD_BYTES // each // BLOCK, 1) * BLOCK
        self._is_held = each * self._count <= HELD_BYTES

    @override
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        parts = [self._observed(samples, backward=False).values for samples in self._samples(parameters)]
        return self._estimated(np.concatenate(parts, axis=1))

    @override
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        return self.vjp_by_trajectory(parameters)[:2]

    def vjp_by_trajectory(
        self, parameters: ParameterBatch
    ) -> tuple[Estimate, Callable[[FloatArray], FloatArray], FloatArray]:
        """The same, and values (1 + N, B, K) of all trajectories, the first without an error."""
        values, parts = parameters.full(), self._samples(parameters, backward=True)
        rows = parameters.batch * (1 + sum(len(drawn.signs) for drawn in self._held)) if self._is_held else 0
        fits = bool(rows) and len(parts) == 1 and self._prefixes.memory.fits(rows, self._prefixes.needed(backward=True))
        kept = fits and not self._options.checkpoint
        observed = [self._observed(samples, backward=True, kept=kept) for samples in parts]
        by_trajectory = np.concatenate([each.values for each in observed], axis=1)
        estimate = self._estimated(by_trajectory)
        unused = observed if kept else []

        def pullback(cotangents: FloatArray) -> FloatArray:
            given = cotangents.reshape(-1, *cotangents.shape[-2:])
            by_string = given if self._strings is None else given @ self._strings.weights.T
            total = np.empty((*given.shape[:2], self._angle_map.num_parameters))
            for samples in parts:
                found = self._pulled(samples, by_string[:, samples.rows], unused.pop() if unused else None)
                by_angle = self._frames.pull_angles(found, self._angle_map.num_angles)
                for own, each in zip(total, by_angle, strict=True):
                    own[samples.rows] = self._angle_map.pullback(values[samples.rows], each)
            return total.reshape(*cotangents.shape[:-1], -1)

        return estimate, pullback, by_trajectory

    def strings(self) -> NDArray[np.uint8]:
        """What the C channels apply in all trajectories, (1 + N, C)."""
        none, total = np.zeros((1, len(self._frames.noise)), np.uint8), len(self.weights) - 1
        return np.concatenate([none, self._frames.sample(range(total), self._seed)]) if total else none

    def adopt(self, other: PauliTrajectories) -> None:
        """Take the sweeps of another one that differs in the probabilities of its errors only."""
        vars(self)["_prefixes"] = other._prefixes

    @override
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        size, qubits = 2**measurement.num_clbits, measurement.qubits
        what = f"probabilities of {measurement.num_clbits} classical bits"
        self._prefixes.memory.check_output(8 * size * parameters.batch, what)
        total = np.zeros((parameters.batch, 2 ** len(qubits)))
        for samples in self._samples(parameters):
            own = total[samples.rows]
            starts, run = self._prefixes.common(self._points(samples), samples.start, backward=False)
            found = self._probabilities(run, qubits)[None]
            for drawn in self._drawn():
                self._add_outcomes(own, found, drawn, 0, qubits)
                for _, states, run in self._sweeps(samples, drawn, starts, backward=False):
                    others = self._probabilities(run, qubits).reshape(-1, *own.shape)
                    self._add_outcomes(own, others, drawn, 1 + states.start, qubits)
        return measurement.read_all(total)

    def _probabilities(self, run: PassRun, qubits: Sequence[int]) -> FloatArray:
        return self._prefixes.device.probabilities(run.ket, run.sweeps.frame, qubits)

    def _add_outcomes(
        self, total: FloatArray, found: FloatArray, drawn: DistinctStates, first: int, qubits: Sequence[int]
    ) -> None:
        """Add the outcomes (T, B, 2**k) of states from number ``first`` on, of every trajectory, to the total."""
        outcomes = np.arange(total.shape[1])
        inside = (drawn.state_of >= first) & (drawn.state_of < first + len(found))
        flips = (drawn.x[inside, None] >> np.array(qubits, np.uint64) & np.uint64(1)).astype(np.intp)
        keys = np.stack([drawn.state_of[inside] - first, flips @ (1 << np.arange(len(qubits)))])
        distinct, number = np.unique(keys, axis=1, return_inverse=True)
        weights = np.bincount(number.reshape(-1), weights=drawn.weights[inside])
        for (state, flipped), weight in zip(distinct.T.tolist(), weights.tolist(), strict=True):
            total += weight * found[state][:, outcomes ^ flipped]

    def _samples(self, parameters: ParameterBatch, *, backward: bool = False) -> list[Samples]:
        """The samples, as many at a time as there is memory for."""
        angles = self._frames.angles(self._angle_map.evaluate(parameters.full()))
        starts, batch = parameters.initial_states, parameters.batch
        size = self._prefixes.memory.samples(batch, self._prefixes.needed(backward=backward))
        return [
            Samples(
                slice(k, min(k + size, batch)),
                angles[k : k + size],
                starts if starts is None or starts.ndim == 1 or size == batch else starts[k : k + size],
            )
            for k in range(0, batch, size)
        ]

    def _sweeps(
        self, samples: Samples, drawn: DistinctStates, starts: Sequence[Start], *, backward: bool
    ) -> Iterator[Swept]:
        """The forward sweeps of the states drawn."""
        for place, states in self._prefixes.pieces(drawn.first, len(samples.angles)):
            points = self._points(samples, drawn.signs[states])
            yield Swept(place, states, self._prefixes.parted(place, points, starts[place], backward=backward))

    def _observed(self, samples: Samples, *, backward: bool, kept: bool = False) -> Observed:
        """The forward sweeps of all trajectories, and what is observed."""
        starts, common = self._prefixes.common(self._points(samples), samples.start, backward=backward)
        of_common = self._expectation(common)
        found, swept = [], list[list[Swept]]()
        for drawn in self._drawn():
            values = np.empty((1 + len(drawn.signs), *of_common.shape))
            values[0] = of_common
            swept += [[]] * kept
            for each in self._sweeps(samples, drawn, starts, backward=backward):
                values[1:][each.states] = self._expectation(each.run).reshape(-1, *of_common.shape)
                if kept:
                    swept[-1].append(each)
            signed = values[drawn.state_of] * drawn.string_signs[:, None]
            found.append(signed if self._strings is None else signed @ self._strings.weights)
        return Observed(starts, common, np.concatenate(found), swept)

    def _pulled(self, samples: Samples, cotangents: FloatArray, observed: Observed | None) -> FloatArray:
        """Gradients (M, B, R) of sums of the strings (M, B, K')."""
        prefixes, points, count = self._prefixes, self._points(samples), len(cotangents)
        of_bras = len(prefixes.suffixes) * prefixes.memory.state_bytes(len(points))
        step = max(prefixes.memory.bytes // (4 * of_bras), 1)
        if count > step:  # bras are held for each
            parts = (cotangents[k : k + step] for k in range(0, count, step))
            return np.concatenate([self._pulled(samples, part, None) for part in parts])
        starts, run = (observed.starts, observed.run) if observed else self._begun(samples)
        kept = iter(observed.swept) if observed else None
        result, of_common = np.zeros((count, *points.shape)), np.zeros(cotangents.shape[2])
        bras: list[list[ComplexArray | None]] = [[None] * len(starts) for _ in range(count)]
        for drawn in self._drawn():
            counts = drawn.counts
            of_common += counts[0]
            for swept in next(kept) if kept else self._sweeps(samples, drawn, starts, backward=True):
                weights = counts[1:][swept.states][:, None] * cotangents[:, None]
                self._pull_swept(swept, drawn.signs[swept.states], weights, result, bras)
        for m, (own, there) in enumerate(zip(result, bras, strict=True)):
            starts, run = self._begun(samples) if m else (starts, run)
            bra = self._bra(run, of_common * cotangents[m])
            own += prefixes.common_undone(starts, points, run, bra, there)
        return result

    def _begun(self, samples: Samples) -> tuple[list[Start], PassRun]:
        """The forward sweep without an error, for a backward one."""
        return self._prefixes.common(self._points(samples), samples.start, backward=True)

    def _pull_swept(
        self,
        swept: Swept,
        signs: NDArray[np.int8],
        weights: FloatArray,
        result: FloatArray,
        bras: list[list[ComplexArray | None]],
    ) -> None:
        """Add gradients (M, B, R), of sums of the strings (M, T, B, K') of some states, to the result.

        Their bras are added to those at the place where they start.
        """
        place, _, run = swept
        slots, shape = run.part.slots, (*weights.shape[1:3], -1)
        for m, given in enumerate(weights):
            bra = self._bra(run, given.reshape(-1, given.shape[-1]))
            gradients, amplitudes = self._prefixes.undone(run, bra, last=m == len(weights) - 1, is_wanted=place > 0)
            result[m][:, slots] += (gradients.reshape(shape) * signs[:, None, slots]).sum(axis=0)
            if amplitudes is not None:
                own, there = amplitudes.reshape(shape).sum(axis=0), bras[m][place]
                bras[m][place] = own if there is None else there + own

    def _points(self, samples: Samples, signs: NDArray[np.int8] | None = None) -> FloatArray:
        """Angles (B, R), or (T, B, R) with signs (T, R)."""
        signed = samples.angles if signs is None else signs[:, None] * samples.angles
        return np.asarray(signed + self._frames.offsets)

    def _expectation(self, run: PassRun) -> NDArray[np.floating]:
        return self._prefixes.device.expectation(run.ket, run.sweeps.frame, self._sums)

    def _bra(self, run: PassRun, cotangents: FloatArray) -> object:
        return self._prefixes.device.apply_observables(run.ket, run.sweeps.frame, self._sums, cotangents)

    def _drawn(self) -> Iterator[DistinctStates]:
        """The trajectories, some at a time; the first of all is the one without an error."""
        return iter(self._held) if self._is_held else self._draw()

    @cached_property
    def _held(self) -> list[DistinctStates]:
        return list(self._draw())

    def _draw(self) -> Iterator[DistinctStates]:
        frames, weights = self._frames, self.weights
        none, total = np.zeros((1, len(frames.noise)), np.uint8), len(weights) - 1
        for first in range(0, max(total, 1), self._at_a_time):
            numbers = range(first, min(first + self._at_a_time, total))
            strings = frames.sample(numbers, self._seed) if total else none[:0]
            strings = strings if first else np.concatenate([none, strings])
            own = slice(numbers.start + (first > 0), numbers.stop + 1)
            yield self._merged(frames.propagate(strings), weights[own])

    def _merged(self, trajectories: Trajectories, weights: FloatArray) -> DistinctStates:
        trajectories.signs[:, self._irrelevant] = 1
        count = len(trajectories.x)
        signs = np.ones((count, len(self._sums))) if self._strings is None else self._strings.signs(trajectories)
        return DistinctStates.of(trajectories, signs, weights)

    @cached_property
    def _prefixes(self) -> Prefixes:
        """The sweeps; the places to start from are those of the first trajectories' first errors."""
        frames, first = self._frames, next(self._drawn()).first
        wanted = np.flatnonzero(frames.slots >= 0)
        return Prefixes.of(frames.program, first, wanted, self._options, populations=self._populations)

    @property
    def weights(self) -> FloatArray:
        """What each trajectory counts, (1 + N,), or (1,) where there is no noise."""
        none, count = self._frames.no_error, self._count
        return np.array([none]) if none == 1.0 else np.concatenate([[none], np.full(count, (1.0 - none) / count)])

    def _estimated(self, by_trajectory: FloatArray) -> Estimate:
        """The estimate from values (1 + N, B, K), the first without an error."""
        total, count = np.einsum("t,tbk->bk", self.weights, by_trajectory), len(by_trajectory) - 1
        if count < 2:
            return Estimate(total, np.full_like(total, np.nan) if count else np.zeros_like(total))
        spread = by_trajectory[1:].std(axis=0, ddof=1)
        return Estimate(total, (1.0 - self._frames.no_error) * spread / np.sqrt(count))
