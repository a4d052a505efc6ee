"""Work that is recorded once and done again with other numbers: what goes in, what comes out.

A launch before puts a call's arrays where the recorded launches read them, and writes where the results go, which the
last of those launches read. So a call is two launches, one of them a graph, and its results are arrays of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from math import prod
from typing import Any

import numpy as np
from typing_extensions import override

from ..own_memory import Recording, Window
from .constants import RESULTS_BYTES, THREADS
from .launches import Launcher
from .runtime import RecordedMemory
from .sources import arguments, kernel_name

MOST_ARRAYS = 2
"""That go in, and that come out."""

WORDS_IN = 6
"""Arguments of `enter_recording` for each array that goes in; for each that comes out there are two."""


class GPURecording(Recording):
    """Recorded work.

    Args:
        launcher: Launches the kernels.
        work: As of `DeviceWithMemory.record`, like the other arguments.
        inputs: Where arrays go, two at most.
        dtype: Of results.
        kept: What several recordings need together.
        most: Launches that are not too many.

    Raises:
        TooManyLaunchesError: If there are more.
    """

    def __init__(
        self,
        launcher: Launcher,
        work: Callable[[], Sequence[Window]],
        inputs: Sequence[Window],
        dtype: np.dtype[Any],
        kept: RecordedMemory,
        most: int | None,
    ) -> None:
        self._launcher, self._runtime, self._inputs, self._dtype = launcher, launcher.runtime, inputs, dtype
        self._results = self._runtime.empty(RESULTS_BYTES // 8, np.int64)
        self._shapes, self._launches = self._runtime.record(partial(self._with_results, work), kept, most)
        self._staying = [self._runtime.empty(prod(shape), dtype) for shape in self._shapes]
        # what the kernel is given, but for the addresses that differ from call to call
        self._name, empty = kernel_name("enter_recording", single=False), Window(None, 1, 1, (0,))
        values: list[Any] = []
        for window, _ in zip_longest(inputs, range(MOST_ARRAYS), fillvalue=empty):
            assert isinstance(window, Window)
            values += [None, None, window.start, window.columns, window.width, prod(window.shape)]
        self._values = arguments("enter_recording", [*values, self._results, *[None] * (2 * MOST_ARRAYS)])
        self._blocks = (max(1, -(-sum(prod(window.shape) for window in inputs) // THREADS)), 1)
        self._runtime.synchronize()  # what was uploaded is read from any stream from now on

    @override
    def __call__(self, arrays: Sequence[Any], names: Sequence[str], *, stay: bool) -> list[Any]:
        runtime, values = self._runtime, self._values.copy()
        results = self._staying if stay else [runtime.empty(prod(shape), self._dtype) for shape in self._shapes]
        for slot, (array, name) in enumerate(zip(arrays, names, strict=True)):
            numbers = runtime.numbers(array, name)
            values[slot * WORDS_IN + (numbers.dtype == np.float32)] = numbers
        for number, result in enumerate(results):
            values[MOST_ARRAYS * WORDS_IN + 1 + 2 * number + (self._dtype == np.float32)] = result
        runtime.launch(self._name, self._blocks, THREADS, 0, values)
        self._launches.launch()
        return [result.reshape(shape) for result, shape in zip(results, self._shapes, strict=True)]

    def _with_results(self, work: Callable[[], Sequence[Window]]) -> list[tuple[int, ...]]:
        """Record the work, and what takes its results to where they go."""
        found = work()
        for number, window in enumerate(found):
            count = prod(window.shape)
            values = [window.start, window.columns, window.width, count, self._results, number]
            self._launcher.each("leave_recording", count, values)
        return [window.shape for window in found]
