"""States of trajectories: pure ones as amplitudes, mixed ones as Pauli vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..devices import Device, State, draws_shots
from ..devices.pauli_vector.device import MixedStateDevice
from ..devices.pauli_vector.reference import y_parity, zero_state
from ..devices.pauli_vector.states import vectors_of_amplitudes, vectors_of_density
from ..ir.observables import PauliSum
from ..planner.frame import Frame
from ..planner.pauli_vector.tape import PauliFrame, PauliTape
from ..planner.tape import Tape
from .sampling import Indices

Numbers = NDArray[Any]


class States:
    """T pure states of n qubits; never changed in place.

    Args:
        device: Where they are run.
        num_qubits: Number of qubits n.
        count: Number of states T.
        numbers: What they are on the host, amplitudes (T, 2**n); all are |0...0> if neither these nor a ket is given.
        ket: The device's states, in a frame.
        frame: The frame.

    Attributes:
        is_mixed: Whether states are density matrices.
    """

    is_mixed: ClassVar[bool] = False

    def __init__(
        self,
        device: Device,
        num_qubits: int,
        count: int,
        *,
        numbers: Numbers | None = None,
        ket: State | None = None,
        frame: Any = None,
    ) -> None:
        self.device: Any = device
        self.num_qubits = num_qubits
        self.count = count
        self._given = numbers
        self._ket = ket
        self._frame = frame
        self._values: dict[PauliSum, NDArray[np.float64]] = {}

    def evolved(self, count: int, ket: State, frame: Any) -> States:
        """Other states, the device's."""
        return type(self)(self.device, self.num_qubits, count, ket=ket, frame=frame)

    @property
    def start(self) -> Numbers | None:
        """What a segment starts from: numbers, or None for |0...0>."""
        return None if self._given is None and self._ket is None else self.numbers

    @cached_property
    def numbers(self) -> Numbers:
        """Amplitudes (T, 2**n), in the device's precision."""
        if self._given is not None:
            return self._given
        return self._zero() if self._ket is None else self._from_device()

    def probabilities(self, qubits: Sequence[int]) -> NDArray[np.float64]:
        """Marginal probabilities (T, 2**k); bit j of the outcome is ``qubits[j]``."""
        found: NDArray[np.float64] = self.device.probabilities(self._on_device(), self._frame, qubits)
        return found

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

    def reduced(self, qubits: Sequence[int]) -> Numbers:
        """Amplitudes (T, 2**k, 2**(n - k)) by the basis state of some qubits and by that of all others."""
        return moved(self.numbers, self.num_qubits, qubits)

    def take(self, chosen: Indices) -> States:
        """Some of the states; one may be taken more than once."""
        if np.array_equal(chosen, np.arange(self.count)):
            return self
        if self.start is None:
            return type(self)(self.device, self.num_qubits, len(chosen))
        return self.of_numbers(self.numbers[chosen])

    def joined(self, others: Sequence[States]) -> States:
        """These states and then those of others."""
        return self.of_numbers(np.concatenate([self.numbers, *(other.numbers for other in others)]))

    def projected(
        self, parents: Indices, qubits: Sequence[int], outcomes: Indices, chances: NDArray[np.float64], *, reset: bool
    ) -> States:
        """For each of some parents, which may occur more than once, its state after an outcome of some qubits.

        Bit j of an outcome is ``qubits[j]``; ``chances`` are the outcomes' probabilities, if the parents' states have
        norm 1. With ``reset`` the qubits are then returned to |0>.
        """
        amplitudes = self.numbers[parents]
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
        return self.of_numbers(amplitudes)

    def prepared(self, qubits: Sequence[int], amplitudes: NDArray[np.complex128]) -> States:
        """The states after qubits that are in |0> have been put into another state."""
        index = np.arange(2**self.num_qubits)
        mask = sum(1 << q for q in qubits)
        value = sum((index >> q & 1) << j for j, q in enumerate(qubits))
        return self.of_numbers(self.numbers[:, index & ~mask] * amplitudes[value])

    def of_numbers(self, numbers: Numbers) -> States:
        """Other states, those of the numbers."""
        return type(self)(self.device, self.num_qubits, len(numbers), numbers=numbers)

    def _on_device(self) -> State:
        if self._ket is None:
            self._frame = self._identity()
            self._ket = self.device.allocate(self._empty_tape(), self.count, self._given)
        return self._ket

    def _identity(self) -> Any:
        return Frame.identity(self.num_qubits)

    def _empty_tape(self) -> Any:
        return Tape(self.num_qubits, (), Frame.identity(self.num_qubits), 0)

    def _zero(self) -> Numbers:
        zero = np.zeros((self.count, 2**self.num_qubits), dtype=np.complex128)
        zero[:, 0] = 1.0
        return zero

    def _from_device(self) -> Numbers:
        found: Numbers = self.device.amplitudes(self._ket, self._frame)
        return found


class MixedStates(States):
    """T density matrices; numbers are Pauli vectors (T, 4**n) by string.

    Bits 2 q and 2 q + 1 of a string are x and z of qubit q; the strings are those of
    `qiskit_fusedqml.planner.pauli_vector.tape`.
    """

    is_mixed = True
    device: MixedStateDevice

    @override
    def reduced(self, qubits: Sequence[int]) -> Numbers:
        """Density matrices (T, 2**k, 2**k) of some qubits."""
        return self.device.density_matrices(self._on_device(), self._frame, qubits)

    @override
    def projected(
        self, parents: Indices, qubits: Sequence[int], outcomes: Indices, chances: NDArray[np.float64], *, reset: bool
    ) -> States:
        vectors = self.numbers[parents]
        for j, qubit in enumerate(qubits):
            letters = vectors.reshape(len(parents), -1, 4, 4**qubit)  # I, X, Z, Y
            signs = (1.0 - 2.0 * (outcomes >> j & 1))[:, None, None]
            kept = 0.5 * (letters[:, :, 0] + signs * letters[:, :, 2])
            letters[:, :, 1::2] = 0
            letters[:, :, 0] = kept
            letters[:, :, 2] = kept if reset else signs * kept
        return self.of_numbers(vectors / chances[:, None])

    @override
    def prepared(self, qubits: Sequence[int], amplitudes: NDArray[np.complex128]) -> States:
        """The states after qubits, whatever their state, have been put into another one: a vector or a matrix."""
        own = (vectors_of_amplitudes if amplitudes.ndim == 1 else vectors_of_density)(amplitudes[None])[0]
        index = np.arange(4**self.num_qubits)
        rest = index & ~sum(3 << 2 * q for q in qubits)
        value = np.zeros_like(index)
        for j, q in enumerate(qubits):
            value |= (index >> 2 * q & 3) << 2 * j
        # F of the whole is the product of both, but for the sign where both have an odd number of Y
        signs = 1.0 - 2.0 * (y_parity(rest) & y_parity(value))
        return self.of_numbers(self.numbers[:, rest] * (signs * own[value]))

    @override
    def _identity(self) -> Any:
        return PauliFrame.identity(self.num_qubits)

    @override
    def _empty_tape(self) -> Any:
        return PauliTape(self.num_qubits, (), self._identity(), 0)

    @override
    def _zero(self) -> Numbers:
        return np.tile(zero_state(self.num_qubits), (self.count, 1))

    @override
    def _from_device(self) -> Numbers:
        return self.device.vectors(self._ket, self._frame)


def start_states(device: Device, num_qubits: int, count: int) -> States:
    """So many states |0...0>, of the kind that the device is for."""
    kind = MixedStates if isinstance(device, MixedStateDevice) else States
    return kind(device, num_qubits, count)


def moved(amplitudes: Numbers, num_qubits: int, qubits: Sequence[int]) -> Numbers:
    """Amplitudes (T, 2**n) as (T, 2**k, 2**(n - k)): by the basis state of some qubits and by that of all others."""
    n, others = num_qubits, [q for q in range(num_qubits) if q not in set(qubits)]
    axes = [n - q for q in reversed(qubits)] + [n - q for q in reversed(others)]
    cube = amplitudes.reshape((len(amplitudes),) + (2,) * n).transpose(0, *axes)
    return cube.reshape(len(amplitudes), 2 ** len(qubits), -1)


def moved_back(parts: Numbers, num_qubits: int, qubits: Sequence[int]) -> Numbers:
    """The inverse of `moved`."""
    n, others = num_qubits, [q for q in range(num_qubits) if q not in set(qubits)]
    axes = np.argsort([n - q for q in reversed(qubits)] + [n - q for q in reversed(others)])
    cube = parts.reshape((len(parts),) + (2,) * n).transpose(0, *(1 + axes))
    return cube.reshape(len(parts), -1)
