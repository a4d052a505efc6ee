"""Agreement: what ranks compare before a call, and how an error on one of them is the same error on all.

Ranks that make different calls, or the same call with other numbers, would wait for each other for ever or compute a
number that is wrong. So each call begins with digests of what is called, of the structure and of the numbers, gathered
from all ranks; and each step ends with a status word.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from .. import errors
from ..errors import CommunicationError, FusedQMLError, RankMismatchError
from .communicators import Communicator

Result = TypeVar("Result")

DIGEST_BYTES = 8
NAME_BYTES = 24
MESSAGE_BYTES = 1024

NOTHING, FAILED = bytes(DIGEST_BYTES), b"\1" * DIGEST_BYTES

COMPARED = ("the call", "the circuit, the observables or the options", "the values of parameters, inputs or cotangents")


def digest(parts: Iterable[bytes | str | Any]) -> bytes:
    """Of bytes, texts and arrays; arrays with their shapes and types."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
        elif isinstance(part, bytes):
            found.update(part)
        else:
            array = np.ascontiguousarray(part)
            found.update(f"{array.shape}{array.dtype}".encode())
            found.update(array.reshape(-1).view(np.uint8).data)
        found.update(b";")
    return found.digest()


class Agreement:
    """What the ranks of a communicator have in common.

    Args:
        comm: The communicator.
    """

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm

    def begin(self, call: str, structure: bytes, numbers: bytes) -> None:
        """Compare a call with those of all other ranks.

        Raises:
            RankMismatchError: On all ranks, if one differs; it names the ranks that do.
        """
        own = self._record(call, structure, numbers)
        found = self._gathered(own)
        if any(row != own for row in found):
            self._mismatch(found)

    def _record(self, call: str, structure: bytes, numbers: bytes) -> bytes:
        """Of one length for calls and steps: a rank that is elsewhere is noticed, whatever it sends."""
        name = call.encode()[:NAME_BYTES].ljust(NAME_BYTES)
        return name + structure + numbers

    def _gathered(self, own: bytes) -> list[bytes]:
        return [bytes(row) for row in self._comm.allgather(np.frombuffer(own, np.uint8))]

    def _mismatch(self, found: list[bytes]) -> None:
        calls = [row[:NAME_BYTES].decode().strip() for row in found]
        first = NAME_BYTES
        columns: tuple[list[Any], ...] = (
            [row[:first] for row in found],
            [row[first : first + DIGEST_BYTES] for row in found],
            [row[first + DIGEST_BYTES :] for row in found],
        )
        which, odd = next((k, ranks) for k, column in enumerate(columns) if (ranks := odd_ranks(column)))
        said = calls[0] if which else ", ".join(f"rank {rank}: {call}" for rank, call in enumerate(calls))
        raise RankMismatchError(
            f"The ranks do not agree on {COMPARED[which]} ({said}): {named(odd)} from the others. Every "
            "rank must make the same calls, in the same order, with the same circuit, options and numbers."
        )

    def step(self, action: Callable[[], Result]) -> Result:
        """What an action returns, if it raises on no rank.

        Raises:
            FusedQMLError: On all ranks the error of the first rank that has one, of its class.
            RankMismatchError: If another rank is not at this step.
        """
        raised: BaseException | None = None
        result: Any = None
        try:
            result = action()
        except BaseException as error:  # noqa: BLE001 (raised on all ranks, below)
            raised = error
        found = self._gathered(self._record("a step", NOTHING, NOTHING if raised is None else FAILED))
        if any(row[:-DIGEST_BYTES] != found[self._comm.rank][:-DIGEST_BYTES] for row in found):
            self._mismatch(found)
        failed = [rank for rank, row in enumerate(found) if row.endswith(FAILED)]
        if not failed:
            return result  # type: ignore[no-any-return]
        raise self._error_of_all(raised, failed[0]) from raised

    def _error_of_all(self, raised: BaseException | None, first: int) -> BaseException:
        text = "" if raised is None else f"{type(raised).__name__}\n{getattr(raised, 'message', raised)}"
        own = np.frombuffer(text.encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES), np.uint8)
        name, _, message = bytes(self._comm.allgather(own)[first]).decode(errors="replace").strip().partition("\n")
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, FusedQMLError) and kind is not CommunicationError:
            return kind(f"Rank {first}: {message}")
        if isinstance(raised, KeyboardInterrupt):
            return raised
        return CommunicationError(f"Rank {first} has failed, and with it all others: {name}: {message}")


def odd_ranks(column: list[Any]) -> list[int]:
    """The ranks whose entry is not that of most; of two halves, those that differ from rank 0."""
    counts = Counter(column)
    usual = max(counts.values())
    common = next(entry for entry in column if counts[entry] == usual)
    return [rank for rank, entry in enumerate(column) if entry != common]


def named(ranks: list[int]) -> str:
    """Ranks in a sentence, with its verb."""
    return f"rank {ranks[0]} differs" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} differ"
