"""Values and gradients of programs with any noise on one qubit by trajectories (`unravelling`), on every device.

A trajectory t is a pure state ``|t>`` whose norm w_t = <t|t> is 1 in the mean only. With N of them in two halves and
f_t = <t|O|t>, the norms' chance is taken out by a control variate whose mean is 0, ``b (1 - w_t)``; b is the mean of f
over the *other* half::

    F = a (f_1 + f_2 (1 - w_1)) + (1 - a) (f_2 + f_1 (1 - w_2)),

f_i and w_i the means over half i, which has the share a or 1 - a of all. The halves are independent and w_i has the
mean 1, so that E[f_2 (1 - w_1)] = E[f_2] E[1 - w_1] = 0: F has the mean E[f] = Tr(O rho) exactly, for all parameters,
and its derivatives have that of the derivatives. (With b of the same half, as in <t|O|t> / <t|t>, it would not.) The
gradient is that of F for the trajectories drawn, exactly; it is one bra ``sum_k c_k dF/df_t O_k + dF/dw_t |t>`` each.

Trajectories are drawn in pairs with opposite signs, which leaves terms of odd order in the signs out; standard
deviations are those of the means of pairs, to first order in 1/N. The same seed gives the same trajectories.

The variance of norms grows as ``exp(sum gamma <X>^2)`` with damping gamma: slowly where qubits are entangled, fast
where many stay in superpositions of their own. Above 1 a warning says that deviations are too small.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray
from ..errors import UnsupportedInstructionError
from ..ir.angles import AngleMap
from ..ir.channels import Channel
from ..ir.encoding import AmplitudeEncoding
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum, PauliTerm
from ..ir.program import Program
from .memory import BRA, KET, MemoryBudget
from .noisy_sweeps import Drawn, Forward, NoisyProgram, NoisySweeps
from .options import EngineOptions
from .parameters import ParameterBatch
from .pauli_frames import pauli_probabilities
from .pauli_strengths import StrengthTrajectories, has_pauli_strengths
from .pauli_trajectories import PauliTrajectories
from .trajectories import Estimate, TrajectoryEstimator

CHUNK_BYTES = 1 << 21
"""Bytes of the states of a thread that go through the whole program before the next ones, about: a cache's."""


MOST_SPREAD = 1.0
"""Variance of the norms up to which standard deviations are true; beyond, norms have long tails."""


class Run(NamedTuple):
    """Some of the trajectories of a sample: which, their matrices, and what the forward sweep left."""

    rows: slice
    sample: int
    drawn: list[Drawn]
    forward: Forward


class Halves(NamedTuple):
    """The means of values and norms over the two halves, (B, K) and (B, 1), and the first one's rows.

    Attributes:
        rows: Number N of trajectories.
        split: How many of them are the first half; 0 where there are too few for two.
    """

    rows: int
    split: int
    values: tuple[FloatArray, FloatArray]
    norms: tuple[FloatArray, FloatArray]

    @classmethod
    def of(cls, found: FloatArray) -> Halves:
        """Of the values of K observables and the norm, (N, B, K + 1), of pairs of trajectories."""
        rows = len(found)
        split = 2 * (rows // 4)
        first, second = found[:split] if split else found, found[split:]
        means = first.mean(axis=0), second.mean(axis=0)
        values, norms = tuple(m[:, :-1] for m in means), tuple(m[:, -1:] for m in means)
        return cls(rows, split, values, norms)

    def estimate(self, found: FloatArray) -> Estimate:
        """F and its standard deviations."""
        (f_1, f_2), (w_1, w_2), share = self.values, self.norms, self.split / self.rows
        if not self.split:
            return Estimate(f_2, np.full_like(f_2, np.nan))
        total = share * (f_1 + f_2 * (1 - w_1)) + (1 - share) * (f_2 + f_1 * (1 - w_2))
        corrected = found[..., :-1].copy()
        for half, other in ((slice(self.split), f_2), (slice(self.split, None), f_1)):
            corrected[half] -= other * found[half, :, -1:]
        pairs = corrected.reshape(self.rows // 2, 2, *total.shape).mean(axis=1)
        return Estimate(total, pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs)))

    def cotangents(self, given: FloatArray) -> FloatArray:
        """Derivatives (N, B, K + 1) of ``sum_k given[:, k] F_k`` by each trajectory's values and norm."""
        result = np.zeros((self.rows, given.shape[0], given.shape[1] + 1))
        result[..., :-1] = given / self.rows
        for half, own, other in (
            (slice(self.split), self.split, 1),
            (slice(self.split, None), self.rows - self.split, 0),
        ):
            if self.split:
                result[half, :, :-1] *= 1 + (self.rows - own) / own * (1 - self.norms[other])
                result[half, :, -1] = -(given * self.values[other]).sum(axis=1) / self.rows
        return result


class KrausTrajectories(TrajectoryEstimator):
    """A program with noise, estimated from trajectories. All samples have the same ones.

    The number of trajectories is rounded up to an even one.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables.
        options: Where and how it runs, how many trajectories are drawn, and from which seed.

    Raises:
        UnsupportedInstructionError: For noise that depends on parameters, and for channels on several qubits that
            `qiskit_fusedqml.engine.unravelling` does not take apart.
    """

    def __init__(
        self, program: Program, angle_map: AngleMap, observables: Sequence[PauliSum], options: EngineOptions
    ) -> None:
        super().__init__(angle_map, len(observables), options)
        self._noisy = NoisyProgram(program)
        self._device = options.make_device()
        self._memory = MemoryBudget(self._device, program.num_qubits, options)
        identity = PauliSum(program.num_qubits, (PauliTerm(1.0, 0, 0),))
        self._sums = (*observables, identity)
        self._rows = self._count + self._count % 2
        self._has_warned = False
        self._sweeps: dict[bool, tuple[NoisySweeps, int]] = {}

    @override
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        found = self._observed(parameters, self._runs(parameters, undone=False))
        return Halves.of(found).estimate(found)

    @override
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        values = parameters.full()
        sweeps, size = self._planned(parameters)
        is_held = self._memory.fits(self._rows * parameters.batch + size, KET + sweeps.num_kept)
        held: list[Run] = []

        def runs() -> Iterator[Run]:
            for run in self._runs(parameters, undone=is_held):
                held.extend([run] * is_held)
                yield run

        found = self._observed(parameters, runs())
        halves = Halves.of(found)

        def pullback(cotangents: FloatArray) -> FloatArray:
            given = cotangents.reshape(-1, *cotangents.shape[-2:])
            weights = [halves.cotangents(each) for each in given]
            total = np.zeros((*given.shape[:2], self._angle_map.num_angles))
            left = (held.pop() for _ in range(len(held))) if is_held else self._runs(parameters, undone=True)
            for run in left:
                for number, own in enumerate(weights):
                    ket = run.forward.ket
                    bra = self._device.apply_observables(
                        ket, sweeps.frame, self._sums, np.ascontiguousarray(own[run.rows, run.sample])
                    )
                    forward = run.forward if number == len(weights) - 1 else run.forward.copied(self._device)
                    total[number, run.sample] += sweeps.backward(forward, run.drawn, bra, total.shape[-1])
            pulled = [self._angle_map.pullback(values, each) for each in total]
            return np.stack(pulled).reshape(*cotangents.shape[:-1], -1)

        return halves.estimate(found), pullback

    @override
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        """Those of all trajectories together over their sum of norms: positive, their sum is 1, biased by O(1/N)."""
        qubits = measurement.qubits
        what = f"probabilities of {measurement.num_clbits} classical bits"
        self._memory.check_output(8 * parameters.batch << measurement.num_clbits, what)
        frame = self._planned(parameters)[0].frame
        total = np.zeros((parameters.batch, 2 ** len(qubits)))
        for run in self._runs(parameters, undone=False):
            total[run.sample] += self._device.probabilities(run.forward.ket, frame, qubits).sum(axis=0)
        total /= total.sum(axis=1, keepdims=True)
        return measurement.read_all(total)

    def _planned(self, parameters: ParameterBatch) -> tuple[NoisySweeps, int]:
        """The sweeps, and how many trajectories go through them at a time."""
        program, model = self._noisy.program, self._device.cost_model
        any_start = parameters.initial_states is not program.initial_state
        if any_start not in self._sweeps:
            group = model.lanes * model.threads
            room = CHUNK_BYTES * model.threads // self._device.state_bytes(program.num_qubits, group)
            rows = min(group * max(room, 1), self._rows)
            made = NoisySweeps(self._noisy, self._device, rows, any_start=any_start)
            self._sweeps[any_start] = made, self._memory.samples(rows, KET + BRA + made.num_kept)
        return self._sweeps[any_start]

    def _runs(self, parameters: ParameterBatch, *, undone: bool) -> Iterator[Run]:
        """The final states of all trajectories, some of a sample at a time."""
        sweeps, size = self._planned(parameters)
        angles, starts = self._angle_map.evaluate(parameters.full()), parameters.initial_states
        choices = self._choices()
        for first in range(0, self._rows, size):
            rows = slice(first, min(first + size, self._rows))
            drawn = sweeps.drawn(choices[rows], undone=undone)
            for sample, own in enumerate(angles):
                start = starts if starts is None or starts.ndim == 1 else starts[sample]
                yield Run(rows, sample, drawn, sweeps.forward(own, drawn, rows.stop - first, start, undone=undone))

    def _choices(self) -> NDArray[np.uint8]:
        """What the mixtures choose in each trajectory, (N, number of mixtures)."""
        rng = np.random.default_rng(self._seed)
        result = np.empty((self._rows, len(self._noisy.mixtures)), np.uint8)
        for column, mixture in zip(result.T, self._noisy.mixtures, strict=True):
            uniform = rng.random(self._rows // 2)
            column[::2], column[1::2] = mixture.choices(uniform), mixture.choices(1.0 - uniform)
        return result

    def _observed(self, parameters: ParameterBatch, runs: Iterable[Run]) -> FloatArray:
        """Values and norms (N, B, K + 1)."""
        frame = self._planned(parameters)[0].frame
        result = np.empty((self._rows, parameters.batch, len(self._sums)))
        for run in runs:
            result[run.rows, run.sample] = self._device.expectation(run.forward.ket, frame, self._sums)
        spread = result[..., -1].var(axis=0).max()
        if spread > MOST_SPREAD and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"The norms of trajectories have a variance of {spread:.3g} about 1, as there is much damping: values "
                f"rest on few of them, and standard deviations are too small. Above {MOST_SPREAD:g} use exact density "
                "matrices (without trajectories=), or less noise.",
                stacklevel=2,
            )
        return result


def sampled(
    program: Program,
    angle_map: AngleMap,
    observables: Sequence[PauliSum],
    options: EngineOptions,
    encoding: AmplitudeEncoding | None,
) -> TrajectoryEstimator | None:
    """The estimator for a program's noise: Pauli frames, which are faster, where they do.

    None for programs without noise, and where no trajectories are asked for.

    Raises:
        UnsupportedInstructionError: For noise that neither can draw, and for amplitudes that are parameters.
    """
    if options.trajectories is None or not program.is_noisy:
        return None
    if encoding is not None:
        raise UnsupportedInstructionError(
            "Amplitudes of the initial state are parameters, which trajectories= does not take. Leave it out for exact "
            "density matrices, or encode in angles."
        )
    channels = [instruction for instruction in program.instructions if isinstance(instruction, Channel)]
    if all(pauli_probabilities(channel) is not None for channel in channels):
        return PauliTrajectories(program, angle_map, observables, options)
    if all(has_pauli_strengths(channel) for channel in channels):
        return StrengthTrajectories(program, angle_map, observables, options)
    return KrausTrajectories(program, angle_map, observables, options)
