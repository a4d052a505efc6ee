"""The ranks that share states: calls that they make together, and exchanges of amplitudes."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ..arrays import FloatArray
from ..devices import RankDevice, State
from ..devices.pieces import Piece
from .agreement import Agreement, digest
from .communicators import Communicator, gathered, summed
from .layouts import Exchange

Result = TypeVar("Result")

PIECE_BYTES = 1 << 20
"""Bytes that are packed and sent at a time: what a cache holds while it is sent."""


class Ranks:
    """What a device needs of the other ranks.

    Args:
        comm: The communicator.
        inner: The device that holds this rank's parts.
        amplitude_bytes: Bytes of an amplitude.

    Attributes:
        rank: This rank's number.
        size: How many there are.
        comm: The communicator.
        bytes_sent: Bytes of amplitudes that this rank has sent.
        num_exchanges: Exchanges that it has taken part in.
    """

    def __init__(self, comm: Communicator, inner: RankDevice, amplitude_bytes: int) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self._inner = inner
        self._amplitude_bytes = amplitude_bytes
        self._real: type[np.floating[Any]] = np.float32 if amplitude_bytes == 8 else np.float64
        self._agreement = Agreement(comm)
        self._lock = threading.RLock()
        self.bytes_sent = self.num_exchanges = 0

    @contextmanager
    def call(self, name: str, *structure: str, numbers: Sequence[Any] = ()) -> Iterator[None]:
        """A call that all ranks make; threads of one rank make theirs one after the other.

        Raises:
            RankMismatchError: If the ranks do not make the same call.
        """
        with self._lock:
            self._agreement.begin(name, digest(structure), digest(numbers))
            yield

    def step(self, action: Callable[[], Result]) -> Result:
        """What an action returns, if it raises on no rank."""
        return self._agreement.step(action)

    def summed(self, values: FloatArray) -> FloatArray:
        """The sum over all ranks, the same bits on each."""
        return summed(self.comm, values)

    def gathered(self, values: np.ndarray[Any, Any]) -> Any:
        """An array of each rank, one after the other."""
        return gathered(self.comm, values)

    def common_budget(self, budget: int, *, of_machine: bool) -> int:
        """Bytes that states may take on every rank: the least of all, shared by the ranks of one machine."""
        name = np.frombuffer(digest([platform.node() if of_machine else str(self.rank)]), np.int64)
        machines, budgets = self.gathered(np.array([name[0], budget])).T
        return min(
            int(each) // int(np.sum(machines == machine)) for machine, each in zip(machines, budgets, strict=True)
        )

    def exchange(self, exchange: Exchange, parts: Sequence[State], batch: int) -> None:
        """Swap pieces of parts with other ranks, in place."""
        vectors = exchange.vectors
        size = 1 << len(vectors)
        count = min(size, 1 << max(PIECE_BYTES // (self._amplitude_bytes * batch), 1).bit_length() - 1)
        sent, received = (np.empty(2 * count * batch, self._real) for _ in range(2))
        for other, offset in exchange.partners(self.rank):
            for part in parts:
                for first in range(0, size, count):
                    piece = Piece(vectors, offset, first, count)
                    self._inner.pack(part, piece, sent)
                    self.comm.swap(other, sent, received)
                    self._inner.unpack(part, piece, received)
                    self.bytes_sent += sent.nbytes
        self.num_exchanges += len(parts)
