"""What each instruction does: those that the sweeps are made of, on sm_90."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from support.sass.machine import I32, I64, U32, U64, Machine
from support.sass.program import Instruction

Operation = Callable[[Machine, Instruction, np.ndarray], None]
OPERATIONS: dict[str, Operation] = {}
"""By name without modifiers."""

LOW = U64(0xFFFFFFFF)


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Does the operations of these names."""

    def keep(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return keep


def _is_predicate(text: str) -> bool:
    return re.match(r"^!?U?P(\d|T)$", text) is not None


def _carries(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The predicates that take carries, and the operands behind them."""
    count = next(k for k, each in enumerate(arguments) if not _is_predicate(each))
    return arguments[:count], arguments[count:]


@operation("FFMA", "FMUL", "FADD")
def _single(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, *a = i.arguments
    x = [m.float(each).astype(np.float64) for each in a[:3]]
    found = x[0] * x[1] + x[2] if i.name == "FFMA" else x[0] * x[1] if i.name == "FMUL" else x[0] + x[1]
    m.put(to, found.astype(np.float32), mask)


@operation("DFMA", "DMUL", "DADD")
def _double(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, *a = i.arguments
    x = [m.double(each) for each in a[:3] if not _is_predicate(each)]
    found = x[0] * x[1] + x[2] if i.name == "DFMA" else x[0] * x[1] if i.name == "DMUL" else x[0] + x[-1]
    m.put_wide(to, found, mask)


@operation("FSETP", "DSETP", "ISETP", "UISETP")
def _compare(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    kind, *modifiers = i.operation.split(".")
    read = (
        m.float if kind == "FSETP" else m.double if kind == "DSETP" else m.integer if "U32" in modifiers else m.signed
    )
    x, y = read(i.arguments[2]), read(i.arguments[3])
    test, unordered = modifiers[0].removesuffix("U") or "", modifiers[0].endswith("U")
    found = {"GE": x >= y, "GT": x > y, "LT": x < y, "LE": x <= y, "EQ": x == y, "NE": x != y}[test]
    if kind in {"FSETP", "DSETP"}:
        nan = np.isnan(x) | np.isnan(y)
        found = np.where(nan, unordered, found)
    if "EX" in modifiers:  # the upper half of a wide comparison; the lower one has been made
        low, equal = m.predicate(i.arguments[5]), x == y
        strict = {"GE": x > y, "GT": x > y, "LT": x < y, "LE": x < y}.get(test)
        found = ~equal | low if test == "NE" else equal & low if test == "EQ" else strict | (equal & low)
    other = m.predicate(i.arguments[4])
    joined = {"AND": np.logical_and, "OR": np.logical_or, "XOR": np.logical_xor}[
        next(each for each in modifiers if each in {"AND", "OR", "XOR"})
    ]
    m.put_predicate(i.arguments[0], joined(found, other), mask)
    m.put_predicate(i.arguments[1], joined(~found, other), mask)


@operation("FSEL", "SEL", "USEL")
def _select(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, x, y, chosen = i.arguments
    read = m.float if i.name == "FSEL" else m.integer
    m.put(to, np.where(m.predicate(chosen), read(x), read(y)), mask)


@operation("VIMNMX", "VIADDMNMX")
def _extreme(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, *a = i.arguments
    x, y = (m.integer(a[0]) + m.integer(a[1]), m.integer(a[2])) if i.name == "VIADDMNMX" else map(m.integer, a[:2])
    if "U32" not in i.operation:
        x, y = x.view(I32), y.view(I32)
    least = m.predicate(a[3 if i.name == "VIADDMNMX" else 2])
    m.put(to, np.where(least, np.minimum(x, y), np.maximum(x, y)), mask)


@operation("MOV", "UMOV")
def _move(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    m.put(i.arguments[0], m.integer(i.arguments[1]), mask)


@operation("R2UR")
def _to_uniform(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    m.put(next(each for each in i.arguments if not _is_predicate(each)), m.integer(i.arguments[-1]), mask)


@operation("HFMA2", "CS2R")
def _constant(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    """Both are used to make numbers only: two halves, or 0."""
    a = i.arguments
    if i.name == "CS2R":
        return m.put_wide(a[0], np.zeros(m.threads, U64), mask)
    low, high = np.array([float(a[4]), float(a[3])], np.float16).view(np.uint16)
    return m.put(a[0], np.full(m.threads, int(low) | int(high) << 16, U32), mask)


@operation("IMAD", "UIMAD")
def _multiply(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, x, y, z, *carry = i.arguments
    if ".WIDE" in i.operation or ".HI" in i.operation:
        if "U32" in i.operation:
            product = m.integer(x).astype(U64) * m.integer(y).astype(U64)
        else:
            product = (m.signed(x).astype(I64) * m.signed(y).astype(I64)).view(U64)
        total = product + m.wide(z)
        return m.put(to, (total >> U64(32)), mask) if ".HI" in i.operation else m.put_wide(to, total, mask)
    total = m.integer(x) * m.integer(y) + m.integer(z)
    return m.put(to, total + m.predicate(carry[0]).astype(U32) if ".X" in i.operation else total, mask)


@operation("IADD3", "UIADD3", "VIADD")
def _add(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    carries, operands = _carries(i.arguments[1:])
    numbers = [each for each in operands if not _is_predicate(each)]
    # -x is ~x + 1, whose carry counts
    total = np.zeros(m.threads, U64)
    for each in numbers:
        total = total + (
            m.integer("~" + each[1:]).astype(U64) + U64(1) if each[0] == "-" else m.integer(each).astype(U64)
        )
    if ".X" in i.operation:
        total = sum((m.integer(each).astype(U64) for each in numbers), np.zeros(m.threads, U64))
        total = total + sum(m.predicate(each).astype(U64) for each in operands if _is_predicate(each))
    m.put(i.arguments[0], total & LOW, mask)
    for least, each in enumerate(carries):
        m.put_predicate(each, (total >> U64(32)) > least, mask)


@operation("LEA", "ULEA")
def _shifted_sum(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    carries, a = _carries(i.arguments[1:])
    if ".HI" not in i.operation:
        total = (m.integer(a[0]).astype(U64) << U64(int(a[2], 16)) & LOW) + m.integer(a[1]).astype(U64)
    else:
        extended = ".SX32" in i.operation
        shift = U64(int(a[2 if extended else 3], 16))
        low = m.signed(a[0]).astype(I64).view(U64) if extended else m.integer(a[0]).astype(U64)
        wide = low if extended else low | m.integer(a[2]).astype(U64) << U64(32)
        total = (wide << shift >> U64(32) & LOW) + m.integer(a[1]).astype(U64)
        if ".X" in i.operation:
            total = total + m.predicate(a[-1]).astype(U64)
    m.put(i.arguments[0], total & LOW, mask)
    for each in carries:
        m.put_predicate(each, (total >> U64(32)) > 0, mask)


def _by_table(table: int, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A function of three bits, by the bits of a table."""
    found = np.zeros_like(x)
    for k in range(8):
        if table >> k & 1:
            found |= (x if k & 4 else ~x) & (y if k & 2 else ~y) & (z if k & 1 else ~z)
    return found


@operation("LOP3", "ULOP3")
def _logic(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    outer, a = _carries(i.arguments)
    found = _by_table(int(a[4], 16), *(m.integer(each) for each in a[1:4]))
    m.put(a[0], found, mask)
    for each in outer:
        m.put_predicate(each, found != 0, mask)


@operation("PLOP3", "UPLOP3")
def _predicate_logic(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    a, inner = i.arguments, [m.predicate(each) for each in i.arguments[2:5]]
    found = [_by_table(int(each, 16), *inner) for each in a[5:7]]
    m.put_predicate(a[0], found[0], mask)
    m.put_predicate(a[1], found[1], mask)


@operation("SHF", "USHF")
def _shift(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, low, by, high = i.arguments
    shift, parts = m.integer(by).astype(U64), i.operation.split(".")
    wide = m.integer(high).astype(U64) << U64(32) | m.integer(low).astype(U64)
    if "W" in parts:
        shift = shift & U64(31)
    if parts[1] == "L":
        found = wide << np.minimum(shift, U64(63))
        found = found >> U64(32) if "HI" in parts else np.where(shift < 32, found, 0)
    elif "S32" in parts:
        found = (m.signed(high).astype(I64) >> np.minimum(shift, U64(31)).astype(I64)).view(U64)
    else:
        found = m.integer(high).astype(U64) >> np.minimum(shift, U64(32)) if "HI" in parts else wide >> shift
    m.put(to, found & LOW, mask)


@operation("POPC")
def _count(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    m.put(i.arguments[0], np.bitwise_count(m.integer(i.arguments[1])), mask)


@operation("R2P")
def _to_predicates(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    name, _, part = i.arguments[1].replace(".reuse", "").partition(".B")
    value = m.value(name) >> U32(8 * int(part or 0))
    for k in range(7):
        if int(i.arguments[2], 16) >> k & 1:
            m.put_predicate(f"P{k}", (value >> U32(k) & U32(1)).astype(bool), mask)


@operation("P2R")
def _from_predicates(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, _, other, bits = i.arguments
    chosen = int(bits, 16)
    found = m.integer(other) & U32(~chosen & 0xFFFFFFFF)
    for k in range(7):
        if chosen >> k & 1:
            found = found | m.predicates["P"][k].astype(U32) << U32(k)
    m.put(to, found, mask)


@operation("PRMT")
def _permute(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    to, x, which, y = i.arguments
    wide, selector = m.integer(x).astype(U64) | m.integer(y).astype(U64) << U64(32), int(which, 16)
    found = np.zeros(m.threads, U64)
    for k in range(4):
        number = selector >> 4 * k & 15
        byte = wide >> U64(8 * (number & 7)) & U64(255)
        found |= (np.where(byte & U64(128), U64(255), U64(0)) if number & 8 else byte) << U64(8 * k)
    m.put(to, found, mask)


@operation("S2R", "S2UR")
def _special(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    threads = np.arange(m.threads)
    numbers = {"SR_TID.X": threads, "SR_CTAID.X": np.full(m.threads, m.block), "SR_LANEID": threads & 31}
    m.put(i.arguments[0], numbers.get(i.arguments[1], np.zeros(m.threads, int)), mask)


@operation("LDC", "ULDC")
def _load_constant(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    if ".64" in i.operation:
        return m.put_wide(i.arguments[0], m.wide(i.arguments[1]), mask)
    return m.put(i.arguments[0], m.value(i.arguments[1]), mask)


def _words(i: Instruction) -> int:
    return 4 if ".128" in i.operation else 2 if ".64" in i.operation else 1


def _following(name: str, count: int) -> list[str]:
    """A register and those behind it."""
    name = name.replace(".reuse", "")
    return [name] * count if name == "RZ" else [f"R{int(name[1:]) + k}" for k in range(count)]


@operation("LDG", "LD", "STG", "ST")
def _global(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    loads, count = i.name.startswith("LD"), _words(i)
    addresses = m.address(i.arguments[-1 if loads else 0])
    for k, name in enumerate(_following(i.arguments[0 if loads else 1], count)):
        value = m.value(name).copy()
        for words, inside, at in m.memory.words(addresses, mask):
            if loads:
                value[inside] = words[at + k]
            else:
                words[at + k] = value[inside]
        if loads:
            m.put(name, value, mask)
    m.count_sectors(i, addresses, 4 * count, mask)


@operation("LDS", "STS")
def _shared(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    loads, count = i.name == "LDS", _words(i)
    addresses = m.address(i.arguments[1 if loads else 0]) & LOW
    at = (addresses >> U64(2)).astype(int)
    for k, name in enumerate(_following(i.arguments[0 if loads else 1], count)):
        if loads:
            value = m.value(name).copy()
            value[mask] = m.shared[at[mask] + k]
            m.put(name, value, mask)
        else:
            m.shared[at[mask] + k] = m.value(name)[mask]
    m.count_wavefronts(i, addresses, count, mask)


@operation("LDL", "STL")
def _local(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    loads = i.name == "LDL"
    address = m.address(i.arguments[1 if loads else 0]).astype(I64) - m.value("R1").astype(I64)
    at, threads = address // 4 + 64, np.arange(m.threads)
    for k, name in enumerate(_following(i.arguments[0 if loads else 1], _words(i))):
        if loads:
            m.put(name, m.local[at + k, threads], mask)
        else:
            m.local[(at + k)[mask], threads[mask]] = m.value(name)[mask]


@operation("SHFL")
def _shuffle(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    _, to, given, other, *_ = i.arguments
    threads, number = np.arange(m.threads), m.integer(other).astype(int)
    lane = (threads ^ number if "BFLY" in i.operation else number) & 31  # of threads that are elsewhere, any number
    m.put(to, m.integer(given)[(threads & ~31) + lane], mask)


@operation("FRND", "F2I")
def _round(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    x = m.float(i.arguments[1])
    rounded = np.trunc(x) if "TRUNC" in i.operation else np.rint(x)
    m.put(i.arguments[0], rounded if i.name == "FRND" else rounded.astype(I64).astype(I32), mask)


@operation("BAR")
def _barrier(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    m.waiting[mask] = True


@operation("BSSY", "BSYNC", "NOP", "WARPSYNC", "YIELD", "DEPBAR", "BREAK", "BMOV")
def _nothing(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    """Threads of a warp meet by themselves: the ones that are behind go first."""


@operation("EXIT")
def _leave(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    m.done[mask] = True


@operation("BRA")
def _branch(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    going = mask.copy()
    for each in i.arguments[:-1]:
        if _is_predicate(each):
            going &= m.predicate(each)
    found = re.search(r"`\((\.L_\w+)\)", i.arguments[-1])
    assert found is not None
    m.next[going] = m.program.labels[found[1]]


@operation("BRX")
def _branch_by_table(m: Machine, i: Instruction, mask: np.ndarray) -> None:
    register, _, offset = i.arguments[0].partition(" ")
    target = m.signed(register).astype(I64) + int(offset.split(" ")[0], 16) + i.address + 16
    for each in np.unique(target[mask]):
        m.next[mask & (target == each)] = m.positions[int(each)]
