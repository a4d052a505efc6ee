"""From angles to tape coefficients and from overlaps back to angle gradients.

A `Recipe` is made by the planner together with the tape. It holds, as index arrays, which angle feeds which coefficient, so that
both directions are a handful of array operations whatever the circuit's size.

Single-qubit runs. A run of gates about X, Y and Z multiplies to ``U = RZ(alpha) RY(beta) RZ(gamma)``. Only beta's rotation is
applied to pairs of amplitudes; alpha and gamma join the diagonals. The gradients of all gates of the run follow from
``g = (<X>, <Y>, <Z>)`` at one point: with V the product of everything between gate k and that point, gate k about axis a gives
``(R(V) e_a) . g``, R being the rotation SU(2) -> SO(3). (Derivatives with respect to Euler angles would be singular at beta = 0.)

Scales. A shared rotation is applied with its larger factor, cosine or sine, taken out (`qiskit_fusedqml.plan`), so overlaps are
measured on a ket and a bra that are both off by a known factor; `Recipe.pullback` divides by its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .affine import Affine, FloatArray
from .devices import Coefficients

IntArray = NDArray[np.intp]

PLAIN, FACTORED, CARRIER = 0, 1, 2


@dataclass(eq=False)
class RunTable:
    """Runs of single-qubit gates, padded to the longest with rotations by 0.

    Attributes:
        axis: (E, G) axis of each gate, 0 to 2 for X, Y, Z.
        source: (E, G) index of its angle among the sources, or -1.
        constant: (E, G) its constant angle.
    """

    axis: IntArray
    source: IntArray
    constant: FloatArray

    @classmethod
    def build(cls, runs: Sequence[Sequence[tuple[int, int, float]]]) -> RunTable:
        """From (axis, source, constant) triples in time order."""
        shape = (len(runs), max((len(run) for run in runs), default=0))
        axis, source, constant = np.full(shape, 2, np.intp), np.full(shape, -1, np.intp), np.zeros(shape)
        for e, run in enumerate(runs):
            for k, gate in enumerate(run):
                axis[e, k], source[e, k], constant[e, k] = gate
        return cls(axis, source, constant)

    def __len__(self) -> int:
        return len(self.axis)

    def gates(self, sources: FloatArray) -> FloatArray:
        """The gates as quaternions (4, ..., E, G) for sources (..., N)."""
        padded = np.concatenate([sources, np.zeros((*sources.shape[:-1], 1))], axis=-1)
        half = 0.5 * (self.constant + padded[..., self.source])
        quaternions = np.zeros((4, *half.shape))
        quaternions[0] = np.cos(half)
        sines = np.sin(half)
        for a in range(3):
            quaternions[1 + a] = np.where(self.axis == a, sines, 0.0)
        return quaternions

    def products(self, gates: FloatArray) -> FloatArray:
        """The whole runs as quaternions (4, ..., E)."""
        total = np.zeros(gates.shape[:-1])
        total[0] = 1.0
        for k in range(gates.shape[-1]):
            total = multiply(gates[..., k], total)
        return total

    def gradients(self, gates: FloatArray, after: FloatArray, g: FloatArray) -> FloatArray:
        """Gate gradients (..., E, G) from g = (<X>, <Y>, <Z>) of shape (3, ..., E).

        ``after`` (4, ..., E) is what was applied between the end of the run and the point where g was taken.
        """
        result = np.empty(np.broadcast_shapes(g.shape[1:], after.shape[1:]) + (gates.shape[-1],))
        later = after
        for k in reversed(range(gates.shape[-1])):
            rotated = rotate_back(later, g)
            axis = np.broadcast_to(self.axis[:, k], rotated.shape[1:])
            result[..., k] = np.take_along_axis(rotated, axis[None], axis=0)[0]
            later = multiply(later, gates[..., k])
        return result


def multiply(p: FloatArray, q: FloatArray) -> FloatArray:
    """Hamilton product: the quaternion of ``U_p U_q`` where ``U = w - 1j (x X + y Y + z Z)``."""
    pw, px, py, pz = p
    qw, qx, qy, qz = q
    return np.stack(
        [
            pw * qw - px * qx - py * qy - pz * qz,
            pw * qx + px * qw + py * qz - pz * qy,
            pw * qy - px * qz + py * qw + pz * qx,
            pw * qz + px * qy - py * qx + pz * qw,
        ]
    )


def rotate_back(q: FloatArray, g: FloatArray) -> FloatArray:
    """``R(q)^T g``: component a is ``(R(q) e_a) . g``."""
    w, v = q[0], -q[1:]
    t = 2.0 * np.cross(v, g, axis=0)
    return g + w * t + np.cross(v, t, axis=0)


def euler(q: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(alpha, beta, gamma) with ``U_q = RZ(alpha) RY(beta) RZ(gamma)``."""
    w, x, y, z = q
    total, difference = np.arctan2(z, w), np.arctan2(-x, y)
    beta = 2.0 * np.arctan2(np.hypot(x, y), np.hypot(w, z))
    return total + difference, beta, total - difference


@dataclass(eq=False)
class PairTable:
    """Coefficients (a, b) of the shared or batched RY and Pauli operations.

    Attributes:
        angles: The angle of each.
        kind: PLAIN, FACTORED or CARRIER of each.
        overlap: The overlap that is the angle's derivative, or -1.
    """

    angles: Affine
    kind: IntArray
    overlap: IntArray


@dataclass(eq=False)
class TermTable:
    """Angles of the shared or batched diagonal terms and, as in `PairTable`, their overlaps."""

    angles: Affine
    overlap: IntArray


@dataclass(eq=False)
class BlendTable:
    """Runs applied as 2x2 matrices, and their overlaps <X>, <Y>, <Z>, (U, 3), -1 where not wanted."""

    runs: RunTable
    overlaps: IntArray


@dataclass(eq=False)
class ScaleTable:
    """Which factors were taken out where, in tape order.

    Attributes:
        factored: Pair index of each factored rotation, in order of its carrier.
        starts: Start of each carrier's stretch in ``factored``.
        carrier_pair: Pair index of each carrier that is a rotation, or -1.
        carrier_diag: Scale index of each carrier that is a diagonal, or -1.
        order: For each scaling operation in tape order, ``pair index`` or ``num_pairs + scale index``.
        overlap_position: For each overlap, the number of scaling operations up to and including its own.
    """

    factored: IntArray
    starts: IntArray
    carrier_pair: IntArray
    carrier_diag: IntArray
    order: IntArray
    overlap_position: IntArray


@dataclass(eq=False)
class Bound:
    """Coefficients for a device together with what `Recipe.pullback` needs later."""

    coefficients: Coefficients
    gates: FloatArray
    blend_gates: FloatArray
    batched_blend_gates: FloatArray
    alpha: FloatArray
    overlap_scale: FloatArray


@dataclass(eq=False)
class Recipe:
    """How a tape's coefficients follow from angles, see the module's docstring.

    Sources of shared coefficients are the A angles followed by (alpha, beta, gamma) of each shared run; sources of batched ones
    are the batched angles. ``run_overlaps`` (E, 3) are the overlaps of each shared run and ``run_signs`` (E, 3) their signs: a
    diagonal reports on the linear part of a functional whose constant has been moved into the angle.
    """

    num_angles: int
    num_batched: int
    pairs: PairTable
    batched_pairs: PairTable
    terms: TermTable
    batched_terms: TermTable
    runs: RunTable
    run_overlaps: IntArray
    run_signs: FloatArray
    blends: BlendTable
    batched_blends: BlendTable
    scales: ScaleTable
    num_scales: int
    dense: tuple[NDArray[np.complex128], ...] = field(default_factory=tuple)

    def bind(self, shared: FloatArray, batched: FloatArray) -> Bound:
        """Coefficients for shared angles (A,) and batched angles (B, A')."""
        gates = self.runs.gates(shared)
        alpha, beta, gamma = euler(self.runs.products(gates))
        sources = np.concatenate([shared, np.stack([alpha, beta, gamma], axis=-1).reshape(-1)])
        pairs, scales, overlap_scale = self._shared_pairs(self.pairs.angles.evaluate(sources))
        blend_gates, batched_blend_gates = self.blends.runs.gates(shared), self.batched_blends.runs.gates(batched)
        half = 0.5 * self.batched_pairs.angles.evaluate(batched).T
        coefficients = Coefficients(
            pairs=pairs,
            batched_pairs=np.stack([np.cos(half), np.sin(half)], axis=1),
            matrices=_matrices(self.blends.runs.products(blend_gates)),
            batched_matrices=_matrices(self.batched_blends.runs.products(batched_blend_gates)),
            angles=self.terms.angles.evaluate(sources),
            batched_angles=np.ascontiguousarray(self.batched_terms.angles.evaluate(batched).T),
            scales=scales,
            dense=self.dense,
        )
        return Bound(coefficients, gates, blend_gates, batched_blend_gates, alpha, overlap_scale)

    def _shared_pairs(self, angles: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The shared (a, b), the diagonals' K, and the factor each overlap has to be multiplied by."""
        cosine, sine = np.cos(0.5 * angles), np.sin(0.5 * angles)
        table = self.scales
        factor = np.where(np.abs(cosine) >= np.abs(sine), cosine, sine)
        divisor = np.where(self.pairs.kind == FACTORED, factor, 1.0)
        scales = np.ones(self.num_scales)
        own_scale = 1.0 / divisor
        if len(table.starts):
            products = np.multiply.reduceat(divisor[table.factored], table.starts)
            on_pair = table.carrier_pair >= 0
            carriers = table.carrier_pair[on_pair]
            divisor[carriers] = 1.0 / products[on_pair]
            own_scale[carriers] = products[on_pair]
            on_diag = table.carrier_diag >= 0
            scales[table.carrier_diag[on_diag]] = products[on_diag]
        pairs = np.stack([cosine / divisor, sine / divisor], axis=-1)
        # what is exactly 1 tells a device which half of the work it can leave out
        pairs[(self.pairs.kind == FACTORED) & (factor == cosine), 0] = 1.0
        pairs[(self.pairs.kind == FACTORED) & (factor == sine), 1] = 1.0
        logs = np.log(np.abs(np.concatenate([own_scale, scales])[table.order]))
        suffix = np.concatenate([np.cumsum(logs[::-1])[::-1], [0.0]])
        return pairs, scales, np.exp(-2.0 * suffix[table.overlap_position])

    def pullback(self, bound: Bound, overlaps: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradients of the shared angles (..., A) and of the batched angles (..., A') from overlaps (..., S).

        Overlaps summed over the batch, of shape (S,), say nothing about batched angles; their gradients are then zero.
        """
        scaled = overlaps * bound.overlap_scale
        padded = np.concatenate([scaled, np.zeros((*scaled.shape[:-1], 1))], axis=-1)
        sources = self.pairs.angles.pullback(padded[..., self.pairs.overlap])
        sources += self.terms.angles.pullback(padded[..., self.terms.overlap])
        shared = sources[..., : self.num_angles]
        if len(self.runs):
            after = np.zeros((4, len(self.runs)))
            after[0], after[3] = np.cos(0.5 * bound.alpha), -np.sin(0.5 * bound.alpha)
            _add_runs(shared, self.runs, bound.gates, after, padded[..., self.run_overlaps] * self.run_signs)
        _add_blends(shared, self.blends, bound.blend_gates, padded)
        if overlaps.ndim == 1:
            return shared, np.zeros(self.num_batched)
        batched = self.batched_pairs.angles.pullback(padded[..., self.batched_pairs.overlap])
        batched += self.batched_terms.angles.pullback(padded[..., self.batched_terms.overlap])
        _add_blends(batched, self.batched_blends, bound.batched_blend_gates, padded)
        return shared, batched


def _add_blends(target: FloatArray, blends: BlendTable, gates: FloatArray, padded: FloatArray) -> None:
    """Add the gate gradients of runs whose overlaps were taken right after them."""
    if len(blends.runs):
        after = np.zeros((4, len(blends.runs)))
        after[0] = 1.0
        _add_runs(target, blends.runs, gates, after, padded[..., blends.overlaps])


def _add_runs(target: FloatArray, runs: RunTable, gates: FloatArray, after: FloatArray, g: FloatArray) -> None:
    """Add the gate gradients of runs to target (..., N); g has shape (..., E, 3)."""
    moved = np.moveaxis(g, -1, 0)
    shape = (4,) + (1,) * (moved.ndim - 2) + after.shape[1:]
    gradients = runs.gradients(gates, after.reshape(shape), moved)
    wanted = runs.source >= 0
    np.add.at(np.moveaxis(target, -1, 0), runs.source[wanted], np.moveaxis(gradients[..., wanted], -1, 0))


def _matrices(q: FloatArray) -> NDArray[np.complex128]:
    """Quaternions (4, U) or (4, B, U) as matrices (U, 2, 2) or (U, 2, 2, B)."""
    w, x, y, z = np.moveaxis(q, -1, 1)
    rows = [[w - 1j * z, -y - 1j * x], [y - 1j * x, w + 1j * z]]
    return np.ascontiguousarray(np.moveaxis(np.array(rows, dtype=np.complex128), 2, 0))
