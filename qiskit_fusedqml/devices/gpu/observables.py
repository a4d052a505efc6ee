"""Observables as tables of terms for the kernels."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InvalidInputError
from ...ir.observables import PauliSum
from ...planner.frame import Frame
from .launches import Launcher
from .runtime import Buffer

KEPT_OBSERVABLES = 32
"""Loaded sets of observables; the least recently used one goes first."""


@dataclass(frozen=True, eq=False)
class LoadedObservables:
    """Terms on the device: 6 words each, [flip, sign functional, power, first control, end of controls, observable].

    Attributes:
        terms: Ordered by observable, then by flip.
        coefficients: Theirs.
        bounds: The first term of each observable, and the end.
        terms_by_flip: All terms, ordered by flip.
        coefficients_by_flip: Theirs.
        controls: Functionals of the terms' controls.
        num_terms: Number of terms.
        frame: Kept alive, so that its id stays its own.
        sums: The same.
    """

    terms: Buffer
    coefficients: Buffer
    bounds: Buffer
    terms_by_flip: Buffer
    coefficients_by_flip: Buffer
    controls: Buffer
    num_terms: int
    frame: Frame
    sums: tuple[PauliSum, ...]


class ObservableCache:
    """Loads observables once for each frame."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._entries: OrderedDict[tuple[int, ...], LoadedObservables] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, frame: Frame, sums: Sequence[PauliSum]) -> LoadedObservables:
        """The observables in a frame.

        Raises:
            InvalidInputError: If one of them acts on another number of qubits.
        """
        key = (id(frame), *map(id, sums))
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry
        entry = _load(self._launcher, frame, sums)
        self._launcher.runtime.synchronize()
        with self._lock:
            self._entries[key] = entry
            while len(self._entries) > KEPT_OBSERVABLES:
                self._entries.popitem(last=False)
        return entry


def _load(launcher: Launcher, frame: Frame, sums: Sequence[PauliSum]) -> LoadedObservables:
    rows: list[tuple[int, ...]] = []
    controls: list[int] = []
    coefficients: list[float] = []
    bounds = [0]
    for number, observable in enumerate(sums):
        if observable.num_qubits != frame.num_qubits:
            raise InvalidInputError(
                f"Observable {number} acts on {observable.num_qubits} qubits; the state has {frame.num_qubits}."
            )
        for term in sorted(frame.terms(observable), key=lambda term: term.x):
            first = len(controls)
            controls.extend(term.controls)
            rows.append((term.x, term.z, term.power, first, len(controls), number))
            coefficients.append(term.coefficient)
        bounds.append(len(rows))
    terms = np.array(rows, np.int32).reshape(-1, 6)
    weights = np.array(coefficients, np.float64)
    order = np.argsort(terms[:, 0], kind="stable")
    return LoadedObservables(
        launcher.upload(terms),
        launcher.upload(weights),
        launcher.upload(np.array(bounds, np.int32)),
        launcher.upload(terms[order]),
        launcher.upload(weights[order]),
        launcher.upload(np.array(controls, np.int32)),
        len(rows),
        frame,
        tuple(sums),
    )
