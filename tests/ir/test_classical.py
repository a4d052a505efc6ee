"""Classical expressions against Python's own integers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.classical import (
    BOOL,
    FLOAT,
    Apply,
    Bits,
    Constant,
    Memory,
    Variable,
    clbits_read,
    evaluate,
)

RNG = np.random.default_rng(2)
LANES = 20

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "BIT_AND": operator.and_,
    "BIT_OR": operator.or_,
    "BIT_XOR": operator.xor,
    "EQUAL": operator.eq,
    "NOT_EQUAL": operator.ne,
    "LESS": operator.lt,
    "LESS_EQUAL": operator.le,
    "GREATER": operator.gt,
    "GREATER_EQUAL": operator.ge,
    "SHIFT_LEFT": operator.lshift,
    "SHIFT_RIGHT": operator.rshift,
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
    "DIV": operator.floordiv,
    "LOGIC_AND": lambda a, b: bool(a) and bool(b),
    "LOGIC_OR": lambda a, b: bool(a) or bool(b),
    "INDEX": lambda a, b: a >> b & 1,
}
BOOLEAN = {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "LOGIC_AND", "LOGIC_OR", "INDEX"}


def integers(width: int) -> list[int]:
    return [int.from_bytes(RNG.bytes(16)) % 2**width or 1 for _ in range(LANES)]


def memory(first: list[int], second: list[int], width: int) -> Memory:
    variables = (Variable(0, width), Variable(1, width))
    result = Memory.zeros(LANES, 0, variables)
    for variable, values in zip(variables, (first, second), strict=True):
        result = result.assign(variable, np.array(values, dtype=object))
    return result


@pytest.mark.parametrize("width", [1, 3, 31, 62, 63, 64, 90])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_wrap_around_as_integers_of_their_width(name: str, width: int) -> None:
    first, second = integers(width), integers(width)
    if name in ("SHIFT_LEFT", "SHIFT_RIGHT", "INDEX"):
        second = [value % (width + 70) % 2**width for value in second]
    result = BOOL if name in BOOLEAN else width
    node = Apply(name, (Variable(0, width), Variable(1, width)), result)
    expected = [OPERATORS[name](a, b) for a, b in zip(first, second, strict=True)]
    expected = [bool(value) if result == BOOL else value % 2**width for value in expected]
    assert evaluate(node, memory(first, second, width)).tolist() == expected


def test_booleans_floats_and_casts() -> None:
    state = memory([0, 1] * 10, [5] * LANES, 3)
    low = Apply("cast", (Variable(0, 3),), BOOL)
    assert evaluate(Apply("BIT_NOT", (low,), BOOL), state).tolist() == [True, False] * 10
    assert evaluate(Apply("LOGIC_NOT", (Variable(0, 3),), BOOL), state).tolist() == [True, False] * 10
    assert evaluate(Apply("BIT_NOT", (Variable(1, 3),), 3), state).tolist() == [2] * LANES
    half = Apply("DIV", (Constant(1.0, FLOAT), Constant(2.0, FLOAT)), FLOAT)
    assert evaluate(Apply("NEGATE", (half,), FLOAT), state).tolist() == [-0.5] * LANES
    assert evaluate(Apply("cast", (Constant(3.7, FLOAT),), 4), state).tolist() == [3] * LANES
    assert (
        evaluate(Apply("DIV", (Constant(1.0, FLOAT), Constant(0.0, FLOAT)), FLOAT), state).tolist() == [np.inf] * LANES
    )
    with pytest.raises(InvalidInputError, match="by zero"):
        evaluate(Apply("DIV", (Constant(1, 3), Constant(0, 3)), 3), state)


def test_bits_are_integers_of_their_own() -> None:
    state = Memory.zeros(2, 70)
    everything = Bits(tuple(range(70)), 70)
    state = state.assign(everything, np.array([3 << 68, 5], dtype=object))
    assert state.integers().tolist() == [3 << 68, 5]
    assert evaluate(everything, state).tolist() == [3 << 68, 5]
    assert evaluate(Bits((69, 0), 2), state).tolist() == [1, 2]
    assert evaluate(Bits((2,), BOOL), state).tolist() == [False, True]
    changed = state.assign(Bits((2,), BOOL), np.array([True, False]))
    assert changed.integers().tolist() == [(3 << 68) + 4, 1]
    assert state.integers().tolist() == [3 << 68, 5]  # never in place
    assert Memory.concatenate([state, changed.take(np.array([1, 1]))]).integers().tolist() == [3 << 68, 5, 1, 1]
    assert sorted(clbits_read(Apply("EQUAL", (Bits((3, 4), 2), Constant(1, 2)), BOOL))) == [3, 4]
