"""What a circuit for `FusedSimulator` may be made of."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from qiskit.circuit import (
    BreakLoopOp,
    ContinueLoopOp,
    ControlledGate,
    Delay,
    ForLoopOp,
    IfElseOp,
    Instruction,
    Measure,
    Parameter,
    Reset,
    Store,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library import (
    DiagonalGate,
    Initialize,
    PauliGate,
    StatePreparation,
    U2Gate,
    UCGate,
    UnitaryGate,
    get_standard_gate_name_mapping,
)
from qiskit.circuit.library.standard_gates import MCPhaseGate, MCU1Gate, MCXGate, MCXGrayCode
from qiskit.transpiler import Target

from ....ir.dynamic import SAVE_KINDS
from ....ir.gates import GATES
from ..lowering import MULTI_CONTROLLED
from ..transpiler import FusedGate
from .saves import SaveInstruction

OF_ANY_WIDTH: dict[str, Any] = {
    # Qiskit has classes for some of these names; the others are the names of qiskit-aer
    **dict.fromkeys((name for name in MULTI_CONTROLLED if name.startswith("mc")), ControlledGate),
    "diagonal": DiagonalGate,
    "fused": FusedGate,
    "initialize": Initialize,
    "mcp": MCPhaseGate,
    "mcphase": MCPhaseGate,
    "mcu1": MCU1Gate,
    "mcx": MCXGate,
    "mcx_gray": MCXGrayCode,
    "multiplexer": UCGate,
    "pauli": PauliGate,
    "save_state": SaveInstruction,
    "set_statevector": Instruction,
    "state_preparation": StatePreparation,
    "unitary": UnitaryGate,
    **{f"save_{kind}": SaveInstruction for kind in SAVE_KINDS},
}
"""Instructions whose number of qubits is not fixed by their name."""

CONTROL_FLOW: dict[str, Any] = {
    "break_loop": BreakLoopOp,
    "continue_loop": ContinueLoopOp,
    "for_loop": ForLoopOp,
    "if_else": IfElseOp,
    "store": Store,
    "switch_case": SwitchCaseOp,
    "while_loop": WhileLoopOp,
}


@lru_cache(maxsize=8)
def build_target(num_qubits: int) -> Target:
    """All instructions on all qubits, without errors or durations, every pair of qubits connected."""
    target = Target(num_qubits=num_qubits, description="FusedSimulator")
    for name, gate in get_standard_gate_name_mapping().items():
        if name in GATES:
            target.add_instruction(gate, name=name)
    target.add_instruction(U2Gate(Parameter("phi"), Parameter("lam")).control(), name="cu2")
    for instruction in (Measure(), Reset(), Delay(Parameter("t"))):
        target.add_instruction(instruction)
    for name, kind in (OF_ANY_WIDTH | CONTROL_FLOW).items():
        target.add_instruction(kind, name=name)
    return target


def target_like(source: Target) -> tuple[Target, list[str]]:
    """A target with another one's instructions and connections, ideal and without durations.

    What it does not mention (fused gates, saves, control flow) is allowed everywhere. Returned with the names of
    instructions left out because they cannot be simulated.
    """
    target = Target(num_qubits=source.num_qubits, description="FusedSimulator")
    left_out = []
    known = GATES.keys() | OF_ANY_WIDTH.keys() | CONTROL_FLOW.keys() | {"measure", "reset", "delay", "id"}
    for name in source.operation_names:
        operation = source.operation_from_name(name)
        if name not in known and getattr(operation, "definition", None) is None:
            left_out.append(name)
        elif isinstance(operation, type):
            target.add_instruction(operation, name=name)
        else:
            places = source.qargs_for_operation_name(name)
            properties = None if places is None else dict.fromkeys(places)
            target.add_instruction(operation, properties, name=name)
    for name, kind in (OF_ANY_WIDTH | CONTROL_FLOW).items():
        everywhere = name in CONTROL_FLOW or name.startswith(("save_", "set_")) or name in ("fused", "initialize")
        if everywhere and name not in target.operation_names:
            target.add_instruction(kind, name=name)
    return target, left_out
