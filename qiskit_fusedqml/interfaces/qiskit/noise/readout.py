"""Expectation values of bits that are misread, as observables."""

from __future__ import annotations

from collections.abc import Sequence

from ....engine.options import EngineOptions
from ....errors import UnsupportedInstructionError
from ....ir.observables import PauliSum, PauliTerm
from ....ir.qubits import bits
from .model import Noise

MAX_TERMS = 4096
"""An observable whose bits are misread is a sum of at most this many terms."""


def measured(observables: Sequence[PauliSum], options: EngineOptions) -> list[PauliSum]:
    """What is measured for observables on a circuit's qubits: themselves, or with ``readout`` those of misread bits."""
    if not options.readout or options.noise_model is None:
        return list(observables)
    return [misread(observable, options.noise_model) for observable in observables]


def misread(observable: PauliSum, noise: Noise) -> PauliSum:
    """What the mean of misread bits is, instead of an observable on a circuit's qubits.

    Where 0 is read as 1 with probability p and 1 as 0 with q, a letter P of a string is measured as
    ``(1 - p - q) P + (q - p)``, and a projector on the value v as ``(1 - p - q)`` times itself plus p (v = 1) or q.

    Raises:
        UnsupportedInstructionError: If qubits are misread together, or the terms are too many.
    """
    found: dict[tuple[int, int, int, int], float] = {}
    for term in observable.terms:
        for each in _of_term(term, noise):
            key = (each.x, each.z, each.ctrl_mask, each.ctrl_value)
            found[key] = found.get(key, 0.0) + each.coefficient
        if len(found) > MAX_TERMS:
            raise UnsupportedInstructionError(
                f"An observable of misread bits is a sum of more than {MAX_TERMS} terms. Leave out readout=True, or "
                "measure fewer qubits at once."
            )
    return PauliSum(observable.num_qubits, tuple(PauliTerm(weight, *key) for key, weight in found.items()))


def _of_term(term: PauliTerm, noise: Noise) -> list[PauliTerm]:
    terms = [term]
    for q in bits(term.x | term.z | term.ctrl_mask):
        zero_as_one, one_as_zero = _misreading(q, noise)
        bit = 1 << q
        without = ~bit
        if term.ctrl_mask & bit:
            rest = zero_as_one if term.ctrl_value & bit else one_as_zero
        else:
            rest = one_as_zero - zero_as_one
        kept = [t for t in (_scaled(each, 1.0 - zero_as_one - one_as_zero) for each in terms) if t.coefficient]
        others = [
            PauliTerm(
                each.coefficient * rest,
                each.x & without,
                each.z & without,
                each.ctrl_mask & without,
                each.ctrl_value & without,
            )
            for each in terms
            if rest
        ]
        terms = kept + others
        if len(terms) > MAX_TERMS:
            break
    return terms


def _scaled(term: PauliTerm, factor: float) -> PauliTerm:
    return PauliTerm(term.coefficient * factor, term.x, term.z, term.ctrl_mask, term.ctrl_value)


def _misreading(qubit: int, noise: Noise) -> tuple[float, float]:
    """The probabilities of reading 1 for 0 and 0 for 1."""
    if any(qubits is not None and len(qubits) > 1 and qubit in qubits for qubits in noise.readout):
        raise UnsupportedInstructionError(
            f"Qubit {qubit} is misread together with others; expectation values with readout=True need errors of "
            "single qubits."
        )
    for _, matrix in noise.misreadings((qubit,)):
        return float(matrix[0, 1]), float(matrix[1, 0])
    return 0.0, 0.0
