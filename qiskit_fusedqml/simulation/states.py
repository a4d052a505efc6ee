"""States of trajectories: on the device after a segment, amplitudes after a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..devices import Device, State, draws_shots
from ..ir.observables import PauliSum
from ..planner.frame import Frame
from ..planner.tape import Tape
from .sampling import Indices

Amplitudes = NDArray[Any]


class States:
    """T states of n qubits; never changed in place.

    Args:
        device: Where they are run.
        num_qubits: Number of qubits n.
        count: Number of states T.
        amplitudes: (T, 2**n); all states are |0...0> if neither these nor a ket is given.
        ket: The device's states, in a frame.
        frame: The frame.
    """

    def __init__(
        self,
        device: Device,
        num_qubits: int,
        count: int,
        *,
        amplitudes: Amplitudes | None = None,
        ket: State | None = None,
        frame: Frame | None = None,
    ) -> None:
        self.device = device
        self.num_qubits = num_qubits
        self.count = count
        self._given = amplitudes
        self._ket = ket
        self._frame = frame or Frame.identity(num_qubits)
        self._values: dict[PauliSum, NDArray[np.float64]] = {}

    @property
    def start(self) -> Amplitudes | None:
        """What a segment starts from: amplitudes, or None for |0...0>."""
        return None if self._given is None and self._ket is None else self.amplitudes

    @cached_property
    def amplitudes(self) -> Amplitudes:
        """(T, 2**n), in the device's precision."""
        if self._given is not None:
            return self._given
        if self._ket is not None:
            return self.device.amplitudes(self._ket, self._frame)
        zero = np.zeros((self.count, 2**self.num_qubits), dtype=np.complex128)
        zero[:, 0] = 1.0
        return zero

    def probabilities(self, qubits: Sequence[int]) -> NDArray[np.float64]:
        """Marginal probabilities (T, 2**k); bit j of the outcome is ``qubits[j]``."""
        return self.device.probabilities(self._on_device(), self._frame, qubits)

    def sample(self, qubits: Sequence[int], shots: int, keys: NDArray[np.uint64], states: Indices) -> NDArray[np.int64]:
        """Outcomes (R, shots), each row from its state; the device is a `SamplingDevice`."""
        assert draws_shots(self.device)
        return self.device.sample(self._on_device(), self._frame, qubits, shots, keys, states)

    def expectation(self, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        """Expectation values (T, number of observables); they are kept, so that many can be asked for at once."""
        new = [observable for observable in sums if observable not in self._values]
        if new:
            columns = self.device.expectation(self._on_device(), self._frame, new)
            self._values.update(zip(new, columns.T, strict=True))
        return np.stack([self._values[observable] for observable in sums], axis=1)

    def reduced(self, qubits: Sequence[int]) -> Amplitudes:
        """Amplitudes (T, 2**k, 2**(n - k)) by the basis state of some qubits and by that of all others."""
        n = self.num_qubits
        others = [q for q in range(n) if q not in set(qubits)]
        axes = [n - q for q in reversed(qubits)] + [n - q for q in reversed(others)]
        cube = self.amplitudes.reshape((self.count,) + (2,) * n).transpose(0, *axes)
        return cube.reshape(self.count, 2 ** len(qubits), -1)

    def take(self, chosen: Indices) -> States:
        """Some of the states; one may be taken more than once."""
        if np.array_equal(chosen, np.arange(self.count)):
            return self
        if self.start is None:
            return States(self.device, self.num_qubits, len(chosen))
        return self._like(self.amplitudes[chosen])

    @staticmethod
    def concatenate(parts: Sequence[States]) -> States:
        """The states of several parts in order."""
        joined = np.concatenate([part.amplitudes for part in parts])
        return States(parts[0].device, parts[0].num_qubits, len(joined), amplitudes=joined)

    def projected(
        self,
        parents: Indices,
        qubits: Sequence[int],
        outcomes: Indices,
        chances: NDArray[np.float64],
        *,
        reset: bool,
    ) -> States:
        """For each of some parents, which may occur more than once, its state after an outcome.

        Args:
            parents: The parents.
            qubits: The qubits measured.
            outcomes: The outcome of each; bit j is ``qubits[j]``.
            chances: The probability of each, if the parent's state has norm 1.
            reset: Whether the qubits are then returned to |0>.
        """
        amplitudes = self.amplitudes[parents]
        for j, qubit in enumerate(qubits):
            halves = amplitudes.reshape(len(parents), -1, 2, 2**qubit)
            ones = (outcomes >> j & 1).astype(bool)
            halves[~ones, :, 1] = 0
            if reset:
                halves[ones, :, 0] = halves[ones, :, 1]
                halves[ones, :, 1] = 0
            else:
                halves[ones, :, 0] = 0
        amplitudes *= (1 / np.sqrt(chances)).astype(amplitudes.real.dtype)[:, None]
        return self._like(amplitudes)

    def prepared(self, qubits: Sequence[int], amplitudes: NDArray[np.complex128]) -> States:
        """The states after qubits that are in |0> have been put into another state."""
        index = np.arange(2**self.num_qubits)
        mask = sum(1 << q for q in qubits)
        value = sum((index >> q & 1) << j for j, q in enumerate(qubits))
        return self._like(self.amplitudes[:, index & ~mask] * amplitudes[value])

    def _like(self, amplitudes: Amplitudes) -> States:
        return States(self.device, self.num_qubits, len(amplitudes), amplitudes=amplitudes)

    def _on_device(self) -> State:
        if self._ket is None:
            tape = Tape(self.num_qubits, (), Frame.identity(self.num_qubits), 0)
            self._ket = self.device.allocate(tape, self.count, self._given)
        return self._ket
