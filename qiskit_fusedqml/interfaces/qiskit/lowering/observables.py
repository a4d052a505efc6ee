"""Turns the observables that Estimator V2 accepts into Pauli sums."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.quantum_info import Pauli, PauliList, SparseObservable, SparsePauliOp

from ....errors import InvalidInputError
from ....ir.observables import PauliSum, PauliTerm

_ACCEPTED = "str, Pauli, SparsePauliOp, SparseObservable or a mapping from labels to real coefficients"

_SUMS = {
    "X": (("X", 1.0),),
    "Y": (("Y", 1.0),),
    "Z": (("Z", 1.0),),
    "0": (("0", 1.0),),
    "1": (("1", 1.0),),
    "+": (("I", 0.5), ("X", 0.5)),
    "-": (("I", 0.5), ("X", -0.5)),
    "r": (("I", 0.5), ("Y", 0.5)),
    "l": (("I", 0.5), ("Y", -0.5)),
}
"""Each letter of Qiskit's sparse observables as a sum of Paulis and projectors on 0 and 1, which stay single terms."""

_LETTERS = {int(bit_term): _SUMS[bit_term.label] for bit_term in SparseObservable.BitTerm}
"""The same by Qiskit's number for the letter."""

_TOLERANCE = 1e-10
"""Imaginary parts up to this size, relative to the largest coefficient, are rounding."""


def lower_observable(observable: Any, num_qubits: int) -> PauliSum:
    """Read one observable.

    Args:
        observable: A str, Pauli, SparsePauliOp, SparseObservable, or a mapping from labels to coefficients.
        num_qubits: The width it must have.

    Raises:
        InvalidInputError: If it is of another type or width, is not Hermitian, or has no terms.
    """
    sparse = _sparse(observable)
    if sparse.num_qubits != num_qubits:
        raise InvalidInputError(
            f"The observable {_short(observable)} has {sparse.num_qubits} qubits, the circuit has {num_qubits}; "
            "they must be equal (SparsePauliOp.apply_layout widens an observable)."
        )
    if not sparse.num_terms:
        raise InvalidInputError("The observable has no terms; write 0 * I for the zero observable.")
    coefficients = np.asarray(sparse.coeffs)
    if not np.isfinite(coefficients).all():
        raise InvalidInputError(f"The observable {_short(observable)} has a coefficient that is NaN or infinite.")
    sums: dict[tuple[int, int, int, int], complex] = {}
    letters, qubits = (
        [_LETTERS[code] for code in np.asarray(sparse.bit_terms).tolist()],
        np.asarray(sparse.indices).tolist(),
    )
    boundaries = np.asarray(sparse.boundaries).tolist()
    for coefficient, start, stop in zip(coefficients.tolist(), boundaries, boundaries[1:], strict=False):
        for choice in itertools.product(*letters[start:stop]):
            key, factor = _masks(choice, qubits[start:stop])
            sums[key] = sums.get(key, 0.0) + coefficient * factor
    largest = max(abs(coefficient) for coefficient in sums.values())
    if any(abs(coefficient.imag) > _TOLERANCE * largest for coefficient in sums.values()):
        raise InvalidInputError(
            f"The observable {_short(observable)} is not Hermitian: it has complex coefficients. Split it into its "
            "Hermitian and anti-Hermitian parts."
        )
    terms = tuple(PauliTerm(float(coefficient.real), *key) for key, coefficient in sums.items() if coefficient)
    return PauliSum(num_qubits, terms or (PauliTerm(0.0, 0, 0),))


def lower_observables(observables: Any, num_qubits: int) -> tuple[list[PauliSum], tuple[int, ...]]:
    """Read anything Estimator V2 accepts: one observable, or an array of them.

    Args:
        observables: An observable, an ObservablesArray, or nested sequences or an object array of observables.
        num_qubits: The width of each.

    Returns:
        The observables flattened in C order, and the array's shape (``()`` for a single one).

    Raises:
        InvalidInputError: As `lower_observable`, or if nested sequences have unequal lengths.
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
        if isinstance(observable, SparseObservable):
            return observable
        if isinstance(observable, SparsePauliOp):
            return SparseObservable.from_sparse_pauli_op(observable)
        if isinstance(observable, Pauli):
            return SparseObservable.from_pauli(observable)
        if isinstance(observable, str):
            return SparseObservable.from_label(observable)
        if isinstance(observable, Mapping):
            return SparseObservable.from_list([_labelled(*item) for item in observable.items()])
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The observable {_short(observable)} cannot be read: {error}.") from error
    hint = " (convert a matrix with SparsePauliOp.from_operator)" if hasattr(observable, "data") else ""
    raise InvalidInputError(f"An observable is a {_ACCEPTED}; got {type(observable).__name__}{hint}.")


def _labelled(key: str | Pauli, coefficient: complex) -> tuple[str, complex]:
    """A mapping's entry with a plain label; a Pauli's phase moves into the coefficient."""
    if isinstance(key, Pauli):
        return key[:].to_label(), (-1j) ** key.phase * coefficient
    return key, coefficient


def _masks(choice: tuple[tuple[str, float], ...], qubits: list[int]) -> tuple[tuple[int, int, int, int], float]:
    x = z = ctrl_mask = ctrl_value = 0
    factor = 1.0
    for (letter, weight), qubit in zip(choice, qubits, strict=True):
        bit = 1 << qubit
        x |= bit if letter in "XY" else 0
        z |= bit if letter in "YZ" else 0
        ctrl_mask |= bit if letter in "01" else 0
        ctrl_value |= bit if letter == "1" else 0
        factor *= weight
    return (x, z, ctrl_mask, ctrl_value), factor


def _short(observable: Any) -> str:
    text = " ".join(repr(observable).split())
    return text if len(text) <= 80 else text[:77] + "..."
