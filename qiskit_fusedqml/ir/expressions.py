"""Expressions of parameters as NumPy computations, with derivatives by reverse accumulation.

`parse` reads the text of an expression with Python's own parser, accepts arithmetic and a fixed list of functions of
one argument, and nothing else; text is never evaluated. A `Formula` works on arrays: each variable is an array of the
same or a broadcastable shape, so a whole batch, and many expressions of the same form, take one pass. Second
derivatives are the same accumulation run on `Dual` numbers ``v + eps t`` with ``eps**2 = 0``.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from ..arrays import FloatArray
from ..errors import InvalidInputError
from .classical import fold

Derivative: TypeAlias = Callable[..., FloatArray]


@dataclass(frozen=True, slots=True)
class Operator:
    """A function and its partial derivatives.

    Attributes:
        function: The function of one or two arguments.
        derivatives: One function an argument, called with the arguments and then the result.
    """

    function: Callable[..., FloatArray]
    derivatives: tuple[Derivative, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold the name: the derivatives have none."""
        return _operator, (self.function.__name__,)


def _power_log(base: FloatArray, _exponent: FloatArray, result: FloatArray) -> FloatArray:
    """``d base**exponent / d exponent``; 0 where the power is 0, although the logarithm is not finite there."""
    return np.where(result == 0, 0.0, result * np.log(np.where(result == 0, 1.0, base)))


def _power_base(base: FloatArray, exponent: FloatArray, _result: FloatArray) -> FloatArray:
    """``d base**exponent / d base``."""
    return exponent * np.power(base, exponent - 1)


BINARY: dict[type[ast.operator], Operator] = {
    ast.Add: Operator(np.add, (lambda _a, _b, r: np.ones_like(r), lambda _a, _b, r: np.ones_like(r))),
    ast.Sub: Operator(np.subtract, (lambda _a, _b, r: np.ones_like(r), lambda _a, _b, r: -np.ones_like(r))),
    ast.Mult: Operator(np.multiply, (lambda _a, b, _r: b, lambda a, _b, _r: a)),
    ast.Div: Operator(np.divide, (lambda _a, b, _r: 1 / b, lambda _a, b, r: -r / b)),
    ast.Pow: Operator(np.power, (_power_base, _power_log)),
}
NEGATIVE = Operator(np.negative, (lambda _a, r: -np.ones_like(r),))
FUNCTIONS: dict[str, Operator] = {
    "sin": Operator(np.sin, (lambda a, _r: np.cos(a),)),
    "cos": Operator(np.cos, (lambda a, _r: -np.sin(a),)),
    "tan": Operator(np.tan, (lambda _a, r: 1 + r * r,)),
    "asin": Operator(np.arcsin, (lambda a, _r: 1 / np.sqrt(1 - a * a),)),
    "acos": Operator(np.arccos, (lambda a, _r: -1 / np.sqrt(1 - a * a),)),
    "atan": Operator(np.arctan, (lambda a, _r: 1 / (1 + a * a),)),
    "sinh": Operator(np.sinh, (lambda a, _r: np.cosh(a),)),
    "cosh": Operator(np.cosh, (lambda a, _r: np.sinh(a),)),
    "tanh": Operator(np.tanh, (lambda _a, r: 1 - r * r,)),
    "exp": Operator(np.exp, (lambda _a, r: r,)),
    "log": Operator(np.log, (lambda a, _r: 1 / a,)),
    "sqrt": Operator(np.sqrt, (lambda _a, r: 0.5 / r,)),
    # at 0 the mean of the one-sided derivatives, as in PyTorch and JAX
    "abs": Operator(np.abs, (lambda a, _r: np.sign(a),)),
    "sign": Operator(np.sign, (lambda _a, r: np.zeros_like(r),)),
    "conj": Operator(np.positive, (lambda _a, r: np.ones_like(r),)),
    "im": Operator(np.zeros_like, (lambda _a, r: np.zeros_like(r),)),
}
"""The functions a formula may call. Parameters are real, so conj is the identity and im is 0."""

_BY_NAME = {operator.function.__name__: operator for operator in (*BINARY.values(), NEGATIVE, *FUNCTIONS.values())}


def _operator(name: str) -> Operator:
    return _BY_NAME[name]


LONGEST_LABEL = 80
"""Number of letters of an expression that messages show."""

LONG_TEXT = 1000
DEEPEST = 190
"""Longer texts are read only if their parentheses are not nested deeper; Python's parser takes 200 levels."""

_SIGNS = {"+": ast.Add, "-": ast.Sub}
_PARENTHESIS_OR_SIGN = re.compile(r"[()]|(?<= )[+-](?= )")
_NUMBERS = {"E": math.e, "pi": math.pi}
_LINEAR = (BINARY[ast.Add], BINARY[ast.Sub], NEGATIVE, FUNCTIONS["conj"])
_ALIASES = {
    "conjugate": "conj",
    "Abs": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "ln": "log",
    "re": "conj",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a formula: a variable (operator None, arguments the variable's index), a number, or an operation.

    Attributes:
        operator: The operation, or None for a variable or a number.
        arguments: Indices of earlier nodes; for a variable, its index alone.
        number: The value of a number.
        varies: Whether the node depends on a variable, so that it takes part in the derivatives.
    """

    operator: Operator | None
    arguments: tuple[int, ...] = ()
    number: float = 0.0
    varies: bool = True


@dataclass(frozen=True, eq=False)
class Formula:
    """A computation in single steps, the last of which is the result.

    Attributes:
        label: What was parsed, for messages and printing.
        num_variables: Number of variables.
        nodes: The steps.
    """

    label: str
    num_variables: int
    nodes: tuple[Node, ...]

    @cached_property
    def is_affine(self) -> bool:
        """Whether the result is, by its form, a constant plus multiples of the variables."""
        degrees: list[int] = []
        for node in self.nodes:
            inner = [degrees[argument] for argument in node.arguments] if node.operator else [int(node.varies)]
            if node.operator is BINARY[ast.Mult]:
                degrees.append(sum(inner))
            elif node.operator is BINARY[ast.Div]:
                degrees.append(inner[0] + 2 * inner[1])
            else:
                linear = node.operator is None or node.operator in _LINEAR
                degrees.append(max(inner) if linear else 2 * max(inner))
        return degrees[-1] <= 1

    @cached_property
    def affine_parts(self) -> tuple[float, tuple[float, ...]]:
        """The constant and the multiple of each variable, if `is_affine`."""
        origin = [np.zeros(())] * self.num_variables
        return float(self.evaluate(origin)), tuple(float(slope) for slope in self.partials(origin))

    def evaluate(self, variables: Sequence[FloatArray]) -> FloatArray:
        """The value, elementwise on the variables' common shape. NaN and infinities are passed on without a warning."""
        result = self._run([np.asarray(variable, dtype=np.float64) for variable in variables])[-1]
        if self.nodes[-1].varies:
            return result
        return np.broadcast_to(result, np.broadcast_shapes(*(np.shape(variable) for variable in variables)))

    def partials(self, variables: Sequence[FloatArray]) -> list[FloatArray]:
        """The derivative for each variable, elementwise."""
        return self._accumulate([np.asarray(variable, dtype=np.float64) for variable in variables])

    def directional_partials(
        self, variables: Sequence[FloatArray], directions: Sequence[FloatArray]
    ) -> list[FloatArray]:
        """The derivative along a direction of every one of the `partials`, elementwise."""
        duals: Any = [Dual(value, direction) for value, direction in zip(variables, directions, strict=True)]
        with np.errstate(all="ignore"):
            return [_tangent(partial) for partial in self._accumulate(duals)]

    def _accumulate(self, variables: Sequence[FloatArray]) -> list[FloatArray]:
        """`partials` of arrays or of `Dual` numbers."""
        values = self._run(variables)
        shape = np.broadcast_shapes(*(variable.shape for variable in variables))
        results = [np.zeros(shape) for _ in range(self.num_variables)]
        adjoints: list[FloatArray | None] = [None] * len(self.nodes)
        adjoints[-1] = np.ones(shape)
        with np.errstate(all="ignore"):
            for position in reversed(range(len(self.nodes))):
                node, adjoint = self.nodes[position], adjoints[position]
                if adjoint is None or not node.varies:
                    continue
                if node.operator is None:
                    results[node.arguments[0]] = results[node.arguments[0]] + adjoint
                    continue
                arguments = [values[argument] for argument in node.arguments]
                for argument, derivative in zip(node.arguments, node.operator.derivatives, strict=True):
                    if self.nodes[argument].varies:
                        term = adjoint * derivative(*arguments, values[position])
                        previous = adjoints[argument]
                        adjoints[argument] = term if previous is None else previous + term
        return results

    def _run(self, variables: Sequence[FloatArray]) -> list[FloatArray]:
        values: list[FloatArray] = []
        with np.errstate(all="ignore"):
            for node in self.nodes:
                if node.operator is not None:
                    values.append(node.operator.function(*(values[argument] for argument in node.arguments)))
                elif node.varies:
                    values.append(variables[node.arguments[0]])
                else:
                    values.append(np.float64(node.number))  # type: ignore[arg-type]
        return values


def parse(text: str, variables: Sequence[str], label: str | None = None) -> Formula:
    """Compile the text of an expression.

    Args:
        text: Python arithmetic (``+ - * / **``), numbers, E, pi, the variables' names, and calls of `FUNCTIONS`.
        variables: The names that are variables, in the order of the formula's arguments.
        label: What messages call the expression; the text by default.

    Raises:
        InvalidInputError: If the text holds anything else.
    """
    label = shortened(label or text)
    check_depth(text)
    compiler = _Compiler(label, {name: index for index, name in enumerate(variables)})
    try:
        try:
            compiler.add(ast.parse(text, mode="eval").body)
        except (RecursionError, MemoryError):  # for Python a sum of very many terms is nested very deeply
            _add_terms(compiler, text)
    except (SyntaxError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        raise InvalidInputError(
            f"The expression {label} cannot be read: {reason}. Real arithmetic and {_function_list()} are allowed."
        ) from error
    return Formula(label, len(variables), tuple(compiler.nodes))


def shortened(text: str) -> str:
    """A text as messages show it."""
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 3] + "..."


def check_depth(text: str) -> None:
    """Refuse a text that is nested too deeply, in no time.

    Raises:
        InvalidInputError: If it is.
    """
    if len(text) > LONG_TEXT:
        letters = np.frombuffer(text.encode(), dtype=np.uint8)
        depths = np.cumsum((letters == ord("(")).astype(np.int64) - (letters == ord(")")))
        if depths.max() > DEEPEST:
            raise InvalidInputError(
                f"The expression {shortened(text)} is nested {depths.max()} levels deep; {DEEPEST} are allowed."
            )


def _add_terms(compiler: _Compiler, text: str) -> None:
    """Append a sum, whose terms are taken apart where signs stand between spaces and outside of parentheses."""
    depth, start, sign = 0, 0, ""
    total = -1
    for match in [*_PARENTHESIS_OR_SIGN.finditer(text), None]:
        found = match[0] if match else ""
        depth += {"(": 1, ")": -1}.get(found, 0)
        if depth or found in ("(", ")"):
            continue
        position = compiler.add(
            ast.parse(text[start : match.start() if match else len(text)].strip(), mode="eval").body
        )
        total = compiler.operation(BINARY[_SIGNS[sign]], [total, position]) if sign else position
        if match:
            sign, start = found, match.end()


class _Compiler:
    """Appends the nodes of a syntax tree, equal ones once."""

    def __init__(self, label: str, variables: dict[str, int]) -> None:
        self._label = label
        self._variables = variables
        self._positions: dict[object, int] = {}
        self.nodes: list[Node] = []

    def add(self, tree: ast.expr) -> int:
        """Append the nodes of a tree; returns the position of its root."""
        return fold(tree, _arguments, self._node)

    def operation(self, operator: Operator, arguments: list[int]) -> int:
        """Append an operator on nodes; returns its position."""
        return self._append(Node(operator, tuple(arguments), varies=any(self.nodes[a].varies for a in arguments)))

    def _node(self, tree: ast.expr, arguments: list[int]) -> int:
        """The position of a tree's node, given those of its arguments."""
        match tree:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                return self._append(Node(None, (), float(number), varies=False))
            case ast.Name(id=name) if name in self._variables:
                return self._append(Node(None, (self._variables[name],)))
            case ast.Name(id=name) if name in _NUMBERS:
                return self._append(Node(None, (), _NUMBERS[name], varies=False))
            case ast.UnaryOp(op=ast.UAdd()):
                return arguments[0]
            case ast.UnaryOp(op=ast.USub()):
                return self.operation(NEGATIVE, arguments)
            case ast.BinOp(op=op) if type(op) in BINARY:
                return self.operation(BINARY[type(op)], arguments)
            case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]):
                name = _ALIASES.get(name, name)
                if name in FUNCTIONS:
                    return self.operation(FUNCTIONS[name], arguments)
        raise InvalidInputError(
            f"The expression {self._label} holds {ast.unparse(tree)!r}, which is not supported; real arithmetic and "
            f"{_function_list()} are allowed."
        )

    def _append(self, node: Node) -> int:
        key = (id(node.operator), node.arguments, node.number, node.varies)
        position = self._positions.get(key)
        if position is None:
            position = self._positions[key] = len(self.nodes)
            self.nodes.append(node)
        return position


def _arguments(tree: ast.expr) -> Sequence[ast.expr]:
    """The trees that a tree's operator is applied to."""
    match tree:
        case ast.UnaryOp(operand=operand):
            return (operand,)
        case ast.BinOp(left=left, right=right):
            return (left, right)
        case ast.Call(args=arguments):
            return arguments
    return ()


def _function_list() -> str:
    return ", ".join(FUNCTIONS)


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """Values and their derivatives along a direction, of one shape; functions act by the rules of their `Operator`."""

    __slots__ = ("tangent", "value")

    def __init__(self, value: FloatArray, tangent: FloatArray) -> None:
        self.value = value
        self.tangent = tangent

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.value.shape

    def __array_ufunc__(self, function: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        values = [_value(argument) for argument in arguments]
        result = function(*values)
        rule = _BY_NAME.get(function.__name__)
        if rule is None:  # comparisons
            return result
        tangent = np.zeros(np.shape(result))
        for argument, derivative in zip(arguments, rule.derivatives, strict=True):
            if isinstance(argument, Dual):
                tangent = tangent + derivative(*values, result) * argument.tangent
        return Dual(result, tangent)

    def __array_function__(self, function: Any, _types: Any, arguments: Any, options: Any) -> Any:
        values = function(*map(_value, arguments), **options)
        if function is np.where:
            condition, *branches = arguments
            return Dual(values, np.where(condition, *map(_tangent, branches)))
        return values  # zeros_like and ones_like


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Dual) else argument


def _tangent(argument: Any) -> Any:
    return argument.tangent if isinstance(argument, Dual) else np.zeros(np.shape(argument))
