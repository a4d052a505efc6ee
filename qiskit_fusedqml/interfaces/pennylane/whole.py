"""All operations of a circuit as one, so that the framework handles its parameters at once.

Between preprocessing and execution the framework takes a circuit's parameters out of their interface and puts them
back, twice a step and one by one, which for a deep circuit takes longer than the simulation. One operation, with the
angles of a kind stacked in one array, is taken out at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pennylane as qml
from autograd.extend import defvjp_argnums, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from pennylane.operation import Operation
from pennylane.ops.functions import bind_new_parameters

Positions = tuple[int, ...]

_NUMBERS = np.ndarray | np.generic | float | int | complex


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parameters of a circuit's operations are among those of a `WholeCircuit`.

    Attributes:
        positions: For each of the latter which of the former it is, or which are stacked in it along the first axis.
        dimensions: The number of axes that each of the latter was made with. There is one more where `jax.vmap` has
            put samples in front.
    """

    positions: tuple[int | Positions, ...]
    dimensions: tuple[int, ...]


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


class WholeCircuit(Operation):
    """The operations of a circuit, one after the other; its parameters are all of theirs.

    Args:
        data: The parameters as the layout says.
        operations: The operations; their own parameters do not count.
        structure: What they are.
        layout: Where the operations' parameters are.
        wires: The wires they act on.
        batch_size: Size of the broadcast parameters, if there are any.
    """

    num_wires = None
    grad_method = None

    def __init__(
        self,
        *data: Any,
        operations: Sequence[Any],
        structure: Structure,
        layout: Layout,
        wires: Any,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(*data, wires=wires)
        self._batch_size = batch_size
        self.operations = operations
        self.structure = structure
        self.layout = layout

    def decomposition(self) -> list[Any]:
        """The operations with the parameters this one has."""
        numbers: dict[int, Any] = {}
        for place, own in zip(self.layout.positions, self.data, strict=True):
            numbers |= {place: own} if isinstance(place, int) else dict(zip(place, own, strict=True))
        result, start = [], 0
        for op in self.operations:
            stop = start + len(op.data)
            result.append(bind_new_parameters(op, [numbers[k] for k in range(start, stop)]) if op.data else op)
            start = stop
        return result

    def label(self, decimals: int | None = None, base_label: str | None = None, cache: Any = None) -> str:  # noqa: ARG002
        """Its name in drawings, without the many parameters."""
        return base_label or self.name

    @property
    def has_decomposition(self) -> bool:
        """Always: `decomposition`."""
        return True


def _bind(op: WholeCircuit, params: Sequence[Any]) -> WholeCircuit:
    return WholeCircuit(
        *params,
        operations=op.operations,
        structure=op.structure,
        layout=op.layout,
        wires=op.wires,
        batch_size=op.batch_size,
    )


bind_new_parameters.register(WholeCircuit, _bind)


def joined(tape: Any, structure: Structure, data: Sequence[Any], others: Sequence[int], batch_size: int | None) -> Any:
    """The tape with all operations as one.

    Args:
        tape: The tape.
        structure: What its operations are.
        data: Their parameters in order.
        others: Positions of parameters that are no angles.
        batch_size: Size of broadcast parameters that are no angles, if there are any.
    """
    places, numbers = _stacked(data, set(others))
    sizes = [number.shape[-1] for own, number in zip(places, numbers, strict=True) if _is_batch(own, number, others)]
    with qml.QueuingManager.stop_recording():
        whole = WholeCircuit(
            *numbers,
            operations=tape.operations,
            structure=_known(structure),
            layout=Layout(tuple(places), tuple([np.ndim(number) for number in numbers])),
            wires=list(dict.fromkeys(wire for name in structure.names for wire in name[1])),
            batch_size=sizes[0] if sizes else batch_size,
        )
    return tape.copy(operations=[whole])


def _stacked(data: Sequence[Any], others: set[int]) -> tuple[list[int | Positions], list[Any]]:
    """Which parameters are together, and together they are."""
    kinds: dict[Hashable, list[int]] = {}
    for position, number in enumerate(data):
        kind = position if position in others else _kind(number)
        kinds.setdefault(position if kind is None else kind, []).append(position)
    places: list[int | Positions] = []
    numbers = []
    for kind, own in kinds.items():
        if isinstance(kind, int):
            places.append(kind)
            numbers.append(data[kind])
        else:
            places.append(tuple(own))
            numbers.append(_stack([data[k] for k in own]))
    return places, numbers


def _kind(number: Any) -> Hashable:
    """Equal for angles that may be stacked: of one interface and shape, trained or not; None for JAX.

    There, stacking takes longer than what it saves, and `jax.vmap` may put samples in front of some only.
    """
    if isinstance(number, ArrayBox):
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
    if isinstance(numbers[0], ArrayBox):
        return _array(*numbers)
    return np.array(numbers) if isinstance(numbers[0], _NUMBERS) else qml.math.stack(numbers)


@primitive  # type: ignore[untyped-decorator]
def _array(*numbers: Any) -> Any:
    """What autograd has for this takes a step for every number."""
    return np.array(numbers)


def _pulled(argnums: Sequence[int], *_: Any) -> Any:
    return lambda cotangent: [cotangent[k] for k in argnums]


defvjp_argnums(_array, _pulled)


def _is_batch(place: int | Positions, number: Any, others: Sequence[int]) -> bool:
    return np.ndim(number) > (not isinstance(place, int)) and place not in others
