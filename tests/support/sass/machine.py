"""All threads of one block in lock step: of those that can go on, the ones that are furthest behind go first."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

import numpy as np
from support.sass.program import Instruction, Program

U32, U64, I32, I64 = np.uint32, np.uint64, np.int32, np.int64
PARAMETERS = 0x210
"""Where a kernel's parameters begin in constant memory (sm_90)."""

LOCAL_WORDS = 256


class Memory:
    """Global memory: buffers, each at an address of its own."""

    def __init__(self) -> None:
        self.buffers: list[tuple[int, np.ndarray]] = []
        self.end = 1 << 32

    def add(self, content: bytes) -> int:
        """A buffer; its address."""
        words = np.frombuffer(content + b"\0" * (-len(content) % 4 + 64), U32).copy()
        address, self.end = self.end, self.end + (4 * len(words) + 0xFFFF & ~0xFFFF)
        self.buffers.append((address, words))
        return address

    def content(self, address: int, size: int) -> bytes:
        """What is in a buffer."""
        return next(words for first, words in self.buffers if first == address).tobytes()[:size]

    def words(self, addresses: np.ndarray, active: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The buffers that active threads reach: words, those threads, and their positions."""
        found, left = [], active.copy()
        for first, words in self.buffers:
            inside = left & (addresses >= U64(first)) & (addresses < U64(first + 4 * len(words)))
            if inside.any():
                found.append((words, inside, ((addresses[inside] - U64(first)) >> U64(2)).astype(int)))
                left &= ~inside
        if left.any():
            raise RuntimeError(f"address {int(addresses[left][0]):#x} is in no buffer")
        return found


class Machine:
    """A block's threads.

    Args:
        program: The kernel.
        threads: Their number, a multiple of 32.
        block: The block's number.
        parameters: The first bank of constants.
        memory: Global memory.
        shared_bytes: Shared memory.

    Attributes:
        executed: How often warps have executed each operation.
        traffic: Of loads and stores: warp instructions, and sectors or wavefronts of them.
    """

    def __init__(
        self, program: Program, threads: int, block: int, parameters: bytes, memory: Memory, shared_bytes: int
    ) -> None:
        self.program, self.threads, self.block, self.memory = program, threads, block, memory
        self.positions = {each.address: k for k, each in enumerate(program.instructions)}
        self.banks = {0: parameters, 2: program.constants}
        shape = (threads,)
        self.registers = {"R": np.zeros((256, *shape), U32), "UR": np.zeros((64, *shape), U32)}
        self.predicates = {"P": np.zeros((8, *shape), bool), "UP": np.zeros((8, *shape), bool)}
        self.shared = np.full(shared_bytes // 4 + 320, 0x7FC00000, U32)  # NaN
        self.local = np.zeros((LOCAL_WORDS, *shape), U32)
        self.counter, self.next = np.zeros(shape, int), np.zeros(shape, int)
        self.waiting, self.done = np.zeros(shape, bool), np.zeros(shape, bool)
        self.executed: Counter[str] = Counter()
        self.traffic: Counter[tuple[str, str]] = Counter()

    def run(self, most: int = 10**6) -> None:
        """Until all threads have left.

        Raises:
            RuntimeError: For an instruction that is not known, or if threads do not come to an end.
        """
        from support.sass.operations import OPERATIONS

        warps = np.arange(self.threads) >> 5
        for _ in range(most):
            live = ~self.done & ~self.waiting
            if not live.any():
                if self.done.all():
                    return
                self.waiting[:] = False
                continue
            position = int(self.counter[live].min())
            active = live & (self.counter == position)
            instruction = self.program.instructions[position]
            self.executed[instruction.operation] += len(np.unique(warps[active]))
            mask = active
            if instruction.guard is not None:
                name, negated = instruction.guard
                mask = active & (self.predicate(name) ^ negated)
            self.next[:] = position + 1
            if instruction.name not in OPERATIONS:
                raise RuntimeError(f"{instruction.operation} {', '.join(instruction.arguments)} is not known")
            OPERATIONS[instruction.name](self, instruction, mask)
            self.counter[active] = self.next[active]
        raise RuntimeError(f"{most} instructions, and no end")

    def value(self, text: str) -> np.ndarray:
        """A 32-bit operand without its sign."""
        kind, first, second = _operand(text)
        if kind == "register":
            return self.registers[first][second]
        if kind == "number":
            return np.full(self.threads, first, U32)
        offset = np.full(self.threads, second, I64)
        for part in re.findall(r"U?R\d+", text.partition("][")[2]):
            offset = offset + self.value(part).view(I32)
        words = np.frombuffer(self.banks[first].ljust(len(self.banks[first]) + 8, b"\0"), np.uint8)
        return np.stack([words[offset + k] for k in range(4)], -1).copy().view(U32)[:, 0]

    def integer(self, text: str) -> np.ndarray:
        """A 32-bit operand."""
        if text.startswith("-"):
            return U32(0) - self.value(text[1:])
        return ~self.value(text[1:]) if text.startswith("~") else self.value(text)

    def signed(self, text: str) -> np.ndarray:
        """The same as a signed number."""
        return self.integer(text).view(I32)

    def float(self, text: str) -> np.ndarray:
        """An operand in single precision."""
        return self._real(text, np.float32)

    def double(self, text: str) -> np.ndarray:
        """An operand in double precision."""
        return self._real(text, np.float64)

    def _real(self, text: str, kind: type) -> np.ndarray:
        text = text.replace(".reuse", "")
        negative, text = text.startswith("-"), text.lstrip("-")
        absolute, text = text.startswith("|"), text.strip("|")
        if text[0] in "RUc":
            found = (self.value(text) if kind is np.float32 else self.wide(text)).view(kind)
        else:
            found = np.full(self.threads, {"+INF": np.inf, "+QNAN": np.nan}.get(text) or float(text), kind)
        found = np.abs(found) if absolute else found
        return -found if negative else found

    def wide(self, text: str) -> np.ndarray:
        """A 64-bit operand."""
        text = text.replace(".reuse", "").replace(".64", "")
        if text.startswith("c["):
            offset = int(text.rpartition("[")[2].rstrip("]"), 16)
            high = f"{text.rpartition('[')[0]}[{offset + 4:#x}]"
            return self.value(text).astype(U64) | self.value(high).astype(U64) << U64(32)
        kind, name, number = _operand(text)
        if kind == "number":
            return np.full(self.threads, name, U64)
        return self.registers[name][number].astype(U64) | self.registers[name][number + 1].astype(U64) << U64(32)

    def predicate(self, text: str) -> np.ndarray:
        """A predicate as an operand."""
        negated, name = text.startswith("!"), text.lstrip("!")
        found = np.ones(self.threads, bool)
        if not name.endswith("PT"):
            found = self.predicates[name.rstrip("0123456789")][int(name[-1])]
        return found ^ negated

    def put(self, text: str, value: np.ndarray, mask: np.ndarray) -> None:
        """Write a register."""
        kind, name, number = _operand(text)
        if kind == "register":
            value = value.view(U32) if value.dtype in (np.float32, I32) else value.astype(U32)
            self.registers[name][number][mask] = value[mask]

    def put_wide(self, text: str, value: np.ndarray, mask: np.ndarray) -> None:
        """Write two registers."""
        kind, name, number = _operand(text)
        if kind == "register":
            value = value.view(U64)
            self.registers[name][number][mask] = (value & U64(0xFFFFFFFF)).astype(U32)[mask]
            self.registers[name][number + 1][mask] = (value >> U64(32)).astype(U32)[mask]

    def put_predicate(self, text: str, value: np.ndarray, mask: np.ndarray) -> None:
        """Write a predicate."""
        if not text.endswith("PT"):
            self.predicates[text.rstrip("0123456789")][int(text[-1])][mask] = value[mask]

    def address(self, text: str) -> np.ndarray:
        """Where a load or a store goes: the sum of registers, of which some are 64 bits wide, and a number."""
        total = np.zeros(self.threads, U64)
        inner = re.sub(r"^desc\[UR\d+\]", "", text).strip("[]")
        wide = ".64" in inner or ".U64" in inner
        for sign, part in re.findall(r"([+-]?)([^+-]+)", inner):
            if part.startswith("0x"):
                total = total - U64(int(part, 16)) if sign == "-" else total + U64(int(part, 16))
            elif ".64" in part or ".U64" in part or (wide and part.startswith("UR")):
                total = total + self.wide(part.replace(".U64", ""))
            else:
                total = total + self.value(part.replace(".U32", "")).astype(U64)
        return total

    def count_sectors(self, instruction: Instruction, addresses: np.ndarray, size: int, mask: np.ndarray) -> None:
        """Note the 32-byte pieces of memory that each warp touches."""
        for lanes in self._warps(mask):
            touched = np.unique((addresses[lanes][:, None] + np.arange(0, size, 4, dtype=U64)) >> U64(5))
            self.traffic[instruction.name, "instructions"] += 1
            self.traffic[instruction.name, "sectors"] += len(touched)

    def count_wavefronts(self, instruction: Instruction, addresses: np.ndarray, words: int, mask: np.ndarray) -> None:
        """Note how often shared memory has to be asked; wide accesses are served part of a warp by part."""
        for lanes in self._warps(mask):
            self.traffic[instruction.name, "instructions"] += 1
            for first in range(0, 32, 32 // words):
                part = lanes[(lanes & 31 >= first) & (lanes & 31 < first + 32 // words)]
                touched = np.unique((addresses[part][:, None] >> U64(2)) + np.arange(words, dtype=U64))
                if len(touched):
                    self.traffic[instruction.name, "wavefronts"] += int(np.bincount(touched.astype(int) % 32).max())

    def _warps(self, mask: np.ndarray) -> list[np.ndarray]:
        threads = np.flatnonzero(mask)
        return [threads[threads >> 5 == warp] for warp in np.unique(threads >> 5)]


@lru_cache(maxsize=4096)
def _operand(text: str) -> tuple[str, object, int]:
    """Its kind: a register with its file and number, a number, or a place in a bank of constants."""
    text = text.replace(".reuse", "")
    if text in {"RZ", "URZ", "SRZ"}:
        return "number", 0, 0
    if found := re.match(r"^(U?R)(\d+)$", text):
        return "register", found[1], int(found[2])
    if found := re.match(r"^c\[(0x[0-9a-f]+)\]\[(.*)\]$", text):
        offset = sum(int(n, 16) for n in re.findall(r"-?0x[0-9a-f]+", found[2]))
        return "constant", int(found[1], 16), offset
    return "number", int(text, 16) & 0xFFFFFFFF, 0
