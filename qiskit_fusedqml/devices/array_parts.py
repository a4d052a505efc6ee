"""Parts of states that are arrays (B, 2**l) by address, for the reference device (`RankDevice`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ..arrays import ComplexArray
from ..planner.frame import Frame
from . import RankDevice


class ArrayParts(RankDevice):
    """What a rank's part is to others, for devices whose states are such arrays of complex128."""

    @override
    def pack(
        self,
        state: ComplexArray,
        vectors: NDArray[np.uint64],
        offset: int,
        first: int,
        count: int,
        buffer: NDArray[np.floating],
    ) -> None:
        chosen = Frame(tuple(vectors.tolist()), (), offset).indices()[first : first + count]
        buffer.view(np.complex128)[: state[:, chosen].size] = state[:, chosen].reshape(-1)

    @override
    def unpack(
        self,
        state: ComplexArray,
        vectors: NDArray[np.uint64],
        offset: int,
        first: int,
        count: int,
        buffer: NDArray[np.floating],
    ) -> None:
        chosen = Frame(tuple(vectors.tolist()), (), offset).indices()[first : first + count]
        state[:, chosen] = buffer.view(np.complex128)[: len(state) * count].reshape(-1, count)

    @override
    def clear(self, state: ComplexArray) -> None:
        state[...] = 0.0

    @override
    def add(self, state: ComplexArray, other: ComplexArray) -> None:
        state += other
