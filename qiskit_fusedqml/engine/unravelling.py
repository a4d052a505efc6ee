"""Channels as mixtures of products of 2x2 matrices, which act on pure states and need not keep their norms.

A one-qubit channel with Kraus operators K_0, ..., K_r and independent random signs s is the mean of matrices A_s::

    A_s = K_0 + sum_j s_j K_j,   mean_s A_s rho A_s^dagger = sum_j K_j rho K_j^dagger,

as the means of s_j and of s_j s_k, j != k, vanish. So 2**r matrices of equal probability take its place; no norm is
needed to draw one. Which Kraus operators it is made of is free: ``L_k = sum_j V[j, k] K_j`` with a unitary V are as
good. K_0 takes as much of the identity (or of the Pauli matrix that has most) as there is; the others are mixed so that
``<A_s psi|A_s psi> = 1 + sum_j s_j <psi| M_j + M_j^dagger |psi> + ...``, ``M_j = K_0^dagger K_j``, varies least: with
``Tr(M_j M_k)`` brought to a real diagonal form that is not positive (Takagi's factorisation). Pauli noise becomes
rotations by random signs, of norm 1; damping ``[[1, s 1j sqrt(gamma)], [0, sqrt(1 - gamma)]]``.

A channel on more qubits must be a mixture of Pauli strings, or ``(A x B) D`` or ``D (A x B)`` of two qubits with one-
qubit channels A and B and such a mixture D: all errors that fake backends of IBM report are. It may be a power of such
a channel, one after the other, as these errors are with a whole ``noise_scale``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..arrays import ComplexArray, FloatArray, IntArray
from ..devices.pauli_vector.coefficients import LARGEST_KAPPA
from ..errors import UnsupportedInstructionError
from ..ir.channel_table import powered
from ..ir.channels import Channel, channel_problem, choi, pauli_matrices
from ..planner.pauli_vector.structure import Factors, factors, fixed, is_constant, members, one_qubit
from .pauli_frames import SIGNS, pauli_probabilities

SMALLEST = 1e-15
"""Kraus operators and Pauli strings of a smaller share are none."""

MOST_ROUNDS = 200
"""In which the strings of one letter get what they lack."""


MOST_POWER = 8
"""The largest power of a channel that is taken apart into its roots."""

ROOT_ERROR = 1e-12
"""By how much a power of a root may differ from the channel."""


class Mixture(NamedTuple):
    """``rho -> sum_c p_c A_c rho A_c^dagger``, A_c a product of matrices on k qubits.

    Attributes:
        qubits: The k qubits.
        cumulative: (m,) running sums of the probabilities p.
        matrices: (k, m, 2, 2) the factors of each A_c.
    """

    qubits: tuple[int, ...]
    cumulative: FloatArray
    matrices: ComplexArray

    def choices(self, uniform: FloatArray) -> IntArray:
        """Which A_c numbers in [0, 1) mean; u and 1 - u mean opposite signs."""
        return np.searchsorted(self.cumulative[:-1], uniform, side="right")

    @property
    def log_growth(self) -> float:
        """log10 of what undoing the A_c enlarges an error by, in the mean; infinite where one is nearly singular."""
        singular = np.linalg.svd(self.matrices, compute_uv=False)
        if (singular[..., 1] * LARGEST_KAPPA < singular[..., 0]).any():
            return float("inf")
        probabilities = np.diff(self.cumulative, prepend=0.0)
        squares = (singular**-2.0).mean(axis=-1).prod(axis=0)
        return 0.5 * float(np.log10(probabilities @ squares))


def mixtures(channel: Channel) -> list[Mixture]:
    """The mixtures that a constant channel is, one after the other.

    Raises:
        UnsupportedInstructionError: For other channels than this module knows; the message is what comes after the
            instruction's name.
    """
    if not is_constant(channel):
        raise UnsupportedInstructionError(
            "its strength is a parameter, and trajectories are drawn from constant noise. Bind it, or leave out "
            "trajectories= for exact density matrices and gradients by the noise."
        )
    if len(channel.qubits) == 1:
        return [] if one_qubit(channel).identity else [_signed(channel)]
    if pauli_probabilities(channel) is not None:
        return [_strings(channel)]
    parts = _parts(channel)
    if parts is None and len(channel.qubits) == 2:
        for power in range(2, MOST_POWER + 1):
            root = _root(channel, power)
            if root is not None and _parts(root) is not None:
                return mixtures(root) * power
    if parts is None:
        raise UnsupportedInstructionError(
            f"on {len(channel.qubits)} qubits, it is neither a mixture of Pauli strings nor channels of one qubit "
            f"before or after one, nor the power of such a channel (2 to {MOST_POWER}: a whole noise_scale), which is "
            "what trajectories are drawn from. Leave out trajectories= for exact density matrices, or state it by "
            "channels of one qubit and mixtures of Pauli strings."
        )
    found = [
        mixture._replace(qubits=tuple(channel.qubits[q] for q in mixture.qubits))
        for part, qubits in zip(parts[:3], ((0, 1), (0,), (1,)), strict=True)
        if part is not None
        for mixture in mixtures(replace(part, qubits=qubits))
    ]
    return found[::-1] if parts.diagonal_is_last else found


def _parts(channel: Channel) -> Factors | None:
    """The factors of a channel of two qubits; None where there are none, or it has more qubits."""
    found = factors(fixed(channel)) if len(channel.qubits) == 2 else None
    return None if found is None else _with_probabilities(found)


def _root(channel: Channel, power: int) -> Channel | None:
    """The channel whose power it is, if there is one."""
    matrix = fixed(channel).matrix
    assert matrix is not None
    found = powered(matrix).transfer(np.array(1.0 / power))
    if not np.isfinite(found).all():
        return None
    root = Channel(channel.qubits, np.ascontiguousarray(found))
    is_right = np.abs(np.linalg.matrix_power(found, power) - matrix).max() < ROOT_ERROR
    return root if is_right and not channel_problem(found) else None


def _with_probabilities(parts: Factors) -> Factors | None:
    """The same channel, its diagonal a mixture of Pauli strings; None where there is no such form.

    What two qubits lose together and what each loses alone may be told apart in many ways: a Pauli channel of one qubit
    may go from A or B to D. D gets as much as its strings of one letter lack.
    """
    if parts.diagonal is None:
        return parts
    diagonal = np.diagonal(members(parts.diagonal)[0])
    shares = [np.ones(4), np.ones(4)]
    for _ in range(MOST_ROUNDS):
        probabilities = np.kron(SIGNS, SIGNS) @ (diagonal * np.kron(*shares[::-1])) / 16
        if probabilities.min() > -SMALLEST:
            break
        for share, single in zip(shares, (probabilities[1:4], probabilities[4::4]), strict=True):
            lacking = np.maximum(-single, 0.0) / 2  # half of it, so as not to take too much
            share *= SIGNS @ [1 - lacking.sum(), *lacking]
    ones = []
    for share, part in zip(shares, parts[1:3], strict=True):
        matrix = np.eye(4) if part is None else members(part)[0]
        ones.append(matrix / (share[:, None] if parts.diagonal_is_last else share))
    whole = Channel((0, 1), np.diag(diagonal * np.kron(*shares[::-1])))
    if pauli_probabilities(whole) is None or any(channel_problem(one) for one in ones):
        return None
    return Factors(whole, Channel((0,), ones[0]), Channel((0,), ones[1]), parts.diagonal_is_last)


def _strings(channel: Channel) -> Mixture:
    probabilities = pauli_probabilities(channel)
    assert probabilities is not None
    letters = np.arange(len(probabilities))[None] >> 2 * np.arange(len(channel.qubits))[:, None] & 3
    return Mixture(channel.qubits, np.cumsum(probabilities), pauli_matrices(1)[letters])


def _signed(channel: Channel) -> Mixture:
    """The matrices A_s of a one-qubit channel."""
    operators = kraus_operators(fixed(channel).matrix)
    count = 1 << len(operators) - 1
    signs = 1.0 - 2.0 * (np.arange(count)[:, None] >> np.arange(len(operators) - 1) & 1)
    matrices = operators[0] + np.einsum("cj,jab->cab", signs, operators[1:])
    return Mixture(channel.qubits, np.arange(1, count + 1) / count, matrices[None])


def kraus_operators(transfer: FloatArray | None) -> ComplexArray:
    """The Kraus operators (r + 1, 2, 2) that this module's docstring describes, of a transfer matrix (4, 4).

    In the basis of the Pauli matrices the channel is ``rho -> sum_ab chi[a, b] P_a rho P_b``; K_0 is the column of the
    largest diagonal entry of chi over that entry's root, which leaves nothing of this Pauli matrix to the others.
    """
    assert transfer is not None
    paulis = pauli_matrices(1)
    basis = paulis.transpose(0, 2, 1).reshape(4, 4)  # the vectors of the Choi matrix, the input's bit first
    chi = basis.conj() @ choi(transfer) @ basis.T / 4
    most = int(np.argmax(np.round(np.diagonal(chi).real, 12)))
    first = chi[:, most] / np.sqrt(chi[most, most].real)
    shares, vectors = np.linalg.eigh(chi - np.outer(first, first.conj()))
    kept = shares > SMALLEST
    others = np.einsum("aj,axy->jxy", vectors[:, kept] * np.sqrt(shares[kept]), paulis)
    operator = np.einsum("a,axy->xy", first, paulis)
    products = operator.conj().T @ others
    mixing = 1j * _takagi(np.einsum("jab,kba->jk", products, products)).conj()
    return np.concatenate([operator[None], np.einsum("jk,jxy->kxy", mixing, others)])


def _takagi(matrix: ComplexArray) -> ComplexArray:
    """A unitary U with ``U diag(sigma) U^T``, sigma >= 0, for a complex symmetric matrix."""
    size = len(matrix)
    # matrix conj(u) = sigma u, in real and imaginary parts
    doubled = np.block([[matrix.real, matrix.imag], [matrix.imag, -matrix.real]])
    values, vectors = np.linalg.eigh(doubled)
    chosen = vectors[:, values > 1e-12 * max(np.abs(values).max(initial=0.0), SMALLEST)]
    found = chosen[:size] + 1j * chosen[size:]
    rest = np.linalg.qr(found, mode="complete")[0][:, found.shape[1] :] if found.shape[1] else np.eye(size)
    return np.concatenate([found, rest], axis=1)
