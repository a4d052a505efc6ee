"""Operations: what their names mean, and what they act on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp, Gate, Instruction
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from ....ir.gates import GATES, GateRow, PlacedFactor, place
from ....ir.program import Diagonal, Matrix, Rotation

RAW_FEATURES = "ParameterizedInitialize"
"""Name of the one instruction of ``RawFeatureVector`` circuits; it has no definition until its parameters are bound."""

MULTI_CONTROLLED: dict[str, str] = {
    **{f"mc{gate}": gate for gate in ("p", "r", "rx", "ry", "rz", "swap", "sx", "u", "u1", "u2", "u3", "x", "y", "z")},
    "cu2": "u2",
    "mcphase": "p",
    "mcx_gray": "x",
}
"""Names of qiskit-aer for gates with any number of controls, and the gate under the controls."""

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
        """The operands of the base operation of one whose first qubits are controls; bit j of the state is the j-th."""
        mask, value = self.controls
        for position, qubit in enumerate(self.targets[:num_ctrl]):
            mask |= 1 << qubit
            value |= (ctrl_state >> position & 1) << qubit
        return Operands(self.targets[num_ctrl:], self.clbits, (mask, value))

    def qubits_and_block(self) -> tuple[tuple[int, ...], slice]:
        """The targets followed by the controls, and the basis states in which the controls have their values."""
        mask, value = self.controls
        controls = tuple(qubit for qubit in range(mask.bit_length()) if mask >> qubit & 1)
        position = sum((value >> qubit & 1) << k for k, qubit in enumerate(controls))
        size = 1 << len(self.targets)
        return (*self.targets, *controls), slice(position * size, (position + 1) * size)


@lru_cache(maxsize=1 << 16)
def placed(name: str, targets: tuple[int, ...], controls: Controls) -> tuple[Rotation | PlacedFactor, ...]:
    """A standard gate on a program's qubits; the same few places come again in circuit after circuit.

    Factors with a constant angle are the rotations they are, whatever the gate's parameters.
    """
    row = GATES[name]
    own = Operands(targets, controls=controls).under(row.num_ctrl, (1 << row.num_ctrl) - 1)
    return tuple(
        each if any(each.coefficients) else Rotation(*each[:4], theta=each.constant)
        for each in place(row, own.targets, *own.controls)
    )


def controlled_row(name: str, num_params: int, num_qubits: int) -> GateRow | None:
    """The row of the gate that a name of `MULTI_CONTROLLED` puts under controls.

    Its targets are the last of the ``num_qubits`` qubits. None for another name and if the numbers do not fit.
    """
    # with a fourth parameter it is the controlled gate's phase, as for cu
    base = "cu" if name == "mcu" and num_params == 4 else MULTI_CONTROLLED.get(name)
    row = None if base is None else GATES[base]
    return row if row is not None and row.num_params == num_params and row.num_targets < num_qubits else None


def support(instruction: Rotation | Diagonal | Matrix) -> int:
    """Mask of the qubits an instruction acts on."""
    if isinstance(instruction, Rotation):
        return instruction.x | instruction.z | instruction.ctrl_mask
    return sum(1 << qubit for qubit in instruction.qubits)


def with_blocks(circuit: QuantumCircuit) -> Iterator[QuantumCircuit]:
    """A circuit and, recursively, the blocks of its control flow."""
    yield circuit
    if not CONTROL_FLOW_OP_NAMES.isdisjoint(circuit.count_ops()):
        flow = [each.operation for each in circuit.data if isinstance(each.operation, ControlFlowOp)]
        for block in (block for operation in flow for block in operation.blocks):
            yield from with_blocks(block)


def has_the_names_meaning(operation: Any) -> bool:
    """Whether an operation means what its name means to Qiskit or qiskit-aer.

    Gates defined by users, or in OpenQASM programs (their class is in ``qiskit.qasm2``), mean their definitions,
    whatever their names. Of an operation that is a name and nothing else, as Aer runs it, the name is all there is.
    """
    kind: Any = getattr(operation, "base_class", type(operation))
    own = _is_of_qiskit(kind)
    return operation.definition is None if own is None else own


@lru_cache(maxsize=256)
def _is_of_qiskit(kind: type) -> bool | None:
    """Whether Qiskit says what a class of operations means; None if its names do, where there is no definition."""
    if kind in (Gate, Instruction) or kind.__module__.startswith("qiskit_aer."):
        return None
    return kind.__module__.startswith("qiskit.circuit.")
