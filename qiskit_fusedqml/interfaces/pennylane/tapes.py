"""Parses tapes: what two tapes have in common is their structure, and what differs are numbers.

The structure of a tape is everything but the angles: which operations act on which wires, constant matrices, what is
measured. It is a hashable key, found in one pass over the tape, under which the compiled circuit is kept.

`StackedCircuit` is all operations of a tape as one. Between preprocessing and execution the framework takes a tape's
parameters out of their interface and puts them back, twice a step and one by one, which for a deep circuit takes longer
than the simulation. One operation, with the angles of a kind stacked in one array, is taken out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pennylane as qml
from autograd.extend import Box, defvjp_argnums, primitive
from pennylane.operation import Operation, StatePrepBase
from pennylane.ops.functions import bind_new_parameters
from typing_extensions import override

from .observables import identity as observable_identity
from .operations import NUMBERS_ONLY, Wire, identity, labels

Positions = tuple[int, ...]

_NUMBERS = np.ndarray | np.generic | float | int | complex


class Structure:
    """What operations are but for their parameters; hashed once, as there may be thousands.

    Args:
        names: For each operation a tuple that begins with its class and its wires.
    """

    __slots__ = ("_hash", "names")

    def __init__(self, names: tuple[Any, ...]) -> None:
        self.names = names
        self._hash = hash(names)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Structure) and self._hash == other._hash and self.names == other.names


@lru_cache(maxsize=256)
def _known(structure: Structure) -> Structure:
    """The first of equal structures, so that to compare them again takes no time."""
    return structure


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Operations without their numbers.

    Attributes:
        structure: What they are.
        operations: The operations; their own parameters do not count.
        positions: For each of a tape's parameters which of the operations' it is, or which are stacked in it.
        dimensions: The number of axes that each was made with, to which `jax.vmap` adds one in front; None for a tape
            that is not stacked.
    """

    structure: Structure
    operations: Sequence[Any]
    positions: Sequence[int | Positions]
    dimensions: Sequence[int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ParsedTape:
    """A tape as structure and numbers.

    Attributes:
        key: Equal for tapes that differ in numbers only.
        tape: The tape.
        layout: Its operations.
        data: The parameters.
    """

    key: Hashable
    tape: Any
    layout: Layout
    data: Sequence[Any]

    def place(self, index: int) -> int | Positions:
        """The position of a parameter of the tape; -1 for one of its measurements'."""
        return self.layout.positions[index] if index < len(self.data) else -1

    @property
    def prepared(self) -> Any:
        """The parameter of the preparation that the tape begins with."""
        return self.data[self.layout.positions.index(0)]

    @property
    def is_mapped(self) -> bool:
        """Whether `jax.vmap` has put samples in front of a parameter that was made without them."""
        dimensions = self.layout.dimensions
        return dimensions is not None and any(
            np.ndim(number) > count for number, count in zip(self.data, dimensions, strict=True)
        )


def unchanged(tape: Any) -> tuple[tuple[Any], Callable[[Any], Any]]:
    """The answer of a transform that changes nothing, or the tape only: one tape, and its result as it is."""
    return (tape,), _first


def _first(results: Any) -> Any:
    return results[0]


def parse(tape: Any, wires: tuple[Wire, ...] | None) -> ParsedTape:
    """The structure and the numbers of a tape; the device's wires are None where each tape has its own."""
    measured = tuple([(type(m), m.wires.labels, observable_identity(m)) for m in tape.measurements])
    operations = tape.operations
    if len(operations) == 1 and type(operations[0]) is StackedCircuit:
        layout, data = operations[0].layout, operations[0].data
    else:
        layout, data = read_operations(operations)
    return ParsedTape((wires, layout.structure, measured), tape, layout, data)


def read_operations(operations: Sequence[Any]) -> tuple[Layout, list[Any]]:
    """What operations are, and their parameters in order."""
    names: list[Any] = []
    data: list[Any] = []
    for op in operations:
        kind = type(op)
        names.append((kind, labels(op)) if kind in NUMBERS_ONLY or issubclass(kind, StatePrepBase) else identity(op))
        if op.data:
            data.extend(op.data)
    return Layout(Structure(tuple(names)), operations, range(len(data))), data


def wire_order(
    operations: Sequence[Any], measurements: Sequence[Any], wires: tuple[Wire, ...] | None
) -> tuple[Wire, ...]:
    """The wires of the simulation: the device's, or in their absence the tape's in the framework's standard order."""
    if wires is not None:
        return wires
    found = qml.wires.Wires.all_wires([op.wires for op in operations])
    acted = set(found)
    rest = dict.fromkeys(wire for m in measurements for wire in m.wires if wire not in acted)
    count = len(acted) + len(rest)
    if acted == set(range(len(acted))) and rest.keys() == set(range(len(acted), count)):
        return tuple(range(count)) or (0,)
    return (*found.labels, *rest) or (0,)


class StackedCircuit(Operation):
    """The operations of a circuit, one after the other; the parameters are all of theirs, at the positions."""

    num_wires = None
    grad_method = None

    def __init__(self, *data: Any, layout: Layout, wires: Any, batch_size: int | None = None) -> None:
        super().__init__(*data, wires=wires)
        self._batch_size = batch_size
        self.layout = layout

    @override
    def decomposition(self) -> list[Any]:
        numbers: dict[int, Any] = {}
        for place, own in zip(self.layout.positions, self.data, strict=True):
            numbers |= {place: own} if isinstance(place, int) else dict(zip(place, own, strict=True))
        result, start = [], 0
        for op in self.layout.operations:
            stop = start + len(op.data)
            result.append(bind_new_parameters(op, [numbers[k] for k in range(start, stop)]) if op.data else op)
            start = stop
        return result

    @override
    def label(self, decimals: int | None = None, base_label: str | None = None, cache: Any = None) -> str:
        return base_label or self.name  # without the many parameters

    @property
    @override
    def has_decomposition(self) -> bool:
        return True


@bind_new_parameters.register  # type: ignore[untyped-decorator]
def _bind(op: StackedCircuit, params: Sequence[Any]) -> StackedCircuit:
    return StackedCircuit(*params, layout=op.layout, wires=op.wires, batch_size=op.batch_size)


def stacked(tape: Any, others: Sequence[int], batch_size: int | None) -> Any:
    """The tape with all operations as one; other parameters than angles stand by themselves.

    Args:
        tape: The tape.
        others: Positions of these other parameters.
        batch_size: Their size, if any of them is broadcast.
    """
    layout, data = read_operations(tape.operations)
    kinds: dict[Hashable, list[int]] = {}
    single = set(others)
    for position, number in enumerate(data):
        kind = None if position in single else _kind(number)
        kinds.setdefault(position if kind is None else kind, []).append(position)
    positions = tuple(kind if isinstance(kind, int) else tuple(own) for kind, own in kinds.items())
    numbers = [data[at] if isinstance(at, int) else _stack([data[k] for k in at]) for at in positions]
    for at, number in zip(positions, numbers, strict=True):
        if at not in single and np.ndim(number) > (not isinstance(at, int)):
            batch_size = number.shape[-1]
            break
    structure, dimensions = _known(layout.structure), tuple([np.ndim(number) for number in numbers])
    wires = list(dict.fromkeys(wire for name in structure.names for wire in name[1]))
    layout = Layout(structure, tape.operations, positions, dimensions)
    with qml.QueuingManager.stop_recording():
        return tape.copy(operations=[StackedCircuit(*numbers, layout=layout, wires=wires, batch_size=batch_size)])


def _kind(number: Any) -> Hashable:
    """Equal for angles that may be stacked: of one interface and shape, trained or not; None for JAX.

    There, stacking takes longer than what it saves, and `jax.vmap` may put samples in front of some only.
    """
    if isinstance(number, Box):
        try:
            return True, number.shape
        except AttributeError:  # one of Python's numbers is inside
            return True, ()
    if isinstance(number, _NUMBERS):
        return False, np.shape(number)
    if qml.math.get_interface(number) == "torch":
        return number.dtype, number.device, number.requires_grad, number.shape
    return None


def _stack(numbers: Sequence[Any]) -> Any:
    if isinstance(numbers[0], Box):
        return _array(*numbers)
    return np.array(numbers) if isinstance(numbers[0], _NUMBERS) else qml.math.stack(numbers)


@primitive  # type: ignore[untyped-decorator]
def _array(*numbers: Any) -> Any:
    """What autograd has for this takes a step for every number."""
    return np.array(numbers)


def _pulled(argnums: Sequence[int], *_: Any) -> Any:
    return lambda cotangent: [cotangent[k] for k in argnums]


defvjp_argnums(_array, _pulled)
