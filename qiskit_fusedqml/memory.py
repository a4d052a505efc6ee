"""Memory budgets: how much the machine has, and sizes in words."""

from __future__ import annotations

import os


def physical_memory() -> int:
    """Bytes of physical memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def default_budget() -> int:
    """Bytes that states may take when nothing else is said: half of the machine's memory."""
    return physical_memory() // 2


def format_bytes(size: float) -> str:
    """A size with its unit, "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
