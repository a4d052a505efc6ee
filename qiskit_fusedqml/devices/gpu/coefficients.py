"""The coefficient map on the device: coefficients from values and gradients from overlaps that are in its memory.

What the host does once for a binding (`tables`), the kernels of ``coefficients.cuh`` and ``formulas.cuh`` read in every
call: two launches from values to coefficients, two to five from overlaps to gradients, and one more each way where
there are expressions. Which of cosine and sine is taken out of a rotation, and what else depends on values, is found
there, too. Values are not checked: those that are not finite give results that are not finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack
from typing_extensions import override

from ...planner.tables import BindingTables
from .. import BoundOnDevice
from .launches import THREADS, Launcher, Partials
from .layout import Sizes
from .runtime import Argument, Buffer
from .tables import (
    ExpressionTables,
    GradientTables,
    expression_gradients,
    overlap_gradients,
    rows_of_values,
    scaling_words,
    sequence_words,
    source_words,
)

RECORD_BYTES = 256
"""At least those of a `CoefficientMap` in the kernels."""

EXPRESSION_THREADS = 1 << 15
"""Threads that evaluate expressions; each has room for the steps of one."""

LONG_ROW = 8
"""Items of a sum, on average, from which a warp adds them."""


class Counts(NamedTuple):
    """The numbers of a `CoefficientMap` in the kernels, in their order; columns are the batched parameters."""

    parameters: int
    columns: int
    expressions: int
    sequences: int
    matrices: int
    batched_matrices: int
    shared_gates: int
    gates: int
    pairs: int
    scales: int
    terms: int
    batched_pairs: int
    batched_terms: int
    stretches: int
    plain: int
    scalings: int
    overlaps: int


class Gathering:
    """Sums of weighted items, those of each target, on the device."""

    def __init__(self, launcher: Launcher, weights: csr_array) -> None:
        self.targets = weights.shape[0]
        self.arrays = [launcher.upload(a.astype(np.int32)) for a in (weights.indptr, weights.indices)]
        self.arrays.append(launcher.upload(weights.data))
        self.team = 32 if weights.nnz > LONG_ROW * self.targets else 1


def _loaded(launcher: Launcher, tables: GradientTables) -> tuple[Gathering, ...]:
    return tuple(Gathering(launcher, weights) for weights in tables)


class LoadedExpressions:
    """Expressions and their gradients on the device."""

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        e = ExpressionTables.of(tables.shared_expressions, tables.batched_expressions)
        self.members, self.shared_members = len(e.members), e.num_shared
        self.shared_slots, self.batched_slots = e.shared_slots, len(e.slots) - e.shared_slots
        self.most_nodes = int(e.members[:, 1].max())
        self.arrays = [launcher.upload(a.astype(np.int32)) for a in (e.members, e.nodes, e.slots)]
        self.arrays.append(launcher.upload(e.constants))
        self.gradients = _loaded(launcher, expression_gradients(tables, e))


class LoadedMap:
    """A binding's tables on the device.

    Args:
        launcher: Launches the kernels.
        tables: The tables.
    """

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        c, groups = tables.coefficients, rows_of_values(tables)
        lengths = [len(group.constants) for group in groups]
        weights = vstack([group.weights for group in groups], format="csr")
        words, stretch_start, plain = scaling_words(tables)
        self.num_shared, self.num_batched = tables.angles.num_shared, tables.angles.num_batched
        self.batched_gates = lengths[2]
        counts = (
            *(tables.num_parameters, len(tables.batched_parameters), self.num_shared - tables.num_parameters),
            *(len(each[0]) for each in (c.sequences, c.matrices, c.batched_matrices)),
            *(lengths[0] + lengths[1], sum(lengths[:3]), lengths[5], c.num_scales, lengths[6], lengths[3], lengths[4]),
            *(len(stretch_start) - 1, len(plain), len(words), c.num_overlaps),
        )
        self.counts = n = Counts._make(counts)
        matrix_overlaps = np.concatenate([c.matrices[1].ravel(), c.batched_matrices[1].ravel()])
        arrays = [np.array(n), weights.indptr, source_words(weights.indices, tables), weights.data]
        arrays += [np.concatenate([group.constants for group in groups]), *sequence_words(tables)]
        arrays += [words, stretch_start, plain, c.sequences[1], c.sequences[3], matrix_overlaps]
        arrays += [c.scales.overlap_position, c.sequences[2]]
        reals = (np.float64 if a.dtype == np.float64 else np.int32 for a in arrays)
        self._arrays = [launcher.upload(np.asarray(a, kind)) for a, kind in zip(arrays, reals, strict=True)]
        self.record = launcher.runtime.empty(RECORD_BYTES // 8, np.int64)
        launcher.launch("set_coefficient_map", (1, 1), [self.record, *self._arrays], threads=1)
        dense = [np.stack([m.real, m.imag], -1).ravel() for m in c.dense]
        self.dense = launcher.upload(np.concatenate([np.zeros(0), *dense]))
        self._dense_qubits = tuple(len(matrix).bit_length() - 1 for matrix in c.dense)
        self.gradients = _loaded(launcher, overlap_gradients(tables, groups))
        has_expressions = tables.shared_expressions or tables.batched_expressions
        self.expressions = LoadedExpressions(launcher, tables) if has_expressions else None
        launcher.runtime.synchronize()  # it is read from any stream from now on

    def sizes(self, batch: int) -> Sizes:
        """How many coefficients there are."""
        n = self.counts
        counts = {"pairs": n.pairs, "scales": n.scales, "matrices": n.matrices, "angles": n.terms}
        batched = {"pairs": n.batched_pairs, "matrices": n.batched_matrices, "angles": n.batched_terms}
        return Sizes(counts | {f"batched_{kind}": count for kind, count in batched.items()}, self._dense_qubits, batch)

    def memory(self, batch: int) -> int:
        """Numbers kept for the backward pass; see `Values` in the kernels."""
        n = self.counts
        shared = n.scalings + 5 * n.sequences + n.expressions + 2 * n.shared_gates
        return shared + (2 * self.batched_gates + self.num_batched - n.columns) * batch


@dataclass(frozen=True, eq=False)
class CoefficientsOnDevice:
    """Coefficients in the device's memory; `devices.Coefficients` are those of the host.

    Attributes:
        map: Where they come from.
        sizes: How many there are.
        numbers: The numbers; see `Values` in the kernels.
    """

    map: LoadedMap
    sizes: Sizes
    numbers: Buffer


class BoundValues(BoundOnDevice):
    """Coefficients from values, and what the backward pass needs.

    Args:
        launcher: Launches the kernels.
        loaded: The map.
        shared: The parameters (P,) of the first sample.
        batched: (B, V) those that differ from sample to sample, flat; None if there are none.
        batch: Number of samples B.
    """

    def __init__(
        self, launcher: Launcher, loaded: LoadedMap, shared: Buffer, batched: Buffer | None, batch: int
    ) -> None:
        self._launcher, self._map, self._batch = launcher, loaded, batch
        n, e, sizes = loaded.counts, loaded.expressions, loaded.sizes(batch)
        numbers, self._memory = self._room(sizes.places()[1]), self._room(loaded.memory(batch))
        self._values: list[Argument] = [loaded.record, batch, shared, batched]
        self._coefficients = CoefficientsOnDevice(loaded, sizes, numbers)
        if e is not None:
            self._evaluate("evaluate_expressions", e, e.shared_members + (e.members - e.shared_members) * batch, [])
        count = n.sequences + n.matrices + (n.batched_matrices + n.batched_pairs + n.batched_terms) * batch
        launcher.each("bind_values", count, [*self._values, numbers, self._memory])
        launcher.each("bind_shared", n.stretches + n.plain + n.terms, [*self._values, numbers, self._memory])

    @property
    @override
    def coefficients(self) -> CoefficientsOnDevice:
        return self._coefficients

    @override
    def pull(self, overlaps: Any, *, per_sample: bool) -> tuple[Any, Any]:
        m, n, batch = self._map, self._map.counts, self._batch
        by_sample, rows = overlaps.ndim == 2, batch if per_sample else 1
        batched = overlaps.ravel() if by_sample else None
        shared = self._column_sums(overlaps) if by_sample and not per_sample else overlaps.ravel()
        width = m.num_shared + (m.num_batched - n.columns if per_sample else 0)
        results = _Gradients(self._room(width * rows), width, rows, per_sample)
        if by_sample and not per_sample:
            results.batched = self._room(m.num_batched * batch)
        gates = self._items(n.shared_gates, m.batched_gates, results, batch if by_sample else 0)
        arguments = [m.record, batch, self._coefficients.numbers, self._memory, shared]
        arguments += [rows, batched, gates.shared, gates.batched]
        count = (n.sequences + n.matrices) * rows + (n.batched_matrices * batch if by_sample else 0)
        self._launcher.each("pull_sequences", count, arguments)
        self._gather(m.gradients, (shared, batched, n.overlaps), gates, results, onto=False)
        if m.expressions is not None:
            slots = self._pull_expressions(m.expressions, results)
            self._gather(m.expressions.gradients, (shared, batched, 0), slots, results, onto=True)
        parameters = _table(results.shared, rows, width)[:, : n.parameters]
        if per_sample:
            return parameters, None
        if results.batched is None:
            return parameters[0], None
        return parameters[0], _table(results.batched, batch, m.num_batched)[:, : n.columns]

    def _pull_expressions(self, e: LoadedExpressions, results: _Gradients) -> _Items:
        """The derivatives for the variables of the expressions."""
        m, batch, rows = self._map, self._batch, results.rows
        batched, width = (results.shared[m.num_shared :], results.width) if results.per_sample else (None, 0)
        if results.batched is not None:
            batched, width = results.batched[m.counts.columns :], m.num_batched
        slots = self._items(e.shared_slots, e.batched_slots, results, batch if batched is not None else 0)
        count = e.shared_members * rows + (0 if batched is None else (e.members - e.shared_members) * batch)
        outer = [e.shared_slots, results.shared[m.counts.parameters :], rows]
        outer += [results.width, batched, width, slots.shared, slots.batched]
        self._evaluate("pull_expressions", e, count, outer)
        return slots

    def _evaluate(self, kernel: str, e: LoadedExpressions, count: int, outer: list[Argument]) -> None:
        """Launch one of the kernels of expressions, with room for their steps."""
        blocks = max(1, -(-min(count, EXPRESSION_THREADS) // THREADS))
        room = self._room(2 * e.most_nodes * blocks * THREADS)
        arguments = [*self._values, self._memory, *e.arrays, e.most_nodes, e.members, room, *outer]
        self._launcher.launch(kernel, (blocks, 1), arguments)

    def _gather(
        self,
        gradients: tuple[Gathering, ...],
        overlaps: tuple[Buffer, Buffer | None, int],
        items: _Items,
        results: _Gradients,
        *,
        onto: bool,
    ) -> None:
        """Add up what makes the gradients: overlaps (shared, by sample, their number), and other items."""
        (of_shared, of_batched, each), (shared, batched, count) = gradients, overlaps
        width = results.width
        if results.per_sample:
            return self._sum(each, (shared, count), items.shared, items.batch, (width, onto, results.shared))
        if results.batched is not None and items.num_batched:
            partials = Partials(items.batched, items.num_batched, items.batch, items.batch)
            sums, places = items.shared[items.num_shared :], self._launcher.constant(range(items.num_batched))
            self._launcher.add(partials, places, 0, sums, real=False, onto=False)
        self._sum(of_shared, (shared, count), items.shared, 1, (width, onto, results.shared))
        if results.batched is not None:
            target = self._map.num_batched, onto, results.batched
            self._sum(of_batched, (batched, count), items.batched, items.batch, target)
        return None

    def _sum(
        self,
        gathering: Gathering,
        overlaps: tuple[Buffer | None, int],
        others: Buffer,
        samples: int,
        results: tuple[Argument, ...],
    ) -> None:
        g = gathering
        arguments = [self._map.record, self._memory, overlaps[0], overlaps[1], others, *g.arrays]
        arguments += [g.targets, samples, g.team, *results]
        self._launcher.each("pull_values", g.targets * samples * g.team, arguments)

    def _column_sums(self, overlaps: Any) -> Buffer:
        rows, columns = overlaps.shape
        sums = self._room(columns)
        arguments = [overlaps.ravel(), rows, columns, sums]
        if columns:
            self._launcher.launch("add_columns", (-(-columns // 32), 1), arguments, shared_bytes=8 * THREADS)
        return sums

    def _items(self, shared: int, batched: int, results: _Gradients, batch: int) -> _Items:
        # for the gradients of the whole batch the sums of batched items follow the shared ones
        before = shared * results.rows + (0 if results.per_sample else batched)
        buffer = self._room(before + batched * batch)
        return _Items(buffer, buffer[before:], shared, batched, batch)

    def _room(self, count: int) -> Buffer:
        return self._launcher.runtime.empty(max(count, 1), np.float64)


@dataclass
class _Gradients:
    """Results: of what samples share [row][target], and of their own [sample][target] where that is apart."""

    shared: Buffer
    width: int
    rows: int
    per_sample: bool
    batched: Buffer | None = None


@dataclass(frozen=True)
class _Items:
    """Numbers that are added up: [shared][row], the batched ones' sums if there is one row, and [batched][sample]."""

    shared: Buffer
    batched: Buffer
    num_shared: int
    num_batched: int
    batch: int


def _table(buffer: Buffer, rows: int, columns: int) -> Any:
    return buffer[: rows * columns].reshape(rows, columns)
