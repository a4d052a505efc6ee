"""Windows: which amplitudes of a tile a thread holds in its registers, and the way from one window to the next.

A *place* is an n-bit number: the lowest W bits number a thread's registers, the next t - W its group's threads, the
rest the tile. A window is a linear map from places to physical indices. Operations are collected for as long as their
flips can all be register bits, then the window's vectors are chosen around them. A window's threads are chosen so that
the side functionals of its operations depend on the registers and the tile only: then all threads of a group take the
same way through the kernel. `transposition` gives the addresses in shared memory by which a tile changes its window;
they are linear in the place, and chosen so that neither the writing nor the reading lanes meet in a bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from ...planner.gf2 import Span, common_complement, echelon, parity

DENSE_REGISTERS = 2
"""Index bits of a dense matrix that are register bits where there are thread bits for the others."""


Sides: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Addresses in the window left, and in the window entered."""


@dataclass(frozen=True)
class Shape:
    """How a sweep is laid out.

    Attributes:
        num_qubits: Number of qubits n.
        tile: Basis of the tile in reduced echelon form; its dimension is t.
        register_qubits: W.
        warp: Whether warps work alone.
        bank_bits: Lanes served at once in shared memory, as a power of two.
        sector_bits: Amplitudes moved at once between slow memory and the chip, as a power of two.
        amplitude_bytes: Bytes of an amplitude.
    """

    num_qubits: int
    tile: tuple[int, ...]
    register_qubits: int
    warp: bool
    bank_bits: int
    sector_bits: int
    amplitude_bytes: int

    @property
    def dimension(self) -> int:
        """Dimension t of the tile."""
        return len(self.tile)

    @property
    def tiles(self) -> int:
        """Tiles of one sample."""
        return 1 << self.num_qubits - self.dimension

    def dense_registers(self, k: int) -> int:
        """Index bits of a dense matrix on k qubits that are register bits; the others are thread bits."""
        return min(k, max(DENSE_REGISTERS, k - (self.dimension - self.register_qubits)))

    @property
    def outer(self) -> tuple[int, ...]:
        """The vector of each bit of the tile's number."""
        pivots = sum(1 << vector.bit_length() - 1 for vector in self.tile)
        return tuple(1 << q for q in range(self.num_qubits) if not pivots >> q & 1)

    def coordinates(self, vector: int) -> int:
        """A vector of the tile as a combination of its basis: its bits at the pivots."""
        return sum((vector >> basis.bit_length() - 1 & 1) << k for k, basis in enumerate(self.tile))


@dataclass
class Window:
    """Operations that share a window, and once these are known its vectors.

    Attributes:
        start: Position of the first operation among those of the sweep, or of the end.
        operations: Positions of all of them.
        pins: Flip vectors, in the order of their register bits.
        low: Flip vectors that are the lowest thread bits.
        duals: The side functionals, by flip vector, that threads should not change.
        strict: Side functionals of dense matrices, even on all else that is pinned.
        vectors: The physical index of each bit of a place.
    """

    start: int = 0
    operations: list[int] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    low: list[int] = field(default_factory=list)
    duals: dict[int, int] = field(default_factory=dict)
    strict: list[int] = field(default_factory=list)
    vectors: tuple[int, ...] = ()

    def pin(self, x: int, w: int | None, room: int) -> bool:
        """Make a flip one of ``room`` register bits, and its side functional one of the registers alone if that can be.

        Returns:
            False, and nothing happens, if it cannot be a register bit.
        """
        pinned = [*self.pins, *self.low]
        if x not in self.pins:
            if len(self.pins) == room or any(parity(f & x) for f in self.strict) or x in Span(pinned):
                return False
            self.pins.append(x)
        if w is not None and x not in self.duals:
            consistent = all(not parity(w & other) for other in pinned if other != x)
            if consistent and all(not parity(dual & x) for dual in self.duals.values()):
                self.duals[x] = w
        return True

    def pin_dense(self, xs: Sequence[int], ws: Sequence[int], split: int) -> bool:
        """Give a dense matrix the first ``split`` registers and the lowest threads, or find that it has them.

        Returns:
            False, and nothing happens, if others have them.
        """
        if self.pins or self.low:
            return [*self.pins, *self.low] == list(xs) and self.strict == list(ws)
        self.pins, self.low, self.strict = list(xs[:split]), list(xs[split:]), list(ws)
        self.duals = dict(zip(xs, ws, strict=True))
        return True

    def build(self, shape: Shape) -> Window:
        """Choose the vectors. Threads get the lowest ones of the tile, so that memory is read in whole sectors."""
        span = Span([*self.pins, *self.low])
        rest = [vector for vector in shape.tile if span.add(vector)]
        for x, functional in self.duals.items():
            rest = [vector ^ x if parity(functional & vector) else vector for vector in rest]
        threads = shape.dimension - shape.register_qubits - len(self.low)
        self.vectors = (*self.pins, *rest[threads:], *self.low, *rest[:threads], *shape.outer)
        return self


def is_coalesced(shape: Shape, window: Window) -> bool:
    """Whether 32 lanes read whole sectors of slow memory."""
    lanes = window.vectors[shape.register_qubits : shape.dimension][:5]
    beyond = Span(vector >> shape.sector_bits for vector in lanes)
    return beyond.dimension == len(lanes) - min(shape.sector_bits, len(lanes))


def transposition(shape: Shape, before: Window, after: Window) -> Sides:
    """Addresses by which a tile changes its window, for each of the t inner bits of a place.

    Returns:
        In bytes, on the side of the window left and on that of the window entered.
    """
    w, t = shape.register_qubits, shape.dimension
    sides = (tuple(shape.coordinates(vector) for vector in window.vectors[:t]) for window in (before, after))
    left, right = _addresses(*sides, w, min(shape.bank_bits, t - w))
    return tuple(shape.amplitude_bytes * each for each in left), tuple(shape.amplitude_bytes * each for each in right)


@lru_cache(maxsize=4096)
def _addresses(before: tuple[int, ...], after: tuple[int, ...], w: int, lanes: int) -> Sides:
    ours, theirs = before[w : w + lanes], after[w : w + lanes]
    basis = Span([*ours, *common_complement(ours, theirs, len(before))])

    def address(vector: int) -> int:
        mask = basis.coordinates(vector)
        assert mask is not None, "the basis spans everything"
        return mask

    return tuple(map(address, before)), tuple(map(address, after))


def widened(tile: Iterable[int], num_qubits: int, wanted: int, largest: int, sector_bits: int) -> tuple[int, ...]:
    """The tile's basis in echelon form, with the lowest unit vectors added.

    Those of a sector of slow memory are added first, if ``largest`` allows, then others up to ``wanted`` dimensions.
    """
    vectors = list(echelon(tile))
    span = Span(vectors)
    candidates = ((1 << q, largest if q < sector_bits else wanted) for q in range(num_qubits))
    return echelon([*vectors, *(unit for unit, limit in candidates if span.dimension < limit and span.add(unit))])
