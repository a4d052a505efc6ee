"""Where and when a run was made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_VECTORS = ("avx512f", "avx2", "fma", "avx", "sse4_2", "asimd", "sve")


def describe() -> dict[str, Any]:
    """The machine, in words and figures; what the system does not tell is left out."""
    facts = _cpuinfo()
    model = facts.get("model name") or _command("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "cpu": model,
        "cores": cores(),
        "instruction_set": [name for name in _VECTORS if name in flags],
        "cache": facts.get("cache size"),
        "memory_gib": _memory_gib(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def load() -> float:
    """Processes that were busy in the last minute, on average: other people's work spoils timings."""
    return os.getloadavg()[0]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """Processor time of all programs since the start of the machine; None where the system does not say."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, path.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def process_seconds(pid: int) -> float | None:
    """Processor time of a process; None where the system does not say."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return None
    fields = path.read_text().rsplit(")", 1)[1].split()  # the name before may hold spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def caches() -> list[tuple[str, int, bool]]:
    """The first core's data caches: name, bytes, whether other cores share it; those of many PCs if it does not say."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size, shared = (
            (folder / n).read_text().strip() for n in ("type", "level", "size", "shared_cpu_list")
        )
        if kind != "Instruction" and size.endswith("K"):
            found.append((f"L{level}", int(size[:-1]) * 1024, "," in shared or "-" in shared))
    return found or [("L1", 2**15, False), ("L2", 2**20, False), ("L3", 2**25, True)]


def commit() -> str | None:
    """The commit of this checkout, with a plus sign when files differ from it."""
    folder = Path(__file__).resolve().parent
    name = _command("git", "-C", str(folder), "rev-parse", "--short", "HEAD")
    changed = _command("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "../qiskit_fusedqml")
    return f"{name}+" if name and changed else name


def report(**more: Any) -> dict[str, Any]:
    """The beginning of a report: when, of which commit, where, beside how much else; then what is given."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "commit": commit(), "machine": describe(), "load": load(), **more}


def save(report: dict[str, Any], path: Path | None) -> None:
    """End a report with the load after it, and write it where it is wanted."""
    report["load_after"] = load()
    if path:
        path.write_text(json.dumps(report, indent=1) + "\n")


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _command(*command: str) -> str | None:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
