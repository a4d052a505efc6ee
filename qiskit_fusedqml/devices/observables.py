"""Observables on a frame's physical indices, and a device's form of them, kept for the next call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from ..arrays import FloatArray, Int64Array
from ..errors import InvalidInputError
from ..ir.observables import PauliSum
from ..planner.frame import Frame

KEPT_OBSERVABLES = 32
"""Sets of observables that a device keeps; the oldest one goes first."""

_Form = TypeVar("_Form")


class ObservableTerms(NamedTuple):
    """Terms ``coefficient (-1j)**power (-1)**z(i) a[i ^ x]`` where all controls are 1.

    Attributes:
        words: (T, 6) observable, x, z, power, first control, end of controls.
        coefficients: (T,).
        controls: The functionals of all terms' controls.
    """

    words: Int64Array
    coefficients: FloatArray
    controls: Int64Array

    @classmethod
    def of(cls, frame: Frame, sums: Sequence[PauliSum]) -> ObservableTerms:
        """The terms of observables on logical qubits.

        Raises:
            InvalidInputError: If one of them acts on another number of qubits.
        """
        words: list[tuple[int, ...]] = []
        coefficients: list[float] = []
        controls: list[int] = []
        for number, observable in enumerate(sums):
            if observable.num_qubits != frame.num_qubits:
                raise InvalidInputError(
                    f"Observable {number} acts on {observable.num_qubits} qubits; the state has {frame.num_qubits}."
                )
            for term in frame.terms(observable):
                first = len(controls)
                controls.extend(term.controls)
                coefficients.append(term.coefficient)
                words.append((number, term.x, term.z, term.power, first, len(controls)))
        return cls(
            np.array(words, np.int64).reshape(-1, 6), np.array(coefficients, np.float64), np.array(controls, np.int64)
        )


class ObservableCache(Generic[_Form]):
    """Keeps a device's form of observables, by the identity of frame and observables.

    Args:
        make: Makes the form.
    """

    def __init__(self, make: Callable[[Frame, Sequence[PauliSum]], _Form]) -> None:
        self._make = make
        # an entry keeps frame and sums alive, so that their ids stay theirs
        self._entries: dict[tuple[int, ...], tuple[_Form, Frame, tuple[PauliSum, ...]]] = {}
        self._lock = threading.Lock()

    def get(self, frame: Frame, sums: Sequence[PauliSum]) -> _Form:
        """The form of these observables."""
        key = (id(frame), *map(id, sums))
        entry = self._entries.get(key)
        if entry is not None:
            return entry[0]
        form = self._make(frame, sums)
        with self._lock:
            self._entries[key] = (form, frame, tuple(sums))
            while len(self._entries) > KEPT_OBSERVABLES:
                del self._entries[next(iter(self._entries))]
        return form
