"""The interface between plans and the devices that run them.

A device runs tapes. It never sees a parameter, a gate or a sample's meaning: coefficients go in, amplitudes,
expectation values and overlaps come out. Four verbs make a gradient, and these laws tie them together::

    coefficients = coefficient_map.bind(angles)        what a tape is run with; never changed afterwards
    ket  = forward(tape, coefficients, ket)            the tape's operations in order
    bra  = apply_observables(ket, c)                   sum_k c_k O_k ket; expectation(ket) is <ket|O_k|ket>
    overlaps = backward(tape, coefficients, ket, bra)  Im <bra|P|ket> after each operation, as it is undone
    gradient = coefficient_map.pullback(overlaps)      sum_k c_k d<O_k>/d angle

* `backward` leaves the ket as `forward` found it, as far back as the tape is undone (`Block.undo_from`).
* Overlaps of the batch are the sum of those by sample; samples do not influence one another.
* A device differs from the reference (`reference`, `reference_coefficients`) in speed and rounding only.
* The same calls in the same configuration give the same bits.
* Values are not checked: numbers that are not finite give results that are not finite.

==============  ==============================================================================================
`reference`     tapes in NumPy, which define the meaning; `reference_coefficients`: the numbers that they take
`cpu`           the CPU device, on compiled code (``native``); `coefficients`: the compiled coefficient map
`gpu`           the GPU device, on the kernels of ``cuda_src``
`own_memory`    devices with a memory of their own, where callers may have arrays
`pauli_vector`  devices for mixed states, as vectors of Pauli coefficients
`registry`      devices by name
`checks`        what every device refuses
`array_parts`   parts of the reference device's states, for several ranks
`pieces`        which amplitudes of a part are sent at a time
`observables`   observables on physical indices, and a device's form of them
`calibration`   what operations were measured to cost, for cost models
`info`          what this machine offers: ``python -m qiskit_fusedqml info``
==============  ==============================================================================================
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..arrays import FloatArray
from ..ir.observables import PauliSum
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.tables import AngleTables
from ..planner.tape import Tape
from .pieces import Piece

__all__ = [
    "Bound",
    "CoefficientMap",
    "Coefficients",
    "Device",
    "RankDevice",
    "SamplingDevice",
    "State",
    "ValueAndBraDevice",
    "draws_shots",
    "holds_parts",
    "makes_values_with_bras",
]

State = Any
"""A device's own representation of B states of n qubits; opaque to all others."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The numbers of one call; compiled code has an object of its own with the same attributes.

    R, U, D, ... are counts fixed by the plan, B is the batch. Coefficients never change once made, so that what a
    device derives from them, such as tables of phases, holds for both sweeps of a step.

    Attributes:
        pairs: (R, 2) the shared (a, b) of RY and Pauli operations.
        batched_pairs: (R', 2, B) those that differ from sample to sample.
        matrices: (U, 2, 2) the shared matrices of U2 operations.
        batched_matrices: (U', 2, 2, B) those that differ.
        angles: (D,) the shared angles of diagonals.
        batched_angles: (D', B) those that differ.
        scales: (S,) the K of diagonals.
        dense: The matrices (2**k, 2**k) of dense operations.
    """

    pairs: FloatArray
    batched_pairs: FloatArray
    matrices: NDArray[np.complex128]
    batched_matrices: NDArray[np.complex128]
    angles: FloatArray
    batched_angles: FloatArray
    scales: FloatArray
    dense: tuple[NDArray[np.complex128], ...]


class Bound(Protocol):
    """Coefficients, together with what `CoefficientMap.pullback` needs of the values they were made of."""

    @property
    def coefficients(self) -> Any:
        """What a device runs a tape with, `Coefficients` or an object with the same attributes."""
        ...


class CoefficientMap(Protocol):
    """From angles to a tape's coefficients and from overlaps back to gradients; made of a plan's tables.

    The values it takes are the angles themselves until `over` puts an affine map before them.

    Attributes:
        tables: The plan's tables.
        angles: The map before them, None for angles that are the values themselves.
    """

    tables: Any
    angles: AngleTables | None

    def __init__(self, tables: Any) -> None: ...

    @abstractmethod
    def over(self, angles: AngleTables) -> CoefficientMap:
        """The same map from other values than the angles themselves."""

    @abstractmethod
    def bind(self, shared: FloatArray, batched: FloatArray) -> Bound | None:
        """Coefficients and what `pullback` needs later, or None if an angle is not finite.

        Args:
            shared: (F,) the values that all samples share: the A shared angles unless `over` says otherwise.
            batched: (B, F') the others: the A' batched angles unless `over` says otherwise.
        """

    @abstractmethod
    def pullback(
        self, bound: Any, overlaps: FloatArray, *, per_sample: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        """Gradients of the shared and of the batched values.

        Args:
            bound: What `bind` gave.
            overlaps: (S,) summed over the batch, or (B, S).
            per_sample: Whether shared values' gradients are wanted sample by sample; overlaps are (B, S) then.

        Returns:
            The gradients of the shared values, (F,) or with ``per_sample`` (B, F), and of the batched ones (B, F');
            None for overlaps summed over the batch, which do not determine them.
        """


class Device(Protocol):
    """The operations of a device; explicit subclasses implement all of them.

    States are mutable: `forward` and `backward` work in place.

    Attributes:
        name: The name by which users ask for it.
        cost_model: The numbers that plans for it are made with.
        coefficient_map: Makes the coefficients that it takes.
    """

    name: str
    cost_model: CostModel
    coefficient_map: type[CoefficientMap]

    @abstractmethod
    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> State:
        """B states of n qubits in the identity frame: ``|0...0>``, or the amplitudes (2**n,) or (B, 2**n) given.

        Raises:
            InvalidInputError: For an empty batch or an initial state of another shape.
            OutOfMemoryError: If the device has too little memory.
        """

    @abstractmethod
    def copy(self, state: State) -> State:
        """An independent copy."""

    @abstractmethod
    def forward(self, tape: Tape, coefficients: Any, ket: State) -> None:
        """Apply the tape to the ket.

        Raises:
            InvalidInputError: If the coefficients or the state do not fit the tape, or it cannot be run.
        """

    @abstractmethod
    def backward(
        self, tape: Tape, coefficients: Any, ket: State, bra: State, *, per_sample: bool
    ) -> NDArray[np.float64]:
        """Undo the tape on ket and bra; return the overlaps, (S,) summed over the batch or (B, S).

        Raises:
            InvalidInputError: If the coefficients or the states do not fit the tape, or it cannot be run.
        """

    @abstractmethod
    def expectation(self, ket: State, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        """Expectation values (B, n_obs) of the observables (stated on logical qubits) in the ket (in ``frame``)."""

    @abstractmethod
    def apply_observables(
        self, ket: State, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> State:
        """The bra ``sum_k cotangents[:, k] O_k ket`` for cotangents (B, n_obs), in the ket's frame."""

    @abstractmethod
    def amplitudes(self, ket: State, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        """The amplitudes (B, 2**n) by logical index, in the device's precision."""

    @abstractmethod
    def probabilities(self, ket: State, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        """Marginal probabilities (B, 2**k); bit j of the outcome is ``qubits[j]``."""

    @abstractmethod
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        """Bytes of memory one `State` takes, for the engine's memory budget."""

    @abstractmethod
    def memory_budget(self) -> int:
        """Bytes that states may take by default: half of the device's memory."""


class SamplingDevice(Protocol):
    """A `Device` that draws shots itself, so that the probabilities of all outcomes need not come to the host."""

    @abstractmethod
    def sample(
        self,
        ket: State,
        frame: Frame,
        qubits: Sequence[int],
        shots: int,
        keys: NDArray[np.uint64],
        states: NDArray[np.integer] | None = None,
    ) -> NDArray[np.int64]:
        """Outcomes of measuring some qubits.

        Shot k of a row of outcomes with the key (a, b) takes the outcome at which the running sum of the probabilities
        passes number k of ``numpy.random.Generator(numpy.random.Philox(key=[a, b])).random()``, times their total.

        Args:
            ket: The states.
            frame: Their frame.
            qubits: The qubits measured; bit j of an outcome is ``qubits[j]``.
            shots: Number of shots of each key.
            keys: (R, 2), the random numbers of each row of outcomes.
            states: (R,) the state from which each is drawn; by default each state once.

        Returns:
            (R, shots).

        Raises:
            InvalidInputError: If qubits, shots, keys or states are not what is expected.
            OutOfMemoryError: If the probabilities do not fit in the device's memory.
        """


class ValueAndBraDevice(Device, Protocol):
    """A `Device` that makes an observable's bra together with its value, which takes no longer than one of them."""

    @abstractmethod
    def value_and_bra(self, ket: State, frame: Frame, observable: PauliSum) -> tuple[NDArray[np.float64], State]:
        """``<ket|O|ket>`` (B, 1) and the bra ``O ket``."""

    @abstractmethod
    def scale(self, state: State, factors: NDArray[np.float64]) -> None:
        """Multiply each sample's amplitudes by its factor (B,)."""


class RankDevice(Device, Protocol):
    """A `Device` whose states can be the parts of a larger state that ranks hold.

    A buffer holds real and imaginary parts, in the device's precision and an order of its own.
    """

    @abstractmethod
    def pack(self, state: State, piece: Piece, buffer: NDArray[np.floating]) -> None:
        """Copy a piece of all samples to a buffer (2 * size * B,)."""

    @abstractmethod
    def unpack(self, state: State, piece: Piece, buffer: NDArray[np.floating]) -> None:
        """Copy it back."""

    @abstractmethod
    def clear(self, state: State) -> None:
        """Set all amplitudes to 0."""

    @abstractmethod
    def add(self, state: State, other: State) -> None:
        """Add another state's amplitudes to a state's."""


def draws_shots(device: object) -> TypeGuard[SamplingDevice]:
    """Whether a device draws shots itself."""
    return hasattr(device, "sample")


def makes_values_with_bras(device: object) -> TypeGuard[ValueAndBraDevice]:
    """Whether a device makes an observable's values and bras together."""
    return hasattr(device, "value_and_bra")


def holds_parts(device: object) -> TypeGuard[RankDevice]:
    """Whether a device's states can be the parts that ranks hold."""
    return hasattr(device, "unpack")
