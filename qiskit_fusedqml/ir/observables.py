"""Observables as sums of controlled Pauli strings.

A term is ``coefficient * C P``: the Pauli string P (masks x and z, Y where both are set) restricted to the basis
states whose control bits have the given value. Controls express projectors ``|0><0|`` and ``|1><1|`` without expanding
them into 2**k strings.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class PauliTerm:
    """``coefficient * C P``; masks as in `qiskit_fusedqml.ir.program.Rotation`."""

    coefficient: float
    x: int
    z: int
    ctrl_mask: int = 0
    ctrl_value: int = 0


def z_masks(term: PauliTerm) -> list[tuple[int, float]]:
    """z masks and weights of the Pauli strings that ``coefficient C P`` is the sum of; their x mask is the term's.

    A projector on a control is ``(1 + Z) / 2`` or, for the value 1, ``(1 - Z) / 2``.
    """
    found = [(term.z, term.coefficient)]
    for q in (q for q in range(term.ctrl_mask.bit_length()) if term.ctrl_mask >> q & 1):
        half = -0.5 if term.ctrl_value >> q & 1 else 0.5
        found = [(z, 0.5 * w) for z, w in found] + [(z | 1 << q, half * w) for z, w in found]
    return found


@dataclass(frozen=True, slots=True)
class PauliSum:
    """A Hermitian observable on ``num_qubits`` qubits.

    Attributes:
        num_qubits: Number of qubits n.
        terms: The terms; real coefficients.
    """

    num_qubits: int
    terms: tuple[PauliTerm, ...]

    def __post_init__(self) -> None:
        for position, term in enumerate(self.terms):
            masks = (term.x, term.z, term.ctrl_mask)
            if any(not 0 <= mask < 1 << self.num_qubits for mask in masks):
                raise InvalidInputError(f"Term {position} has masks {masks}; {self.num_qubits} qubits are allowed.")
            if (term.x | term.z) & term.ctrl_mask or term.ctrl_value & ~term.ctrl_mask:
                raise InvalidInputError(f"Term {position}: controls must be disjoint from the Pauli string.")

    @property
    def real_part(self) -> PauliSum:
        """The terms with an even number of Y, real matrices: the others have expectation value 0 in real states."""
        kept = tuple(term for term in self.terms if not (term.x & term.z).bit_count() & 1)
        return self if len(kept) == len(self.terms) else PauliSum(self.num_qubits, kept)

    @property
    def num_flips(self) -> int:
        """Number of different sets of qubits that terms flip."""
        return len({term.x for term in self.terms})

    @property
    def is_diagonal(self) -> bool:
        """Whether no term flips a qubit."""
        return not any(term.x for term in self.terms)
