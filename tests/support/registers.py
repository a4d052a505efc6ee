"""What registers the kernels need on each architecture: ``python -m support.registers`` writes ``registers.json``.

It takes some minutes; run it from ``tests`` after kernels have changed, with the newest NVRTC.
"""

from __future__ import annotations

import json
from pathlib import Path

from qiskit_fusedqml.devices.gpu.limits import Limits
from qiskit_fusedqml.devices.gpu.sources import OPTIONS, compiled_with, kernel_names, source

from . import nvrtc

FILE = Path(__file__).parent.parent / "devices" / "registers.json"

SHARED_KIB = {
    "sm_70": 96,
    "sm_75": 64,
    "sm_80": 163,
    "sm_86": 99,
    "sm_89": 99,
    "sm_90": 227,
    "sm_100": 227,
    "sm_120": 99,
}
"""Shared memory that a block may have."""

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
"""Those of the table; NVRTC 13 knows no older ones."""

AS_CUPY_DOES = (*OPTIONS, "-ftz=true")
"""CuPy adds this."""


def block_threads(architecture: str) -> int:
    """Threads of the largest blocks there."""
    return Limits(shared_bytes=SHARED_KIB[architecture] << 10).block_threads


def compile_kernels(names: list[str], architecture: str, text: str | None = None) -> list[nvrtc.Kernel]:
    """Kernels as CuPy compiles them, each text once; of another text if one is given."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(compiled_with(name)[0], []).append(name)
    found = {}
    for parts, group in groups.items():
        own = text or source(parts, block_threads(architecture))
        found.update(zip(group, nvrtc.compile_kernels(own, group, architecture, AS_CUPY_DOES), strict=True))
    return [found[name] for name in names]


def main() -> None:
    """Write the table."""
    table = {}
    for architecture in ARCHITECTURES:
        kernels = zip(kernel_names(), compile_kernels(kernel_names(), architecture), strict=True)
        table[architecture] = {name: [kernel.registers, kernel.spilled] for name, kernel in kernels}
    rows = (
        f' "{architecture}": {{\n' + ",\n".join(f'  "{name}": {row}' for name, row in kernels.items()) + "\n }"
        for architecture, kernels in table.items()
    )
    text = "{\n" + ",\n".join(rows) + "\n}\n"
    assert json.loads(text) == table
    FILE.write_text(text)


if __name__ == "__main__":
    main()
