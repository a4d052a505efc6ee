"""The device that ranks share, from what interfaces are given: a device's name and a communicator."""

from __future__ import annotations

import os
import platform
from typing import Any, NamedTuple

import numpy as np

from ..devices import Device
from ..devices.checks import check_options
from ..devices.cpu import default_threads
from ..devices.registry import check_device, make_device
from ..memory import BoundedCache
from .agreement import digest
from .communicators import Communicator, communicator, gathered
from .device import DistributedDevice

MAX_DEVICES = 256
"""Devices, and communicators, that are kept: an MPI library has some thousands of these, and as ranks come to forget
them one by one, none should be forgotten in practice."""

DEFAULT_TIMEOUT = 600.0
"""Seconds that a rank waits for another if nothing else is said."""


class _Key(NamedTuple):
    comm: int
    device: str | int
    precision: str
    num_threads: int | None
    timeout: float


_DEVICES: BoundedCache[_Key, tuple[Any, DistributedDevice]] = BoundedCache(MAX_DEVICES)
_COMMUNICATORS: BoundedCache[tuple[int, float], tuple[Any, Communicator]] = BoundedCache(MAX_DEVICES)


def shared_device(
    device: str | Device,
    comm: Any,
    comm_timeout: float | None = None,
    *,
    precision: str = "double",
    num_threads: int | None = None,
) -> Device:
    """The device that the ranks of a communicator share; one for equal arguments.

    Of a single rank it is the device itself.

    Args:
        device: The name of a device, or a device, that runs each rank's part.
        comm: A communicator of mpi4py, a process group of `torch.distributed`, or a `Communicator`.
        comm_timeout: Seconds that a rank waits for another at most; None for 600.
        precision: "double" or "single".
        num_threads: Threads of each rank; None for the cores that the process may use, divided among the ranks of a
            machine that may use the same ones.

    Raises:
        InvalidInputError: For another device or precision, or what is no communicator.
        RankMismatchError: If the ranks ask for different devices.
    """
    if isinstance(device, DistributedDevice):
        return device
    check_device(device)
    check_options(precision, num_threads)
    timeout = DEFAULT_TIMEOUT if comm_timeout is None else comm_timeout
    key = _Key(id(comm), device if isinstance(device, str) else id(device), precision, num_threads, timeout)

    def make() -> tuple[Any, DistributedDevice]:
        ranks = shared_communicator(comm, timeout)
        threads = _threads(ranks) if num_threads is None and device == "CPU" else num_threads
        inner = make_device(device, precision=precision, num_threads=threads)
        return (comm, device), DistributedDevice(inner, ranks, timeout)  # kept, so that their ids stay theirs

    found = _DEVICES.get(key, make)[1]
    return found if found.comm.size > 1 else found.inner


def shared_communicator(comm: Any, comm_timeout: float | None = None) -> Communicator:
    """What is given as a `Communicator`, one for equal arguments."""
    timeout = DEFAULT_TIMEOUT if comm_timeout is None else comm_timeout
    return _COMMUNICATORS.get((id(comm), timeout), lambda: (comm, communicator(comm, timeout)))[1]


def ranks_of_state(comm: Any, comm_timeout: float | None, ranks_per_state: int) -> Communicator:
    """The communicator of those neighbouring ranks that share a state with this one."""
    ranks = shared_communicator(comm, comm_timeout)
    if ranks_per_state == ranks.size:
        return ranks
    key = (id(ranks), float(ranks_per_state))
    return _COMMUNICATORS.get(key, lambda: (ranks, ranks.split(ranks.rank // ranks_per_state)))[1]


def _threads(comm: Communicator) -> int:
    """Cores for each rank, the same number on all of them."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    own = np.frombuffer(digest([platform.node(), str(cores)]), np.int64)
    row = np.array([own[0], len(cores) or os.cpu_count() or 1, default_threads()], np.int64)
    found = gathered(comm, row)
    shares = [
        min(threads, max(1, count // int(np.sum(found[:, 0] == mask)))) for mask, count, threads in found.tolist()
    ]
    return int(min(shares))
