"""Which amplitudes of a rank's part are sent at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..planner.frame import Frame
from ..planner.gf2 import combination


class Piece(NamedTuple):
    """Amplitudes of a part, by their addresses: number i lies at ``offset`` XOR the ``vectors`` at the bits set in i.

    Attributes:
        vectors: The vectors.
        offset: The address of number 0.
        first: The first number of the piece.
        size: How many numbers it has, a power of two that divides the first one.
    """

    vectors: NDArray[np.uint64]
    offset: int
    first: int
    size: int

    def addresses(self) -> NDArray[np.int64]:
        """The addresses (size,)."""
        columns = self.vectors.tolist()
        start = self.offset ^ combination(columns, self.first)
        return Frame(tuple(columns[: self.size.bit_length() - 1]), (), start).indices()
