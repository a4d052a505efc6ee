"""The memory that a program has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak() -> float:
    """The most memory this program ever had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says includes the parent's memory at the fork
        return float(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10
