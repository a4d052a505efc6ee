"""Observables on a frame's physical indices, and a device's form of them, kept for the next call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import FloatArray, Int64Array
from ..errors import InvalidInputError
from ..ir.observables import PauliSum
from ..memory import BoundedCache
from ..planner.frame import Frame, PhysicalSum

KEPT_OBSERVABLES = 1 << 14
"""Observables, in all sets, that a device keeps."""


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
    def of(cls, frame: Frame, sums: Sequence[PauliSum | PhysicalSum]) -> ObservableTerms:
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


class ObservableCache(BoundedCache[tuple[int, ...], tuple[Any, Frame, tuple[PauliSum, ...]]]):
    """Keeps a device's form of observables, by the identity of frame and observables.

    Args:
        make: Makes the form.
    """

    def __init__(self, make: Callable[[Frame, Sequence[PauliSum]], Any]) -> None:
        super().__init__(KEPT_OBSERVABLES, lambda entry: len(entry[2]))
        self._make = make

    def form(self, frame: Frame, sums: Sequence[PauliSum]) -> Any:
        """The form of these observables."""
        key = (id(frame), *map(id, sums))
        found = self._kept.get(key)
        # an entry keeps frame and sums alive, so that their ids stay theirs
        return self.put(key, (self._make(frame, sums), frame, tuple(sums)))[0] if found is None else found[0][0]
