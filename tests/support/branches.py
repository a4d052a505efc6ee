"""The exact meaning of a dynamic circuit, by following every outcome of every measurement one by one.

Slow and independent of the package: gates are applied by `qiskit.quantum_info`, classical values are Python's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, Clbit, Parameter
from qiskit.circuit.classical import expr
from qiskit.circuit.controlflow import CASE_DEFAULT
from qiskit.quantum_info import Operator, Statevector

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "BIT_AND": operator.and_,
    "BIT_OR": operator.or_,
    "BIT_XOR": operator.xor,
    "LOGIC_AND": lambda a, b: bool(a) and bool(b),
    "LOGIC_OR": lambda a, b: bool(a) or bool(b),
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
}


@dataclass(frozen=True)
class World:
    """One history: its probability, state and classical values."""

    probability: float
    state: Statevector
    bits: dict[int, bool]
    variables: dict[Any, Any] = field(default_factory=dict)

    def with_bit(self, clbit: int, value: bool) -> World:
        return replace(self, bits=self.bits | {clbit: value})


def worlds(circuit: QuantumCircuit) -> list[World]:
    """All histories of a bound circuit of probability above 1e-12."""
    start = World(1.0, Statevector.from_int(0, 2**circuit.num_qubits), dict.fromkeys(range(circuit.num_clbits), False))
    phase = np.exp(1j * float(circuit.global_phase))
    start = replace(start, state=Statevector(start.state.data * phase))
    found = _block(circuit, start, list(range(circuit.num_qubits)), list(range(circuit.num_clbits)), {})
    return [world for world, _ in found]


def distribution(circuit: QuantumCircuit) -> dict[int, float]:
    """Probabilities of the classical bits as an integer, bit 0 lowest."""
    total: dict[int, float] = {}
    for world in worlds(circuit):
        key = sum(value << clbit for clbit, value in world.bits.items())
        total[key] = total.get(key, 0.0) + world.probability
    return total


def _block(
    circuit: QuantumCircuit, start: World, qubits: Sequence[int], clbits: Sequence[int], outer: dict[Clbit, int]
) -> list[tuple[World, str]]:
    """Histories after a block, each with "" or the name of the jump that ended it."""
    qubit_of = dict(zip(circuit.qubits, qubits, strict=True))
    clbit_of = {**outer, **dict(zip(circuit.clbits, clbits, strict=True))}
    live, ended = [start], []
    for instruction in circuit.data:
        q = [qubit_of[bit] for bit in instruction.qubits]
        c = [clbit_of[bit] for bit in instruction.clbits]
        following = []
        for world in live:
            for result, jump in _step(instruction.operation, world, q, c, clbit_of):
                (ended if jump else following).append((result, jump))
        live = _merged([world for world, _ in following if world.probability > 1e-12])
    return [*((world, "") for world in live), *ended]


def _merged(found: list[World]) -> list[World]:
    """Histories that have come to the same state and classical values, as one."""
    if len(found) < 8:
        return found
    distinct: dict[Any, World] = {}
    for world in found:
        largest = world.state.data[np.argmax(np.abs(world.state.data) > 0.3)]
        ray = np.round(world.state.data * np.conj(largest) / abs(largest), 9) + 0.0
        key = (tuple(world.bits.items()), tuple(world.variables.items()), ray.tobytes())
        other = distinct.get(key)
        distinct[key] = replace(world, probability=world.probability + (other.probability if other else 0.0))
    return list(distinct.values())


def _step(op: Any, world: World, q: list[int], c: list[int], clbit_of: dict[Clbit, int]) -> list[tuple[World, str]]:
    match op.name:
        case "barrier" | "delay":
            return [(world, "")]
        case "measure":
            return [(found.with_bit(c[0], bool(value)), "") for value, found in _measured(world, q[0])]
        case "reset":
            return [(_flipped(found, q[0]) if value else found, "") for value, found in _measured(world, q[0])]
        case "initialize":
            return [(result, "") for result in _initialized(op, world, q)]
        case "break_loop" | "continue_loop":
            return [(world, op.name)]
        case "store":
            return [(_stored(op, world, clbit_of), "")]
        case "if_else" | "switch_case" | "while_loop" | "for_loop":
            return list(_flow(op, world, q, c, clbit_of))
    return [(replace(world, state=world.state.evolve(Operator(op), q)), "")]


def _measured(world: World, qubit: int) -> Iterator[tuple[int, World]]:
    for value in (0, 1):
        state = world.state.evolve(Operator(np.diag([1 - value, value])), [qubit])
        chance = float(np.real(np.vdot(state.data, state.data)))
        if chance > 1e-12:
            yield value, replace(world, probability=world.probability * chance, state=state / np.sqrt(chance))


def _flipped(world: World, qubit: int) -> World:
    return replace(world, state=world.state.evolve(Operator(np.array([[0, 1], [1, 0]])), [qubit]))


def _initialized(op: Any, world: World, q: list[int]) -> list[World]:
    found = [world]
    for qubit in q:
        found = [_flipped(w, qubit) if value else w for each in found for value, w in _measured(each, qubit)]
    target = np.asarray(Statevector.from_label("".join(op.params)).data if isinstance(op.params[0], str) else op.params)
    first = np.linalg.qr(
        np.column_stack([target, np.random.default_rng(0).normal(size=(len(target), len(target) - 1))])
    )[0]
    first[:, 0] = target
    return [replace(w, state=w.state.evolve(Operator(first), q)) for w in found]


def _flow(op: Any, world: World, q: list[int], c: list[int], clbit_of: dict[Clbit, int]) -> Iterator[tuple[World, str]]:
    if op.name == "if_else":
        blocks = [*op.blocks, None]
        chosen = blocks[0] if _holds(op.condition, world, clbit_of) else blocks[1]
        yield from [(world, "")] if chosen is None else _block(chosen, world, q, c, clbit_of)
    elif op.name == "switch_case":
        value = _value(op.target, world, clbit_of)
        for labels, block in op.cases_specifier():
            if CASE_DEFAULT in labels or any(label == value for label in labels):
                yield from _block(block, world, q, c, clbit_of)
                return
        yield world, ""
    elif op.name == "while_loop":
        live = [world]
        while live:
            each = live.pop()
            if not _holds(op.condition, each, clbit_of):
                yield each, ""
                continue
            for result, jump in _block(op.blocks[0], each, q, c, clbit_of):
                if jump == "break_loop":
                    yield result, ""
                else:
                    live.append(result)
    else:
        yield from _for_loop(op, world, q, c, clbit_of)


def _for_loop(
    op: Any, world: World, q: list[int], c: list[int], clbit_of: dict[Clbit, int]
) -> Iterator[tuple[World, str]]:
    values, index, body = op.params
    live = [world]
    for value in values:
        following = []
        block = body.assign_parameters({index: value}) if isinstance(index, Parameter) else body
        for each in live:
            for result, jump in _block(block, each, q, c, clbit_of):
                if jump == "break_loop":
                    yield result, ""
                else:
                    following.append(result)
        live = following
    yield from ((each, "") for each in live)


def _holds(condition: Any, world: World, clbit_of: dict[Clbit, int]) -> bool:
    if isinstance(condition, tuple):
        return bool(_value(condition[0], world, clbit_of) == condition[1])
    return bool(_value(condition, world, clbit_of))


def _stored(op: Any, world: World, clbit_of: dict[Clbit, int]) -> World:
    value = _value(op.rvalue, world, clbit_of)
    target = op.lvalue
    if isinstance(target, expr.Index):
        return world.with_bit(clbit_of[target.target.var[target.index.value]], bool(value))
    if isinstance(target.var, Clbit):
        return world.with_bit(clbit_of[target.var], bool(value))
    if isinstance(target.var, ClassicalRegister):
        for k, bit in enumerate(target.var):
            world = world.with_bit(clbit_of[bit], bool(value >> k & 1))
        return world
    return replace(world, variables=world.variables | {target.var: value})


def _value(node: Any, world: World, clbit_of: dict[Clbit, int]) -> Any:
    if isinstance(node, Clbit):
        return world.bits[clbit_of[node]]
    if isinstance(node, ClassicalRegister):
        return sum(world.bits[clbit_of[bit]] << k for k, bit in enumerate(node))
    match node:
        case expr.Value():
            return node.value
        case expr.Var():
            return world.variables[node.var] if node.standalone else _value(node.var, world, clbit_of)
        case expr.Cast():
            return _typed(_value(node.operand, world, clbit_of), node.type)
        case expr.Unary():
            value = _value(node.operand, world, clbit_of)
            done = {"BIT_NOT": lambda v: not v if isinstance(v, bool) else ~v, "LOGIC_NOT": operator.not_}
            return _typed(done.get(node.op.name, operator.neg)(value), node.type)
        case expr.Index():
            place = _value(node.index, world, clbit_of)
            return bool(_value(node.target, world, clbit_of) >> place & 1)
    left, right = _value(node.left, world, clbit_of), _value(node.right, world, clbit_of)
    if node.op.name == "DIV":
        return _typed(left / right if isinstance(left, float) else left // right, node.type)
    return _typed(BINARY[node.op.name](left, right), node.type)


def _typed(value: Any, kind: Any) -> Any:
    name = str(kind)
    if name.startswith("Uint"):
        return int(value) & ((1 << kind.width) - 1)
    return float(value) if name.startswith("Float") else bool(value)
