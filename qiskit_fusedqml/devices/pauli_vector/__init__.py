"""Devices for mixed states: what runs a `PauliTape` on the Pauli vectors of a batch.

The verbs and their laws, with T the tape's matrix, r a ket, o a bra, and E = <o, r> a sum over all 4**n strings::

    forward        r -> T r
    backward       r -> T^-1 r, o -> T^T o, and the overlaps (`qiskit_fusedqml.planner.pauli_vector.tape`)
    backward_bra   o -> T^T o                                   (the observable in the Heisenberg picture)
    joint          r -> T r, o -> T^-T o, and the same overlaps

* <T^T o, r> = <o, T r>, and `joint` undoes what `backward` did.
* Overlaps of the batch are the sum of those by sample; samples do not influence one another.
* A device differs from the reference (`reference`) in speed and rounding only; the same calls give the same bits.
* Values are not checked: numbers that are not finite give results that are not finite.

Vectors are in the order of physical indices.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ...arrays import FloatArray, Int64Array
from ...planner.pauli_vector.tape import PauliTape

PauliState = Any
"""A device's own representation of the Pauli vectors of B samples; opaque to all others."""


class PauliObservables(NamedTuple):
    """K observables ``sum weight r[row]`` on physical indices; number k has the entries ``starts[k]`` to the next.

    Attributes:
        starts: (K + 1,)
        rows: (E,) physical indices.
        weights: (E,)
    """

    starts: Int64Array
    rows: Int64Array
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class PauliCoefficients:
    """The numbers of one call, and those of the inverse maps; compiled code has an object with the same attributes.

    An operation of which nothing is to be undone, because its inverse does not exist or amplifies errors, has the
    identity as its inverse: kets then stay as they are, and the caller puts the right ones in their place.

    Attributes:
        affine: (R, 3, 4) the shared maps of `Affine`.
        batched_affine: (R', 3, 4, B) those that differ from sample to sample.
        pairs: (P, 18) S, gain_0 and gain_1 of each `Pair`.
        turns: (T, 2) the shared (cos, sin) of `Turn`; a turn is undone with -sin.
        batched_turns: (T', 2, B)
        transfers: The matrices (4**k, 4**k) of `Transfer`.
        inverse_affine: The inverses of ``affine``.
        inverse_batched_affine: The inverses of ``batched_affine``.
        inverse_pairs: (P, 18): 1 / S and the gains; gain_1 and gain_0 are taken off before the factors apply.
        inverse_transfers: The inverses of ``transfers``.
    """

    affine: FloatArray
    batched_affine: FloatArray
    pairs: FloatArray
    turns: FloatArray
    batched_turns: FloatArray
    transfers: tuple[FloatArray, ...]
    inverse_affine: FloatArray
    inverse_batched_affine: FloatArray
    inverse_pairs: FloatArray
    inverse_transfers: tuple[FloatArray, ...]


class PauliDevice(Protocol):
    """The operations of a device; explicit subclasses implement all of them. States are worked on in place.

    Attributes:
        name: The name by which users ask for it.
        tile_bits: Dimensions of the tiles that the planner should make.
        coefficient_map: Makes the coefficients that it takes, of tables and tape
            (`qiskit_fusedqml.devices.pauli_vector.coefficients.PauliCoefficientMap`).
    """

    name: str
    tile_bits: int
    coefficient_map: Any

    @abstractmethod
    def allocate(self, num_qubits: int, batch: int, vectors: FloatArray | None = None) -> PauliState:
        """Pauli vectors of B samples: of ``|0...0>``, or those given, (4**n,) or (B, 4**n).

        Raises:
            InvalidInputError: For an empty batch or vectors of another shape.
            OutOfMemoryError: If the device has too little memory.
        """

    @abstractmethod
    def copy(self, state: PauliState) -> PauliState:
        """An independent copy."""

    @abstractmethod
    def vectors(self, state: PauliState) -> FloatArray:
        """The vectors (B, 4**n)."""

    @abstractmethod
    def forward(self, tape: PauliTape, coefficients: Any, ket: PauliState) -> None:
        """Apply the tape to kets."""

    @abstractmethod
    def backward(
        self, tape: PauliTape, coefficients: Any, ket: PauliState, bra: PauliState, *, per_sample: bool
    ) -> FloatArray:
        """Undo the tape on kets, pull bras back; the overlaps, (S,) summed over the batch or (B, S)."""

    @abstractmethod
    def backward_bra(self, tape: PauliTape, coefficients: Any, bra: PauliState) -> None:
        """Pull bras back through the whole tape, also what comes before `PauliBlock.undo_from`."""

    @abstractmethod
    def joint(
        self, tape: PauliTape, coefficients: Any, ket: PauliState, bra: PauliState, *, per_sample: bool
    ) -> FloatArray:
        """Undo `backward_bra` on bras while the tape is applied to kets; overlaps as of `backward`."""

    @abstractmethod
    def expectation(self, ket: PauliState, observables: PauliObservables) -> FloatArray:
        """The observables' values (B, K)."""

    @abstractmethod
    def bra(
        self, num_qubits: int, batch: int, observables: PauliObservables, cotangents: FloatArray | None
    ) -> PauliState:
        """The bras ``sum_k cotangents[:, k] O_k`` for cotangents (B, K); with None bra k is O_k, and B is K."""

    @abstractmethod
    def products(self, bras: PauliState, kets: PauliState) -> FloatArray:
        """``<bra_k, ket_b>`` for all pairs, (B, K)."""

    @abstractmethod
    def combine(self, kets: PauliState, weights: FloatArray) -> PauliState:
        """The K kets ``sum_b weights[b, k] ket_b`` for weights (B, K)."""

    @abstractmethod
    def rows(self, state: PauliState, rows: Int64Array) -> FloatArray:
        """Some entries (B, R) of the vectors, by physical index."""

    @abstractmethod
    def state_bytes(self, num_qubits: int, batch: int) -> int:
        """Bytes of memory one state takes."""

    @abstractmethod
    def memory_budget(self) -> int:
        """Bytes that states may take by default: half of the device's memory."""
