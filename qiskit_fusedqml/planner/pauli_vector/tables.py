"""From angles to the coefficients of a `PauliTape`, as data: which gates and channels each coefficient is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ...arrays import FloatArray, IntArray
from ...ir.channels import Channel

CHANNEL = 3
"""The axis of a factor that is no rotation but a channel."""


@dataclass(frozen=True, eq=False)
class AffineSequences:
    """Sequences of rotations and channels of one qubit in time order; the product of each is one affine map.

    Factor k of the F factors of all sequences is the rotation ``exp(-1j/2 (angles[k] + weights[k] * angle of the slot)
    P)`` about P = X, Y, Z (axis 0, 1, 2), or a channel. Controlled rotations give weights of 1/2**m.

    Attributes:
        starts: Sequence r has the factors ``starts[r]`` to ``starts[r + 1]``, (R + 1,).
        axes: (F,), 0 to 2, or `CHANNEL`.
        slots: (F,) of a rotation the slot of its angle, or -1; of a channel its index in `PauliTables.channels`.
            Batched sequences have the position among the batched slots instead of the slot.
        weights: (F,) what a rotation's slot counts; 0 without one, and of channels.
        angles: (F,) the constant part of a rotation's angle.
    """

    starts: IntArray
    axes: IntArray
    slots: IntArray
    weights: FloatArray
    angles: FloatArray


class PairFactors(NamedTuple):
    """What a `Pair` is the product of, in time order: diagonals of both qubits, then a channel on each.

    Attributes:
        diagonals: Two-qubit channels with diagonal transfer matrices; the first qubit's letter is the low digit.
        first: One-qubit channel with ``T = diag(1, s_x, s_y, s_z)`` and ``T[3, 0] = gain`` on the first qubit, or None.
        second: The same on the second qubit.
    """

    diagonals: tuple[Channel, ...]
    first: Channel | None
    second: Channel | None


@dataclass(frozen=True, eq=False)
class TurnAngles:
    """``angle = weight * angle of the slot + constant`` of each `Turn`.

    Attributes:
        slots: (T,) slots, of batched ones positions among the batched slots; -1 for none.
        weights: (T,)
        constants: (T,)
    """

    slots: IntArray
    weights: FloatArray
    constants: FloatArray


@dataclass(frozen=True, eq=False)
class PauliTables:
    """All coefficients of a tape. The qubits of channels here are positions among their operation's qubits.

    Attributes:
        num_angles: Length of the program's angle vector.
        batched_slots: Slots whose angles differ from sample to sample, ascending. Parameters of channels are shared.
        affine: The shared sequences, in the order of `Affine.coefficient`.
        batched_affine: The batched ones.
        channels: The one-qubit channels that sequences name.
        pairs: In the order of `Pair.coefficient`.
        turns: In the order of `Turn.coefficient`.
        batched_turns: The batched ones.
        transfers: In the order of `Transfer.coefficient`.
    """

    num_angles: int
    batched_slots: IntArray
    affine: AffineSequences
    batched_affine: AffineSequences
    channels: tuple[Channel, ...]
    pairs: tuple[PairFactors, ...]
    turns: TurnAngles
    batched_turns: TurnAngles
    transfers: tuple[Channel, ...]
