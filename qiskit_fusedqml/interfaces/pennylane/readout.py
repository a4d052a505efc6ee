"""Misread outcomes: every bit that is measured is read as the other one with some probability.

What is averaged then is another observable. With U the gates that diagonalise O, ``O = U^-1 diag(v) U``, and F the
flips, outcome i counts ``(F v)[i]`` on average. A Pauli word of m letters is multiplied by ``(1 - 2 p)**m``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from ...arrays import FloatArray, real_number
from .observables import MAX_EXPANDED_WIRES


def checked_probability(given: Any) -> float:
    """``readout_prob`` as a number; None is 0.

    Raises:
        InvalidInputError: If it is no probability.
    """
    if given is None:
        return 0.0
    return real_number(given, "readout_prob", "a probability, 0 to 1, or None", least=0.0, most=1.0)


def flipped(values: FloatArray, probability: float, count: int) -> FloatArray:
    """Averages over flips of each bit of the last axis, (..., 2**count); the map is its own transpose."""
    cube = values.reshape(*values.shape[:-1], *(2,) * count)
    for axis in range(values.ndim - 1, cube.ndim):
        cube = (1.0 - probability) * cube + probability * np.flip(cube, axis)
    return cube.reshape(values.shape)


def misread(obs: Any, probability: float) -> Any:
    """The observable that is averaged instead of an observable; sums are measured term by term."""
    sentence = obs.pauli_rep
    if sentence is not None:
        return _scaled(sentence, probability, obs)
    if isinstance(obs, qml.ops.SProd | qml.ops.Sum):
        numbers, parts = obs.terms()
        return qml.dot(numbers, [misread(part, probability) for part in parts])
    if isinstance(obs, qml.ops.Prod) and not obs.has_overlapping_wires:
        return qml.prod(*(misread(part, probability) for part in obs.operands))
    return _by_outcomes(obs, probability, 1)


def misread_square(obs: Any, probability: float) -> Any:
    """What the squares of misread outcomes of an observable are on average."""
    sentence = obs.pauli_rep
    if sentence is not None and _is_measured_at_once(sentence):
        return _scaled(sentence @ sentence, probability, obs)
    return _by_outcomes(obs, probability, 2)


def _is_measured_at_once(sentence: Any) -> bool:
    """Whether no wire has two letters."""
    return len({item for word in sentence for item in word.items()}) == len(
        {wire for word in sentence for wire in word}
    )


def _scaled(sentence: Any, probability: float, obs: Any) -> Any:
    kept = 1.0 - 2.0 * probability
    numbers = qml.math.unwrap(list(sentence.values()))
    words = {word: number * kept ** len(word) for word, number in zip(sentence, numbers, strict=True)}
    return qml.pauli.PauliSentence(words).operation(wire_order=obs.wires)


def _by_outcomes(obs: Any, probability: float, power: int) -> Any:
    wires = obs.wires
    if len(wires) > MAX_EXPANDED_WIRES:
        raise DeviceError(
            f"{obs} on {len(wires)} wires cannot be measured exactly with readout_prob; at most {MAX_EXPANDED_WIRES} "
            "wires are possible beside Pauli words. Take shots, or measure the terms of a sum."
        )
    values = flipped(np.real(qml.math.unwrap([obs.eigvals()])[0]) ** power, probability, len(wires))
    basis = basis_of(obs.diagonalizing_gates(), wires)
    return qml.Hermitian(basis.conj().T @ (values[:, None] * basis), wires=wires)


def basis_of(gates: Any, wires: Any) -> NDArray[np.complex128]:
    """The product of gates as a matrix on wires, the first one the highest bit."""
    matrix = np.eye(2 ** len(wires), dtype=np.complex128)
    for gate in gates:
        matrix = np.asarray(qml.math.unwrap([gate.matrix(wire_order=wires)])[0], dtype=np.complex128) @ matrix
    return matrix
