"""Final states that outlive a forward sweep, for the derivatives that follow it.

Networks ask for values and then, in another call, for derivatives at the same values. A program therefore remembers at
which values it was run last. Once derivatives have been asked for at those very values, the final states of its next
forward sweeps are kept, and derivatives at the same values begin with them: the forward sweep is made once. Any other
values free the states. Programs that are not differentiated keep nothing.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from ..devices import State
from ..memory import BoundedCache
from .parameters import ParameterBatch
from .sweeps import PlanRequest, Sweeps

MAX_BYTES = 256 * 2**20
"""Memory for the states that all programs together keep."""


class ForwardPass(NamedTuple):
    """A forward sweep: at which values, which one, what it left (see `Sweeps.forward`), and the bytes of that."""

    parameters: ParameterBatch
    sweeps: Sweeps
    forward: tuple[Any, State]
    size: int


KEPT: BoundedCache[int, ForwardPass] = BoundedCache(MAX_BYTES, lambda kept: kept.size)
"""The passes that the programs of this process keep. Each is given out once, to one thread."""


class ForwardCache:
    """One program's last forward sweep. Calls from several threads at once are safe.

    Attributes:
        last: The values of that sweep, until derivatives have been asked for.
    """

    def __init__(self) -> None:
        self.last: ParameterBatch | None = None
        self._followed_by: PlanRequest | None = None
        self._has_kept = False

    def begin(self, parameters: ParameterBatch) -> PlanRequest | None:
        """Free the states of the last forward sweep, as another one begins.

        Returns:
            What the sweeps of the derivatives that are likely to follow are for; None where none are.
        """
        KEPT.drop(id(self))
        self.last = None if parameters.on_device else parameters  # the host would wait for a comparison
        followed_by = None if parameters.on_device else self._followed_by
        return followed_by and followed_by._replace(batched=parameters.batched, batch=parameters.batch)

    def keep(self, kept: ForwardPass) -> None:
        """Keep what a sweep left; the caller must not use it any more."""
        if not self._has_kept:
            self._has_kept = True
            weakref.finalize(self, KEPT.drop, id(self)).atexit = False
        KEPT.put(id(self), kept)

    def take(self, parameters: ParameterBatch, request: PlanRequest, sweeps: Sweeps) -> tuple[Any, State] | None:
        """What the forward sweep at these values left, if it was the last one and is still there.

        Args:
            parameters: The values.
            request: What the sweeps of these derivatives are for, as later calls may be followed by the same.
            sweeps: Those sweeps.
        """
        last, self.last = self.last, None
        if last is None:
            return None
        kept = KEPT.drop(id(self))
        if kept is not None and kept.sweeps is sweeps and _equal(kept.parameters, parameters):
            return kept.forward
        if _equal(last, parameters):
            self._followed_by = request
        return None


def _equal(one: ParameterBatch, other: ParameterBatch) -> bool:
    return (
        one.batched == other.batched
        and np.array_equal(one.shared, other.shared)
        and np.array_equal(one.samples, other.samples)
    )
