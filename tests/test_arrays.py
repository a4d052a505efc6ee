"""What callers give as numbers: what is taken, what is refused, and the words for it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from qiskit_fusedqml.arrays import check_seed, index_array, real_array, real_number, shown, whole_number
from qiskit_fusedqml.errors import InvalidInputError

HUGE = 10**5000  # Python refuses to write it down


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers_become_pythons(value: Any) -> None:
    number = whole_number(value, "shots", least=1)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize(
    "value", [True, np.True_, 2.0, "3", b"4", None, 1j, [3], np.nan, 0, 2**63, [HUGE], Fraction(3)]
)
def test_other_things_are_no_integers(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"shots is .*; an integer >= 1 is expected\."):
        whole_number(value, "shots", least=1)


def test_bounds_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"n is 5; an integer from 1 to 4 is expected\."):
        whole_number(5, "n", least=1, most=4)
    with pytest.raises(InvalidInputError, match=r"n is 5; few is expected\."):
        whole_number(5, "n", "few", least=1, most=4)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2.0), np.int8(2), Fraction(4, 2)])
def test_real_numbers_become_pythons(value: Any) -> None:
    number = real_number(value, "size", "a size", least=1.0)
    assert number == 2.0
    assert type(number) is float


@pytest.mark.parametrize("value", [True, np.nan, np.inf, -np.inf, 0.5, 1j, "2", None, [2.0], 10**400, [HUGE]])
def test_other_things_are_no_real_numbers(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"size is .*; a size is expected\."):
        real_number(value, "size", "a size", least=1.0)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2], np.int8),
        np.array([1.0, 2.0], np.float16),
        [Fraction(1), Decimal(2)],
        np.ma.masked_array([1.0, 2.0], [False, False]),
        range(1, 3),
    ],
)
def test_real_arrays(values: Any) -> None:
    found = real_array(values, "x")
    np.testing.assert_array_equal(found, [1.0, 2.0])
    assert type(found) is np.ndarray
    assert found.dtype == np.float64


def test_an_array_is_copied_where_it_must_not_be_shared() -> None:
    given = np.ones(3)
    assert not np.shares_memory(real_array(given, "x"), given)
    assert np.shares_memory(real_array(given, "x", copy=False), given)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, 10**400], "too large"),
        ([1.0, HUGE], "too large"),
        ([[1.0, 2.0], [3.0]], "equally long"),
        (["1.0", "2.0"], "<U3"),
        ("1.0", "<U3"),
        (b"1", "S1"),
        ([1.0, None], "NoneType is no number"),
        ([object()], "object is no number"),
        (np.array(["1", 2], dtype=object), "str is no number"),
        (np.zeros(2, "datetime64[s]"), "datetime64"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked"),
        (np.zeros(2, [("a", float)]), "type"),
        ((value for value in (1.0, 2.0)), "generator is no number"),
        ({"a": 1.0}, "dict is no number"),
        ([1.0, 1j], "complex numbers were given"),
        (np.zeros(2, complex), "complex numbers were given"),
    ],
)
def test_what_is_no_array_of_real_numbers(values: Any, why: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"x: .*{why}") as raised:
        real_array(values, "x")
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("values", [[0, 2], (0, 2), np.array([0, 2], np.uint8), range(0, 3, 2)])
def test_numbers_of_things(values: Any) -> None:
    found = index_array(values, "wrt", 3, "numbers")
    np.testing.assert_array_equal(found, [0, 2])
    assert found.dtype == np.intp


@pytest.mark.parametrize("values", [b"y", "z", [0.5], [np.inf], [HUGE], [True], [3], [-1], None, 1, [[0]], [None]])
def test_what_is_no_number_of_a_thing(values: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"wrt is .*; numbers is expected"):
        index_array(values, "wrt", 3, "numbers")


@pytest.mark.parametrize("seed", [None, 0, 2**70, np.int8(3), [1, 2], np.random.default_rng(0)])
def test_seeds(seed: Any) -> None:
    check_seed(seed)


@pytest.mark.parametrize("seed", [True, -1, 1.5, "x", object(), [-1]])
def test_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"seed is .*; an integer >= 0, a generator or None is expected\."):
        check_seed(seed)


def test_integers_of_any_length_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="shots is <int>; an integer >= 1 is expected"):
        whole_number(HUGE, "shots", least=1)
    with pytest.raises(InvalidInputError, match="size is <int>; a size is expected"):
        real_number(HUGE, "size", "a size", least=1.0)
    with pytest.raises(InvalidInputError, match="x: <int> cannot be read as real numbers"):
        real_array(HUGE, "x")
    with pytest.raises(InvalidInputError, match="wrt is <int>; numbers is expected"):
        index_array(HUGE, "wrt", 3, "numbers")


def test_values_are_shown_in_few_words() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    deep: list[Any] = []
    for _ in range(10000):
        deep = [deep]
    for value in (HUGE, [HUGE], "x" * 1000, list(range(10**6)), np.zeros((100, 100)), Broken(), deep, {"a": "b" * 200}):
        assert 0 < len(shown(value)) <= 100
        assert "\n" not in shown(value)
    assert shown("half") == "'half'"
    assert shown(np.array([1.5])) == "array([1.5])"
