"""Layouts: where each amplitude of a state lies among 2**g ranks, and what is exchanged to get from one to another.

In a layout the amplitude of physical index r is held by rank p at the local address x::

    bit i of p = parity(ranks[i] & r)          bit j of x = parity(addresses[j] & r)

with g + l = n independent functionals, all linear: index 0 is address 0 of rank 0. What a rank holds is a coset of the
local space ``L = {r: parity(ranks[i] & r) == 0 for all i}``. So a flip vector v of L is the local vector of its
addresses, and a functional is a local mask and a constant of the rank.

In an exchange k functionals of the rank trade places with k of the addresses. Ranks of a coset of a k-dimensional space
swap pieces of 2**(l-k) amplitudes in pairs, and what comes from a rank fills the hole that what goes there leaves:
nothing else moves, and the same swaps lead back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..planner.frame import Frame, Functional, PhysicalTerm, Vector
from ..planner.gf2 import Span, annihilator, combination, duals, echelon, intersection, parity, pull


@dataclass(frozen=True, eq=True)
class Layout:
    """Where amplitudes of 2**n physical indices lie.

    Attributes:
        ranks: The g functionals that make the rank's number.
        addresses: The l functionals that make the address there.
    """

    ranks: tuple[Functional, ...]
    addresses: tuple[Functional, ...]

    @classmethod
    def of(cls, local: Sequence[Vector], num_qubits: int, first: int = 0, fold_bits: int = 0) -> Layout:
        """A layout with a given local space.

        Addresses are index bits, folded as of `Frame.folded` from bit ``first + fold_bits`` on.
        """
        ranks = annihilator(local, num_qubits)
        span = Span(ranks)
        units = [1 << q for q in range(num_qubits) if span.add(1 << q)]
        fold = Frame.folded(len(units), first, fold_bits).duals
        return cls(tuple(ranks), tuple(combination(units, dual) for dual in fold))

    @property
    def num_qubits(self) -> int:
        """Number of qubits n of the whole state."""
        return len(self.ranks) + len(self.addresses)

    @property
    def num_local(self) -> int:
        """Number of qubits l of a rank's part."""
        return len(self.addresses)

    @cached_property
    def _duals(self) -> tuple[list[Vector], list[Vector]]:
        """The changes of the physical index with each bit of the rank and of the address."""
        found = duals([*self.ranks, *self.addresses], self.num_qubits)
        return found[: len(self.ranks)], found[len(self.ranks) :]

    def is_local(self, vector: Vector) -> bool:
        """Whether a flip stays within each rank."""
        return not any(parity(f & vector) for f in self.ranks)

    def vector(self, vector: Vector) -> Vector:
        """The local vector of a flip that is local."""
        return pull(vector, self.addresses)

    def functional(self, functional: Functional, rank: int) -> Functional:
        """The functional on a rank's addresses; bit l is the constant."""
        linear = functional & ((1 << self.num_qubits) - 1)
        of_ranks, of_addresses = self._duals
        constant = functional >> self.num_qubits ^ parity(pull(linear, of_ranks) & rank)
        return pull(linear, of_addresses) | constant << self.num_local

    def term(self, term: PhysicalTerm, rank: int) -> PhysicalTerm | None:
        """A term of an observable whose flip is local, on a rank's addresses; None where a control is 0."""
        controls = self.controls(term.controls, rank)
        if controls is None:
            return None
        z = self.functional(term.z, rank)
        return PhysicalTerm(term.coefficient, self.vector(term.x), z, term.power, controls)

    def controls(self, controls: Sequence[Functional], rank: int) -> tuple[Functional, ...] | None:
        """Control functionals on a rank's addresses; None where one is 0 for all of them."""
        found = [self.functional(control, rank) for control in controls]
        if 0 in found:
            return None
        return tuple(control for control in found if control != 1 << self.num_local)

    def indices(self, rank: int) -> Frame:
        """The physical index of each of a rank's addresses: ``indices(rank).indices()`` are these 2**l numbers."""
        of_ranks, of_addresses = self._duals
        return Frame(tuple(of_addresses), (), combination(of_ranks, rank))

    def exchange_to(self, local: Sequence[Vector]) -> Exchange | None:
        """How to get to another local space; None if it is this one."""
        n, old = self.num_qubits, self.ranks
        of_ranks, of_addresses = self._duals
        target = annihilator(local, n)
        # functionals of the rank that stay, as masks over the old ones: with a pivot each
        common = echelon(pull(f, of_ranks) for f in intersection(old, target, n))
        stay = [mask.bit_length() - 1 for mask in common]
        leave = [i for i in range(len(old)) if i not in stay]
        if not leave:
            return None
        arrive = _reduced([(pull(f, of_addresses), f) for f in target])
        pivots = sorted(arrive)
        masks, new = [arrive[p][0] for p in pivots], [arrive[p][1] for p in pivots]
        return Exchange(
            self, tuple(leave), tuple(zip(stay, common, strict=True)), tuple(pivots), tuple(masks), tuple(new)
        )


def _reduced(pairs: Sequence[tuple[int, Functional]]) -> dict[int, tuple[int, Functional]]:
    """(mask, functional) with independent masks, each of which has its highest bit to itself."""
    found: dict[int, tuple[int, Functional]] = {}
    for mask, functional in pairs:
        while mask and (other := found.get(mask.bit_length() - 1)):
            mask, functional = mask ^ other[0], functional ^ other[1]
        if mask:
            found[mask.bit_length() - 1] = mask, functional
    for pivot in sorted(found):
        for p, (mask, functional) in found.items():
            if p != pivot and mask >> pivot & 1:
                found[p] = mask ^ found[pivot][0], functional ^ found[pivot][1]
    return found


@dataclass(frozen=True, eq=False)
class Exchange:
    """k functionals of the rank and k of the addresses trade places.

    Attributes:
        before: The layout before.
        leave: The bits of the rank that become address bits.
        stay: The other ones, each with a mask over the old functionals that makes one of the rank afterwards, too.
        pivots: The address bits that become bits of the rank.
        masks: The new functionals on the old addresses.
        new: The new functionals.
    """

    before: Layout
    leave: tuple[int, ...]
    stay: tuple[tuple[int, int], ...]
    pivots: tuple[int, ...]
    masks: tuple[int, ...]
    new: tuple[Functional, ...]

    @property
    def num_exchanged(self) -> int:
        """The dimensions k that trade places."""
        return len(self.leave)

    @cached_property
    def _constants(self) -> list[int]:
        """What the new functionals depend on of the old rank, as masks."""
        return [pull(f, self.before._duals[0]) for f in self.new]  # noqa: SLF001 (its own module's)

    @cached_property
    def after(self) -> Layout:
        """The layout afterwards."""
        ranks, addresses = list(self.before.ranks), list(self.before.addresses)
        for new, i in zip(self.new, self.leave, strict=True):
            ranks[i] = new
        for s, mask in self.stay:
            for new, i in zip(self.new, self.leave, strict=True):
                if mask >> i & 1:
                    ranks[s] ^= self.before.ranks[i] ^ new
        for j, p in enumerate(self.pivots):
            # the old bit of the rank, the other bits of the mask, and a constant of the new rank
            addresses[p] = self.before.ranks[self.leave[j]]
            addresses[p] ^= combination(self.before.addresses, self.masks[j] ^ 1 << p)
            addresses[p] ^= combination(ranks, self._constants[j])
        return Layout(tuple(ranks), tuple(addresses))

    def partners(self, rank: int) -> Iterator[tuple[int, int]]:
        """The ranks to swap with, and where the piece for each begins; the two are each other's partner at once."""
        for difference in range(1, 1 << self.num_exchanged):
            other = rank
            for j, i in enumerate(self.leave):
                if difference >> j & 1:
                    other ^= 1 << i
                    for s, mask in self.stay:
                        other ^= (mask >> i & 1) << s
            yield other, self._offset(rank, other)

    def _offset(self, rank: int, other: int) -> int:
        """Address of the first amplitude of a rank's piece for another one."""
        offset = 0
        for j, p in enumerate(self.pivots):
            wanted = other >> self.leave[j] & 1
            offset |= (wanted ^ parity(self._constants[j] & rank)) << p
        return offset

    @cached_property
    def vectors(self) -> NDArray[np.uint64]:
        """Amplitude i of a piece lies at the XOR of the vectors at its bits, and the offset."""
        free = (q for q in range(self.before.num_local) if q not in self.pivots)
        found = [
            1 << q | sum((mask >> q & 1) << p for p, mask in zip(self.pivots, self.masks, strict=True)) for q in free
        ]
        return np.array(found, dtype=np.uint64)
