"""Names of array types, and the reading of what a caller gives as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidInputError

Number = TypeVar("Number", bound=np.generic)

FloatArray: TypeAlias = NDArray[np.float64]
ComplexArray: TypeAlias = NDArray[np.complexfloating]
IntArray: TypeAlias = NDArray[np.intp]
Int64Array: TypeAlias = NDArray[np.int64]
"""Integers that compiled code reads."""


def joined(parts: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Pieces of a batch in one array."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def real_array(values: ArrayLike, name: str, *, copy: bool = True) -> FloatArray:
    """Values as an array of float64 in C order.

    Args:
        values: What was given.
        name: What it is, for the message.
        copy: Whether the array must not share memory with what was given.

    Raises:
        InvalidInputError: If they are complex, which NumPy would cut to the real part, or no numbers at all.
    """
    if hasattr(values, "dtype") and np.iscomplexobj(values):
        raise InvalidInputError(f"{name}: complex numbers were given; real numbers are expected.")
    try:
        return np.array(values, dtype=np.float64, order="C", copy=True if copy else None)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name}: what was given cannot be read as real numbers ({error}).") from error
