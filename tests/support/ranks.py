"""Ranks as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qiskit_fusedqml.distributed.communicators import Communicator, thread_ranks


def outcomes_on_ranks(size: int, function: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """What a function of the communicator gives on each rank: a result or the error it raised."""
    found: list[Any] = [None] * size

    def work(comm: Communicator) -> None:
        try:
            found[comm.rank] = function(comm)
        except BaseException as error:  # noqa: BLE001 (returned)
            found[comm.rank] = error

    threads = [threading.Thread(target=work, args=(comm,)) for comm in thread_ranks(size, timeout)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def on_ranks(size: int, function: Callable[[Communicator], Any], timeout: float = 10.0) -> list[Any]:
    """The results of all ranks; raises what the first rank with an error of its own raised."""
    found = outcomes_on_ranks(size, function, timeout)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
