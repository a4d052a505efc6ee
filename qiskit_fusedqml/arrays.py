"""Names of array types, and the reading of what a caller gives as numbers."""

from __future__ import annotations

import numbers
import operator
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidInputError

Number = TypeVar("Number", bound=np.generic)

FloatArray: TypeAlias = NDArray[np.float64]
"""Real numbers in double precision."""

ComplexArray: TypeAlias = NDArray[np.complexfloating]
"""Complex numbers in double or single precision."""

IntArray: TypeAlias = NDArray[np.intp]
"""Indices."""

Int64Array: TypeAlias = NDArray[np.int64]
"""Integers that compiled code reads."""

FLOAT64 = np.dtype(np.float64)
MAX_INT = 2**63 - 1

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def joined(parts: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Pieces of a batch in one array."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def consecutive(numbers: IntArray, *, like: Any) -> Any:
    """Numbers as a slice if they are consecutive, which picks columns without a copy; else where another array is."""
    if len(numbers) and np.array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers))):
        return slice(int(numbers[0]), int(numbers[0]) + len(numbers))
    return np.asarray(numbers, like=like)


def shown(value: object) -> str:
    """A value as a message shows it: its repr in about 80 characters, or its type where it has none."""
    try:
        text = " ".join(_SHORT.repr(value).split())
    except Exception:  # noqa: BLE001 (integers of 5000 digits, and objects of all kinds)
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def whole_number(value: Any, name: str, expected: str | None = None, *, least: int, most: int = MAX_INT) -> int:
    """An integer of Python or NumPy as Python's.

    Args:
        value: What was given; truth values are no numbers.
        name: What it is, for the message.
        expected: What is allowed, for the message; by default the bounds say it.
        least: The smallest that is allowed.
        most: The largest.

    Raises:
        InvalidInputError: For anything else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)) or not least <= number <= most:
        bounds = f"an integer >= {least}" if most == MAX_INT else f"an integer from {least} to {most}"
        raise InvalidInputError(f"{name} is {shown(value)}; {expected or bounds} is expected.")
    return number


def real_number(value: Any, name: str, expected: str, *, least: float, most: float = np.inf) -> float:
    """A finite number within bounds as Python's float.

    Args:
        value: What was given; truth values, texts and arrays are no numbers.
        name: What it is, for the message.
        expected: What is allowed, for the message.
        least: The smallest that is allowed.
        most: The largest.

    Raises:
        InvalidInputError: For anything else.
    """
    if type(value) is float and least <= value <= most and value != np.inf:  # as nearly always
        return value
    number = np.nan
    flag = isinstance(value, (bool, np.bool_))
    if isinstance(value, numbers.Real) and not flag:
        with suppress(OverflowError):
            number = float(value)
    if not least <= number <= most or np.isinf(number):
        raise InvalidInputError(f"{name} is {shown(value)}; {expected} is expected.")
    return number


def check_seed(seed: Any) -> None:
    """Refuse what `numpy.random.default_rng` does not take, and truth values.

    Raises:
        InvalidInputError: The message says what is expected.
    """
    if seed is None or isinstance(seed, np.random.Generator):
        return  # a generator without a seed asks the system for one, which takes long
    try:
        np.random.default_rng(seed)
    except (TypeError, ValueError, OverflowError):
        allowed = False
    else:
        allowed = not isinstance(seed, (bool, np.bool_))
    if not allowed:
        raise InvalidInputError(f"seed is {shown(seed)}; an integer >= 0, a generator or None is expected.")


def real_array(values: ArrayLike, name: str, *, copy: bool = True) -> FloatArray:
    """Values as an array of float64 in C order.

    Args:
        values: What was given.
        name: What it is, for the message.
        copy: Whether the array must not share memory with what was given.

    Raises:
        InvalidInputError: If they are complex, which NumPy would cut to the real part, masked, of unequal lengths, or
            no numbers at all: texts and dates are none, even those that NumPy reads as numbers.
    """
    if type(values) is np.ndarray and values.dtype is FLOAT64:  # as nearly always
        return values if not copy and values.flags.c_contiguous else values.copy()
    array = _numbers(values, name)
    try:
        return np.array(array, dtype=np.float64, order="C", copy=True if copy else None)
    except (TypeError, ValueError, OverflowError) as error:
        raise _not_numbers(values, name, str(error)) from error


def index_array(values: Any, name: str, count: int, expected: str) -> IntArray:
    """Some of the numbers 0 to count - 1 of things, (N,).

    Args:
        values: What was given; truth values and floats are no numbers of things.
        name: What it is, for the message.
        count: Number of things.
        expected: What is allowed, for the message.

    Raises:
        InvalidInputError: For anything else.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        array = np.array(None)
    whole = array.dtype.kind in "iu" or (array.size == 0 and array.dtype.kind == "f")
    if array.ndim != 1 or not whole:
        raise InvalidInputError(f"{name} is {shown(values)}; {expected} is expected.")
    if array.size and not 0 <= array.min() <= array.max() < count:
        raise InvalidInputError(f"{name} is {shown(values)}; {expected} is expected, numbered from 0 to {count - 1}.")
    return array.astype(np.intp)


def _numbers(values: Any, name: str) -> NDArray[Any]:
    """Values as an array of any type of real numbers."""
    if np.ma.is_masked(values):
        raise _not_numbers(values, name, "some are masked")
    try:
        array: NDArray[Any] = np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # torch raises RuntimeErrors
        raise _not_numbers(values, name, str(error)) from error
    if array.dtype.kind == "c":
        raise InvalidInputError(f"{name}: complex numbers were given ({shown(values)}); real numbers are expected.")
    strange = [each for each in array.flat if not hasattr(each, "__float__")] if array.dtype.kind == "O" else []
    if strange:
        raise _not_numbers(values, name, f"a {type(strange[0]).__name__} is no number")
    if array.dtype.kind not in "biufO":
        raise _not_numbers(values, name, f"their type is {array.dtype}")
    return array


def _not_numbers(values: object, name: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name}: {shown(values)} cannot be read as real numbers ({why[:100]}). A number, or an array whose rows are "
        "equally long, is expected."
    )
