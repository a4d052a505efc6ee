"""Copies of circuits that share nothing with them that can be changed, and whether a circuit still is what was copied.

Qiskit's own copies share arrays and operators with their originals, and its comparison compares definitions, which for
a prepared state means to synthesise it. Here Qiskit compares standard gates, which hold numbers and expressions only.
Every other operation is compared, attribute by attribute, with what it held when the copy was made: arrays by what is
in them, and definitions only where there are some already.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from numbers import Number
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeAlias

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
from qiskit.circuit.exceptions import CircuitError
from qiskit.circuit.library import DiagonalGate, Initialize, StatePreparation, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

from ...errors import InvalidInputError
from .tasks import Task, carry_out

Check: TypeAlias = Callable[[Any], "Iterable[tuple[Check, Any]] | None"]
"""Compares something given with what was copied, except for its parts.

Returns these and the checks that are for them, so that no depth of nesting is too deep; None where there is a
difference.
"""

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


@contextmanager
def refused_if_too_deep(cannot: str) -> Iterator[None]:
    """Refuse a circuit to which Qiskit cannot do something, as it calls itself for every level.

    Args:
        cannot: What cannot be done, to which circuit.

    Raises:
        InvalidInputError: Saying so.
    """
    try:
        yield
    except RecursionError as error:
        raise InvalidInputError(
            f"{cannot}: its definitions or blocks are nested too deeply for Qiskit. Write some of the levels out, with "
            "decompose() for instance."
        ) from error


class Snapshot:
    """What a circuit holds now.

    Args:
        circuit: The circuit.
        by_names: Whether operations with the names of standard gates are taken for these at first, which saves new
            circuits a walk through their instructions. Where they are others, the first comparison fails.

    Attributes:
        circuit: A copy that shares nothing with it that can be changed.

    Raises:
        InvalidInputError: If Qiskit itself cannot take the circuit apart and put it together again.
    """

    def __init__(self, circuit: QuantumCircuit, *, by_names: bool = False) -> None:
        self.circuit: QuantumCircuit
        self._check: Check | None = None
        with refused_if_too_deep(f"Circuit {circuit.name!r} cannot be copied"):
            if by_names and circuit.count_ops().keys() <= _PLAIN_NAMES:
                self.circuit = circuit.copy()
            else:
                self.circuit, self._check = carry_out(_copied_circuit(circuit, set()))

    def is_of(self, circuit: Any) -> bool:
        """Whether a circuit holds the same: instructions, bits, phase."""
        if self._check is None:
            instructions = list(self.circuit.data)
            if not all(map(_is_plain, instructions)):
                return False
            self._check = partial(_compare_circuits, self.circuit, instructions, ())
        work: list[tuple[Check, Any]] = [(self._check, circuit)]
        for check, given in work:  # which grows
            parts = check(given)
            if parts is None:
                return False
            if parts:
                work += parts
        return True


def _is_plain(instruction: CircuitInstruction) -> bool:
    return bool(instruction.is_standard_gate()) or getattr(instruction.operation, "base_class", None) in _PLAIN


def _copied(value: Any, above: set[int]) -> Task:
    """Returns a copy of an operation or of a part of one, and the check against it.

    Args:
        value: What is copied.
        above: The objects that it is a part of, by identity; the one set of them all, as parts are copied in turn.
    """
    kind = type(value)
    if (leaf := _copied_leaf(value)) is not None:
        return leaf
    if isinstance(value, QuantumCircuit):
        return (yield _copied_circuit(value, above))
    if kind in (list, tuple):
        owns, checks = yield _copied_parts(dict(enumerate(value)), above)
        return kind(owns.values()), partial(_compare_lists, kind, list(checks.values()))
    if kind is dict:
        owns, checks = yield _copied_parts(value, above)
        return owns, partial(_compare_dictionaries, checks)
    return (yield _copied_object(value, above))


def _copied_leaf(value: Any) -> tuple[Any, Check] | None:
    """A copy of what has no parts, and the check against it; None for what has some."""
    kind: Any = type(value)
    if _is_constant(kind):
        return value, partial(_compare_constant, value)
    if isinstance(value, np.ndarray):
        array = value.copy()
        array.flags.writeable = False
        return array, partial(_compare_arrays, array, array.tobytes() if array.nbytes <= _SMALL_BYTES else None)
    if kind in (list, tuple):
        kinds: set[Any] = set(map(type, value))
        if all(map(_is_constant, kinds)):
            return kind(value), partial(_compare_constants, kind(value), kinds)
    return None


@lru_cache(maxsize=1024)
def _is_constant(kind: type) -> bool:
    return issubclass(kind, _CONSTANTS)


def _copied_parts(parts: dict[Any, Any], above: set[int]) -> Task:
    """Returns copies of a dictionary's values, and the checks against these."""
    owns, checks = {}, {}
    for name, each in parts.items():
        leaf = _copied_leaf(each)  # most are
        owns[name], checks[name] = (yield _copied(each, above)) if leaf is None else leaf
    return owns, checks


def _copied_circuit(circuit: QuantumCircuit, above: set[int]) -> Task:
    """Returns a copy of a circuit, and the check against it. Qiskit's own would copy operations with all levels."""
    instructions = list(circuit.data)
    checks: list[tuple[int, Check]] = []
    for place, instruction in enumerate(instructions):
        if not _is_plain(instruction):
            operation, check = yield _copied(instruction.operation, above)
            checks.append((place, check))
            instructions[place] = instruction.replace(operation=operation)
    if not checks:
        own = circuit.copy()
    else:
        own = circuit.copy_empty_like(circuit.name)
        for instruction in instructions:
            own._append(instruction)  # noqa: SLF001 (for callers who have nothing to check, Qiskit says)
    return own, partial(_compare_circuits, own, instructions, checks)


def _copied_object(value: Any, above: set[int]) -> Task:
    """Returns a copy of an object by its attributes, and the check against it."""
    kind: Any = type(value)
    attributes = getattr(value, "__dict__", None)
    unknown = not attributes and kind.__eq__ is object.__eq__  # nothing says what it holds
    if unknown or id(value) in above:  # or it refers to what it is a part of
        return value, partial(_compare_identities, value)
    try:
        own = copy.copy(value) if isinstance(value, Operation) else copy.deepcopy(value)
    except Exception:  # noqa: BLE001 (whatever the author of a gate raises)
        own = value
    if attributes is None:
        return own, partial(_compare_constant, own)
    kinds: dict[str, Any] = {name: type(each) for name, each in attributes.items()}
    constants = {name: attributes[name] for name, kind_of_part in kinds.items() if _is_constant(kind_of_part)}
    others = {name: each for name, each in attributes.items() if name not in constants}
    above.add(id(value))
    parts, checks = yield _copied_parts(others, above)
    above.remove(id(value))
    if isinstance(value, Operation) and own is not value:
        vars(own).update(parts)
    if isinstance(value, _BY_PARAMS):
        for compared in (constants, checks):
            compared.pop("_definition", None)
    return own, partial(_compare_objects, kind, len(attributes), constants, checks)


def _compare_circuits(
    own: QuantumCircuit,
    instructions: list[CircuitInstruction],
    checks: Sequence[tuple[int, Check]],
    given: Any,
) -> Iterable[tuple[Check, Any]] | None:
    if not isinstance(given, QuantumCircuit) or not (
        given.num_qubits == own.num_qubits
        and given.num_clbits == own.num_clbits
        and _is_same(given.global_phase, own.global_phase)
    ):
        return None
    if not checks:
        return () if given.data == instructions else None
    data, start, operations = list(given.data), 0, []
    if len(data) != len(instructions):
        return None
    for place, check in checks:
        found, copied = data[place], instructions[place]
        if found.qubits != copied.qubits or found.clbits != copied.clbits:
            return None
        if data[start:place] != instructions[start:place]:
            return None
        operations.append((check, found.operation))
        start = place + 1
    return operations if data[start:] == instructions[start:] else None


def _is_same(one: Any, other: Any) -> bool:
    """Whether two numbers or expressions are equal.

    Qiskit multiplies expressions out, which takes milliseconds for the phase of a transpiled feature map. Most that are
    the same are written in the same way; as different ones may be, too, their values are compared at one point.
    """
    if isinstance(one, ParameterExpression) and isinstance(other, ParameterExpression):
        parameters = one.parameters
        if parameters == other.parameters and str(one) == str(other):
            point = {parameter: 0.5 + 0.37 / k for k, parameter in enumerate(parameters, 1)}
            with suppress(TypeError, ValueError, ZeroDivisionError, CircuitError):  # it has no value there
                if one.bind(point) == other.bind(point):
                    return True
    return bool(one == other)


def _compare_identities(copied: Any, given: Any) -> tuple[()] | None:
    return () if given is copied else None


def _compare_constant(copied: Any, given: Any) -> tuple[()] | None:
    return () if given is copied or (type(given) is type(copied) and given == copied) else None


def _compare_arrays(copied: NDArray[Any], content: bytes | None, given: Any) -> tuple[()] | None:
    if type(given) is not type(copied) or given.dtype != copied.dtype or given.shape != copied.shape:
        return None
    return () if (np.array_equal(given, copied) if content is None else given.tobytes() == content) else None


def _compare_constants(copied: Any, kinds: set[type], given: Any) -> tuple[()] | None:
    return () if type(given) is type(copied) and set(map(type, given)) <= kinds and given == copied else None


def _compare_lists(kind: Any, checks: list[Check], given: Any) -> Iterable[tuple[Check, Any]] | None:
    return zip(checks, given, strict=True) if type(given) is kind and len(given) == len(checks) else None


def _compare_dictionaries(checks: dict[Any, Check], given: Any) -> Iterable[tuple[Check, Any]] | None:
    if type(given) is not dict or given.keys() != checks.keys():
        return None
    return [(check, given[key]) for key, check in checks.items()]


def _compare_objects(
    kind: type, count: int, constants: dict[str, Any], checks: dict[str, Check], given: Any
) -> Iterable[tuple[Check, Any]] | None:
    if type(given) is not kind:
        return None
    found = vars(given)
    try:
        if len(found) != count or not constants.items() <= found.items():
            return None
        return [(check, found[name]) for name, check in checks.items()]
    except (KeyError, TypeError, ValueError):  # another attribute is there, or a number has become an array
        return None
