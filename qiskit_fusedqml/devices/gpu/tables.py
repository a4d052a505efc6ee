"""A binding's tables as the index arrays that kernels read: all in terms of the values a caller gives.

Columns of values are the F shared ones (the parameters, then shared expressions), the 3 E Euler angles of the rotation
sequences, and the F' batched ones (the batched parameters, then batched expressions). Kernels name a shared value or an
Euler angle by its column k, and a sample's own batched value j by ~j.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import block_array, csr_array, eye_array, vstack

from ...arrays import FloatArray, IntArray
from ...ir.expressions import Node
from ...planner.tables import PLAIN, BindingTables, CSRRows, Expressions, RotationSequences
from .constants import SCALINGS, STEPS

_SCALE = SCALINGS.index("carrier_scale")
"""Kind of a scaling operation that is a diagonal's; those of pairs are their own."""


class AngleRows(NamedTuple):
    """All angles that a step binds, rows ``constants + weights @ values``, group by group.

    The groups are the gates of rotation sequences, of shared and of batched matrices, batched pairs, batched terms,
    pairs and terms.
    """

    weights: csr_array
    constants: FloatArray
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, tables: BindingTables) -> AngleRows:
        """Those of a binding."""
        c, angles = tables.coefficients, tables.angles
        shared, batched = angles.shared, (angles.from_shared, angles.from_batched)
        # the sources of rows: the angles, the Euler angles, the batched angles
        first = c.num_angles + 3 * c.num_sequences
        gates = (_gates(each[0]) for each in (c.sequences, c.matrices, c.batched_matrices))
        groups = (*gates, c.batched_pairs[0], c.batched_terms[0], c.pairs[0], c.terms[0])
        offsets = (0, 0, first, first, first, 0, 0)
        parts = (
            csr_array((rows.weight, rows.index + offset, rows.start), shape=(len(rows), first + c.num_batched))
            for rows, offset in zip(groups, offsets, strict=True)
        )
        of_sources = vstack(list(parts), format="csr")
        of_values = block_array(
            [
                [shared.sparse(angles.num_shared), None, None],
                [None, eye_array(3 * c.num_sequences), None],
                [batched[0].sparse(angles.num_shared), None, batched[1].sparse(angles.num_batched)],
            ],
            format="csr",
        )
        sources = [shared.constant, np.zeros(3 * c.num_sequences), batched[0].constant + batched[1].constant]
        constants = np.concatenate([rows.constant for rows in groups]) + of_sources @ np.concatenate(sources)
        return cls(csr_array(of_sources @ of_values), constants, tuple(map(len, groups)))


def _gates(sequences: RotationSequences) -> CSRRows:
    """The gates' angles as rows."""
    has = sequences.source >= 0
    start = np.concatenate([[0], np.cumsum(has)])
    return CSRRows(start, sequences.source[has], np.ones(int(has.sum())), sequences.constant)


def source_words(columns: IntArray, tables: BindingTables) -> IntArray:
    """The kernels' names of columns of values."""
    first = tables.angles.num_shared + 3 * tables.coefficients.num_sequences
    return np.where(columns < first, columns, ~(columns - first))


def sequence_words(tables: BindingTables) -> tuple[IntArray, IntArray]:
    """Where each sequence begins among the gates of all, and the end; the gates' axes."""
    c = tables.coefficients
    parts = (c.sequences[0], c.matrices[0], c.batched_matrices[0])
    lengths = np.concatenate([np.diff(each.start) for each in parts])
    return np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([each.axis for each in parts])


def scaling_words(tables: BindingTables) -> tuple[IntArray, IntArray, IntArray]:
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


class ExpressionWords(NamedTuple):
    """Expressions for the kernels, the shared ones first.

    Attributes:
        members: (G, 4) first node, number of nodes, first slot, number of variables.
        nodes: Steps, each [step, argument, argument].
        slots: Sources of the members' variables.
        constants: The values of the steps that are numbers.
    """

    members: IntArray
    nodes: IntArray
    slots: IntArray
    constants: FloatArray

    @classmethod
    def of(cls, groups: Sequence[Expressions]) -> ExpressionWords:
        """Those of groups, of which there is at least one."""
        sizes = [len(each.formula.nodes) for each in groups]
        variables, counts = zip(*(each.batched.shape for each in groups), strict=True)
        first_nodes = np.cumsum([0, *sizes])[:-1]
        numbers = np.repeat(variables, counts)
        columns = (np.repeat(first_nodes, counts), np.repeat(sizes, counts), np.cumsum(numbers) - numbers, numbers)
        nodes = [node for each in groups for node in each.formula.nodes]
        return cls(
            np.stack(columns, axis=1),
            np.array([_node_words(node) for node in nodes]),
            np.concatenate([np.where(each.batched < 0, each.shared, ~each.batched).T.reshape(-1) for each in groups]),
            np.array([node.number for node in nodes]),
        )


def _node_words(node: Node) -> tuple[int, int, int]:
    if node.operator is None:
        return (STEPS.index("variable"), node.arguments[0], 0) if node.varies else (STEPS.index("number"), 0, 0)
    first, last = node.arguments[0], node.arguments[-1]
    return STEPS.index(node.operator.function.__name__), first, last


class GradientTables(NamedTuple):
    """Which items make up which gradient, in CSR form with a row for each target.

    Targets are the parameters and the shared expressions, or a sample's batched parameters and expressions. Items are
    numbered through, but in ``batched``, where those of the batch as a whole do not count. A first step gathers
    overlaps and the gates' gradients, a second, where there are expressions, the derivatives for their variables.

    Attributes:
        shared: Gradients of what all samples share, of the whole batch.
        batched: Of a sample's own values.
        each: Of parameters, shared and batched expressions, sample by sample.
    """

    shared: csr_array
    batched: csr_array
    each: csr_array

    @classmethod
    def of(cls, items: csr_array, tables: BindingTables, kept: int, common: int) -> GradientTables:
        """From the weights of items (items, shared values and batched values).

        Args:
            items: The weights.
            tables: The binding.
            kept: Items before these keep their numbers in ``batched``.
            common: Number of items after them that samples have in common.
        """
        num_shared, parameters = tables.angles.num_shared, tables.batched_parameters
        expressions = tables.angles.num_batched - len(parameters)
        places = np.concatenate([np.arange(num_shared), parameters, num_shared + np.arange(expressions)])
        each = items @ csr_array(eye_array(num_shared + expressions))[places]
        of_samples = np.delete(np.arange(items.shape[0]), np.arange(kept, kept + common))
        return cls(*(_by_target(matrix) for matrix in (items[:, :num_shared], items[of_samples][:, num_shared:], each)))


def _by_target(items: csr_array) -> csr_array:
    """A row for each target, its items in ascending order: so they are added up."""
    rows = csr_array(items.T)
    rows.sort_indices()
    return rows


def overlap_gradients(tables: BindingTables, rows: AngleRows) -> GradientTables:
    """From the overlaps, followed by the gradients of all gates."""
    c, num_gates = tables.coefficients, sum(rows.lengths[:3])
    sequences = (c.sequences[:2], c.matrices, c.batched_matrices)
    wanted = [np.repeat(overlaps[:, 0] >= 0, np.diff(each.start)) for each, overlaps in sequences]
    of_gates = np.where(np.concatenate(wanted), c.num_overlaps + np.arange(num_gates), -1)
    item = np.concatenate([of_gates, c.batched_pairs[1], c.batched_terms[1], c.pairs[2], c.terms[1]])
    (chosen,) = np.nonzero(item >= 0)
    shape = c.num_overlaps + num_gates, len(item)
    weights = csr_array((np.ones(len(chosen)), (item[chosen], chosen)), shape=shape) @ rows.weights
    euler = tables.angles.num_shared + np.arange(3 * c.num_sequences)
    values = np.delete(np.arange(weights.shape[1]), euler)
    return GradientTables.of(csr_array(weights)[:, values], tables, c.num_overlaps, sum(rows.lengths[:2]))


def expression_gradients(tables: BindingTables, slots: IntArray, shared_slots: int) -> GradientTables:
    """From the derivatives for the variables of the expressions."""
    angles = tables.angles
    columns = np.where(slots >= 0, slots, angles.num_shared + ~slots)
    values = csr_array(eye_array(angles.num_shared + angles.num_batched))
    return GradientTables.of(values[columns], tables, 0, shared_slots)
