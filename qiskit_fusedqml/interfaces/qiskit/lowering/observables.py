"""Turns the observables that Estimator V2 accepts into a canonical form, and into Pauli sums."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Pauli, PauliList, SparseObservable, SparsePauliOp

from ....errors import InvalidInputError
from ....ir.observables import PauliSum, PauliTerm
from ....memory import BoundedCache

_ACCEPTED = "str, Pauli, SparsePauliOp, SparseObservable or a mapping from labels to real coefficients"

MAX_OPERATORS = 1 << 12
"""Operators whose canonical form is remembered."""

MAX_TERMS = 64
"""The most terms that such an operator has; longer ones cost more than finding out that they are known."""

_NONE, _X, _Y, _Z, _ZERO, _ONE = (0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 1, 1)
"""What a letter sets in the masks of a `PauliTerm`: x, z, ctrl_mask, ctrl_value."""

_SUMS = {
    "X": ((_X, 1.0),),
    "Y": ((_Y, 1.0),),
    "Z": ((_Z, 1.0),),
    "0": ((_ZERO, 1.0),),
    "1": ((_ONE, 1.0),),
    "+": ((_NONE, 0.5), (_X, 0.5)),
    "-": ((_NONE, 0.5), (_X, -0.5)),
    "r": ((_NONE, 0.5), (_Y, 0.5)),
    "l": ((_NONE, 0.5), (_Y, -0.5)),
}
"""Each letter of Qiskit's sparse observables as a sum of Paulis and projectors on 0 and 1, which stay single terms."""

_LETTERS = {int(bit_term): _SUMS[bit_term.label] for bit_term in SparseObservable.BitTerm}
"""The same by Qiskit's number for the letter."""

_TOLERANCE = 1e-10
"""Imaginary parts up to this size, relative to the largest coefficient, are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Observable:
    """An observable in canonical form.

    Attributes:
        key: Equal for observables with the same terms.
        value: The observable, simplified, with real coefficients (in Qiskit 2.0 a mapping from labels).
        num_qubits: Its width.
        num_terms: Number of its terms.
    """

    key: Hashable
    value: SparseObservable | Mapping[str, float]
    num_qubits: int
    num_terms: int


def canonical(observable: Any) -> Observable:
    """The canonical form of anything Estimator V2 accepts; Qiskit's TypeError or ValueError for anything else."""
    if type(observable) is not SparsePauliOp or observable.size > MAX_TERMS or observable.coeffs.dtype != complex:
        return from_coerced(ObservablesArray.coerce_observable(observable))
    paulis = observable.paulis
    content = (paulis.x, paulis.z, paulis.phase, observable.coeffs)
    key = (observable.num_qubits, *(array.tobytes() for array in content))
    return _operators.get(key, lambda: from_coerced(ObservablesArray.coerce_observable(observable)))


_operators: BoundedCache[Hashable, Observable] = BoundedCache(MAX_OPERATORS)


def from_coerced(value: SparseObservable | Mapping[str, float]) -> Observable:
    """The same for an entry of an `ObservablesArray`, which has been simplified and checked already."""
    if isinstance(value, Mapping):
        return Observable(frozenset(value.items()), value, len(next(iter(value))), len(value))
    arrays = (value.coeffs, value.bit_terms, value.indices, value.boundaries)
    key = (value.num_qubits, *(np.asarray(array).tobytes() for array in arrays))
    return Observable(key, value, value.num_qubits, value.num_terms)


def with_layout(observable: Observable, layout: Any, num_qubits: int | None = None) -> Observable:
    """The observable on the qubits of a transpiled circuit, by its layout or a list of places among so many qubits."""
    value = observable.value
    operator = SparsePauliOp.from_list(list(value.items())) if isinstance(value, Mapping) else value
    return canonical(operator.apply_layout(layout, num_qubits))


def lower_observable(observable: Any, num_qubits: int) -> PauliSum:
    """Read one observable of this width, of the types that `_ACCEPTED` names."""
    sparse = _sparse(observable)
    if sparse.num_qubits != num_qubits:
        raise InvalidInputError(
            f"The observable {_short(observable)} has {sparse.num_qubits} qubits, the circuit has {num_qubits}; "
            f"they must be equal (SparsePauliOp.apply_layout widens an observable).{_label_hint(observable)}"
        )
    if not sparse.num_terms:
        raise InvalidInputError("The observable has no terms; write 0 * I for the zero observable.")
    coefficients = np.asarray(sparse.coeffs)
    if not np.isfinite(coefficients).all():
        raise InvalidInputError(f"The observable {_short(observable)} has a coefficient that is NaN or infinite.")
    sums: dict[tuple[int, ...], complex] = {}
    letters = [_LETTERS[code] for code in np.asarray(sparse.bit_terms).tolist()]
    qubits = np.asarray(sparse.indices).tolist()
    boundaries = np.asarray(sparse.boundaries).tolist()
    for coefficient, start, stop in zip(coefficients.tolist(), boundaries, boundaries[1:], strict=False):
        for choice in itertools.product(*letters[start:stop]):
            key: tuple[int, ...] = (0, 0, 0, 0)
            factor = coefficient
            for (flags, weight), qubit in zip(choice, qubits[start:stop], strict=True):
                key = tuple(mask | flag << qubit for mask, flag in zip(key, flags, strict=True))
                factor *= weight
            sums[key] = sums.get(key, 0.0) + factor
    largest = max(abs(coefficient) for coefficient in sums.values())
    if any(abs(coefficient.imag) > _TOLERANCE * largest for coefficient in sums.values()):
        raise InvalidInputError(
            f"The observable {_short(observable)} is not Hermitian: it has complex coefficients. Split it into its "
            "Hermitian and anti-Hermitian parts."
        )
    terms = tuple(PauliTerm(float(coefficient.real), *key) for key, coefficient in sums.items() if coefficient)
    return PauliSum(num_qubits, terms or (PauliTerm(0.0, 0, 0),))


def lower_observables(observables: Any, num_qubits: int) -> tuple[list[PauliSum], tuple[int, ...]]:
    """Read anything Estimator V2 accepts: one observable, or nested sequences or an array of observables.

    Returned are the observables flattened in C order, and the array's shape (``()`` for a single one).
    """
    if hasattr(observables, "sparse_observables_array"):  # ObservablesArray from Qiskit 2.1 on
        observables = observables.sparse_observables_array()
    elif type(observables).__name__ == "ObservablesArray":
        observables = np.asarray(observables)
    flat, shape = _flatten(observables)
    return [lower_observable(observable, num_qubits) for observable in flat], shape


def _flatten(observables: Any) -> tuple[list[Any], tuple[int, ...]]:
    if isinstance(observables, np.ndarray):
        return list(observables.reshape(-1)), observables.shape
    if not isinstance(observables, list | tuple | PauliList):
        return [observables], ()
    parts = [_flatten(item) for item in observables]
    shapes = {shape for _, shape in parts}
    if len(shapes) > 1:
        raise InvalidInputError(f"The observables are nested unevenly: parts have the shapes {sorted(shapes)}.")
    inner = shapes.pop() if shapes else ()
    return [item for items, _ in parts for item in items], (len(parts), *inner)


def _sparse(observable: Any) -> SparseObservable:
    try:
        if isinstance(observable, (SparseObservable, SparsePauliOp, Pauli, str)):
            return SparseObservable(observable)
        if isinstance(observable, Mapping):
            return SparseObservable.from_list([_labelled(*item) for item in observable.items()])
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The observable {_short(observable)} cannot be read: {error}.{_label_hint(observable)}"
        ) from error
    hint = " (convert a matrix with SparsePauliOp.from_operator)" if hasattr(observable, "data") else ""
    raise InvalidInputError(f"An observable is a {_ACCEPTED}; got {type(observable).__name__}{hint}.")


def _label_hint(observable: Any) -> str:
    """What to know about labels, where one was given: "Z0" is no Z on qubit 0, but 0 is a letter, too."""
    if not isinstance(observable, str | Mapping):
        return ""
    return ' Labels hold one letter a qubit, that of qubit 0 last: Z on qubit 0 of four is "IIIZ".'


def _labelled(key: str | Pauli, coefficient: complex) -> tuple[str, complex]:
    """A mapping's entry with a plain label; a Pauli's phase moves into the coefficient."""
    if isinstance(key, Pauli):
        return key[:].to_label(), (-1j) ** key.phase * coefficient
    return key, coefficient


def _short(observable: Any) -> str:
    text = " ".join(repr(observable).split())
    return text if len(text) <= 80 else text[:77] + "..."
