"""Memory: budgets, sizes in words, and Python's garbage collector."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_pauses = 0
_was_enabled = False
_lock = threading.Lock()


@lru_cache(maxsize=1)
def physical_memory() -> int:
    """Bytes of the machine's memory, or as good as infinity where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**62


def default_budget() -> int:
    """Bytes that states may take when nothing else is said: half of the machine's memory."""
    return physical_memory() // 2


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
