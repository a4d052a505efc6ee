"""Observables on a state over several ranks: strings that flip within ranks at once, others after an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InvalidInputError
from ..ir.observables import PauliSum
from ..planner.frame import Frame, PhysicalSum, PhysicalTerm
from ..planner.gf2 import Span
from .agreement import digest
from .layouts import Exchange, Layout


class Visit(NamedTuple):
    """What is done in one layout.

    Attributes:
        exchange: What comes before it, or None.
        has_terms: Whether any rank has terms here.
        numbers: The observables with terms whose flips are local, by number.
        sums: These terms, on the rank's addresses.
    """

    exchange: Exchange | None
    has_terms: bool
    numbers: list[int]
    sums: list[PhysicalSum]


class RankObservables:
    """A rank's form of observables, in every layout that states have been in.

    Attributes:
        digest: Of the observables and the frame.
    """

    def __init__(self, rank: int, frame: Frame, sums: Sequence[PauliSum]) -> None:
        self._rank, self._frame, self._sums = rank, frame, tuple(sums)
        self._visits: dict[Layout, list[Visit]] = {}
        self.digest = digest([repr(frame), repr(self._sums)]).hex()
        for number, observable in enumerate(sums):
            if observable.num_qubits != frame.num_qubits:
                raise InvalidInputError(
                    f"Observable {number} acts on {observable.num_qubits} qubits; the state has {frame.num_qubits}."
                )

    def visits(self, layout: Layout) -> list[Visit]:
        """What is done in one layout after the other, beginning with this one."""
        found = self._visits.get(layout)
        if found is None:
            found = self._visits[layout] = visits(self._frame, self._sums, layout, self._rank)
        return found


def visits(frame: Frame, sums: Sequence[PauliSum], layout: Layout, rank: int) -> list[Visit]:
    """All terms, in as few layouts as a greedy choice of flips needs, the present one first."""
    rest = [(number, term) for number, observable in enumerate(sums) for term in frame.terms(observable)]
    found: list[Visit] = []
    exchange: Exchange | None = None
    while True:
        here: dict[int, list[PhysicalTerm]] = {}
        left = []
        for number, term in rest:
            if layout.is_local(term.x):
                here.setdefault(number, []).append(term)
            else:
                left.append((number, term))
        found.append(_visit(exchange, here, layout, rank))
        if not left:
            return found
        rest = left
        span = Span()
        for vector in [*(term.x for _, term in rest), *layout.indices(rank).columns]:
            if span.fits((vector,), layout.num_local):
                span.add(vector)
        exchange = layout.exchange_to(span.basis())
        assert exchange is not None
        layout = exchange.after


def _visit(exchange: Exchange | None, here: dict[int, list[PhysicalTerm]], layout: Layout, rank: int) -> Visit:
    local = {number: [layout.term(term, rank) for term in terms] for number, terms in here.items()}
    kept = {number: tuple(term for term in terms if term is not None) for number, terms in local.items()}
    sums = [PhysicalSum(layout.num_local, terms) for terms in kept.values() if terms]
    return Visit(exchange, bool(here), [number for number, terms in kept.items() if terms], sums)
