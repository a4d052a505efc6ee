"""What an operation acts on: qubits, classical bits and the controls it is under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Controls: TypeAlias = tuple[int, int]
"""(ctrl_mask, ctrl_value) as in `qiskit_fusedqml.ir.program.Rotation`."""

FREE: Controls = (0, 0)
"""No controls."""


@dataclass(frozen=True, slots=True)
class Operands:
    """What an operation acts on.

    Attributes:
        targets: The program's qubits, in the operation's order.
        clbits: The classical bits.
        controls: The controls the operation is under.
    """

    targets: tuple[int, ...]
    clbits: tuple[int, ...] = ()
    controls: Controls = FREE

    @property
    def mask(self) -> int:
        """Mask of the targets."""
        return sum(1 << qubit for qubit in self.targets)

    def under(self, num_ctrl: int, ctrl_state: int) -> Operands:
        """The operands of the base operation of one whose first qubits are controls.

        Args:
            num_ctrl: Number of leading control qubits.
            ctrl_state: The values they must have, bit j for the j-th.
        """
        mask, value = self.controls
        for position, qubit in enumerate(self.targets[:num_ctrl]):
            mask |= 1 << qubit
            value |= (ctrl_state >> position & 1) << qubit
        return Operands(self.targets[num_ctrl:], self.clbits, (mask, value))

    def ctrl_qubits_and_value(self) -> tuple[tuple[int, ...], int]:
        """The control qubits ascending, and their values with bit j for the j-th of them."""
        mask, value = self.controls
        qubits = tuple(qubit for qubit in range(mask.bit_length()) if mask >> qubit & 1)
        return qubits, sum((value >> qubit & 1) << position for position, qubit in enumerate(qubits))
