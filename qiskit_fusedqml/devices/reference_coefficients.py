r"""The meaning of coefficients, in plain NumPy: from angles to a tape's coefficients, from overlaps to gradients.

Not intended to be fast. If `qiskit_fusedqml.devices.coefficients.CompiledCoefficientMap` disagrees with this
module, that one is wrong. With the Pauli matrices s_X, s_Y, s_Z, everything follows from one formula, ::

    R_a(theta) = exp(-1j theta/2 s_a) = cos(theta/2) - 1j sin(theta/2) s_a,

and from one law: for E = <ket|O|ket> and bra = O ket, an angle theta of exp(-1j theta/2 P) has the gradient ::

    dE/dtheta = 2 Re <bra|(-1j/2) P|ket> = Im <bra|P|ket> = <P>,

an *overlap*: the half of the generator and the two of the product rule cancel. The same <P> is found right before and
right after the rotation, which commutes with P.

Arrays hold one column a sample, (..., B); what all samples share has one column.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from math import prod

import numpy as np
from typing_extensions import override

from ..arrays import ComplexArray, FloatArray, Int64Array
from ..planner.tables import CARRIER, FACTORED, AngleTables, CoefficientTables, CSRRows, RotationSequences
from ..planner.tape import RY
from . import CoefficientMap, Coefficients

PAULIS = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
"""s_X, s_Y and s_Z."""


@dataclass(frozen=True, eq=False)
class ReferenceBound:
    """Coefficients and what gradients need of the values they were made of.

    Attributes:
        coefficients: The coefficients.
        shared: (A, 1) the shared angles.
        batched: (A', B) the batched angles.
        euler: (3 E, 1) the Euler angles alpha, beta, gamma of each rotation sequence.
        factors: (S, 1) what each overlap is multiplied by.
    """

    coefficients: Coefficients
    shared: FloatArray
    batched: FloatArray
    euler: FloatArray
    factors: FloatArray


class ReferenceCoefficientMap(CoefficientMap):
    """The map of some tables, until `over` from the angles themselves.

    Args:
        tables: The tables.
    """

    def __init__(self, tables: CoefficientTables) -> None:
        self.tables = tables
        self.angles: AngleTables | None = None

    @override
    def over(self, angles: AngleTables) -> ReferenceCoefficientMap:
        other = copy(self)
        other.angles = angles
        return other

    @override
    def bind(self, shared: FloatArray, batched: FloatArray) -> ReferenceBound | None:
        shared, batched = shared[:, None], batched.T
        if (map_ := self.angles) is not None:
            with np.errstate(invalid="ignore"):  # found out below
                batched = evaluate(map_.from_shared, shared) + evaluate(map_.from_batched, batched)
                shared = evaluate(map_.shared, shared)
        if not (np.isfinite(shared).all() and np.isfinite(batched).all()):
            return None
        t = self.tables
        euler = np.concatenate([np.zeros((0, 1)), *(euler_angles(u) for u in products(t.sequences[0], shared))])
        sources = np.concatenate([shared, euler])
        pairs, scales, factors = scaled_pairs(t, evaluate(t.pairs[0], sources)[:, 0])
        half = evaluate(t.batched_pairs[0], batched) / 2
        coefficients = Coefficients(
            pairs=pairs,
            batched_pairs=np.stack([np.cos(half), np.sin(half)], axis=1),
            matrices=np.reshape([u[:, :, 0] for u in products(t.matrices[0], shared)], (-1, 2, 2)),
            batched_matrices=np.reshape(products(t.batched_matrices[0], batched), (-1, 2, 2, batched.shape[1])),
            angles=evaluate(t.terms[0], sources)[:, 0],
            batched_angles=evaluate(t.batched_terms[0], batched),
            scales=scales,
            dense=t.dense,
        )
        return ReferenceBound(coefficients, shared, batched, euler, factors[:, None])

    @override
    def pullback(
        self, bound: ReferenceBound, overlaps: FloatArray, *, per_sample: bool = False
    ) -> tuple[FloatArray, FloatArray | None]:
        measured = bound.factors * np.atleast_2d(overlaps).T
        # the gradient of what all samples share is linear in the overlaps: of their sum, or sample by sample
        shared = self._pull_shared(bound, measured if per_sample else measured.sum(axis=1, keepdims=True))
        batched = self._pull_batched(bound, measured) if overlaps.ndim == 2 else None
        if (map_ := self.angles) is None:
            of_shared, of_batched = shared, batched
        else:
            of_shared = pulled(map_.shared, shared, map_.num_shared)
            of_batched = None if batched is None else pulled(map_.from_batched, batched, map_.num_batched)
            if batched is not None:
                by_sample = pulled(map_.from_shared, batched, map_.num_shared)
                of_shared = of_shared + (by_sample if per_sample else by_sample.sum(axis=1, keepdims=True))
        return (of_shared.T if per_sample else of_shared[:, 0]), (None if of_batched is None else of_batched.T)

    def _pull_shared(self, bound: ReferenceBound, measured: FloatArray) -> FloatArray:
        """Gradients (A, B) of the shared angles from overlaps (S, B)."""
        t = self.tables
        total = t.num_angles + len(bound.euler)
        gradients = pulled(t.pairs[0], chosen(measured, t.pairs[2]), total)
        gradients += pulled(t.terms[0], chosen(measured, t.terms[1]), total)
        # derivatives for Euler angles are singular; the gates of a sequence are asked instead
        gradients = gradients[: t.num_angles]
        for number, indices in enumerate(t.sequences[1]):
            if indices[0] >= 0:
                end = self._at_end(bound, number, measured)
                add_gate_gradients(t.sequences[0], number, bound.shared, end, gradients)
        for number, indices in enumerate(t.matrices[1]):
            add_gate_gradients(t.matrices[0], number, bound.shared, chosen(measured, indices), gradients)
        return gradients

    def _pull_batched(self, bound: ReferenceBound, measured: FloatArray) -> FloatArray:
        """Gradients (A', B) of the batched angles from overlaps (S, B)."""
        t = self.tables
        gradients = pulled(t.batched_pairs[0], chosen(measured, t.batched_pairs[1]), t.num_batched)
        gradients += pulled(t.batched_terms[0], chosen(measured, t.batched_terms[1]), t.num_batched)
        for number, indices in enumerate(t.batched_matrices[1]):
            add_gate_gradients(t.batched_matrices[0], number, bound.batched, chosen(measured, indices), gradients)
        return gradients

    def _at_end(self, bound: ReferenceBound, number: int, measured: FloatArray) -> FloatArray:
        """(<X>, <Y>, <Z>) at the end of a sequence RZ(alpha) RY(beta) RZ(gamma), from those after RY(beta).

        RY(beta) Z RY(beta)^dagger = cos(beta) Z + sin(beta) X, so that <X> follows from <Z> after and before it, ::

            <X> = (<Z>_before - cos(beta) <Z>_after) / sin(beta),

        where beta is steep (`RY.is_steep`); only elsewhere has <X> been measured. RZ(alpha) turns X and Y.
        """
        _, indices, signs, pairs = self.tables.sequences
        x, y, z, before = signs[number][:, None] * chosen(measured, indices[number])
        a, b = bound.coefficients.pairs[pairs[number]]
        if indices[number][3] >= 0 and RY.is_steep(a, b):
            cosine, sine = (a * a - b * b) / (a * a + b * b), 2 * a * b / (a * a + b * b)
            x = (before - cosine * z) / sine
        alpha = bound.euler[3 * number]
        return np.asarray(np.einsum("ban,an->bn", so3(rotation(2, alpha)), np.stack([x, y, z])))


def evaluate(rows: CSRRows, sources: FloatArray) -> FloatArray:
    """``y_k = constant_k + sum_j weight_kj source_j``, (rows, B) from (sources, B)."""
    return np.asarray(rows.constant[:, None] + rows.sparse(len(sources)) @ sources)


def pulled(rows: CSRRows, gradients: FloatArray, num_sources: int) -> FloatArray:
    """The transpose of `evaluate`, ``dE/dsource_j = sum_k weight_kj dE/dy_k``, (sources, B) from (rows, B)."""
    return np.asarray(rows.sparse(num_sources).T @ gradients)


def chosen(measured: FloatArray, indices: Int64Array) -> FloatArray:
    """The overlaps of these indices, (indices, B); -1 stands for one that is not wanted and counts as 0."""
    padded = np.concatenate([measured, np.zeros((1, measured.shape[1]))])
    return padded[indices]


def rotation(axis: int, theta: FloatArray) -> ComplexArray:
    """``cos(theta/2) - 1j sin(theta/2) s_axis``, (2, 2, B)."""
    identity = np.eye(2)[:, :, None]
    return np.asarray(np.cos(theta / 2) * identity - 1j * np.sin(theta / 2) * PAULIS[axis][:, :, None])


def multiply(left: ComplexArray, right: ComplexArray) -> ComplexArray:
    """Products of (2, 2, B)."""
    return np.asarray(np.einsum("ijb,jkb->ikb", left, right))


def gates(sequences: RotationSequences, number: int, angles: FloatArray) -> list[tuple[int, int, ComplexArray]]:
    """The gates of a rotation sequence in time order: axis, source (-1: none) and matrix (2, 2, B)."""
    result = []
    for k in range(sequences.start[number], sequences.start[number + 1]):
        axis, source = int(sequences.axis[k]), int(sequences.source[k])
        theta = sequences.constant[k] + (angles[source] if source >= 0 else np.zeros(angles.shape[1]))
        result.append((axis, source, rotation(axis, theta)))
    return result


def products(sequences: RotationSequences, angles: FloatArray) -> list[ComplexArray]:
    """``U = V_m ... V_2 V_1`` of each rotation sequence, (2, 2, B)."""
    result = []
    for number in range(len(sequences)):
        u = rotation(2, np.zeros(angles.shape[1]))
        for _, _, matrix in gates(sequences, number, angles):
            u = multiply(matrix, u)
        result.append(u)
    return result


def euler_angles(u: ComplexArray) -> FloatArray:
    """(alpha, beta, gamma) of ``U = RZ(alpha) RY(beta) RZ(gamma)``, (3, B), with 0 <= beta <= pi.

    The lower row of U is ``U_10 = sin(beta/2) exp(1j (alpha - gamma)/2)``, ``U_11 = cos(beta/2)
    exp(1j (alpha + gamma)/2)``. Where one of them vanishes, at beta = 0 or pi, its phase means nothing and counts as 0.
    """
    total, difference = np.angle(u[1, 1]), np.angle(u[1, 0])
    beta = 2 * np.arctan2(np.abs(u[1, 0]), np.abs(u[1, 1]))
    return np.stack([total + difference, beta, total - difference])


def so3(v: ComplexArray) -> FloatArray:
    """The rotation R(V) of V in SU(2), (3, 3, B): ``V s_a V^dagger = sum_b R_ba s_b``.

    With a trace, ``R_ba = tr(s_b V s_a V^dagger) / 2``. Overlaps after V are those before it times R(V).
    """
    images = np.einsum("ijn,ajk,lkn->ailn", v, PAULIS, v.conj())
    return np.asarray(np.einsum("bli,ailn->ban", PAULIS, images).real / 2)


def add_gate_gradients(
    sequences: RotationSequences, number: int, angles: FloatArray, at_end: FloatArray, gradients: FloatArray
) -> None:
    """Add the gradients of a rotation sequence's gates, from (<X>, <Y>, <Z>) at its end, (3, B).

    With W the product of all gates after gate k, about axis a, the overlap right after gate k is ::

        <W s_a W^dagger> = sum_b R(W)_ba <s_b>.
    """
    after = rotation(2, np.zeros(1))
    for axis, source, matrix in reversed(gates(sequences, number, angles)):
        if source >= 0:
            gradients[source] += np.einsum("bn,bn->n", so3(after)[:, axis], at_end)
        after = multiply(after, matrix)


def scaled_pairs(tables: CoefficientTables, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The shared pairs (R, 2), the K of diagonals, and what overlaps are multiplied by (S,), from angles (R,).

    A pair is (cos, sin) of theta/2. Where it is factored, the larger f of the two in absolute value is taken out, ::

        (cos, sin) = f (1, tan)    or    f (cot, 1),

    and f is put back by the carrier of its stretch, which multiplies by the product K of all f of the stretch. Until
    then the state is off by 1/f in both directions. An overlap is therefore measured on a ket and a bra that are both
    off by the product s of 1/f and K over all operations behind it, which have been undone; it is divided by s**2.
    """
    kinds, scales = tables.pair_kinds, tables.scales
    pairs = np.stack([np.cos(theta / 2), np.sin(theta / 2)], axis=1)
    largest = np.where(np.abs(pairs[:, 0]) >= np.abs(pairs[:, 1]), pairs[:, 0], pairs[:, 1])
    taken = np.where(kinds == FACTORED, largest, 1.0)
    pairs /= taken[:, None]
    # what each scaling operation multiplies the state by
    factors = np.concatenate([1 / taken, np.ones(tables.num_scales)])
    for k, stretch in enumerate(np.split(scales.factored, scales.starts[1:])):
        if len(scales.starts):
            diagonal = scales.carrier_pair[k] < 0
            carrier = len(pairs) + scales.carrier_diag[k] if diagonal else scales.carrier_pair[k]
            factors[carrier] = prod(taken[stretch])
    carriers = kinds == CARRIER
    pairs[carriers] *= factors[: len(pairs)][carriers, None]
    behind = np.append(np.cumprod(factors[scales.order][::-1])[::-1], 1.0)
    return pairs, factors[len(pairs) :], behind[scales.overlap_position] ** -2
