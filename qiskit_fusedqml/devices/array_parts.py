"""Parts of states that are arrays (B, 2**l) by address, for the reference device (`RankDevice`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import ComplexArray
from . import RankDevice
from .pieces import Piece


class ArrayParts(RankDevice):
    """What a rank's part is to others, for devices whose states are such arrays of complex128."""

    @override
    def pack(self, state: ComplexArray, piece: Piece, buffer: NDArray[np.floating]) -> None:
        chosen = state[:, piece.addresses()].reshape(-1)
        buffer.view(np.complex128)[: chosen.size] = chosen

    @override
    def unpack(self, state: ComplexArray, piece: Piece, buffer: NDArray[np.floating]) -> None:
        numbers = buffer.view(np.complex128)[: len(state) * piece.size]
        state[:, piece.addresses()] = numbers.reshape(-1, piece.size)

    @override
    def clear(self, state: ComplexArray) -> None:
        state[...] = 0.0

    @override
    def add(self, state: ComplexArray, other: ComplexArray) -> None:
        state += other
