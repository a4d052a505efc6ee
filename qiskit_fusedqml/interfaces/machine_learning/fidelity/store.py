"""States of samples that are kept from one call to the next, as a classifier asks for those of its training set."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....arrays import ComplexArray, FloatArray
from .overlaps import States


class CacheInfo(NamedTuple):
    """As of `functools.lru_cache`."""

    hits: int
    misses: int
    maxsize: int | None
    currsize: int


class StateStore:
    """Keeps states by sample, for one circuit with one set of trained values. Calls from several threads are safe.

    Args:
        maxsize: The most states that are kept; those not used for longest go first. None for no bound.
    """

    def __init__(self, maxsize: int | None = None) -> None:
        self._maxsize = maxsize
        self._lock = threading.Lock()
        self.cache_clear()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are empty."""
        return type(self), (self._maxsize,)

    def get(self, context: object, rows: FloatArray, make: States) -> ComplexArray:
        """The states (N, 2**n) of samples.

        Args:
            context: What they belong to besides; another one empties the store.
            rows: The samples (N, num_features).
            make: Makes the states of samples that are not here.
        """
        keys = [row.tobytes() for row in rows]
        with self._lock:
            if context != self._context:
                self._empty(context)
            found = {key: self._states[key] for key in keys if key in self._states}
            for key in found:
                self._states.move_to_end(key)
        wanted = {key: position for position, key in enumerate(keys) if key not in found}
        if wanted:
            positions: NDArray[np.intp] = np.fromiter(wanted.values(), np.intp, len(wanted))
            found.update(zip(wanted, make(rows[positions]), strict=True))
        with self._lock:
            self._hits += len(keys) - len(wanted)
            self._misses += len(wanted)
            if context == self._context:
                self._states.update((key, found[key].copy()) for key in wanted)  # not a view of the whole batch
                while self._maxsize is not None and len(self._states) > self._maxsize:
                    self._states.popitem(last=False)
        return np.stack([found[key] for key in keys])

    def cache_info(self) -> CacheInfo:
        """How many states are here, and how often they were."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, self._maxsize, len(self._states))

    def cache_clear(self) -> None:
        """Forget all states."""
        with self._lock:
            self._empty(None)
            self._hits = self._misses = 0

    def _empty(self, context: object) -> None:
        self._context = context
        self._states: OrderedDict[bytes, NDArray[np.complexfloating]] = OrderedDict()
