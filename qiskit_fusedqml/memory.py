"""Memory: budgets, bounded caches, sizes in words, and Python's garbage collector."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_RANDOM = random.Random(0)  # noqa: S311 (chooses what caches forget; no result depends on it)
_UNKNOWN = 2**62
_pauses = 0
_was_enabled = False
_lock = threading.Lock()


class _WindowsMemory(ctypes.Structure):
    """``MEMORYSTATUSEX`` of Windows; `total` is the machine's memory in bytes."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


@lru_cache(maxsize=1)
def physical_memory() -> int:
    """Bytes of the machine's memory, or as good as infinity where the system does not say."""
    windows = getattr(ctypes, "windll", None)
    if windows is not None:
        status = _WindowsMemory(ctypes.sizeof(_WindowsMemory))
        return status.total if windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else _UNKNOWN
    asked = getattr(os, "sysconf", None)
    try:
        return int(asked("SC_PHYS_PAGES") * asked("SC_PAGE_SIZE")) if asked else _UNKNOWN
    except (ValueError, OSError):
        return _UNKNOWN


def default_budget() -> int:
    """Bytes that states may take when nothing else is said: half of the machine's memory."""
    return physical_memory() // 2


class BoundedCache(Generic[Key, Value]):
    """Things by key, whose sizes add up to at most a bound. Calls from several threads at once are safe.

    Beyond the bound, things go at random, the newest one excepted. If the least recently used one went instead, a few
    things more than fit, asked for in rotation, would each be gone just before its turn, and none would be found.

    Args:
        bound: The largest sum of sizes; a single larger thing is kept nevertheless.
        size_of: The size of a thing; 1 by default.
    """

    def __init__(self, bound: int, size_of: Callable[[Value], int] = lambda _: 1) -> None:
        self.bound = bound
        self.size = 0
        self._size_of = size_of
        self._kept: dict[Key, tuple[Value, int]] = {}
        self._lock = threading.RLock()  # reentrant: the garbage collector may end the life of a kept thing anywhere

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Value | None:
        """What is kept under the key, or None."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """What is kept under the key, made now if it is not there; threads may make the same thing at once."""
        found = self._kept.get(key)
        if found is not None:
            return found[0]
        made = make()
        entry = made, self._size_of(made)
        with self._lock:
            found = self._kept.setdefault(key, entry)  # hashing the key of a plan takes as long as comparing it
            if found is entry:
                self._grow(entry[1])
            return found[0]

    def put(self, key: Key, value: Value) -> Value:
        """Keep a thing, in place of what was there under its key."""
        size = self._size_of(value)
        with self._lock:
            self.drop(key)
            self._kept[key] = (value, size)
            self._grow(size)
        return value

    def _grow(self, size: int) -> None:
        """Note the size of what has come last, and make room for it."""
        self.size += size
        while self.size > self.bound and len(self._kept) > 1:
            place = _RANDOM.randrange(len(self._kept) - 1)
            self.drop(next(islice(self._kept, place, None)))

    def drop(self, key: Key) -> Value | None:
        """Forget what is kept under the key, if anything is; it goes to the caller, and to no other thread."""
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                return None
            self.size -= found[1]
            return found[0]

    def values(self) -> list[Value]:
        """What is kept, the newest last."""
        with self._lock:
            return [value for value, _ in self._kept.values()]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.size = 0


def format_bytes(size: float) -> str:
    """A size with its unit, "1.5 GiB"; one beyond all memory as a power of two."""
    if size >= 2**60:
        return f"2**{int(size).bit_length() - 1} B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's cyclic garbage collector from running; also a decorator.

    Reading and planning a large circuit makes hundreds of thousands of objects that are here to stay. Walking through
    them again and again, the collector takes as long as the work itself. Pauses may overlap, from several threads too;
    the collector goes on after the last one if it was on before the first.
    """
    global _pauses, _was_enabled  # noqa: PLW0603
    with _lock:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()
