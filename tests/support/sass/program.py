"""A kernel as nvdisasm prints it."""

from __future__ import annotations

import re
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_LABEL = re.compile(r"^(\.L_\w+):")
_INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]+)\*/\s+(.*?)\s*;")
_COMMENT = re.compile(r"\s*\(\*.*?\*\)")
_GUARD = re.compile(r"@(!?)(U?P[0-9T]+)\s+(.*)")


@cache
def find() -> str | None:
    """The disassembler out of the wheel nvidia-cuda-nvdisasm, or one on the path, or None."""
    for folder in {*sys.path, *site.getsitepackages()}:
        for program in sorted(Path(folder).glob("nvidia/*/bin/nvdisasm")):
            return str(program)
    return shutil.which("nvdisasm")


@dataclass(eq=False)
class Instruction:
    """One instruction.

    Attributes:
        address: Where it is.
        operation: Its name with all modifiers, and by itself.
        arguments: Its operands.
        guard: The predicate under which it is executed, and whether that is negated; None if it always is.
    """

    address: int
    operation: str
    arguments: list[str]
    guard: tuple[str, bool] | None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.operation.partition(".")[0]


@dataclass(frozen=True)
class Program:
    """A kernel's instructions, the positions of its labels, and its constant memory."""

    instructions: list[Instruction]
    labels: dict[str, int]
    constants: bytes

    @classmethod
    def of(cls, cubin: Path) -> Program:
        """The only kernel of a file."""
        command = [str(find()), str(cubin)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sections = re.split(r"\n(?=\t\.section)", text)
        (body,) = (each for each in sections if re.match(r"\t\.section\s+\.text\.", each))
        instructions: list[Instruction] = []
        labels: dict[str, int] = {}
        for line in body.split("\n"):
            if label := _LABEL.match(line):
                labels[label[1]] = len(instructions)
            elif found := _INSTRUCTION.match(line):
                instructions.append(_instruction(int(found[1], 16), found[2]))
        return cls(instructions, labels, _constants(sections))


def _instruction(address: int, text: str) -> Instruction:
    guard, text = None, _COMMENT.sub("", text)
    if found := _GUARD.match(text):
        guard, text = (found[2], found[1] == "!"), found[3]
    operation, _, rest = text.partition(" ")
    arguments = [argument.strip() for argument in rest.split(",")] if rest.strip() else []
    return Instruction(address, operation, arguments, guard)


def _constants(sections: list[str]) -> bytes:
    """The second bank: tables of jumps, and numbers that do not fit into an instruction."""
    found = b""
    for section in sections:
        if re.match(r"\t\.section\s+\.nv\.constant2\.", section):
            for size, numbers in re.findall(r"\.(byte|short|word|dword)\s+((?:0x[0-9a-f]+(?:, ?)?)+)", section):
                width = {"byte": 1, "short": 2, "word": 4, "dword": 8}[size]
                found += b"".join(int(n, 16).to_bytes(width, "little") for n in re.findall(r"0x[0-9a-f]+", numbers))
    return found
