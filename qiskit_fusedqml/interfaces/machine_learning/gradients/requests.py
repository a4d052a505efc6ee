"""What one call of a gradient class asks for, sorted by circuit.

A call is a list of entries (circuit, values, wanted parameters), and usually they are on one circuit. The entries on
one circuit become a `Group`: its distinct parameter sets, simulated once each, and the kinds of parameters wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ....errors import InvalidInputError
from ...qiskit.batches import CircuitBatch, by_identity
from ...qiskit.cache import CACHE

Parameters = Sequence[Parameter] | None
Values = Sequence[Sequence[float]] | NDArray[np.float64]
Kind = tuple[Sequence[Parameter], list[int], NDArray[np.intp]]


class Group(CircuitBatch):
    """The entries on one circuit.

    Attributes:
        simulated: The circuit, or what a pass manager made of it.
        entries: Their positions (E,) in the call.
        rows: The distinct parameter sets.
        row_of: The set (E,) of each entry.
        kinds: For each kind of wanted parameters these, their columns among the circuit's, and positions in
            ``entries``.
    """

    def __init__(
        self, circuit: QuantumCircuit, entries: NDArray[np.intp], values: Values, wanted: Sequence[Parameters]
    ) -> None:
        super().__init__(circuit)
        self.simulated = self.known
        self.entries = entries
        self._check_width(values)
        self.row_of = self.add(np.asarray(values, dtype=np.float64))
        self.rows = self.sets.array()
        self.kinds = self._kinds(wanted)

    def transpile(self, key: Hashable, build: Callable[[QuantumCircuit], QuantumCircuit]) -> QuantumCircuit:
        """Simulate what ``build`` makes of the circuit, known by ``key``; returns it."""
        transpiled = self.known.get(key, build)
        self.simulated = CACHE.known(transpiled)
        return transpiled

    @cached_property
    def columns(self) -> list[int]:
        """Columns of all parameters wanted by any entry, ascending."""
        return sorted({column for _, kind, _ in self.kinds for column in kind})

    def effective(self, columns: Sequence[int]) -> tuple[NDArray[np.float64], list[int], list[int]]:
        """The rows as the circuit takes them, and which of the columns it still has.

        A transpiled circuit may have lost parameters: those have no effect, so their derivative is 0.

        Returns:
            Rows in the order of the circuit's own parameters; positions within ``columns`` of the parameters it has;
            their columns among its own parameters.
        """
        if self.simulated is self.known:
            return self.rows, list(range(len(columns))), list(columns)
        kept = [self.known.columns[parameter] for parameter in self.simulated.parameters]
        own = {column: position for position, column in enumerate(kept)}
        places = [place for place, column in enumerate(columns) if column in own]
        return self.rows[:, kept], places, [own[columns[place]] for place in places]

    def entries_by_kind(self) -> Iterator[tuple[Sequence[Parameter], list[int], list[int], NDArray[np.intp]]]:
        """For each kind its parameters, their places within `columns`, and the entries and positions that want it."""
        place = {column: position for position, column in enumerate(self.columns)}
        for parameters, kind, positions in self.kinds:
            yield parameters, [place[column] for column in kind], self.entries[positions].tolist(), positions

    def _check_width(self, values: Values) -> None:
        if not self.known.parameters:
            raise InvalidInputError(
                f"The {self.entries[0]}-th circuit is not parameterised: there is nothing to differentiate."
            )
        expected = len(self.known.parameters)
        if isinstance(values, np.ndarray) and values.ndim == 2:
            widths = [values.shape[1]]
        else:
            widths = [len(row) for row in values]
        for entry, width in zip(self.entries.tolist(), widths, strict=False):
            if width != expected:
                raise InvalidInputError(
                    f"The number of values ({width}) does not match "
                    f"the number of parameters ({expected}) for the {entry}-th circuit."
                )

    def _kinds(self, wanted: Sequence[Parameters]) -> list[Kind]:
        kinds: list[Kind] = []
        for positions in by_identity(wanted):
            given = wanted[positions[0]]
            parameters = self.known.snapshot.parameters if given is None else given
            try:
                columns = self.known.columns_of(parameters)
            except KeyError:
                entry = self.entries[positions[0]]
                foreign = [parameter for parameter in parameters if parameter not in self.known.columns]
                raise InvalidInputError(
                    f"The {entry}-th parameters contains parameters not present in the {entry}-th circuit: {foreign}."
                ) from None
            kinds.append((parameters, columns, positions))
        return kinds


def grouped(
    circuits: Sequence[QuantumCircuit], values: Values, wanted: Sequence[Parameters]
) -> Iterator[tuple[NDArray[np.intp], Values, Sequence[Parameters]]]:
    """For each distinct circuit the positions of its entries, their values and wanted parameters."""
    kinds = by_identity(circuits)
    if len(kinds) == 1:
        yield kinds[0], values, wanted
        return
    for chosen in kinds:
        yield chosen, [values[i] for i in chosen], [wanted[i] for i in chosen]


def check_lengths(num_circuits: int, **others: Any) -> None:
    """Refuse lists of other lengths; underscores in the names are spaces of the message."""
    for name, items in others.items():
        if len(items) != num_circuits:
            raise InvalidInputError(
                f"The number of circuits ({num_circuits}) does not match the number of {name.replace('_', ' ')} "
                f"({len(items)})."
            )
