"""Values and gradients of programs with Pauli noise by trajectories (`pauli_frames`), on every device.

With probability p_0 no error occurs; that trajectory is run once, and N others are drawn from those with an error:

    f = p_0 f(no error) + (1 - p_0) mean_t f(trajectory t),   std = (1 - p_0) / sqrt(N) (standard deviation over t).

The gradient is that of this estimate, exactly. The same seed gives the same trajectories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from ..arrays import FloatArray, IntArray
from ..errors import FusedQMLError
from ..ir.angles import AngleMap
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum, PauliTerm, z_masks
from ..ir.program import Program
from .options import EngineOptions
from .parameters import ParameterBatch, checked_cotangents
from .pauli_frames import Masks, PauliFrames, Trajectories

MAX_STRINGS = 256
"""Observables of more Pauli strings, in all, stay whole; frames are then emptied before they are measured."""

MAX_CONTROLS = 4
"""Observables with more projectors in a term stay whole, too."""

CHUNK_BYTES = 1 << 26
"""Angles of trajectories that are held at a time, about."""


CALLED_BEFORE = "This pullback was called before; each belongs to one backward sweep. Call vjp again."


class Estimate(NamedTuple):
    """Values (B, K) and their standard deviations."""

    values: NDArray[np.floating]
    stds: NDArray[np.floating]


class Estimated(Protocol):
    """What is read of a `ProgramFunction`."""

    num_inputs: int
    input_gradients: bool
    dtype: np.dtype[Any]


def estimate_of(f: Any, x: ArrayLike | None = None, w: ArrayLike | None = None) -> Estimate:
    """Values (B, n_obs) and their standard deviations, which are 0 unless trajectories estimate them."""
    if f.sampled is None:
        values = f.values(x, w)
        return Estimate(values, np.zeros_like(values))
    values, stds = f.sampled.estimate(f.read(x, w))
    return Estimate(values.astype(f.dtype, copy=False), stds.astype(f.dtype, copy=False))


class Strings(NamedTuple):
    """K observables as sums of K' Pauli strings.

    Attributes:
        sums: The strings, each as an observable of its own with the weight 1.
        x: (K',) their masks.
        z: (K',)
        weights: (K', K) what each string counts in each observable.
    """

    sums: tuple[PauliSum, ...]
    x: IntArray
    z: IntArray
    weights: FloatArray

    @classmethod
    def of(cls, observables: Sequence[PauliSum]) -> Strings | None:
        """The strings of observables, or None where they are too many."""
        found: dict[tuple[int, int], FloatArray] = {}
        for k, observable in enumerate(observables):
            for term in observable.terms:
                if term.ctrl_mask.bit_count() > MAX_CONTROLS:
                    return None
                for z, weight in z_masks(term):
                    found.setdefault((term.x, z), np.zeros(len(observables)))[k] += weight
            if len(found) > MAX_STRINGS:
                return None
        n = observables[0].num_qubits if observables else 0
        sums = tuple(PauliSum(n, (PauliTerm(1.0, x, z),)) for x, z in found)
        masks = np.array(list(found), dtype=np.intp).reshape(-1, 2)
        weights = np.array(list(found.values())).reshape(len(found), len(observables))
        return cls(sums, masks[:, 0], masks[:, 1], weights)


class TrajectoryEstimator(ABC):
    """Values, gradients and probabilities of a program with noise, estimated from trajectories of pure states.

    Args:
        angle_map: From parameters to angles.
        num_observables: The number K of observables.
        options: How many trajectories are drawn, and from which seed.
    """

    def __init__(self, angle_map: AngleMap, num_observables: int, options: EngineOptions) -> None:
        assert options.trajectories is not None
        self._angle_map, self._count, self._num_observables = angle_map, options.trajectories, num_observables
        self._seed = options.noise_seed
        if self._seed is None:
            self._seed = int(np.random.default_rng().integers(2**63))

    @abstractmethod
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        """Values and their standard deviations."""

    @abstractmethod
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        """The estimate, and a pullback from cotangents (B, K) to gradients (B, P) by sample; to be called once."""

    @abstractmethod
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        """Probabilities (B, 2**num_clbits) as of `ProgramFunction.probabilities`."""

    def gradients(
        self, f: Estimated, parameters: ParameterBatch
    ) -> tuple[NDArray[np.floating], Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]]:
        """Values and pullback as of `ProgramFunction.vjp`, for a function f of this program."""
        estimate, pull = self.vjp(parameters)
        unused = [pull]

        def pullback(cotangents: ArrayLike) -> tuple[NDArray[np.floating] | None, NDArray[np.floating]]:
            checked = checked_cotangents(cotangents, (parameters.batch, self._num_observables))
            if not unused:
                raise FusedQMLError(CALLED_BEFORE)
            found = unused.pop()(checked).astype(f.dtype, copy=False)
            dx, dw = found[:, : f.num_inputs], found[:, f.num_inputs :]
            return (dx if f.input_gradients else None), (dw if parameters.per_sample else dw.sum(axis=0))

        return estimate.values.astype(f.dtype, copy=False), pullback

    def jacobian(self, parameters: ParameterBatch) -> FloatArray:
        """Derivatives (B, K, P) of the estimate."""
        columns = []
        for k in range(self._num_observables):
            cotangents = np.zeros((parameters.batch, self._num_observables))
            cotangents[:, k] = 1.0
            columns.append(self.vjp(parameters)[1](cotangents))
        return np.stack(columns, axis=1)


class PauliTrajectories(TrajectoryEstimator):
    """A program with Pauli noise, estimated from trajectories.

    Args:
        program: The program.
        angle_map: From parameters to its angles.
        observables: The observables.
        options: Where and how it runs, how many trajectories are drawn, and from which seed.
        function: Makes the `ProgramFunction` of the pure program.

    Raises:
        UnsupportedInstructionError: For other noise than mixtures of Pauli strings with constant probabilities.
    """

    def __init__(
        self,
        program: Program,
        angle_map: AngleMap,
        observables: Sequence[PauliSum],
        options: EngineOptions,
        function: Callable[..., Any],
    ) -> None:
        super().__init__(angle_map, len(observables), options)
        self._strings = Strings.of(observables)
        self._frames = PauliFrames.of(program, empty_at_end=self._strings is None)
        num = len(self._frames.slots)
        numbers = np.arange(num)
        identity = AngleMap(num, np.zeros(num), numbers, numbers, np.ones(num))
        sums = observables if self._strings is None else self._strings.sums
        trained = np.flatnonzero(self._frames.slots >= 0)
        pure = replace(options, trajectories=None)
        self._function = function(self._frames.program, identity, sums, pure, trained=trained.tolist())

    @override
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        angles = self._frames.angles(self._angle_map.evaluate(parameters.full()))
        chunks = self._chunks(len(angles))
        return self._estimated((c, self._function.values(None, self._points(c, angles))) for c in chunks)

    @override
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        values = parameters.full()
        angles = self._frames.angles(self._angle_map.evaluate(values))
        chunks = list(self._chunks(len(angles)))
        held = [self._function.vjp(None, self._points(chunks[0], angles))] if len(chunks) == 1 else []
        found = (held[0][0] if held else self._function.values(None, self._points(c, angles)) for c in chunks)
        estimate = self._estimated(zip(chunks, found, strict=True))

        def pullback(cotangents: FloatArray) -> FloatArray:
            by_string = cotangents if self._strings is None else cotangents @ self._strings.weights.T
            total = np.zeros_like(angles)
            for chunk in chunks:
                _, pull = held.pop() if held else self._function.vjp(None, self._points(chunk, angles))
                weighted = chunk.weights[:, None, None] * chunk.string_signs[:, None] * by_string
                _, gradients = pull(weighted.reshape(-1, by_string.shape[1]))
                total += (gradients.reshape(-1, *angles.shape) * chunk.signs[:, None]).sum(axis=0)
            by_angle = self._frames.pull_angles(total, self._angle_map.num_angles)
            return self._angle_map.pullback(values, by_angle)

        return estimate, pullback

    @override
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        size, qubits = 2**measurement.num_clbits, measurement.qubits
        what = f"probabilities of {measurement.num_clbits} classical bits"
        self._function.memory.check_output(8 * size * parameters.batch, what)
        angles = self._frames.angles(self._angle_map.evaluate(parameters.full()))
        of_qubits = Measurement(tuple((qubit, place) for place, qubit in enumerate(qubits)), len(qubits))
        outcomes = np.arange(2 ** len(qubits))
        total = np.zeros((len(angles), len(outcomes)))
        for chunk in self._chunks(len(angles)):
            found = self._function.probabilities(None, self._points(chunk, angles), measurement=of_qubits)
            by_trajectory = found.reshape(-1, *total.shape)
            for weight, each, x in zip(chunk.weights, by_trajectory, chunk.x.tolist(), strict=True):
                flipped = sum(1 << place for place, qubit in enumerate(qubits) if x >> qubit & 1)
                total += weight * each[:, outcomes ^ flipped]
        result = np.zeros((len(angles), size))
        if measurement.readout:
            result[:, measurement.values_read()] = measurement.read(total)
        else:
            result[:, measurement.outcomes()] = total
        return result

    def _chunks(self, batch: int) -> Iterator[Chunk]:
        """The trajectories, some at a time; the first is the one without an error."""
        frames, none = self._frames, self._frames.no_error
        strings, weights = np.zeros((1, len(frames.noise)), np.intp), np.array([none])
        if none < 1.0:
            strings = np.concatenate([strings, frames.sample(self._count, np.random.default_rng(self._seed))])
            weights = np.concatenate([weights, np.full(self._count, (1.0 - none) / self._count)])
        drawn = frames.propagate(strings)
        signs, string_signs = drawn.signs, self._string_signs(drawn)
        size = max(CHUNK_BYTES // (8 * batch * max(signs.shape[1], 1)), 2)
        for first in range(0, len(weights), size):
            part = slice(first, first + size)
            yield Chunk(signs[part], string_signs[part], drawn.x[part], weights[part])

    def _string_signs(self, drawn: Trajectories) -> FloatArray:
        """The signs (N, K') that frames give to the strings; ones for frames that are emptied."""
        strings = self._strings
        if strings is None:
            return np.ones((len(drawn.x), self._num_observables))
        x, z = strings.x.astype(np.uint64), strings.z.astype(np.uint64)
        both = np.bitwise_count(drawn.x[:, None] & z) + np.bitwise_count(drawn.z[:, None] & x)
        return np.asarray(1.0 - 2.0 * (both & 1))

    def _points(self, chunk: Chunk, angles: FloatArray) -> FloatArray:
        """Angles (T B, R) of all trajectories and samples."""
        points = chunk.signs[:, None] * angles + self._frames.offsets
        return points.reshape(-1, angles.shape[1])

    def _estimated(self, parts: Iterable[tuple[Chunk, NDArray[np.floating]]]) -> Estimate:
        """The estimate from values (T B, K') of the strings."""
        found, weights = [], []
        for chunk, values in parts:
            signed = values.reshape(len(chunk.weights), -1, values.shape[1]) * chunk.string_signs[:, None]
            found.append(signed if self._strings is None else signed @ self._strings.weights)
            weights.append(chunk.weights)
        by_trajectory, all_weights = np.concatenate(found), np.concatenate(weights)
        total = np.einsum("t,tbk->bk", all_weights, by_trajectory)
        if len(all_weights) < 3:
            return Estimate(total, np.zeros_like(total) if len(all_weights) == 1 else np.full_like(total, np.nan))
        share = 1.0 - self._frames.no_error
        return Estimate(total, share * by_trajectory[1:].std(axis=0, ddof=1) / np.sqrt(self._count))


class Chunk(NamedTuple):
    """T trajectories: the signs (T, R) of angles and (T, K') of strings, frames' x masks (T,), and weights (T,)."""

    signs: FloatArray
    string_signs: FloatArray
    x: Masks
    weights: FloatArray
