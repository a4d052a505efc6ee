"""What shots have found, gathered over the chunks in which they were run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sampling import Shots


@dataclass(frozen=True, slots=True)
class Found:
    """What some shots have found, without the states they found it in.

    Attributes:
        values: (D,) classical bits as integers.
        of_shot: (S,) the position of each shot's value.
        rows: (S,) the row of each shot.
        shots: (S,) its number among those of its row.
    """

    values: NDArray[Any]
    of_shot: NDArray[np.intp]
    rows: NDArray[np.intp]
    shots: NDArray[np.intp]


def gathered(parts: Sequence[Found], num_rows: int) -> list[Shots]:
    """The shots of every row, those of the first part first.

    Args:
        parts: Each has equally many shots of every row.
        num_rows: Number of rows.
    """
    offsets = np.cumsum([0, *(len(part.values) for part in parts)])
    values = np.concatenate([part.values for part in parts])
    of_shot = np.concatenate([part.of_shot + offset for part, offset in zip(parts, offsets, strict=False)])
    rows = np.concatenate([part.rows for part in parts])
    shots = np.concatenate([part.shots for part in parts])
    chunk = np.repeat(np.arange(len(parts)), [len(part.of_shot) for part in parts])
    order = np.lexsort((shots, chunk, rows))
    drawn = []
    for row in np.split(of_shot[order], num_rows):
        present, sequence, counts = np.unique(row, return_inverse=True, return_counts=True)
        drawn.append(Shots(values[present], counts, sequence))
    return drawn
