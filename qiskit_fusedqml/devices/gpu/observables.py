"""Observables as tables of terms for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.observables import PauliSum
from ...planner.frame import Frame
from ..observables import ObservableTerms
from .launches import Launcher
from .runtime import Buffer


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
    """

    terms: Buffer
    coefficients: Buffer
    bounds: Buffer
    terms_by_flip: Buffer
    coefficients_by_flip: Buffer
    controls: Buffer
    num_terms: int


def load_observables(launcher: Launcher, frame: Frame, sums: Sequence[PauliSum]) -> LoadedObservables:
    """Observables in a frame, to be read from any stream.

    Raises:
        InvalidInputError: If one of them acts on another number of qubits.
    """
    words, weights, controls = ObservableTerms.of(frame, sums)
    observable, flip = words[:, 0], words[:, 1]
    terms, upload = np.roll(words, -1, axis=1).astype(np.int32), launcher.upload
    by_observable, by_flip = np.lexsort((flip, observable)), np.lexsort((observable, flip))
    loaded = LoadedObservables(
        upload(terms[by_observable]),
        upload(weights[by_observable]),
        upload(np.searchsorted(observable, np.arange(len(sums) + 1)).astype(np.int32)),
        upload(terms[by_flip]),
        upload(weights[by_flip]),
        upload(controls.astype(np.int32)),
        len(terms),
    )
    launcher.runtime.synchronize()
    return loaded
