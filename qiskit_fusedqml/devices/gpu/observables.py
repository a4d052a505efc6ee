"""Observables as tables of terms for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ir.observables import PauliSum
from ...planner.frame import Frame
from ..observables import ObservableTerms
from .launches import Launcher
from .runtime import Buffer


class LoadedTerms(NamedTuple):
    """Terms on the device: 6 words each, [flip, sign functional, power, first control, end of controls, observable].

    Attributes:
        num_terms: Number of terms.
        words: Of all terms.
        coefficients: Theirs.
        controls: Functionals of their controls.
        bounds: The first term of each observable, and the end; of terms that are ordered by observable.
    """

    num_terms: int
    words: Buffer
    coefficients: Buffer
    controls: Buffer
    bounds: Buffer


def load_observables(launcher: Launcher, frame: Frame, sums: Sequence[PauliSum]) -> tuple[LoadedTerms, LoadedTerms]:
    """Observables in a frame, to be read from any stream: the terms by observable, then flip, and those by flip.

    Raises:
        InvalidInputError: If one of them acts on another number of qubits.
    """
    words, weights, controls = ObservableTerms.of(frame, sums)
    observable, flip = words[:, 0], words[:, 1]
    terms, upload = np.roll(words, -1, axis=1).astype(np.int32), launcher.upload
    bounds = upload(np.searchsorted(observable, np.arange(len(sums) + 1)).astype(np.int32))
    functionals = upload(controls.astype(np.int32))
    orders = np.lexsort((flip, observable)), np.lexsort((observable, flip))
    by_observable, by_flip = (
        LoadedTerms(len(words), upload(terms[order]), upload(weights[order]), functionals, bounds) for order in orders
    )
    launcher.runtime.synchronize()
    return by_observable, by_flip
