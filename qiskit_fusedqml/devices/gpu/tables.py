"""Recipes as the index arrays that kernels read: every row stated on the values a caller gives.

A source k >= 0 is a number all samples share, a parameter, then a shared feature, then the Euler angles of the runs;
~k is a sample's own, a column of its row, then a feature of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arrays import FloatArray, IntArray
from ...ir.angles.formulas import Node
from ...planner.tables import PLAIN, BindingTables, CSRRows, Expressions, RotationSequences

STEPS = (
    *("variable", "number", "add", "subtract", "multiply", "divide", "power", "negative", "sin", "cos", "tan"),
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "absolute", "sign", "positive"),
    "zeros_like",
)
"""NumPy's names of a formula's steps, in the order of ``formulas.cuh``."""

_SCALE = 3
"""Kind of a scaling operation that is a diagonal's; those of pairs are their own."""


class Entries(NamedTuple):
    """Terms "weight * source" of rows.

    Attributes:
        rows: The row of each.
        sources: Its source.
        weights: Its weight.
    """

    rows: IntArray
    sources: IntArray
    weights: FloatArray

    @classmethod
    def of(cls, rows: CSRRows) -> Entries:
        """Those of rows."""
        return cls(np.repeat(np.arange(len(rows)), np.diff(rows.start)), rows.index, rows.weight)

    @classmethod
    def joined(cls, parts: Iterable[Entries]) -> Entries:
        """All of them."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def select(self, chosen: NDArray[Any]) -> Entries:
        """Some of them."""
        return Entries(self.rows[chosen], self.sources[chosen], self.weights[chosen])

    def compressed(self, count: int) -> tuple[IntArray, IntArray, FloatArray]:
        """Start of each of ``count`` rows, sources and weights, ordered by row."""
        order = np.argsort(self.rows, kind="stable")
        start = np.searchsorted(self.rows[order], np.arange(count + 1))
        return start, self.sources[order], self.weights[order]


@dataclass(frozen=True, eq=False)
class Stated:
    """Rows stated on values."""

    entries: Entries
    constants: FloatArray

    def of(self, rows: CSRRows, offset: int) -> Stated:
        """Rows of these rows, and of sources beyond them, which are numbered from ``offset``."""
        outer, count = Entries.of(rows), len(self.constants)
        inside = outer.sources < count
        start, sources, weights = self.entries.compressed(count)
        lengths = np.diff(start)
        inner = outer.select(inside)
        counts = lengths[inner.sources]
        # the terms of row r are start[r], start[r] + 1, ...
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        terms = np.repeat(start[inner.sources], counts) + within
        expanded = Entries(
            np.repeat(inner.rows, counts), sources[terms], np.repeat(inner.weights, counts) * weights[terms]
        )
        beyond = outer.select(~inside)
        beyond = beyond._replace(sources=beyond.sources - count + offset)
        constants = rows.constant + np.bincount(
            inner.rows, weights=inner.weights * self.constants[inner.sources], minlength=len(rows)
        )
        return Stated(Entries.joined([expanded, beyond]), constants)


def _gates(runs: RotationSequences) -> CSRRows:
    """The gates' angles as rows."""
    has = runs.source >= 0
    start = np.concatenate([[0], np.cumsum(has)])
    return CSRRows(start, runs.source[has], np.ones(int(has.sum())), runs.constant)


def stated_rows(tables: BindingTables) -> tuple[list[Stated], IntArray, IntArray]:
    """The rows of the kernels' `CoefficientMap`, group by group, where runs begin among the gates, and the gates' axes.

    The groups are the gates of the turned runs, of shared and of own blends, own pairs, own terms, pairs and terms.
    """
    recipe, angles = tables.coefficients, tables.angles
    base, own = Entries.of(angles.from_shared), Entries.of(angles.from_batched)
    shared = Stated(Entries.of(angles.shared), angles.shared.constant)
    batched = Stated(
        Entries.joined([base, own._replace(sources=~own.sources)]),
        angles.from_shared.constant + angles.from_batched.constant,
    )
    runs = (recipe.sequences[0], recipe.matrices[0], recipe.batched_matrices[0])
    euler = angles.num_shared
    groups = [
        shared.of(_gates(runs[0]), euler),
        shared.of(_gates(runs[1]), euler),
        batched.of(_gates(runs[2]), 0),
        batched.of(recipe.batched_pairs[0], 0),
        batched.of(recipe.batched_terms[0], 0),
        shared.of(recipe.pairs[0], euler),
        shared.of(recipe.terms[0], euler),
    ]
    firsts = np.cumsum([0, *(len(each.axis) for each in runs)])
    starts = [each.start[:-1] + first for each, first in zip(runs, firsts, strict=False)]
    return groups, np.concatenate([*starts, firsts[-1:]]), np.concatenate([each.axis for each in runs])


def joined_rows(groups: Sequence[Stated]) -> Stated:
    """All rows, numbered through."""
    firsts = np.cumsum([0, *(len(group.constants) for group in groups)])
    entries = Entries.joined(
        group.entries._replace(rows=group.entries.rows + first) for group, first in zip(groups, firsts, strict=False)
    )
    return Stated(entries, np.concatenate([group.constants for group in groups]))


def scaling_tables(tables: BindingTables) -> tuple[IntArray, IntArray, IntArray]:
    """The scaling operations as ``4 * number + kind``, where stretches begin among them, and all other pairs.

    A stretch is a carrier and what it carries; they stand together in the order of the tape.
    """
    scales, (pairs, kinds, _) = tables.coefficients.scales, tables.coefficients.pairs
    is_pair = scales.order < len(pairs)
    numbers = np.where(is_pair, scales.order, scales.order - len(pairs))
    words = 4 * numbers + np.where(is_pair, kinds[np.where(is_pair, numbers, 0)], _SCALE)
    stretch = np.full(len(pairs) + tables.coefficients.num_scales, -1)
    lengths = np.diff([*scales.starts, len(scales.factored)])
    stretch[scales.factored] = np.repeat(np.arange(len(lengths)), lengths)
    by_pair = scales.carrier_pair >= 0
    stretch[np.where(by_pair, scales.carrier_pair, len(pairs) + scales.carrier_diag)] = np.arange(len(lengths))
    changes = np.flatnonzero(np.diff(stretch[scales.order], prepend=-1))
    assert len(changes) == len(lengths)
    return words, np.append(changes, len(words)), np.flatnonzero(kinds == PLAIN)


@dataclass(frozen=True, eq=False)
class FeatureTables:
    """Features for the kernels, the shared ones first.

    Attributes:
        members: (G, 4) first node, number of nodes, first slot, number of variables.
        nodes: Steps, each [step, argument, argument].
        constants: The values of the steps that are numbers.
        slots: Sources of the members' variables.
        num_shared: Number of shared members.
        shared_slots: Number of their slots.
        most_nodes: Largest number of nodes of a member.
    """

    members: IntArray
    nodes: IntArray
    constants: FloatArray
    slots: IntArray
    num_shared: int
    shared_slots: int
    most_nodes: int

    @classmethod
    def of(cls, shared: Sequence[Expressions], batched: Sequence[Expressions]) -> FeatureTables:
        """Those of a binding."""
        members: list[IntArray] = [np.zeros((0, 4), np.int64)]
        slots: list[IntArray] = [np.zeros(0, np.int64)]
        nodes: list[tuple[int, int, int]] = []
        constants: list[float] = []
        num_slots = shared_slots = 0
        for number, features in enumerate((*shared, *batched)):
            formula, (k, count) = features.formula, features.batched.shape
            firsts = num_slots + k * np.arange(count)
            size = len(formula.nodes)
            members.append(np.stack([np.full(count, len(nodes)), np.full(count, size), firsts, np.full(count, k)], 1))
            slots.append(np.where(features.batched < 0, features.shared, ~features.batched).T.reshape(-1))
            nodes += map(_node_words, formula.nodes)
            constants += [node.number for node in formula.nodes]
            num_slots += k * count
            shared_slots = num_slots if number < len(shared) else shared_slots
        return cls(
            np.concatenate(members),
            np.array(nodes, np.int64).reshape(-1, 3),
            np.array(constants),
            np.concatenate(slots),
            sum(each.batched.shape[1] for each in shared),
            shared_slots,
            max((len(each.formula.nodes) for each in (*shared, *batched)), default=0),
        )


def _node_words(node: Node) -> tuple[int, int, int]:
    if node.operator is None:
        return (STEPS.index("variable"), node.arguments[0], 0) if node.varies else (STEPS.index("number"), 0, 0)
    first, last = node.arguments[0], node.arguments[-1]
    return STEPS.index(node.operator.function.__name__), first, last


class Gathering(NamedTuple):
    """Sums of weighted items: those of each target, as compressed rows."""

    start: IntArray
    items: IntArray
    weights: FloatArray


class GradientTables(NamedTuple):
    """Which items make up which gradient; the same three for a first step and, from slots of features, for a second.

    Targets are the parameters and the shared features, or a row's columns and own features. Items are numbered
    through, but in ``rows``, where those of the batch as a whole do not count.

    Attributes:
        base: Gradients of what all samples share, of the whole batch.
        rows: Of a sample's own.
        each: Of parameters, shared and own features, sample by sample.
    """

    base: Gathering
    rows: Gathering
    each: Gathering

    @classmethod
    def of(cls, entries: Entries, tables: BindingTables, kept: int, common: int) -> GradientTables:
        """From entries (item, source, weight).

        Args:
            entries: The entries.
            tables: The binding.
            kept: Items before these keep their numbers in ``rows``.
            common: Number of items after them that samples have in common.
        """
        num_base, num_row, columns = tables.angles.num_shared, tables.angles.num_batched, len(tables.batched_parameters)
        # the order of sums is that of the items
        items, sources, weights = entries.select(np.argsort(entries.rows, kind="stable"))
        own = sources < 0
        number = np.where(own, ~sources, 0)
        place = (
            np.concatenate([tables.batched_parameters, num_base + np.arange(num_row - columns)])[number]
            if num_row
            else number
        )
        own_items = np.where(items < kept, items, items - common)

        def gathering(count: int, targets: IntArray, numbers: IntArray, chosen: NDArray[np.bool_]) -> Gathering:
            return Gathering(*Entries(targets[chosen], numbers[chosen], weights[chosen]).compressed(count))

        everything = np.ones(len(items), np.bool_)
        return cls(
            gathering(num_base, sources, items, ~own),
            gathering(num_row, number, own_items, own),
            gathering(num_base + num_row - columns, np.where(own, place, sources), items, everything),
        )


def overlap_gradients(tables: BindingTables, groups: Sequence[Stated]) -> GradientTables:
    """From the overlaps, followed by the gradients of all gates."""
    recipe = tables.coefficients
    first, shared = recipe.num_overlaps, sum(len(each.constants) for each in groups[:2])
    parts: list[Entries] = []
    for group, runs, overlaps in zip(
        groups[:3],
        (recipe.sequences[0], recipe.matrices[0], recipe.batched_matrices[0]),
        (recipe.sequences[1], recipe.matrices[1], recipe.batched_matrices[1]),
        strict=True,
    ):
        wanted = np.repeat(overlaps[:, 0] >= 0, np.diff(runs.start))
        entries = group.entries.select(wanted[group.entries.rows])
        parts.append(entries._replace(rows=entries.rows + first))
        first += len(group.constants)
    direct = (recipe.batched_pairs[1], recipe.batched_terms[1], recipe.pairs[2], recipe.terms[1])
    for group, own in zip(groups[3:], direct, strict=True):
        entries = group.entries.select(own[group.entries.rows] >= 0)
        parts.append(entries._replace(rows=own[entries.rows]))
    entries = Entries.joined(parts)
    # of Euler angles the gates of their sequences are asked
    entries = entries.select(entries.sources < tables.angles.num_shared)
    return GradientTables.of(entries, tables, recipe.num_overlaps, shared)


def feature_gradients(tables: BindingTables, features: FeatureTables) -> GradientTables:
    """From the derivatives for the variables of the features."""
    slots = np.arange(len(features.slots))
    entries = Entries(slots, features.slots, np.ones(len(slots)))
    return GradientTables.of(entries, tables, 0, features.shared_slots)
