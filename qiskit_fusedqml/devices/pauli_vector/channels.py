"""The channels of a tape at some angles: transfer matrices, tables of pairs, their derivatives and kappas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...arrays import FloatArray
from ...errors import InvalidInputError
from ...ir.channels import Channel
from ...planner.pauli_vector.tables import PairFactors


class StrengthError(InvalidInputError):
    """A parameter of a channel is outside its range; ``slots`` are those of the channel."""

    def __init__(self, problem: str, slots: tuple[int, ...]) -> None:
        super().__init__(f"The strengths of noise are not possible: {problem}.")
        self.problem, self.slots = problem, slots


def transfer(channel: Channel, angles: FloatArray) -> FloatArray:
    """The transfer matrix at angles (A,).

    Raises:
        StrengthError: If a parameter is outside its range.
    """
    if channel.family is None:
        assert channel.matrix is not None
        return channel.matrix
    values = channel.parameters(angles)
    problem = channel.family.problem(*values)
    if problem:
        raise StrengthError(problem, channel.slots)
    return channel.family.transfer(*values)


def slopes(channel: Channel, angles: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """The slots that the transfer matrix depends on, and its derivatives by their angles."""
    if channel.family is not None and any(slot >= 0 for slot in channel.slots):
        derivatives = channel.family.derivatives(*channel.parameters(angles))
        yield from ((slot, d) for slot, d in zip(channel.slots, derivatives, strict=True) if slot >= 0)


def depends_on_angles(channel: Channel) -> bool:
    """Whether the transfer matrix is not constant."""
    return any(slot >= 0 for slot in channel.slots)


def pair_channels(pair: PairFactors) -> tuple[Channel, ...]:
    """All channels of a pair."""
    return (*pair.diagonals, *(channel for channel in (pair.first, pair.second) if channel is not None))


def pair_table(pair: PairFactors, angles: FloatArray) -> FloatArray:
    """S and the gains (18,) of a pair, see `qiskit_fusedqml.planner.pauli_vector.tape.Pair`."""
    return _table([np.diag(transfer(d, angles)) for d in pair.diagonals], *_ends(pair, angles))


def pair_slopes(pair: PairFactors, angles: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """The slots that a pair depends on, and the derivatives (18,) of its table by their angles."""
    diagonals = [np.diag(transfer(d, angles)) for d in pair.diagonals]
    first, second = _ends(pair, angles)
    for k, channel in enumerate(pair.diagonals):
        for slot, slope in slopes(channel, angles):
            table = _table([*diagonals[:k], np.diag(slope), *diagonals[k + 1 :]], first, second)
            table[16:] = 0.0
            yield slot, table
    for k, end in enumerate((pair.first, pair.second)):
        for slot, slope in () if end is None else slopes(end, angles):
            table = _table(diagonals, slope if k == 0 else first, slope if k == 1 else second)
            table[17 - k] = 0.0
            yield slot, table


def inverse_pairs(tables: FloatArray) -> FloatArray:
    """The tables of the inverse maps, see `PauliCoefficients.inverse_pairs`."""
    inverse = tables.copy()
    inverse[:, :16] = 1.0 / tables[:, :16]
    return inverse


def inverse_affine(maps: FloatArray) -> FloatArray:
    """The inverses of affine maps (..., 3, 4)."""
    inverse = np.linalg.inv(maps[..., 1:])
    return np.concatenate([-(inverse @ maps[..., :1]), inverse], axis=-1)


def log_kappa(matrices: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """log10 of ``1 / smallest singular value`` of transfer matrices without row and column 0; unitary gates have 0.

    Those that forget have a large number, not infinity: sums are differences of running sums.
    """
    found = [np.linalg.svd(matrix[1:, 1:], compute_uv=False)[-1] for matrix in matrices]
    return np.asarray(-np.log10(np.clip(np.array(found, dtype=np.float64), 1e-300, 1.0)))


def log_kappa_of_pairs(tables: FloatArray) -> FloatArray:
    """The same of pairs (P, 18)."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log10(np.abs(tables[:, :16]).min(axis=1, initial=1.0)))


def _ends(pair: PairFactors, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
    first, second = (np.eye(4) if c is None else transfer(c, angles) for c in (pair.first, pair.second))
    return first, second


def _table(diagonals: Sequence[FloatArray], first: FloatArray, second: FloatArray) -> FloatArray:
    scales = np.multiply.outer(np.diag(second), np.diag(first)).reshape(16)
    for diagonal in diagonals:
        scales = scales * diagonal
    return np.array([*scales, first[3, 0], second[3, 0]])
