"""Classical values of a dynamic program: bits, variables and expressions of them, for many trajectories at once.

Every trajectory has classical bits and variables of its own; an expression is evaluated for all of them as one
array operation. Types are Booleans, unsigned integers of a fixed width, which wrap around, and floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

Part = TypeVar("Part")
Result = TypeVar("Result")

Values: TypeAlias = NDArray[Any]
"""One value for each trajectory."""

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
    """A constant.

    Attributes:
        value: Its value.
        width: `BOOL`, `FLOAT` or the width of an unsigned integer.
    """

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
    """The classical values of T trajectories; never changed in place.

    Attributes:
        clbits: (T, number of bits) Booleans.
        variables: One array (T,) a variable.
    """

    clbits: NDArray[np.bool_]
    variables: tuple[Values, ...] = ()

    @classmethod
    def zeros(cls, count: int, num_clbits: int, variables: Sequence[Variable] = ()) -> Memory:
        """Zero everywhere."""
        return cls(
            np.zeros((count, num_clbits), dtype=bool), tuple(np.zeros(count, _dtype(v.width)) for v in variables)
        )

    def take(self, chosen: NDArray[np.intp]) -> Memory:
        """The memory of some trajectories; one may be taken more than once."""
        return Memory(self.clbits[chosen], tuple(values[chosen] for values in self.variables))

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
        if not self.clbits.any():  # as at the beginning
            return np.zeros(len(self.clbits), dtype=np.int64)
        used = np.flatnonzero(self.clbits.any(axis=0))
        total = np.zeros(len(self.clbits), dtype=_dtype(int(used[-1]) + 1))
        for clbit in used.tolist():
            total |= self.clbits[:, clbit].astype(total.dtype) << clbit
        return total


def fold(
    root: Part, parts: Callable[[Part], Sequence[Part]], combine: Callable[[Part, list[Result]], Result]
) -> Result:
    """``combine(root, [fold of each part])``, without recursion, as expressions may be nested deeper than calls."""
    order, work = [], [root]
    while work:
        order.append(work.pop())
        work += parts(order[-1])
    results: list[Result] = []
    for node in reversed(order):  # the parts of a node come before it, the last one first
        first = len(results) - len(parts(node))
        results[first:] = [combine(node, results[first:])]
    return results[0]


def operands(expression: Expression) -> tuple[Expression, ...]:
    """The expressions that an expression is made of."""
    return expression.operands if isinstance(expression, Apply) else ()


def evaluate(expression: Expression, memory: Memory) -> Values:
    """The value of an expression in every trajectory.

    Raises:
        InvalidInputError: For a division of integers by zero.
    """
    return fold(expression, operands, partial(_value, memory))


def _value(memory: Memory, expression: Expression, values: list[Values]) -> Values:
    """The value of an expression from those of its operands."""
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
        case Apply("cast", _, width):
            return _cast(values[0], width)
        case Apply(operator, _, width):
            return _cast(OPERATORS[operator](*values), width)


def leaves(expression: Expression) -> Iterator[Expression]:
    """The bits, variables and constants that an expression depends on."""
    work = [expression]
    while work:
        node = work.pop()
        work += operands(node)
        if not isinstance(node, Apply):
            yield node


def clbits_read(expression: Expression) -> Iterator[int]:
    """The classical bits an expression depends on."""
    for leaf in leaves(expression):
        if isinstance(leaf, Bits):
            yield from leaf.clbits


def any_of(conditions: Sequence[Expression]) -> Expression:
    """Whether one of some conditions holds, as a tree of least depth."""
    while len(conditions) > 1:
        pairs = zip(conditions[::2], conditions[1::2], strict=False)
        odd = conditions[len(conditions) // 2 * 2 :]
        conditions = [*(Apply("LOGIC_OR", pair, BOOL) for pair in pairs), *odd]
    return conditions[0]


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
