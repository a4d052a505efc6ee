"""Operations: what their names mean, and what they act on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

from qiskit import QuantumCircuit, circuit as qc
from qiskit.circuit import Parameter
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Operator

from ....errors import UnsupportedInstructionError
from ....ir.gates import GATES, GateRow, PlacedFactor, place
from ....ir.program import Rotation

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


class Operands(NamedTuple):
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


class PlacedGate(NamedTuple):
    """A standard gate on a program's qubits.

    Attributes:
        factors: Its factors; those with a constant angle are the rotations they are, whatever the gate's parameters.
        rotations: Of a gate without other factors: the rotations that act on qubits; None for other gates.
        phase: Of the same: the global phase.
        touched: Mask of the qubits of these rotations.
    """

    factors: tuple[Rotation | PlacedFactor, ...]
    rotations: tuple[Rotation, ...] | None
    phase: float
    touched: int


@lru_cache(maxsize=1 << 16)
def placed(name: str, targets: tuple[int, ...], controls: Controls) -> PlacedGate:
    """A standard gate on a program's qubits; the same few places come again in circuit after circuit."""
    row = GATES[name]
    own = Operands(targets, controls=controls).under(row.num_ctrl, (1 << row.num_ctrl) - 1)
    factors = tuple(
        each if any(each.coefficients) else Rotation(*each[:4], theta=each.constant)
        for each in place(row, own.targets, *own.controls)
    )
    constant = tuple(each for each in factors if isinstance(each, Rotation))
    if len(constant) < len(factors):
        return PlacedGate(factors, None, 0.0, 0)
    acting = tuple(each for each in constant if each.theta and (each.x | each.z | each.ctrl_mask))
    phase = -sum(each.theta for each in constant if not each.x | each.z | each.ctrl_mask) / 2
    touched = reduce(or_, (each.x | each.z | each.ctrl_mask for each in acting), 0)
    return PlacedGate(factors, acting, phase, touched)


def own_row(operation: Any, num_qubits: int) -> GateRow | None:
    """The row of `GATES` that an operation on so many qubits means by its name; None if its name means something else.

    A gate's parameters are numbers or expressions, as many as the row has.
    """
    row = GATES.get(operation.name)
    if row is None or (row.num_params, row.num_qubits) != (len(operation.params), num_qubits):
        return None
    return row if has_the_names_meaning(operation) else None


def under_controls(operation: Any, operands: Operands) -> tuple[GateRow | None, Any, Operands]:
    """What a controlled gate's controls are on, and what that acts on.

    Returns:
        The row of `GATES` under the controls, or None; else the base gate, or None where there is neither; the operands
        of either.
    """
    name, num_targets, params = operation.name, len(operands.targets), getattr(operation, "params", ())
    base, num_ctrl = getattr(operation, "base_gate", None), getattr(operation, "num_ctrl_qubits", 0)
    by_name = has_the_names_meaning(operation)
    if base is None or num_ctrl + base.num_qubits != operation.num_qubits:
        row = controlled_row(name, len(params), num_targets) if by_name else None
        return row, None, operands if row is None else operands.under(num_targets - row.num_targets, -1)
    inner = operands.under(num_ctrl, operation.ctrl_state)
    # v-chains with relative phases are not X under controls, and gates with ancillas assume that those are clean
    if name.startswith("mcx_vchain") or not (by_name or type(operation) is qc.ControlledGate):
        return None, None, inner
    row = GATES.get(name.partition("_o")[0]) if by_name else None
    if row is not None and (row.num_ctrl, row.num_params) == (num_ctrl, len(params)):
        return row, None, inner
    # the base gate of a controlled CU forgets the fourth parameter, and Qiskit controls gates by their names
    misnamed = base.name in GATES and own_row(base, base.num_qubits) is None
    return None, None if misnamed else base, inner


def is_current(base: Any, definition: QuantumCircuit | None) -> bool:
    """Whether a base gate's definition belongs to its parameters.

    Qiskit assigns parameters to a controlled gate, its definition and its base gate, but never to the base gate's
    definition, which goes on as it was when the controlled gate was made.
    """
    if definition is None or not definition.num_parameters:
        return True
    return all(isinstance(param, Parameter) for param in base.params) and base.params == list(definition.parameters)


def without_modifiers(operation: qc.AnnotatedOperation, operands: Operands) -> tuple[Any, float, Operands]:
    """The base of an annotated operation, the power it is raised to, and the operands that are left to it."""
    power = 1.0
    # modifiers commute, and each one's controls come before those of the modifiers before it
    for modifier in reversed(operation.modifiers):
        if isinstance(modifier, qc.ControlModifier):
            operands = operands.under(modifier.num_ctrl_qubits, modifier.ctrl_state)
        elif isinstance(modifier, qc.InverseModifier):
            power = -power
        elif isinstance(modifier, qc.PowerModifier):
            power *= modifier.power
        else:
            raise UnsupportedInstructionError(
                f"Cannot run an operation with the modifier {modifier}, which is unknown."
            )
    return operation.base_op, power, operands


def raised(base: Any, power: float) -> Any:
    """An operation to a power that is not an integer; by its matrix where Qiskit has nothing better."""
    if own_row(base, base.num_qubits) is None:
        base = UnitaryGate(Operator(base))
    return (base if power > 0 else base.inverse()).power(abs(power))


def controlled_row(name: str, num_params: int, num_qubits: int) -> GateRow | None:
    """The row of the gate that a name of `MULTI_CONTROLLED` puts under controls.

    Its targets are the last of the ``num_qubits`` qubits. None for another name and if the numbers do not fit.
    """
    # with a fourth parameter it is the controlled gate's phase, as for cu
    base = "cu" if name == "mcu" and num_params == 4 else MULTI_CONTROLLED.get(name)
    row = None if base is None else GATES[base]
    return row if row is not None and row.num_params == num_params and row.num_targets < num_qubits else None


def with_blocks(circuit: QuantumCircuit) -> Iterator[QuantumCircuit]:
    """A circuit and the blocks of its control flow, and of that inside of these."""
    work = [circuit]
    while work:
        circuit = work.pop()
        yield circuit
        if not CONTROL_FLOW_OP_NAMES.isdisjoint(circuit.count_ops()):
            flow = [each.operation for each in circuit.data if isinstance(each.operation, qc.ControlFlowOp)]
            work += [block for operation in reversed(flow) for block in reversed(operation.blocks)]


def is_straight(circuit: QuantumCircuit) -> bool:
    """Whether a circuit is made of gates, in boxes and loops of known length perhaps, and of barriers and delays."""
    return all(
        instruction.is_standard_gate()
        or isinstance(instruction.operation, (qc.Gate, qc.Barrier, qc.Delay, qc.BoxOp, qc.ForLoopOp))
        for each in with_blocks(circuit)
        for instruction in each.data
    )


def free_parameters(circuit: QuantumCircuit) -> tuple[Parameter, ...]:
    """The parameters that need values, in the order of ``circuit.parameters``.

    Qiskit 2.0 lists the indices of ``for`` loops among a circuit's parameters.
    """
    if not circuit.num_parameters:
        return ()
    loops = (
        each.operation
        for block in with_blocks(circuit)
        if "for_loop" in block.count_ops()
        for each in block.data
        if isinstance(each.operation, qc.ForLoopOp)
    )
    indices = {loop.params[1] for loop in loops}
    return tuple(parameter for parameter in circuit.parameters if parameter not in indices)


def has_the_names_meaning(operation: Any) -> bool:
    """Whether an operation means what its name means to Qiskit or qiskit-aer.

    Gates defined by users, or in OpenQASM programs (their class is in ``qiskit.qasm2``), mean their definitions,
    whatever their names, and controlled gates without a class of their own their base gates. Of an operation that is a
    name and nothing else, as Aer runs it, the name is all there is.
    """
    kind: Any = getattr(operation, "base_class", type(operation))
    own = _is_of_qiskit(kind)
    return operation.definition is None if own is None else own


@lru_cache(maxsize=256)
def _is_of_qiskit(kind: type) -> bool | None:
    """Whether Qiskit says what a class of operations means; None if its names do, where there is no definition."""
    if kind in (qc.Gate, qc.Instruction) or kind.__module__.startswith("qiskit_aer."):
        return None
    return kind is not qc.ControlledGate and kind.__module__.startswith("qiskit.circuit.")
