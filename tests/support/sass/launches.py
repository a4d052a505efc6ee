"""Sweeps as machine code of sm_90, on what the emulation was given: what they leave, and what they execute."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from support import nvrtc
from support.emulation.runtime import GUARD, EmulatedRuntime, words_of
from support.emulation.signatures import signatures
from support.registers import AS_CUPY_DOES, block_threads
from support.sass.machine import PARAMETERS, Machine, Memory
from support.sass.program import Program

from qiskit_fusedqml.devices.gpu.sources import TEMPLATES, source

FLOATS = ("FFMA", "FMUL", "FADD", "DFMA", "DMUL", "DADD")


@dataclass(frozen=True)
class Launch:
    """A launch of the emulation.

    Attributes:
        kernel: Its name expression.
        sizes: Blocks, threads, bytes of shared memory.
        arguments: Words of each: numbers, None, or a buffer's number and the distance from its start.
        before: The buffers' contents.
        after: The same afterwards.
    """

    kernel: str
    sizes: tuple[int, int, int]
    arguments: list[list[object]]
    before: list[bytes]
    after: list[bytes]


class NotingRuntime(EmulatedRuntime):
    """Notes the launches of sweeps, with what they find and leave."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.sweeps: list[Launch] = []

    def launch(self, kernel, blocks, threads, shared_bytes, arguments):
        if "sweep" not in kernel:
            return super().launch(kernel, blocks, threads, shared_bytes, arguments)
        roots: list[np.ndarray] = []
        noted: list[list[object]] = []
        for argument in arguments:
            noted.append(words := [])
            for each in words_of(argument):
                if isinstance(each, np.ndarray):
                    if not any(each.base is root for root in roots):
                        roots.append(each.base)
                    number = next(k for k, root in enumerate(roots) if root is each.base)
                    each = number, each.ctypes.data - each.base.ctypes.data - GUARD
                words.append(each)
        before = [root[GUARD:-GUARD].tobytes() for root in roots]
        super().launch(kernel, blocks, threads, shared_bytes, arguments)
        after = [root[GUARD:-GUARD].tobytes() for root in roots]
        self.sweeps.append(Launch(kernel, (blocks[0], threads, shared_bytes), noted, before, after))
        return None


@cache
def program(kernel: str, text: str | None = None) -> Program:
    """A kernel's machine code for sm_90, of another text if one is given."""
    text = text or source(TEMPLATES, block_threads("sm_90"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(nvrtc.machine_code(text, kernel, "sm_90", AS_CUPY_DOES))
        file.flush()
        return Program.of(Path(file.name))


def run(launch: Launch, text: str | None = None) -> tuple[Machine, list[bytes]]:
    """A launch of a single block once more, in machine code: the machine, and the buffers' contents afterwards."""
    blocks, threads, shared_bytes = launch.sizes
    assert blocks == 1
    memory = Memory()
    addresses = [memory.add(content) for content in launch.before]
    constants = bytearray(4096)
    struct.pack_into("<IIIIII", constants, 0, threads, 1, 1, blocks, 1, 1)
    struct.pack_into("<I", constants, 0x28, 0x1000)  # where local memory ends
    offset = PARAMETERS
    name = launch.kernel.removeprefix("fusedqml::").partition("<")[0]
    for (kind, is_pointer), words in zip(signatures()[name], launch.arguments, strict=True):
        size = 4 if kind == "int" and not is_pointer else 8
        offset = -(-offset // size) * size
        for word in words:
            value = addresses[word[0]] + word[1] if isinstance(word, tuple) else int(word or 0)
            struct.pack_into("<Q" if size == 8 else "<I", constants, offset, value & 256**size - 1)
            offset += size
    machine = Machine(program(launch.kernel, text), threads, 0, bytes(constants), memory, shared_bytes)
    machine.run()
    return machine, [memory.content(at, len(each)) for at, each in zip(addresses, launch.before, strict=True)]


def counts(machine: Machine) -> dict[str, float]:
    """What a launch executes: instructions of a warp, the share of arithmetic, sectors and wavefronts of an access."""
    total = sum(machine.executed.values())
    floats = sum(count for name, count in machine.executed.items() if name.partition(".")[0] in FLOATS)
    found = {"instructions": total / (machine.threads / 32), "arithmetic": floats / total}
    traffic = machine.traffic
    for name, what in (("LDG", "sectors"), ("STG", "sectors"), ("LDS", "wavefronts"), ("STS", "wavefronts")):
        if traffic[name, "instructions"]:
            found[f"{name} {what}"] = traffic[name, what] / traffic[name, "instructions"]
    return {name: round(value, 3) for name, value in found.items()}
