"""Final states that outlive a forward pass, for the derivatives that follow it.

Networks ask for values and then, in another call, for derivatives at the same values. A program therefore remembers at
which values it was run last. Once derivatives have been asked for at those very values, the final states of its next
forward passes are kept, and derivatives at the same values begin with them: the forward sweep is made once. Any other
values free the states. Programs that nobody differentiates keep nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..devices import State
from .binding import Binding
from .parameters import ParameterBatch

MAX_KEPT_BYTES = 256 * 2**20
"""Memory for the states that all programs together keep; the oldest are freed first."""

Planner = Callable[..., Binding]
"""From the parameters that differ from row to row and ``batch``, the number of rows, to the plan of the derivatives."""


class Pass(NamedTuple):
    """A forward pass: at which values, by which plan, and what it left (see `Binding.forward`)."""

    parameters: ParameterBatch
    binding: Binding
    forward: tuple[Any, State]


class Shelf:
    """What all programs keep, the oldest first. Each state is handed out once, to one thread."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Start empty.

        Args:
            max_bytes: The most that is kept.
        """
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[int, tuple[Pass, int]] = OrderedDict()
        self._lock = threading.RLock()  # reentrant: the garbage collector may end a program's life anywhere

    def put(self, key: int, kept: Pass, size: int) -> None:
        """Keep a pass of ``size`` bytes, in place of what was there under this key."""
        with self._lock:
            self.take(key)
            self._kept[key] = (kept, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.take(next(iter(self._kept)))

    def take(self, key: int) -> Pass | None:
        """What is kept under the key, which then is no longer here."""
        with self._lock:
            kept, size = self._kept.pop(key, (None, 0))
            self.bytes -= size
            return kept


SHELF = Shelf()
"""The one shelf of the process."""


class Recall:
    """One program's memory of its last forward pass. Calls from several threads at once are safe."""

    def __init__(self, shelf: Shelf = SHELF) -> None:
        """Remember nothing yet.

        Args:
            shelf: Where states are kept.
        """
        self._shelf = shelf
        self._last: ParameterBatch | None = None
        self._planner: Planner | None = None
        weakref.finalize(self, shelf.take, id(self)).atexit = False

    def begin(self, parameters: ParameterBatch, size: int | None) -> Binding | None:
        """Say that a forward pass begins; frees the states of the last one.

        Args:
            parameters: The values.
            size: Bytes of its final states, None if they cannot be kept.

        Returns:
            The plan to run if derivatives are likely to follow, whose states are then for `keep`; else None.
        """
        self._shelf.take(id(self))
        self._last = None if parameters.resident else parameters  # the host would wait for a comparison
        planner = self._planner
        if planner is None or size is None or parameters.resident or size > self._shelf.max_bytes:
            return None
        return planner(parameters.varying, batch=parameters.batch)

    def keep(self, kept: Pass, size: int) -> None:
        """Keep what a pass left; the caller must not use it any more."""
        self._shelf.put(id(self), kept, size)

    def take(self, parameters: ParameterBatch, binding: Binding, planner: Planner) -> tuple[Any, State] | None:
        """What the forward pass at these values and by this plan left, if it was the last one and is still there.

        Args:
            parameters: The values.
            binding: The plan of the derivatives.
            planner: What gives it, for the passes to come.
        """
        kept, last = self._shelf.take(id(self)), self._last
        if kept is not None and kept.binding is binding and _equal(kept.parameters, parameters):
            return kept.forward
        if last is not None and _equal(last, parameters):
            self._planner = planner
        return None


def _equal(one: ParameterBatch, other: ParameterBatch) -> bool:
    return (
        one.varying.key == other.varying.key
        and np.array_equal(one.base, other.base)
        and np.array_equal(one.columns, other.columns)
    )
