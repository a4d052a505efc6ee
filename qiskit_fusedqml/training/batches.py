"""Mini-batches by number: which samples batch k of epoch e holds is a function of the seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InvalidInputError


class Batches:
    """The batches of a data set, read when they are asked for.

    Args:
        data: A pair (x, y) with one row a sample, or anything with a length that gives such a pair for row numbers.
        batch_size: Samples in a batch; the last one of an epoch may be smaller.
        seed: Of the order.
        collate: For data that gives one sample at a time: makes a pair of batches of a list of samples.

    Attributes:
        samples: Number of samples.
        per_epoch: Number of batches in an epoch.

    Raises:
        InvalidInputError: If there are no samples, or x and y have unequal numbers of rows.
    """

    def __init__(self, data: Any, batch_size: int, seed: int, collate: Callable[[list[Any]], Any] | None) -> None:
        self._pair = isinstance(data, (tuple, list))
        if self._pair and (len(data) != 2 or len(data[0]) != len(data[1])):
            sizes = [len(part) for part in data]
            raise InvalidInputError(f"data holds arrays of {sizes} rows; a pair (x, y) with equally many is expected.")
        self._data, self._collate = data, collate
        self.samples = len(data[0]) if self._pair else len(data)
        if not self.samples:
            raise InvalidInputError("data holds no samples.")
        self.batch_size, self.seed = batch_size, seed
        self.per_epoch = -(-self.samples // batch_size)
        self._epoch, self._order = -1, np.empty(0, np.intp)

    def rows(self, epoch: int, batch: int) -> NDArray[np.intp]:
        """Row numbers of a batch; both numbers count from 0."""
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
            self._epoch, self._order = epoch, order.astype(np.intp, copy=False)
        return self._order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def read(self, rows: NDArray[np.intp], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the given rows, on a device."""
        if self._collate is not None:
            found = self._collate([self._data[int(row)] for row in rows])
        else:
            found = [part[rows] for part in self._data] if self._pair else self._data[rows]
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise InvalidInputError(
                f"data gives a {type(found).__name__} for an array of row numbers; a pair (x, y) of batches is "
                "expected. Data that gives one sample at a time needs collate=torch.utils.data.default_collate."
            )
        x, y = (torch.as_tensor(part, device=device) for part in found)
        return x, y
