"""Copies of circuits that share nothing with them that can be changed, and whether a circuit still is what was copied.

Qiskit's own copies share arrays and operators with their originals, and its comparison compares definitions, which for
a prepared state means to synthesise it. Here Qiskit compares standard gates, which hold numbers and expressions only.
Every other operation is compared, attribute by attribute, with what it held when the copy was made: arrays by what is
in them, and definitions only where there are some already.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from functools import partial
from numbers import Number
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import (
    Barrier,
    Bit,
    CircuitInstruction,
    Delay,
    Measure,
    Operation,
    ParameterExpression,
    Register,
    Reset,
)
from qiskit.circuit.library import DiagonalGate, Initialize, StatePreparation, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

Check = Callable[[Any], bool]
"""Whether something given holds what was copied."""

_PLAIN = frozenset({Barrier, Delay, Measure, Reset})
"""Operations that hold nothing that can be changed; Qiskit compares them as it does standard gates."""

_PLAIN_NAMES = frozenset({"barrier", *get_standard_gate_name_mapping()})
"""The names of these and of standard gates."""

_BY_PARAMS = (DiagonalGate, Initialize, StatePreparation, UnitaryGate)
"""Operations that mean their parameters; that they also have been synthesised changes nothing."""

_FUNCTIONS = (FunctionType, BuiltinFunctionType, ModuleType, type)
_CONSTANTS = (str, bytes, Number, type(None), ParameterExpression, Bit, Register, range, frozenset, *_FUNCTIONS)
"""Types of things that cannot be changed."""

_SMALL_BYTES = 4096
"""Arrays of at most this size are compared by their bytes, which for larger ones would have to be copied."""


class Snapshot:
    """What a circuit holds now.

    Args:
        circuit: The circuit.
        above: The objects that it is a part of, by identity.
        by_names: Whether operations with the names of standard gates are taken for these at first, which saves new
            circuits a walk through their instructions. Where they are others, the first comparison fails.

    Attributes:
        circuit: A copy that shares nothing with it that can be changed.
    """

    def __init__(self, circuit: QuantumCircuit, above: frozenset[int] = frozenset(), *, by_names: bool = False) -> None:
        self.circuit: QuantumCircuit = circuit.copy()
        self._checks: list[tuple[int, Check]] = []
        self._instructions: list[CircuitInstruction] | None = None
        if not (by_names and circuit.count_ops().keys() <= _PLAIN_NAMES):
            self._instructions = list(self.circuit.data)
            self._take_operations(circuit, self._instructions, above)

    def _take_operations(
        self, circuit: QuantumCircuit, instructions: list[CircuitInstruction], above: frozenset[int]
    ) -> None:
        for place, instruction in enumerate(instructions):
            if not _is_plain(instruction):
                operation, check = _copied(circuit.data[place].operation, above)
                self._checks.append((place, check))
                instructions[place] = instruction.replace(operation=operation)
        if any(instructions[place].is_control_flow() for place, _ in self._checks):
            self.circuit = circuit.copy_empty_like()  # where Qiskit 2.6 replaces blocks it counts them wrongly
            self.circuit.data = instructions
        else:
            for place, _ in self._checks:
                self.circuit.data[place] = instructions[place]

    def is_of(self, circuit: Any) -> bool:
        """Whether a circuit holds the same: instructions, bits, phase."""
        own, instructions = self.circuit, self._instructions
        if instructions is None:
            instructions = list(own.data)
            if not all(map(_is_plain, instructions)):
                return False
            self._instructions = instructions
        if not isinstance(circuit, QuantumCircuit) or not (
            circuit.num_qubits == own.num_qubits
            and circuit.num_clbits == own.num_clbits
            and circuit.global_phase == own.global_phase
        ):
            return False
        if not self._checks:
            return bool(circuit.data == instructions)
        data, start = list(circuit.data), 0
        if len(data) != len(instructions):
            return False
        for place, check in self._checks:
            given, copied = data[place], instructions[place]
            if given.qubits != copied.qubits or given.clbits != copied.clbits or not check(given.operation):
                return False
            if data[start:place] != instructions[start:place]:
                return False
            start = place + 1
        return bool(data[start:] == instructions[start:])


def _is_plain(instruction: CircuitInstruction) -> bool:
    return bool(instruction.is_standard_gate()) or getattr(instruction.operation, "base_class", None) in _PLAIN


def _copied(value: Any, above: frozenset[int]) -> tuple[Any, Check]:
    """A copy of an operation or of a part of one, and the check against it; ``above`` as of `Snapshot`."""
    kind = type(value)
    if isinstance(value, _CONSTANTS):
        return value, partial(_is_constant, value)
    if isinstance(value, np.ndarray):
        array = value.copy()
        array.flags.writeable = False
        return array, partial(_is_array, array, array.tobytes() if array.nbytes <= _SMALL_BYTES else None)
    if isinstance(value, QuantumCircuit):
        snapshot = Snapshot(value, above)
        return snapshot.circuit, snapshot.is_of
    if kind in (list, tuple):
        kinds = set(map(type, value))
        if all(issubclass(each, _CONSTANTS) for each in kinds):
            return kind(value), partial(_is_constants, kind(value), kinds)
        parts = [_copied(each, above) for each in value]
        return kind([own for own, _ in parts]), partial(_is_list, kind, [check for _, check in parts])
    if kind is dict:
        named = {key: _copied(each, above) for key, each in value.items()}
        return {key: own for key, (own, _) in named.items()}, partial(
            _is_dictionary, {key: check for key, (_, check) in named.items()}
        )
    return _copied_object(value, above)


def _copied_object(value: Any, above: frozenset[int]) -> tuple[Any, Check]:
    kind: Any = type(value)
    attributes = getattr(value, "__dict__", None)
    unknown = not attributes and kind.__eq__ is object.__eq__  # nothing says what it holds
    if unknown or id(value) in above:  # or it refers to what it is a part of
        return value, partial(operator.is_, value)
    try:
        own = copy.copy(value) if isinstance(value, Operation) else copy.deepcopy(value)
    except Exception:  # noqa: BLE001 (whatever the author of a gate raises)
        own = value
    if attributes is None:
        return own, partial(_is_constant, own)
    parts = {name: _copied(each, above | {id(value)}) for name, each in attributes.items()}
    if isinstance(value, Operation) and own is not value:
        vars(own).update({name: part for name, (part, _) in parts.items()})
    ignored = ("_definition",) if isinstance(value, _BY_PARAMS) else ()
    constants = {
        name: each for name, each in attributes.items() if isinstance(each, _CONSTANTS) and name not in ignored
    }
    checks = {name: check for name, (_, check) in parts.items() if name not in constants and name not in ignored}
    return own, partial(_is_object, kind, len(attributes), constants, checks)


def _is_constant(copied: Any, given: Any) -> bool:
    return given is copied or (type(given) is type(copied) and bool(given == copied))


def _is_array(copied: NDArray[Any], content: bytes | None, given: Any) -> bool:
    if type(given) is not type(copied) or given.dtype != copied.dtype or given.shape != copied.shape:
        return False
    return np.array_equal(given, copied) if content is None else given.tobytes() == content


def _is_constants(copied: Any, kinds: set[type], given: Any) -> bool:
    return type(given) is type(copied) and set(map(type, given)) <= kinds and bool(given == copied)


def _is_list(kind: Any, checks: list[Check], given: Any) -> bool:
    if type(given) is not kind or len(given) != len(checks):
        return False
    for check, each in zip(checks, given, strict=True):  # noqa: SIM110 (a loop takes half the time)
        if not check(each):
            return False
    return True


def _is_dictionary(checks: dict[Any, Check], given: Any) -> bool:
    return type(given) is dict and given.keys() == checks.keys() and all(checks[key](given[key]) for key in given)


def _is_object(kind: type, count: int, constants: dict[str, Any], checks: dict[str, Check], given: Any) -> bool:
    if type(given) is not kind:
        return False
    found = vars(given)
    try:
        if len(found) != count or not constants.items() <= found.items():
            return False
    except (TypeError, ValueError):  # a number has become an array
        return False
    for name, check in checks.items():  # noqa: SIM110 (a loop takes half the time)
        if name not in found or not check(found[name]):
            return False
    return True
