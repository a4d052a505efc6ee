"""Windows: which amplitudes of a tile a thread holds in its registers, and the way from one window to the next.

A *place* is an n-bit number: the lowest W bits number a thread's registers, the next t - W its group's threads, the
rest the tile. A window is a linear map from places to rows. Operations are collected for as long as their flips can
all be register bits (`collect`), then the window is built around them (`build`). A window's threads are chosen so that
the side functionals of its operations depend on the registers and the tile only: then all threads of a group take the
same way through the kernel. `transposition` gives the addresses in shared memory by which a tile changes its window;
they are linear in the place, and chosen so that neither the writing nor the reading lanes meet in a bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ...planner.gf2 import Span, common_complement, echelon, parity
from ...planner.tape import RY, U2, Dense, Operation, Pauli

DENSE_REGISTERS = 2
"""Index bits of a dense matrix that are register bits where there are thread bits for the others."""


@dataclass(frozen=True)
class Shape:
    """How a sweep is laid out.

    Attributes:
        num_qubits: Number of qubits n.
        tile: Basis of the tile in reduced echelon form; its dimension is t.
        register_qubits: W.
        bank_bits: Lanes served at once in shared memory, as a power of two.
        sector_bits: Amplitudes moved at once between slow memory and the chip, as a power of two.
    """

    num_qubits: int
    tile: tuple[int, ...]
    register_qubits: int
    bank_bits: int
    sector_bits: int

    @property
    def dimension(self) -> int:
        """Dimension t of the tile."""
        return len(self.tile)

    def dense_registers(self, k: int) -> int:
        """Index bits of a dense matrix on k qubits that are register bits; the others are thread bits."""
        return min(k, max(DENSE_REGISTERS, k - (self.dimension - self.register_qubits)))

    @property
    def outer(self) -> tuple[int, ...]:
        """The rows of the tiles: a row for each bit of the tile's number."""
        pivots = sum(1 << vector.bit_length() - 1 for vector in self.tile)
        return tuple(1 << q for q in range(self.num_qubits) if not pivots >> q & 1)

    def coordinates(self, vector: int) -> int:
        """A vector of the tile as a combination of its basis: its bits at the pivots."""
        return sum((vector >> basis.bit_length() - 1 & 1) << k for k, basis in enumerate(self.tile))


@dataclass
class Draft:
    """Operations that share a window.

    Attributes:
        pins: Flip vectors, in the order of their register bits.
        low: Flip vectors that are the lowest thread bits.
        duals: The side functionals (row, functional) that threads should not change.
        operations: Positions of the operations in the list given to `collect`.
        start: Position of the first operation, or of the end.
        strict: Side functionals of dense matrices, even on whatever else is pinned.
    """

    pins: list[int] = field(default_factory=list)
    low: list[int] = field(default_factory=list)
    duals: dict[int, int] = field(default_factory=dict)
    operations: list[int] = field(default_factory=list)
    strict: list[int] = field(default_factory=list)
    start: int = 0

    def accepts_flip(self, x: int, room: int) -> bool:
        """Whether a flip is, or can become, a register bit."""
        if x in self.pins:
            return True
        if len(self.pins) == room or any(parity(w & x) for w in self.strict):
            return False
        return x not in Span([*self.pins, *self.low])

    def pin(self, x: int, w: int | None) -> None:
        """Make a flip a register bit, and its side functional one of the registers alone if that can be."""
        if x not in self.pins:
            self.pins.append(x)
        if w is not None and x not in self.duals:
            consistent = all(not parity(w & other) for other in [*self.pins, *self.low] if other != x)
            if consistent and all(not parity(dual & x) for dual in self.duals.values()):
                self.duals[x] = w

    def pin_dense(self, operation: Dense, split: int) -> None:
        """Give a dense matrix the first ``split`` registers and the lowest threads; the draft is empty."""
        self.pins, self.low = list(operation.xs[:split]), list(operation.xs[split:])
        self.duals = dict(zip(operation.xs, operation.ws, strict=True))
        self.strict = list(operation.ws)


def collect(operations: Sequence[Operation], shape: Shape) -> list[Draft]:
    """Operations in runs that share a window."""
    drafts = [Draft()]
    for position, operation in enumerate(operations):
        if not _accepts(drafts[-1], operation, shape.register_qubits):
            drafts.append(Draft(start=position))
        draft = drafts[-1]
        match operation:
            case RY(x, w) | U2(x, w):
                draft.pin(x, w)
            case Pauli(x) if x:
                draft.pin(x, None)
            case Dense():
                draft.pin_dense(operation, shape.dense_registers(len(operation.xs)))
        draft.operations.append(position)
    return drafts


def _accepts(draft: Draft, operation: Operation, register_qubits: int) -> bool:
    match operation:
        case RY(x) | U2(x):
            return draft.accepts_flip(x, register_qubits)
        case Pauli(x) if x:
            return draft.accepts_flip(x, register_qubits)
        case Dense(xs, ws):
            return not (draft.pins or draft.low) or ((*draft.pins, *draft.low) == xs and draft.strict == list(ws))
    return True


@dataclass(frozen=True)
class Window:
    """A row for each bit of a place."""

    vectors: tuple[int, ...]
    register_qubits: int

    def lanes(self, count: int) -> tuple[int, ...]:
        """The rows of the lowest thread bits."""
        return self.vectors[self.register_qubits : self.register_qubits + count]


def build(shape: Shape, draft: Draft) -> Window:
    """The window around a draft. Threads get the lowest vectors of the tile, so that memory is read in a row."""
    w, t = shape.register_qubits, shape.dimension
    span = Span([*draft.pins, *draft.low])
    rest = [vector for vector in shape.tile if span.add(vector)]
    for x, functional in draft.duals.items():
        rest = [vector ^ x if parity(functional & vector) else vector for vector in rest]
    threads = t - w - len(draft.low)
    registers = [*draft.pins, *rest[threads:]]
    return Window((*registers, *draft.low, *rest[:threads], *shape.outer), w)


def is_coalesced(shape: Shape, window: Window) -> bool:
    """Whether 32 lanes read whole sectors of slow memory."""
    group = window.vectors[window.register_qubits : shape.dimension]
    lanes = group[:5]
    beyond = Span(vector >> shape.sector_bits for vector in lanes)
    return beyond.dimension == len(lanes) - min(shape.sector_bits, len(lanes))


def transposition(shape: Shape, before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Addresses by which a tile changes its window, for each of the t inner bits of a place.

    Args:
        shape: The layout.
        before: Rows of the inner bits of the window left.
        after: Rows of the inner bits of the window entered.

    Returns:
        One word each; lower half: address on the side of the window left, upper half: of the window entered.
    """
    w = shape.register_qubits
    lanes = min(shape.bank_bits, len(before) - w)
    rows = (tuple(shape.coordinates(vector) for vector in vectors) for vectors in (before, after))
    return list(_addresses(*rows, w, lanes))


@lru_cache(maxsize=4096)
def _addresses(before: tuple[int, ...], after: tuple[int, ...], w: int, lanes: int) -> tuple[int, ...]:
    ours, theirs = before[w : w + lanes], after[w : w + lanes]
    basis = Span([*ours, *common_complement(ours, theirs, len(before))])

    def address(vector: int) -> int:
        mask = basis.coordinates(vector)
        assert mask is not None, "the basis spans everything"
        return mask

    return tuple(address(left) | address(right) << 16 for left, right in zip(before, after, strict=True))


def widened(tile: Iterable[int], num_qubits: int, wanted: int, largest: int, sector_bits: int) -> tuple[int, ...]:
    """The tile's basis in echelon form, with the lowest rows added.

    Those of a sector of slow memory are added first, if ``largest`` allows, then others up to ``wanted`` dimensions.
    """
    vectors = list(echelon(tile))
    span = Span(vectors)
    candidates = ((1 << q, largest if q < sector_bits else wanted) for q in range(num_qubits))
    return echelon([*vectors, *(unit for unit, limit in candidates if span.dimension < limit and span.add(unit))])
