"""The coefficient map on the device: coefficients from values and gradients from overlaps that are in its memory.

What the host does once for a binding (`tables`), the kernels of ``coefficients.cuh`` and ``formulas.cuh`` read in every
call: two launches from values to coefficients, two to five from overlaps to gradients, and one more each way where
there are expressions. Which of cosine and sine is taken out of a rotation, and what else depends on values, is found
there, too. Values are not checked: those that are not finite give results that are not finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import override

from ...planner.tables import BindingTables
from ..own_memory import BoundOnDevice
from .constants import MAP, MAP_ARRAYS, THREADS, Counts
from .launches import Launcher, Partials
from .layout import KINDS, Sizes
from .runtime import Buffer, Runtime, on_own_device
from .tables import (
    AngleRows,
    ExpressionWords,
    GradientTables,
    expression_gradients,
    overlap_gradients,
    scaling_words,
    sequence_words,
    source_words,
)

EXPRESSION_THREADS = 1 << 15
"""Threads that evaluate expressions; each has room for the steps of one."""

LONG_ROW = 8
"""Items of a sum, on average, from which a warp adds them."""


class Gathering:
    """Sums of weighted items, those of each target, on the device."""

    def __init__(self, launcher: Launcher, weights: csr_array) -> None:
        self.targets = weights.shape[0]
        self.team = 32 if weights.nnz > LONG_ROW * self.targets else 1
        indices = [launcher.upload(a.astype(np.int32)) for a in (weights.indptr, weights.indices)]
        self.arrays = [*indices, launcher.upload(weights.data)]


def _loaded(launcher: Launcher, tables: GradientTables) -> dict[str, Gathering]:
    return {kind: Gathering(launcher, weights) for kind, weights in tables._asdict().items()}


class LoadedExpressions:
    """Expressions and their gradients on the device."""

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        shared = tables.shared_expressions
        e = ExpressionWords.of((*shared, *tables.batched_expressions))
        self.members, self.shared_members = len(e.members), sum(each.batched.shape[1] for each in shared)
        self.shared_slots = sum(each.batched.size for each in shared)
        self.batched_slots = len(e.slots) - self.shared_slots
        self.most_nodes = int(e.members[:, 1].max())
        self.arrays = [launcher.upload(a.astype(np.int32)) for a in e[:3]] + [launcher.upload(e.constants)]
        self.gradients = _loaded(launcher, expression_gradients(tables, e.slots, self.shared_slots))


def _arrays(tables: BindingTables, rows: AngleRows) -> dict[str, NDArray[Any]]:
    """The arrays of a `CoefficientMap` in the kernels, by name."""
    c = tables.coefficients
    sequence_start, axis = sequence_words(tables)
    order, stretch_start, plain = scaling_words(tables)
    found = {
        "start": rows.weights.indptr,
        "source": source_words(rows.weights.indices, tables),
        "sequence_start": sequence_start,
        "axis": axis,
        "order": order,
        "stretch_start": stretch_start,
        "plain": plain,
        "sequence_overlaps": c.sequences[1],
        "sequence_pairs": c.sequences[3],
        "matrix_overlaps": np.concatenate([c.matrices[1].ravel(), c.batched_matrices[1].ravel()]),
        "position": c.scales.overlap_position,
        "weight": rows.weights.data,
        "constant": rows.constants,
        "sequence_signs": c.sequences[2],
    }
    return {name: np.asarray(found[name], MAP_ARRAYS[name]) for name in MAP_ARRAYS}


class LoadedMap:
    """A binding's tables on the device.

    Args:
        launcher: Launches the kernels.
        tables: The tables.
    """

    def __init__(self, launcher: Launcher, tables: BindingTables) -> None:
        c, rows = tables.coefficients, AngleRows.of(tables)
        arrays = _arrays(tables, rows)
        self.num_shared, self.num_batched = tables.angles.num_shared, tables.angles.num_batched
        sequence_gates, matrix_gates, self.batched_gates, batched_pairs, batched_terms, pairs, terms = rows.lengths
        counts = (
            *(tables.num_parameters, len(tables.batched_parameters), self.num_shared - tables.num_parameters),
            *(len(each[0]) for each in (c.sequences, c.matrices, c.batched_matrices)),
            *(sequence_gates + matrix_gates, sum(rows.lengths[:3]), pairs, c.num_scales, terms),
            *(batched_pairs, batched_terms, len(arrays["stretch_start"]) - 1, len(arrays["plain"])),
            *(len(arrays["order"]), c.num_overlaps),
        )
        self.counts = Counts._make(counts)
        sizes = {f"num_{name}": count for name, count in self.counts._asdict().items()}
        buffers = {name: launcher.upload(array) for name, array in arrays.items()}
        self.structure = launcher.runtime.structure(MAP, buffers | sizes)
        dense = [np.stack([m.real, m.imag], -1).ravel() for m in c.dense]
        self.dense = launcher.upload(np.concatenate([np.zeros(0), *dense]))
        self._dense_qubits = tuple(len(matrix).bit_length() - 1 for matrix in c.dense)
        self.gradients = _loaded(launcher, overlap_gradients(tables, rows))
        has_expressions = tables.shared_expressions or tables.batched_expressions
        self.expressions = LoadedExpressions(launcher, tables) if has_expressions else None
        launcher.runtime.synchronize()  # it is read from any stream from now on

    def sizes(self, batch: int) -> Sizes:
        """How many coefficients there are."""
        return Sizes({kind: getattr(self.counts, kind) for kind in KINDS}, self._dense_qubits, batch)

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
        numbers, self._memory = launcher.reals(sizes.places()[1]), launcher.reals(loaded.memory(batch))
        self._values: list[Any] = [loaded.structure, batch, shared, batched]
        self._coefficients = CoefficientsOnDevice(loaded, sizes, numbers)
        if e is not None:
            self._evaluate("evaluate_expressions", e, e.shared_members + (e.members - e.shared_members) * batch, [])
        count = n.sequences + n.matrices + (n.batched_matrices + n.batched_pairs + n.batched_angles) * batch
        launcher.each("bind_values", count, [*self._values, numbers, self._memory])
        launcher.each("bind_shared", n.stretches + n.plain + n.angles, [*self._values, numbers, self._memory])

    @property
    @override
    def coefficients(self) -> CoefficientsOnDevice:
        return self._coefficients

    @property
    def runtime(self) -> Runtime:
        """What runs the launches."""
        return self._launcher.runtime

    @override
    @on_own_device
    def pull(self, overlaps: Any, *, per_sample: bool) -> tuple[Any, Any]:
        m, n, batch = self._map, self._map.counts, self._batch
        by_sample = overlaps.ndim == 2
        both = by_sample and not per_sample
        samples = batch if by_sample else 0
        shared = self._column_sums(overlaps) if both else overlaps.ravel()
        width = m.num_shared + (m.num_batched - n.columns if per_sample else 0)
        targets = [self._target("each" if per_sample else "shared", shared, batch if per_sample else 1, width)]
        if both:
            targets.append(self._target("batched", overlaps.ravel(), batch, m.num_batched))
        self._add_up(m.gradients, n.overlaps, self._pull_sequences(targets, samples), targets, onto=False)
        if m.expressions is not None:
            slots = self._pull_expressions(m.expressions, targets, samples)
            self._add_up(m.expressions.gradients, 0, slots, targets, onto=True)
        parameters = targets[0].table()
        if per_sample:
            return parameters, None
        return parameters[0], targets[1].table() if both else None

    def _pull_sequences(self, targets: list[_Target], samples: int) -> _Items:
        """The gradients of the gates of all sequences."""
        m, n, first = self._map, self._map.counts, targets[0]
        gates = self._items(n.shared_gates, m.batched_gates, targets, samples)
        values = [m.structure, self._batch, self._coefficients.numbers, self._memory, first.overlaps, first.samples]
        values += [targets[-1].overlaps if samples else None, gates.shared, gates.batched]
        count = (n.sequences + n.matrices) * first.samples + n.batched_matrices * samples
        self._launcher.each("pull_sequences", count, values)
        return gates

    def _pull_expressions(self, e: LoadedExpressions, targets: list[_Target], samples: int) -> _Items:
        """The derivatives for the variables of the expressions."""
        m, n, (first, last) = self._map, self._map.counts, (targets[0], targets[-1])
        slots = self._items(e.shared_slots, e.batched_slots, targets, samples)
        batched = last.gradients[m.num_shared if first is last else n.columns :] if samples else None
        values = [e.shared_slots, first.gradients[n.parameters :], first.samples, first.width]
        values += [batched, last.width, slots.shared, slots.batched]
        count = e.shared_members * first.samples + (e.members - e.shared_members) * samples
        self._evaluate("pull_expressions", e, count, values)
        return slots

    def _evaluate(self, kernel: str, e: LoadedExpressions, count: int, outer: list[Any]) -> None:
        """Launch one of the kernels of expressions, with room for their steps."""
        blocks = max(1, -(-min(count, EXPRESSION_THREADS) // THREADS))
        room = self._launcher.reals(2 * e.most_nodes * blocks * THREADS)
        values = [*self._values, self._memory, *e.arrays, e.most_nodes, e.members, room, *outer]
        self._launcher.launch(kernel, (blocks, 1), values)

    def _add_up(
        self, gradients: dict[str, Gathering], num_overlaps: int, items: _Items, targets: list[_Target], *, onto: bool
    ) -> None:
        """Add up what makes the gradients: overlaps and items."""
        if len(targets) > 1 and items.num_batched:
            partials = Partials(items.batched, items.num_batched, self._batch, self._batch)
            places = self._launcher.constant(range(items.num_batched))
            self._launcher.add(partials, places, 0, items.sums, real=False, onto=False)
        for target, others in zip(targets, (items.shared, items.batched), strict=False):
            g, samples = gradients[target.kind], target.samples
            values = [self._map.structure, self._memory, target.overlaps, num_overlaps, others, *g.arrays]
            values += [g.targets, samples, g.team, target.width, onto, target.gradients]
            self._launcher.each("pull_values", g.targets * samples * g.team, values)

    def _column_sums(self, overlaps: Any) -> Buffer:
        samples, columns = overlaps.shape
        sums = self._launcher.reals(columns)
        if columns:
            values = [overlaps.ravel(), samples, columns, sums]
            self._launcher.launch("add_columns", (-(-columns // 32), 1), values, shared_bytes=8 * THREADS)
        return sums

    def _target(self, kind: str, overlaps: Buffer, samples: int, width: int) -> _Target:
        return _Target(kind, overlaps, samples, width, self._launcher.reals(width * samples))

    def _items(self, shared: int, batched: int, targets: list[_Target], samples: int) -> _Items:
        first = shared * targets[0].samples
        second = first + (batched if len(targets) > 1 else 0)
        buffer = self._launcher.reals(second + batched * samples)
        return _Items(buffer, buffer[first:], buffer[second:], batched)


@dataclass(frozen=True)
class _Target:
    """Gradients that are added up.

    Attributes:
        kind: Which: a field of `GradientTables`.
        overlaps: The overlaps they are made of, [sample][overlap].
        samples: Samples that have gradients of their own; 1 for those of the batch.
        width: Number of gradients of each.
        gradients: The results, [sample][gradient].
    """

    kind: str
    overlaps: Buffer
    samples: int
    width: int
    gradients: Buffer

    def table(self) -> Any:
        """The results (samples, width)."""
        return self.gradients[: self.samples * self.width].reshape(self.samples, self.width)


@dataclass(frozen=True)
class _Items:
    """What is added up beside overlaps, in one buffer.

    Attributes:
        shared: Items [item][sample] for the first target, which for gradients by sample include the batched ones.
        sums: For gradients of the batch, those of the batched items follow.
        batched: Batched items [item][sample].
        num_batched: Their number.
    """

    shared: Buffer
    sums: Buffer
    batched: Buffer
    num_batched: int
