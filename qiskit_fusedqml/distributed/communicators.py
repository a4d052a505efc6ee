"""Communicators: what ranks say to each other, over MPI, over `torch.distributed`, or between threads.

There is no transport of our own. A `Communicator` swaps buffers with one other rank, gathers small arrays from all, and
ends the job. Everything that waits has an end: after ``timeout`` seconds `CommunicationError` is raised.

Sums of numbers are made by recursive doubling (`summed`): as a + b == b + a to the bit, they are the same bits on all
ranks, and over runs.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import FloatArray, real_number, shown
from ..errors import CommunicationError, InvalidInputError

Bytes = NDArray[np.uint8]

SPINS = 2_000
"""How often completion is asked for before the processor is offered to others: about a millisecond."""


SUMMED = 1 << 17
"""Numbers that are sent at a time where they are added up."""


class Communicator(Protocol):
    """A group of ranks that call the same methods in the same order.

    Attributes:
        rank: This rank's number.
        size: How many there are.
    """

    rank: int
    size: int

    @abstractmethod
    def swap(self, partner: int, sent: NDArray[Any], received: NDArray[Any]) -> None:
        """Send a contiguous array to a rank and receive one of the same size from it.

        Raises:
            CommunicationError: If it has not come within the time allowed.
        """

    @abstractmethod
    def allgather(self, sent: Bytes) -> Bytes:
        """The arrays (m,) of all ranks, (size, m), in their order.

        Raises:
            CommunicationError: As of `swap`.
        """

    @abstractmethod
    def split(self, group: int) -> Communicator:
        """A communicator of the ranks that give the same number, in their order; every rank has to call it."""

    @abstractmethod
    def abort(self, message: str) -> None:
        """End all ranks, where the transport can."""


def summed(comm: Communicator, values: FloatArray) -> FloatArray:
    """The sum over a power of two of ranks, the same bits on all of them."""
    total = np.array(values, dtype=np.float64)
    flat = total.reshape(-1)
    other = np.empty(min(flat.size, SUMMED))
    for i in range(comm.size.bit_length() - 1):
        for first in range(0, flat.size, SUMMED):
            own = flat[first : first + SUMMED]
            comm.swap(comm.rank ^ 1 << i, own, other[: len(own)])
            own += other[: len(own)]
    return total


def gathered(comm: Communicator, values: NDArray[Any]) -> NDArray[Any]:
    """The arrays (...) of all ranks, (size, ...), of one shape and type."""
    own = np.ascontiguousarray(values)
    found = comm.allgather(own.reshape(-1).view(np.uint8))
    return found.view(own.dtype).reshape(comm.size, *own.shape)


def communicator(comm: Any, timeout: float = 600.0) -> Communicator:
    """What is given, as a `Communicator`.

    Args:
        comm: A communicator of mpi4py (``MPI.COMM_WORLD``), a process group of `torch.distributed`, or one of ours.
        timeout: Seconds that a rank waits for another at most.

    Raises:
        InvalidInputError: If it is none of these, or ``timeout`` is not positive.
    """
    timeout = real_number(timeout, "comm_timeout", "a positive number of seconds", least=1e-3)
    module = type(comm).__module__
    if module.startswith("mpi4py"):
        return MPICommunicator(comm, timeout)
    if module.startswith("torch"):
        return TorchCommunicator(comm, timeout)
    if isinstance(comm, type) or not all(hasattr(comm, name) for name in ("rank", "size", "swap", "allgather")):
        raise InvalidInputError(
            f"comm is {shown(comm)}; a communicator of mpi4py such as MPI.COMM_WORLD, or a process group of "
            "torch.distributed, is expected."
        )
    own: Communicator = comm
    return own


def _too_late(rank: int, partner: str, timeout: float) -> CommunicationError:
    return CommunicationError(
        f"Rank {rank} has waited {timeout:g} s for {partner}. That rank has failed, has left, or is slower: every rank "
        "must make the same calls, and comm_timeout=... allows more time."
    )


class MPICommunicator(Communicator):
    """Over a duplicate of a communicator of mpi4py, so that no other message is taken for one of ours."""

    def __init__(self, comm: Any, timeout: float) -> None:
        from mpi4py import MPI

        self.rank, self.size, self.timeout = comm.Get_rank(), comm.Get_size(), timeout
        self._all_done: Callable[[Any], bool] = MPI.Request.Testall
        self._is_lost = False
        if self.size > 1:
            _abort_after_errors(comm)
        self._comm, made = comm.Idup()
        self._wait([made], "the other ranks")

    @override
    def swap(self, partner: int, sent: NDArray[Any], received: NDArray[Any]) -> None:
        receive = self._comm.Irecv(_as_bytes(received), partner)
        send = self._comm.Isend(_as_bytes(sent), partner)
        self._wait([send, receive], f"rank {partner}")

    @override
    def allgather(self, sent: Bytes) -> Bytes:
        found = np.empty((self.size, len(sent)), np.uint8)
        self._wait([self._comm.Iallgather(sent, found)], "the other ranks")
        return found

    @override
    def split(self, group: int) -> MPICommunicator:
        return MPICommunicator(self._comm.Split(group, self.rank), self.timeout)

    @override
    def abort(self, message: str) -> None:
        print(message, file=sys.stderr)  # noqa: T201 (nobody is left to raise to)
        _end_job(self._comm)

    def _wait(self, requests: list[Any], partner: str) -> None:
        if self._is_lost:
            raise CommunicationError("Ranks have not answered before, so that messages are out of step. Start again.")
        spins, end = 0, 0.0
        while not self._all_done(requests):
            spins += 1
            if spins < SPINS:
                continue
            now = time.monotonic()
            end = end or now + self.timeout
            if now > end:
                self._is_lost = True
                raise _too_late(self.rank, partner, self.timeout)
            os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)


def _as_bytes(array: NDArray[Any]) -> Bytes:
    return array.reshape(-1).view(np.uint8)


_aborts_after_errors = False


def _end_job(comm: Any) -> None:
    sys.stderr.flush()
    time.sleep(0.3)  # what launchers have not read from a rank by then is lost when they kill it
    comm.Abort(1)


def _abort_after_errors(comm: Any) -> None:
    """From now on an error that nobody catches ends the other ranks, too, instead of leaving them waiting."""
    global _aborts_after_errors  # noqa: PLW0603 (the interpreter has one such hook)
    if _aborts_after_errors:
        return
    _aborts_after_errors = True
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        before(kind, error, trace)
        _end_job(comm)

    sys.excepthook = hook


class TorchCommunicator(Communicator):
    """Over a process group of `torch.distributed`: gloo, or NCCL by way of the current GPU's memory."""

    def __init__(self, group: Any, timeout: float) -> None:
        import torch
        from torch import distributed

        self._torch, self._distributed, self._group, self.timeout = torch, distributed, group, timeout
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        self._on_gpu = distributed.get_backend(group) == "nccl"

    @override
    def swap(self, partner: int, sent: NDArray[Any], received: NDArray[Any]) -> None:
        with_partner = self._distributed.get_global_rank(self._group, partner)
        out, into = self._tensor(_as_bytes(sent)), self._tensor(_as_bytes(received))
        P2POp, d = self._distributed.P2POp, self._distributed
        pair = [P2POp(d.isend, out, with_partner, self._group), P2POp(d.irecv, into, with_partner, self._group)]
        self._wait(d.batch_isend_irecv(pair), f"rank {partner}")
        if self._on_gpu:
            _as_bytes(received)[:] = into.cpu().numpy()

    @override
    def allgather(self, sent: Bytes) -> Bytes:
        found = [self._tensor(np.empty_like(sent)) for _ in range(self.size)]
        work = self._distributed.all_gather(found, self._tensor(sent), group=self._group, async_op=True)
        end = time.monotonic() + self.timeout
        while not work.is_completed():  # gloo waits for collectives as long as the process group says
            if time.monotonic() > end:
                raise _too_late(self.rank, "the other ranks", self.timeout)
            time.sleep(0)
        self._wait([work], "the other ranks")
        return np.stack([each.cpu().numpy() for each in found])

    @override
    def split(self, group: int) -> TorchCommunicator:
        numbers = gathered(self, np.array([group], np.int64))[:, 0]
        own = self
        for number in sorted(set(numbers.tolist())):  # every rank takes part in the making of every group
            ranks = np.flatnonzero(numbers == number).tolist()
            members = [self._distributed.get_global_rank(self._group, rank) for rank in ranks]
            made = self._distributed.new_group(members)
            if number == group:
                own = TorchCommunicator(made, self.timeout)
        return own

    @override
    def abort(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)  # noqa: T201 (nobody is left to raise to)
        os._exit(1)

    def _tensor(self, array: NDArray[Any]) -> Any:
        tensor = self._torch.from_numpy(array)
        return tensor.cuda() if self._on_gpu else tensor

    def _wait(self, works: list[Any], partner: str) -> None:
        try:
            for work in works:
                work.wait(timedelta(seconds=self.timeout))
        except RuntimeError as error:
            raise CommunicationError(f"{_too_late(self.rank, partner, self.timeout).message} ({error})") from error


class _Room:
    """What the ranks of `thread_ranks` share: a queue for each pair of them."""

    def __init__(self, size: int) -> None:
        self.queues: dict[tuple[int, int], queue.Queue[Any]] = {
            (i, j): queue.Queue() for i in range(size) for j in range(size)
        }
        self.aborted = threading.Event()
        self.rooms: dict[tuple[int, ...], _Room] = {}
        self.lock = threading.Lock()


class ThreadCommunicator(Communicator):
    """One of several threads of this process, for tests and for trying things out; made by `thread_ranks`."""

    def __init__(self, room: _Room, rank: int, size: int, timeout: float) -> None:
        self._room, self.rank, self.size, self.timeout = room, rank, size, timeout

    @override
    def swap(self, partner: int, sent: NDArray[Any], received: NDArray[Any]) -> None:
        self._room.queues[self.rank, partner].put(_as_bytes(sent).copy())
        _as_bytes(received)[:] = self._next(partner)

    @override
    def allgather(self, sent: Bytes) -> Bytes:
        for other in range(self.size):
            self._room.queues[self.rank, other].put(sent.copy())
        return np.stack([self._next(other) for other in range(self.size)])

    @override
    def split(self, group: int) -> ThreadCommunicator:
        numbers = gathered(self, np.array([group], np.int64))[:, 0]
        members = tuple(np.flatnonzero(numbers == group).tolist())
        with self._room.lock:
            room = self._room.rooms.setdefault(members, _Room(len(members)))
        return ThreadCommunicator(room, members.index(self.rank), len(members), self.timeout)

    @override
    def abort(self, message: str) -> None:
        self._room.aborted.set()

    def _next(self, other: int) -> Any:
        end = time.monotonic() + self.timeout
        while True:
            try:
                return self._room.queues[other, self.rank].get(timeout=0.02)
            except queue.Empty:
                if self._room.aborted.is_set():
                    raise CommunicationError(f"Rank {self.rank} was ended by another one.") from None
                if time.monotonic() > end:
                    raise _too_late(self.rank, f"rank {other}", self.timeout) from None


def thread_ranks(size: int, timeout: float = 60.0) -> list[ThreadCommunicator]:
    """The communicators of so many threads, one each."""
    room = _Room(size)
    return [ThreadCommunicator(room, rank, size, timeout) for rank in range(size)]
