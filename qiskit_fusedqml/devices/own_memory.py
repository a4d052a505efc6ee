"""The interface to devices with a memory of their own, where callers may have arrays, too.

What is done there is in order on a stream, which the caller may change. A step's launches can be recorded once and made
again with other numbers (`DeviceWithMemory.record`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..planner.tables import BindingTables
from . import Device


class BoundOnDevice(Protocol):
    """What `Bound` is on the host, where values, overlaps and gradients are in a device's memory."""

    @property
    def coefficients(self) -> Any:
        """What this device takes in the place of `Coefficients`."""
        ...

    @abstractmethod
    def pull(self, overlaps: Any, *, per_sample: bool) -> tuple[Any, Any]:
        """Gradients from overlaps (S,) summed over the batch, or (B, S).

        With ``per_sample``: those of all parameters by sample (B, P), and None. Otherwise those (P,) of what all
        samples share, and (B, V) of the batched parameters, or None for overlaps summed over the batch. More columns
        may follow, those of expressions.
        """


class Window(NamedTuple):
    """Columns of a table in a device's memory, as an array.

    Attributes:
        start: The table's numbers in a row, from the first one on that belongs to the columns.
        columns: How many columns they are.
        width: How many the table has.
        shape: Of the array.
    """

    start: Any
    columns: int
    width: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, table: Any, first: int, columns: int, shape: tuple[int, ...]) -> Window:
        """Some columns of a table (rows, width), or of its only row (width,)."""
        return cls(table.reshape(-1)[first:], columns, table.shape[-1], shape)


class Recording(Protocol):
    """Work of a device that is done again with other numbers."""

    @abstractmethod
    def __call__(self, arrays: Sequence[Any], names: Sequence[str], *, stay: bool) -> list[Any]:
        """Results for some arrays, on the current stream.

        Args:
            arrays: What goes in, on the host or in the device's memory.
            names: Their names, for messages.
            stay: Whether results are written anew to the same place each time, instead of arrays of their own.

        Raises:
            InvalidInputError: As of `DeviceWithMemory.take`.
        """


class DeviceWithMemory(Protocol):
    """A `Device` with a memory of its own, where callers may have arrays, too.

    What is done there is in order on a stream, which the caller may change.
    """

    @property
    def on_device(self) -> Device:
        """The same device; expectation values, amplitudes and probabilities stay in its memory."""
        ...

    @abstractmethod
    def bind(self, tables: BindingTables, shared: Any, batched: Any) -> BoundOnDevice:
        """Coefficients from parameters in that memory.

        Values are not checked, to avoid a device synchronisation.

        Args:
            tables: From parameters to coefficients.
            shared: The parameters (P,) of the first sample.
            batched: (B, V) those that differ from sample to sample.
        """

    @abstractmethod
    def current(self, stream: int | None = None) -> AbstractContextManager[Any]:
        """Where arithmetic on arrays in that memory takes place: its library works on this device in the context.

        Args:
            stream: The address of another library's stream that it works on there; None for the stream that it is on.
        """

    @abstractmethod
    def take(self, array: Any, name: str) -> Any:
        """A copy in that memory in double precision, wherever the array is; the name is for messages.

        Raises:
            InvalidInputError: If it is in the memory of another device of the same kind, or its numbers are not real.
        """

    @abstractmethod
    def stream(self) -> Hashable:
        """The current stream."""

    @property
    @abstractmethod
    def is_captured(self) -> bool:
        """Whether somebody captures what is done on the current stream, to have it done again later."""

    @abstractmethod
    def record(
        self,
        work: Callable[[], Sequence[Window]],
        inputs: Sequence[Window],
        dtype: np.dtype[Any],
        kept: dict[object, Any],
        most: int | None = None,
    ) -> Recording | None:
        """Record what is asked of the device, which is not done yet.

        Args:
            work: Calls methods of `Device` (that of `on_device`) and `BoundOnDevice`, and does no arithmetic with
                arrays. It returns the results, two at most.
            inputs: Where the arrays go that it reads, two at most.
            dtype: Of results.
            kept: What several recordings need together; a dictionary for them alone, empty at first.
            most: Launches that are not too many.

        Returns:
            The work, or None if it is more than that.
        """

    @abstractmethod
    def is_on_device(self, array: object) -> bool:
        """Whether an array of the caller is in that memory."""

    @abstractmethod
    def to_host(self, array: Any) -> NDArray[np.float64]:
        """Numbers in that memory as a NumPy array."""

    @abstractmethod
    def from_host(self, array: NDArray[Any]) -> Any:
        """An array in that memory."""


def has_memory(device: object) -> TypeGuard[DeviceWithMemory]:
    """Whether a device has a memory of its own."""
    return hasattr(device, "is_on_device")


def run_where_arrays_are(
    memory: DeviceWithMemory | None, owner: object, names: Sequence[str]
) -> DeviceWithMemory | None:
    """Have methods of an object run where arithmetic on arrays in a device's memory takes place; the device or None."""
    if memory is None:
        return None

    def within(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with memory.current():
                return method(*args, **kwargs)

        return call

    for name in names:
        setattr(owner, name, within(getattr(owner, name)))
    return memory
