"""The kinds of operations: all that the device's Python knows of each, in one table.

A new operation of `qiskit_fusedqml.planner.tape` needs a row of `KINDS` here, a number in `records`, and in
``cuda_src`` the function that applies its record, called by ``apply`` in ``sweep.cuh``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any, Generic, TypeVar

from ...ir.qubits import bits
from ...planner.gf2 import Span, combination, parity
from ...planner.tape import RY, U2, Dense, Diag, Factor, Operation, Pauli, Tape
from .layout import NumberLayout
from .records import (
    DENSE,
    DIAGONAL,
    LANE_BITS,
    MAX_KEPT,
    MEASURE,
    PAULI,
    PHASE,
    PLAIN_TURN,
    TURN,
    UNITARY,
    Writer,
    padded,
)
from .windows import Shape, Window

MAX_DENSE_QUBITS = 6
"""Largest matrices that the kernels apply."""

TABLE_QUBITS = 8
"""Tables of up to 256 entries stay in the first-level cache."""

Op = TypeVar("Op", bound=Operation)


@dataclass(frozen=True)
class Kind(Generic[Op]):
    """A kind of operation.

    Attributes:
        flips: Its flip vectors.
        problem: What is wrong with an operation by itself; empty if nothing is.
        reserve: Says which coefficients there must be.
        join: Makes its flips register bits of a window, and whether that can be; an empty window takes any operation.
        write: Writes its records; where it is undone, for the backward sweep, too.
    """

    flips: Callable[[Op], tuple[int, ...]]
    problem: Callable[[Op], str]
    reserve: Callable[[Op, NumberLayout], None]
    join: Callable[[Op, Window, Shape], bool]
    write: Callable[[Op, Writer, bool], None]


def problem(tape: Tape, tile: Span, op: Operation) -> str:
    """What is wrong with an operation of a block; empty if nothing is."""
    kind = KINDS[type(op)]
    if any(not 0 <= x < 1 << tape.num_qubits for x in kind.flips(op)):
        return "flips a row that is out of range"
    if any(x not in tile for x in kind.flips(op)):
        return "flips a row outside its block's tile"
    if op.overlap + op.num_overlaps > tape.num_overlaps:
        return "has overlaps beyond num_overlaps"
    return kind.problem(op)


def _overlaps(op: Operation, undone: bool) -> range:
    """The overlaps that the backward sweep returns of an operation."""
    return range(op.overlap, op.overlap + op.num_overlaps) if undone and op.overlap >= 0 else range(0)


def _pin(op: RY | U2 | Pauli, window: Window, shape: Shape) -> bool:
    return not op.x or window.pin(op.x, None if isinstance(op, Pauli) else op.w, shape.register_qubits)


def _side_problem(op: RY | U2) -> str:
    return "" if parity(op.w & op.x) else "has a side functional that is not odd on its flip vector"


def _reserve_pair(op: RY | Pauli, numbers: NumberLayout) -> None:
    numbers.reserve("pairs", op.coefficient + 1, batched=op.batched)


def _write_ry(op: RY, writer: Writer, undone: bool) -> None:
    # RYs on different register bits, in ascending order, are one record
    bit, overlaps = writer.bit(op.x), _overlaps(op, undone)
    layer = writer.layer
    if layer and layer[1] < bit and layer[2] == undone and writer.has_room(len(overlaps)):
        start = layer[0]
        writer.slots.extend(overlaps)
    else:
        words = [writer.slot(overlaps)] + [0] * 14
        start = writer.record(TURN, words, undone=undone)
    optional = op.x_optional and not op.batched
    flags = 1 | op.batched << 1 | (len(overlaps) > 0) << 2 | (len(overlaps) > 1) << 3 | optional << 4
    index = writer.numbers.index("pairs", op.coefficient, batched=op.batched)
    for first, word in zip((4, 8, 12), (writer.functional(op.w), index, flags), strict=True):
        writer.words[start + first + bit] = word
    writer.layer = start, bit, undone
    if bit == writer.shape.register_qubits - 1 and _is_plain(writer, start, undone):
        writer.words[start] = PLAIN_TURN
        if undone:
            count = 2 * writer.shape.register_qubits
            writer.slots[-count:] = writer.slots[-count::2] + writer.slots[-count + 1 :: 2]


def _is_plain(writer: Writer, start: int, undone: bool) -> bool:
    """Whether a layer of RYs is what ``plain_turns`` in the kernels takes."""
    w = writer.shape.register_qubits
    functionals, flags = (writer.words[start + first : start + first + w] for first in (4, 12))
    own = all(functional & ((1 << w) - 1) == 1 << k for k, functional in enumerate(functionals))
    return own and all(each == 29 if undone else each & 3 == 1 for each in flags)


def _reserve_u2(op: U2, numbers: NumberLayout) -> None:
    numbers.reserve("matrices", op.coefficient + 1, batched=op.batched)


def _write_u2(op: U2, writer: Writer, undone: bool) -> None:
    overlaps = _overlaps(op, undone)
    slot = writer.slot(overlaps) if overlaps else -1
    index = writer.numbers.index("matrices", op.coefficient, batched=op.batched)
    words = [slot, writer.functional(op.w), index, int(op.batched)]
    writer.record(UNITARY | writer.bit(op.x) << 4, words, undone=undone)


def _pauli_problem(op: Pauli) -> str:
    if parity(op.z & op.x) != op.power & 1:
        return "has a power that does not match its functional"
    even = not any(parity(functional & op.x) for functional in op.controls)
    return "" if even else "has controls that must be even on its flip vector"


def _write_pauli(op: Pauli, writer: Writer, undone: bool) -> None:
    overlaps = _overlaps(op, undone)
    slot = writer.slot(overlaps) if overlaps else -1
    controls = [writer.functional(f) for f in op.controls]
    index = writer.numbers.index("pairs", op.coefficient, batched=op.batched)
    words = [slot, writer.functional(op.z), index, int(op.batched), op.power, len(controls), *controls]
    writer.record(PAULI | writer.bit(op.x) << 4 if op.x else PHASE, words, undone=undone)


def _reserve_diag(op: Diag, numbers: NumberLayout) -> None:
    numbers.reserve("scales", op.scale + 1)
    for factor in op.factors:
        numbers.reserve("angles", factor.first + len(factor.terms), batched=factor.batched)


@dataclass
class _Table:
    """Terms of a diagonal that are looked up together.

    Attributes:
        basis: Functionals on places, without constants, whose values number the entries.
        span: Their span.
        terms: A functional on places and the position of its angle, each.
    """

    basis: list[int] = field(default_factory=list)
    span: Span = field(default_factory=Span)
    terms: list[tuple[int, int]] = field(default_factory=list)


def _write_diag(op: Diag, writer: Writer, undone: bool) -> None:
    # a thread looks up once what all of its registers share, unless one table has everything
    size, common, own, batched = 1 << writer.shape.register_qubits, list[_Table](), list[_Table](), list[int]()
    fit_one = Span().fits([f for factor in op.factors if not factor.batched for f in factor.basis], TABLE_QUBITS)
    for factor in op.factors:
        functionals = _functionals(factor, writer)
        if factor.batched:
            first = writer.numbers.index("angles", factor.first, batched=True)
            batched += [1, first, len(functionals), 0, *padded(functionals)]
            continue
        terms = [(functional, angle) for angle, functional in enumerate(functionals, factor.first)]
        for tables, is_own in ((common, False), (own, True)):
            _gather([term for term in terms if (fit_one or term[0] & (size - 1) > 0) == is_own], tables, writer)
    scale = -1 if op.scale < 0 else writer.numbers.index("scales", op.scale)
    tables = [*common, *own]
    addresses = [_addresses(table, -1 if k else scale, writer) for k, table in enumerate(tables)]  # K is in the first
    factors = len(own) + sum(factor.batched for factor in op.factors)
    words = [-1 if tables else scale, len(common), factors, *chain.from_iterable(addresses[: len(common)])]
    for each in addresses[len(common) :]:
        words += [0, 0, 0, 0, *each]
    writer.record(DIAGONAL, [*words, *batched], undone=undone)
    overlaps = _overlaps(op, undone)
    for start in range(0, len(overlaps), MAX_KEPT):
        _write_measure(op, writer, overlaps[start : start + MAX_KEPT])


def _gather(terms: Sequence[tuple[int, int]], tables: list[_Table], writer: Writer) -> None:
    """Add terms of one factor to the first table that does not become too large, or to a new one."""
    if not terms:
        return
    linear = (1 << writer.shape.num_qubits) - 1
    vectors = [functional & linear for functional, _ in terms]
    table = next((table for table in tables if table.span.fits(vectors, TABLE_QUBITS)), None)
    if table is None:
        table = _Table()
        tables.append(table)
    table.basis += [vector for vector in vectors if table.span.add(vector)]
    table.terms += terms


def _addresses(table: _Table, scale: int, writer: Writer) -> list[int]:
    """`Addresses` in the kernels: the numbers of a table's entries, which K multiplies if ``scale`` is not -1."""
    n, columns = writer.shape.num_qubits, [0] * writer.shape.num_qubits
    for j, functional in enumerate(table.basis):
        for k in bits(functional):
            columns[k] |= 1 << j
    d, terms = len(table.basis), []
    for functional, angle in table.terms:
        mask = table.span.coordinates(functional & ((1 << n) - 1))
        assert mask is not None, "the basis was made of them"
        terms += [mask | (functional >> n) << d, angle]
    return writer.addresses((columns, writer.numbers.table(d, terms, scale)))


def _write_measure(op: Diag, writer: Writer, overlaps: Sequence[int]) -> None:
    """Overlaps of a diagonal, ordered by the register bits of their functionals."""
    w, t = writer.shape.register_qubits, writer.shape.dimension
    lanes, size = 1 << min(t - w, LANE_BITS), 1 << w
    measured = [(writer.functional(op.overlap_functionals[k - op.overlap]), k) for k in overlaps]
    measured.sort(key=lambda pair: pair[0] & (size - 1))
    functionals = [functional for functional, _ in measured]
    patterns = [{f & (size - 1) for f in functionals[k : k + lanes]} for k in range(0, len(functionals), lanes)]
    masks = [sum(1 << pattern for pattern in each) for each in patterns]
    slot = writer.slot([overlap for _, overlap in measured])
    writer.record(MEASURE, [slot, len(measured), *masks, *functionals], undone=True, only_undone=True)


def _functionals(factor: Factor, writer: Writer) -> list[int]:
    """The functional of each term."""
    d, n = len(factor.basis), writer.shape.num_qubits
    masks = [(term & ((1 << d) - 1), term >> d) for term in factor.terms]
    return [writer.functional(combination(factor.basis, mask) | constant << n) for mask, constant in masks]


def _dense_problem(op: Dense) -> str:
    if len(op.xs) > MAX_DENSE_QUBITS:
        return f"is a matrix on {len(op.xs)} qubits; {MAX_DENSE_QUBITS} are allowed on a GPU"
    dual = all(parity(w & x) == (i == j) for i, w in enumerate(op.ws) for j, x in enumerate(op.xs))
    return "" if dual and 1 <= len(op.xs) == len(op.ws) else "has functionals that are not dual to its flips"


def _reserve_dense(op: Dense, numbers: NumberLayout) -> None:
    numbers.reserve_dense(op.coefficient, len(op.xs))


def _pin_dense(op: Dense, window: Window, shape: Shape) -> bool:
    return window.pin_dense(op.xs, op.ws, shape.dense_registers(len(op.xs)))


def _write_dense(op: Dense, writer: Writer, undone: bool) -> None:
    # its overlaps are flushed as they come, so that no others may be kept at that time
    k, w = len(op.xs), writer.shape.register_qubits
    inner = sum(x in writer.window.vectors[:w] for x in op.xs)
    functionals = [
        writer.functional(functional) ^ 1 << (j if j < inner else w + j - inner)  # without its own bit
        for j, functional in enumerate(op.ws)
    ]
    overlaps = _overlaps(op, undone)
    if overlaps:
        writer.close_stretch()
    slot = len(writer.slots) if overlaps else -1
    words = [k, writer.numbers.dense(op.coefficient), slot, *functionals]
    writer.record(DENSE | inner << 4, words, undone=undone)
    if overlaps:
        size = 1 << k
        order = product(range(size >> inner), range(size), range(1 << inner), range(2))
        writer.slots += [overlaps[(part * size + (h << inner | d)) * size + j] for h, j, d, part in order]
        writer.capacity = max(writer.capacity, 2 << inner)
        writer.first_slot = len(writer.slots)
        writer.begin_stretch()


KINDS: dict[type[Operation], Kind[Any]] = {
    RY: Kind(lambda op: (op.x,), _side_problem, _reserve_pair, _pin, _write_ry),
    U2: Kind(lambda op: (op.x,), _side_problem, _reserve_u2, _pin, _write_u2),
    Pauli: Kind(lambda op: (op.x,), _pauli_problem, _reserve_pair, _pin, _write_pauli),
    Diag: Kind(lambda _: (), lambda _: "", _reserve_diag, lambda *_: True, _write_diag),
    Dense: Kind(lambda op: op.xs, _dense_problem, _reserve_dense, _pin_dense, _write_dense),
}
