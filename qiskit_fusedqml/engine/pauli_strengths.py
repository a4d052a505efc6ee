"""Trajectories of Pauli noise whose strengths are parameters.

Trajectories t are drawn at the strengths of the call, by the probabilities ``P(t) = prod_c p_c[t_c]`` of their errors.
The derivative by a strength s is that of the sum over all trajectories, in which ``sum_t dP(t)/ds = 0``, ::

    dE/ds = sum_t dP(t)/ds f(t) = sum_t P(t) (f(t) - f(0)) d log P(t)/ds,

f(0) being the value without an error: the mean over those drawn, with an error each, is an unbiased estimate (the score
function with a baseline). Unlike derivatives by angles it is not that of the estimate, whose draws change with s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray
from ..errors import InvalidInputError
from ..ir.angles import AngleMap
from ..ir.channels import Channel
from ..ir.measurement import Measurement
from ..ir.observables import PauliSum
from ..ir.program import Program
from .options import EngineOptions
from .parameters import ParameterBatch
from .pauli_frames import pauli_probabilities, string_weights
from .pauli_trajectories import PauliTrajectories
from .trajectories import Estimate, TrajectoryEstimator

SMALL = 0.01
"""A strength that is possible in every family, to see what kind of channel it has."""


class StrengthTrajectories(TrajectoryEstimator):
    """A program with Pauli noise of parametric strengths, which all samples of a call share.

    The arguments are those of `PauliTrajectories`.
    """

    def __init__(
        self, program: Program, angle_map: AngleMap, observables: Sequence[PauliSum], options: EngineOptions
    ) -> None:
        super().__init__(angle_map, len(observables), options)
        self._program, self._observables = program, tuple(observables)
        self._options = replace(options, noise_seed=self._seed)
        self._channels = [i for i in program.instructions if isinstance(i, Channel)]
        self._last: tuple[bytes, PauliTrajectories] | None = None

    @override
    def estimate(self, parameters: ParameterBatch) -> Estimate:
        return self._at(self._angles(parameters)).estimate(parameters)

    @override
    def probabilities(self, parameters: ParameterBatch, measurement: Measurement) -> FloatArray:
        return self._at(self._angles(parameters)).probabilities(parameters, measurement)

    @override
    def vjp(self, parameters: ParameterBatch) -> tuple[Estimate, Callable[[FloatArray], FloatArray]]:
        values, angles = parameters.full(), self._angles(parameters)
        drawn = self._at(angles)
        estimate, pull, by_trajectory = drawn.vjp_by_trajectory(parameters)
        weights = drawn.weights

        def pullback(cotangents: FloatArray) -> FloatArray:
            total = pull(cotangents)
            given = cotangents.reshape(-1, *cotangents.shape[-2:])
            scores = self._scores(drawn.strings(), angles) * weights[:, None]
            differences = by_trajectory - by_trajectory[0]
            by_angle = np.einsum("ta,tbk,mbk->mba", scores, differences, given, optimize=True)
            own = np.stack([self._angle_map.pullback(values, each) for each in by_angle])
            return total + own.reshape(total.shape)

        return estimate, pullback

    def _angles(self, parameters: ParameterBatch) -> FloatArray:
        """Angles (A,) of the first sample; those of strengths are all samples'."""
        found: FloatArray = self._angle_map.evaluate(parameters.full()[:1])[0]
        return found

    def _at(self, angles: FloatArray) -> PauliTrajectories:
        """The trajectories at some strengths; those of the last ones are kept."""
        fixed = [_fixed(channel, angles) for channel in self._channels]
        key = np.concatenate([np.ravel(channel.entries) for channel in fixed]).tobytes()
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        for channel, own in zip(self._channels, fixed, strict=True):
            if channel.family is not None and (problem := channel.family.problem(*channel.parameters(angles))):
                raise InvalidInputError(f"The parameters {self._names(channel)} are not possible: {problem}.")
            if pauli_probabilities(own) is None:
                raise InvalidInputError(
                    f"At these values of {self._names(channel)}, noise is no mixture of Pauli strings, which these "
                    "trajectories are drawn from. Leave out trajectories= for exact density matrices."
                )
        left = iter(fixed)
        instructions = tuple(next(left) if isinstance(i, Channel) else i for i in self._program.instructions)
        program = replace(self._program, instructions=instructions)
        made = PauliTrajectories(program, self._angle_map, self._observables, self._options)
        if last is not None:
            made.adopt(last[1])
        self._last = key, made
        return made

    def _scores(self, strings: NDArray[np.uint8], angles: FloatArray) -> FloatArray:
        """``d log P(t) / d angle`` (N, A) of trajectories whose channels apply strings (N, C)."""
        result = np.zeros((len(strings), self._angle_map.num_angles))
        for column, channel in zip(strings.T, self._channels, strict=True):
            if channel.family is None:
                continue
            slopes = channel.family.derivatives(*channel.parameters(angles))
            probabilities = pauli_probabilities(_fixed(channel, angles))
            assert probabilities is not None
            for slot, slope in zip(channel.slots, slopes, strict=True):
                by_string = string_weights(np.diagonal(slope))
                missing = (probabilities == 0.0) & (np.abs(by_string) > SMALL * 1e-10)
                if slot >= 0 and missing.any():
                    raise InvalidInputError(
                        f"The gradient by {self._names(channel)} needs errors of probability 0, of which there are no "
                        "trajectories. Choose a strength above 0, or leave out trajectories= for exact gradients."
                    )
                if slot >= 0:
                    ratios = np.divide(by_string, probabilities, out=np.zeros_like(by_string), where=probabilities > 0)
                    result[:, slot] += ratios[column]
        return result

    def _names(self, channel: Channel) -> str:
        slots, numbers = self._angle_map.dependence
        own = np.unique(numbers[np.isin(slots, [slot for slot in channel.slots if slot >= 0])])
        names = self._angle_map.names
        return ", ".join(names[k] if names else f"parameter {k}" for k in own)


def has_pauli_strengths(channel: Channel) -> bool:
    """Whether a channel with parameters is a mixture of Pauli strings at small strengths."""
    if channel.family is None or all(slot < 0 for slot in channel.slots):
        return pauli_probabilities(channel) is not None
    given = [SMALL if slot >= 0 else constant for slot, constant in zip(channel.slots, channel.constants, strict=True)]
    matrix = channel.family.transfer(*(np.array(value) for value in given))
    return pauli_probabilities(Channel(channel.qubits, np.ascontiguousarray(matrix))) is not None


def _fixed(channel: Channel, angles: FloatArray) -> Channel:
    """The channel at some angles."""
    if channel.family is None:
        return channel
    return Channel(channel.qubits, np.ascontiguousarray(channel.family.transfer(*channel.parameters(angles))))
