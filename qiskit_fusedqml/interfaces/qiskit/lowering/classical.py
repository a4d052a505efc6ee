"""Reads Qiskit's classical bits, variables, conditions and expressions, and qiskit-aer's jumps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr, types

from ....errors import SimulationError, UnsupportedInstructionError
from ....ir import classical as ir
from ....ir.dynamic import Branch, Node


class ClassicalReader:
    """Reads expressions; variables are numbered as they are met."""

    def __init__(self) -> None:
        self.clbits: Mapping[Clbit, int] = {}
        self._numbers: dict[Any, ir.Variable] = {}

    @property
    def variables(self) -> tuple[ir.Variable, ...]:
        """The variables met so far."""
        return tuple(self._numbers.values())

    def condition(self, condition: Any) -> ir.Expression:
        """The condition of an ``if`` or ``while``: an expression, or a pair of a bit or register and a value."""
        if isinstance(condition, tuple):
            target, value = condition
            bits = self.bits(target)
            if int(value) >> max(bits.width, 1):
                return ir.Constant(False, ir.BOOL)
            constant = ir.Constant(bool(value) if bits.width == ir.BOOL else int(value), bits.width)
            return ir.Apply("EQUAL", (bits, constant), ir.BOOL)
        return self.expression(condition)

    def bits(self, target: Clbit | ClassicalRegister) -> ir.Bits:
        """A bit or a register."""
        if isinstance(target, Clbit):
            return ir.Bits((self.clbits[target],), ir.BOOL)
        return ir.Bits(tuple(self.clbits[bit] for bit in target), len(target))

    def target(self, node: Any) -> ir.Target:
        """What a ``store`` writes to."""
        if isinstance(node, expr.Index) and isinstance(node.target, expr.Var) and isinstance(node.index, expr.Value):
            register = node.target.var
            if isinstance(register, ClassicalRegister):
                return ir.Bits((self.clbits[register[node.index.value]],), ir.BOOL)
        if isinstance(node, expr.Var):
            return self._variable(node)
        raise UnsupportedInstructionError(f"It stores to {node}; variables, registers and bits are supported.")

    def value(self, node: Any) -> ir.Expression:
        """The target of a ``switch``: a bit, a register or an expression."""
        return self.bits(node) if isinstance(node, Clbit | ClassicalRegister) else self.expression(node)

    def expression(self, node: Any) -> ir.Expression:
        """An expression of Qiskit's, however deep it is nested."""
        return ir.fold(node, _parts, self._combined)

    def _combined(self, node: Any, operands: list[ir.Expression]) -> ir.Expression:
        """An expression from those of its parts."""
        match node:
            case expr.Var():
                return self._variable(node)
            case expr.Value():
                return ir.Constant(node.value, _width(node.type))
            case expr.Cast():
                return ir.Apply("cast", tuple(operands), _width(node.type))
            case expr.Unary() | expr.Binary() if node.op.name in ir.OPERATORS:
                return ir.Apply(node.op.name, tuple(operands), _width(node.type))
            case expr.Index():
                return ir.Apply("INDEX", tuple(operands), _width(node.type))
        raise UnsupportedInstructionError(f"It uses the classical expression {node}, which is not supported.")

    def _variable(self, node: Any) -> ir.Target:
        if isinstance(node.var, Clbit | ClassicalRegister):
            return self.bits(node.var)
        return self._numbers.setdefault(node.var, ir.Variable(len(self._numbers), _width(node.type)))


@dataclass
class Jumps:
    """The jumps and marks of one list of nodes, while it is written; what a jump passes over is a branch not taken."""

    _open: list[tuple[str, ir.Expression | None, int]] = field(default_factory=list)
    _marks: set[str] = field(default_factory=set)

    def jump(self, mark: str, condition: ir.Expression | None, nodes: list[Node]) -> None:
        """Note a jump to a mark from the end of the nodes written so far, on a condition or always."""
        if mark in self._marks:
            raise SimulationError(f"A jump leads back to mark {mark!r}; only jumps forward are possible, and loops.")
        self._open.append((mark, condition, len(nodes)))

    def mark(self, mark: str, nodes: list[Node]) -> None:
        """End the jumps to a mark at the end of the nodes written so far."""
        if mark in self._marks:
            raise SimulationError(f"There are two marks {mark!r}; each name marks one place.")
        self._marks.add(mark)
        while self._open and any(name == mark for name, _, _ in self._open):
            name, condition, start = self._open.pop()
            if name != mark:
                raise SimulationError(
                    f"A jump to mark {name!r} leads out of what a jump to mark {mark!r} passes over; jumps have to be "
                    "nested."
                )
            passed_over = tuple(nodes[start:])
            del nodes[start:]
            if condition is not None:
                nodes.append(Branch(condition, (), passed_over))

    def finish(self) -> None:
        """Expect no further mark."""
        if self._open:
            raise SimulationError(f"A jump leads to mark {self._open[-1][0]!r}, which does not come after it.")


def _parts(node: Any) -> tuple[Any, ...]:
    """The expressions that one of Qiskit's is made of."""
    match node:
        case expr.Cast() | expr.Unary():
            return (node.operand,)
        case expr.Binary():
            return (node.left, node.right)
        case expr.Index():
            return (node.target, node.index)
    return ()


def _width(kind: Any) -> int:
    match kind:
        case types.Bool():
            return ir.BOOL
        case types.Float():
            return ir.FLOAT
        case types.Uint():
            return int(kind.width)
    raise UnsupportedInstructionError(f"It uses a classical value of type {kind}; Bool, Uint and Float are supported.")
