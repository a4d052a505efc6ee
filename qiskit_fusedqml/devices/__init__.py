"""The contract between plans and the devices that run them.

A device runs tapes. It never sees a parameter, a gate or a sample's meaning: coefficients go in, amplitudes,
expectation values and overlaps come out. `reference.ReferenceDevice` defines the meaning; every other device agrees
with it and differs in speed only.

`Coefficients` are the numbers of one call, compiled code's own object so that a step of a small circuit does not turn
them into arrays and back. R, U, D, ... are counts fixed by the plan, B is the batch; the attributes are read-only NumPy
arrays in double precision, and the constructor takes arrays under the same names (and copies them):

* ``pairs`` (R, 2): the shared (a, b) of RY and Pauli operations; ``batched_pairs`` (R', 2, B): those that differ from
  sample to sample.
* ``matrices`` (U, 2, 2), complex: shared U2; ``batched_matrices`` (U', 2, 2, B).
* ``angles`` (D,): shared diagonal angles; ``batched_angles`` (D', B).
* ``scales`` (S,): the K of diagonals.
* ``dense``: a tuple of complex matrices of shape (2**k, 2**k).

`Bound` are coefficients together with what the gradients need later
(`qiskit_fusedqml.devices.coefficients.CoefficientMap`).
Coefficients never change once made, so what a device derives from them, such as tables of phases, holds for both sweeps
of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..ir.observables import PauliSum
from ..planner.cost import CostModel
from ..planner.frame import Frame
from ..planner.tables import BindingTables
from ..planner.tape import Tape
from ._native import Bound, Coefficients

__all__ = [
    "Bound",
    "Coefficients",
    "Device",
    "DeviceWithMemory",
    "ResidentBound",
    "SamplingDevice",
    "State",
    "draws_shots",
    "has_memory",
]

State = Any
"""A device's own representation of B states of n qubits; opaque to everybody else."""


class Device(Protocol):
    """What the engine asks of a device. States are mutable: `forward` and `backward` work in place."""

    name: str
    cost_model: CostModel

    def allocate(self, tape: Tape, batch: int, initial_state: NDArray[np.complex128] | None) -> State:
        """B states of n qubits in the identity frame: ``|0...0>``, or the amplitudes (2**n,) or (B, 2**n) given."""
        ...

    def copy(self, state: State) -> State:
        """An independent copy."""
        ...

    def forward(self, tape: Tape, coefficients: Coefficients, ket: State) -> None:
        """Apply the tape to the ket."""
        ...

    def backward(
        self, tape: Tape, coefficients: Coefficients, ket: State, bra: State, *, per_sample: bool
    ) -> NDArray[np.float64]:
        """Undo the tape on ket and bra; return the overlaps, (S,) summed over the batch or (B, S)."""
        ...

    def expectation(self, ket: State, frame: Frame, sums: Sequence[PauliSum]) -> NDArray[np.float64]:
        """Expectation values (B, n_obs) of the observables (stated on logical qubits) in the ket (in ``frame``)."""
        ...

    def apply_observables(
        self, ket: State, frame: Frame, sums: Sequence[PauliSum], cotangents: NDArray[np.float64]
    ) -> State:
        """The bra ``sum_k cotangents[:, k] O_k ket`` for cotangents (B, n_obs), in the ket's frame."""
        ...

    def amplitudes(self, ket: State, frame: Frame) -> NDArray[np.complex128] | NDArray[np.complex64]:
        """The amplitudes (B, 2**n) by logical index, in the device's precision."""
        ...

    def probabilities(self, ket: State, frame: Frame, qubits: Sequence[int]) -> NDArray[np.float64]:
        """Marginal probabilities (B, 2**k); bit j of the outcome is ``qubits[j]``."""
        ...

    def state_bytes(self, num_qubits: int, batch: int) -> int:
        """Bytes of memory one `State` takes, for the engine's memory budget."""
        ...

    def memory_budget(self) -> int:
        """Bytes that states may take when nothing else is said: half of the device's memory."""
        ...


class ResidentBound(Protocol):
    """What `Bound` is on the host, where values, overlaps and gradients are in a device's memory."""

    @property
    def coefficients(self) -> Any:
        """What this device takes in the place of `Coefficients`."""
        ...

    def pull(self, overlaps: Any, *, per_row: bool) -> tuple[Any, Any]:
        """Gradients from overlaps (S,) summed over the batch, or (B, S).

        With ``per_row``: those of all parameters by row (B, P), and None. Otherwise those (P,) of what all samples
        share, and (B, V) of the varying parameters, or None for overlaps summed over the batch.
        """
        ...


class DeviceWithMemory(Protocol):
    """A `Device` with a memory of its own, where callers may have arrays, too."""

    @property
    def resident(self) -> Device:
        """The same device; expectation values, amplitudes and probabilities stay in its memory."""
        ...

    def bind(self, tables: BindingTables, base: Any, rows: Any) -> ResidentBound:
        """Coefficients from parameters in that memory.

        Values that are not finite are not refused: nobody looks, so that nobody waits.

        Args:
            tables: From parameters to coefficients.
            base: The parameters (P,) of the first sample.
            rows: (B, V) those that differ from sample to sample.
        """
        ...

    def take(self, array: Any, name: str) -> Any:
        """A copy in that memory in double precision, wherever the array is; the name is for messages."""
        ...

    def is_resident(self, array: object) -> bool:
        """Whether an array of the caller is in that memory."""
        ...

    def to_host(self, array: Any) -> NDArray[np.float64]:
        """Numbers in that memory as a NumPy array."""
        ...

    def from_host(self, array: NDArray[Any]) -> Any:
        """An array in that memory."""
        ...


class SamplingDevice(Protocol):
    """A `Device` that draws shots itself, so that the probabilities of all outcomes need not come to the host."""

    def sample(
        self,
        ket: State,
        frame: Frame,
        qubits: Sequence[int],
        shots: int,
        keys: NDArray[np.uint64],
        states: NDArray[np.integer] | None = None,
    ) -> NDArray[np.int64]:
        """Outcomes (R, shots), bit j being ``qubits[j]``, of row r's state, with the random numbers of key r (R, 2)."""
        ...


def has_memory(device: object) -> TypeGuard[DeviceWithMemory]:
    """Whether a device has a memory of its own."""
    return hasattr(device, "is_resident")


def draws_shots(device: object) -> TypeGuard[SamplingDevice]:
    """Whether a device draws shots itself."""
    return hasattr(device, "sample")
