"""Classical values of a dynamic program: bits, variables and expressions of them, for many trajectories at once.

Every trajectory has classical bits and variables of its own; an expression is evaluated for all of them as one
array operation. Types are Booleans, unsigned integers of a fixed width, which wrap around, and floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

Values: TypeAlias = NDArray[Any]
"""One value per trajectory."""

BOOL = 0
FLOAT = -1
WIDEST_FIXED = 63
"""Integers up to this width are 64-bit integers, wider ones are Python's."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Classical bits as an unsigned integer, the first bit lowest; a single one may be a Boolean.

    Attributes:
        clbits: Indices of the bits.
        width: `BOOL`, or the number of bits.
    """

    clbits: tuple[int, ...]
    width: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable.

    Attributes:
        index: Its number among the program's variables.
        width: `BOOL`, `FLOAT` or the width of an unsigned integer.
    """

    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant."""

    value: bool | int | float
    width: int


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator of `OPERATORS` on operands.

    Attributes:
        operator: Its name; ``"cast"`` has one operand.
        operands: What it is applied to.
        width: Type of the result.
    """

    operator: str
    operands: tuple[Expression, ...]
    width: int


Expression: TypeAlias = Bits | Variable | Constant | Apply
Target: TypeAlias = Bits | Variable
"""What can be assigned to."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The classical values of L trajectories; never changed in place.

    Attributes:
        clbits: (L, number of bits) Booleans.
        variables: One array (L,) a variable.
    """

    clbits: NDArray[np.bool_]
    variables: tuple[Values, ...] = ()

    @classmethod
    def zeros(cls, count: int, num_clbits: int, variables: Sequence[Variable] = ()) -> Memory:
        """Zero everywhere."""
        return cls(
            np.zeros((count, num_clbits), dtype=bool), tuple(np.zeros(count, _dtype(v.width)) for v in variables)
        )

    def take(self, trajectories: NDArray[np.intp]) -> Memory:
        """The memory of some trajectories; one may be taken more than once."""
        return Memory(self.clbits[trajectories], tuple(values[trajectories] for values in self.variables))

    @staticmethod
    def concatenate(parts: Sequence[Memory]) -> Memory:
        """The trajectories of several memories in order."""
        variables = zip(*(part.variables for part in parts), strict=True)
        return Memory(np.concatenate([part.clbits for part in parts]), tuple(map(np.concatenate, variables)))

    def assign(self, target: Target, values: Values) -> Memory:
        """The memory after an assignment."""
        if isinstance(target, Variable):
            changed = list(self.variables)
            changed[target.index] = _cast(values, target.width)
            return Memory(self.clbits, tuple(changed))
        clbits = self.clbits.copy()
        for position, clbit in enumerate(target.clbits):
            clbits[:, clbit] = (values if target.width == BOOL else values >> position & 1).astype(bool)
        return Memory(clbits, self.variables)

    def integers(self) -> Values:
        """All classical bits of each trajectory as one integer, bit 0 lowest."""
        used = np.flatnonzero(self.clbits.any(axis=0))
        width = int(used[-1]) + 1 if len(used) else 0
        total = np.zeros(len(self.clbits), dtype=_dtype(width or 1))
        for clbit in used.tolist():
            total |= self.clbits[:, clbit].astype(total.dtype) << clbit
        return total


def evaluate(expression: Expression, memory: Memory) -> Values:
    """The value of an expression in every trajectory.

    Raises:
        InvalidInputError: For a division of integers by zero.
    """
    match expression:
        case Bits(clbits, width):
            if width == BOOL:
                return memory.clbits[:, clbits[0]]
            total = np.zeros(len(memory.clbits), dtype=_dtype(width))
            for position, clbit in enumerate(clbits):
                total |= memory.clbits[:, clbit].astype(total.dtype) << position
            return total
        case Variable(index):
            return memory.variables[index]
        case Constant(value, width):
            return np.full(len(memory.clbits), value, dtype=_dtype(width))
        case Apply("cast", (operand,), width):
            return _cast(evaluate(operand, memory), width)
        case Apply(operator, operands, width):
            values = [evaluate(operand, memory) for operand in operands]
            return _cast(OPERATORS[operator](*values), width)


def clbits_read(expression: Expression) -> Iterator[int]:
    """The classical bits an expression depends on."""
    match expression:
        case Bits(clbits):
            yield from clbits
        case Apply(operands=operands):
            for operand in operands:
                yield from clbits_read(operand)


def _divide(a: Values, b: Values) -> Values:
    if a.dtype == np.float64:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(a / b)
    if not np.all(b):
        raise InvalidInputError("A classical expression divides an integer by zero.")
    return np.asarray(a // b)


def _shift_left(a: Values, b: Values) -> Values:
    # a shift by the width or more leaves nothing; 64-bit integers must not be shifted that far
    limit = 64 if a.dtype != object else np.inf
    return np.where(b < limit, a << np.where(b < limit, b, 0), 0)


def _shift_right(a: Values, b: Values) -> Values:
    limit = 64 if a.dtype != object else np.inf
    return np.where(b < limit, a >> np.where(b < limit, b, 0), 0)


OPERATORS: dict[str, Callable[..., Any]] = {
    "BIT_NOT": lambda a: ~a,
    "LOGIC_NOT": lambda a: ~a.astype(bool),
    "NEGATE": lambda a: -a,
    "BIT_AND": lambda a, b: a & b,
    "BIT_OR": lambda a, b: a | b,
    "BIT_XOR": lambda a, b: a ^ b,
    "LOGIC_AND": lambda a, b: a.astype(bool) & b.astype(bool),
    "LOGIC_OR": lambda a, b: a.astype(bool) | b.astype(bool),
    "EQUAL": lambda a, b: a == b,
    "NOT_EQUAL": lambda a, b: a != b,
    "LESS": lambda a, b: a < b,
    "LESS_EQUAL": lambda a, b: a <= b,
    "GREATER": lambda a, b: a > b,
    "GREATER_EQUAL": lambda a, b: a >= b,
    "SHIFT_LEFT": _shift_left,
    "SHIFT_RIGHT": _shift_right,
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": _divide,
    "INDEX": lambda a, b: _shift_right(a, b) & 1,
}
"""Operators by Qiskit's names; integers wrap around when the result is cast to its width."""


def _dtype(width: int) -> np.dtype[Any]:
    if width in (BOOL, FLOAT):
        return np.dtype(bool if width == BOOL else np.float64)
    return np.dtype(np.int64 if width <= WIDEST_FIXED else object)


def _cast(values: Values, width: int) -> Values:
    """Values of a type; integers keep their lowest bits."""
    if width in (BOOL, FLOAT):
        return values.astype(_dtype(width))
    if width > WIDEST_FIXED:
        # through a list, as an array of NumPy's integers would not turn into Python's
        whole = np.array([int(value) for value in values.tolist()], dtype=object)
        return whole & ((1 << width) - 1)
    if values.dtype == object:
        return (values & ((1 << width) - 1)).astype(np.int64)
    return values.astype(np.int64) & ((1 << width) - 1)
