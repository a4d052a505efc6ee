"""All operations of a circuit as one, so that the framework handles its parameters at once.

Between preprocessing and execution the framework takes a circuit's parameters out of their interface and puts them
back, twice a step and operation by operation, which for a deep circuit takes longer than the simulation. One operation
with all parameters is taken out at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pennylane as qml
from pennylane.operation import Operation
from pennylane.ops.functions import bind_new_parameters


class WholeCircuit(Operation):
    """The operations of a circuit, one after the other; its parameters are all of theirs in order.

    Args:
        data: The parameters.
        operations: The operations; their own parameters do not count.
        names: Their structure, as of `qiskit_fusedqml.interfaces.pennylane.circuits.read`.
        wires: The wires they act on.
        batch_size: Size of the broadcast parameters, if there are any.
    """

    num_wires = None
    grad_method = None

    def __init__(
        self,
        *data: Any,
        operations: Sequence[Any],
        names: tuple[Hashable, ...],
        wires: Any,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(*data, wires=wires)
        self._batch_size = batch_size
        self.operations = operations
        self.names = names

    def decomposition(self) -> list[Any]:
        """The operations with the parameters this one has."""
        result, start = [], 0
        for op in self.operations:
            stop = start + len(op.data)
            result.append(bind_new_parameters(op, self.data[start:stop]) if op.data else op)
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
        names=op.names,
        wires=op.wires,
        batch_size=op.batch_size,
    )


bind_new_parameters.register(WholeCircuit, _bind)


def joined(tape: Any, names: tuple[Any, ...], data: Sequence[Any], batch_size: int | None) -> Any:
    """The tape with all operations as one."""
    with qml.QueuingManager.stop_recording():
        whole = WholeCircuit(
            *data,
            operations=tape.operations,
            names=names,
            wires=list(dict.fromkeys(wire for name in names for wire in name[1])),
            batch_size=batch_size,
        )
    return tape.copy(operations=[whole])
