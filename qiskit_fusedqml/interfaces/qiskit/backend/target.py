"""What a circuit for `FusedSimulator` may be made of."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from qiskit import circuit as qc
from qiskit.circuit import Parameter, library
from qiskit.circuit.library import standard_gates
from qiskit.transpiler import Target

from ....ir.dynamic import SAVE_KINDS
from ....ir.gates import GATES
from ..lowering import MULTI_CONTROLLED
from ..lowering.noise import CHANNEL_NAMES
from ..transpiler import FusedGate
from .saves import SaveInstruction

OF_ANY_WIDTH: dict[str, Any] = {
    # Qiskit has classes for some of these names; the others are the names of qiskit-aer
    **dict.fromkeys((name for name in MULTI_CONTROLLED if name.startswith("mc")), qc.ControlledGate),
    "diagonal": library.DiagonalGate,
    "fused": FusedGate,
    "initialize": library.Initialize,
    **dict.fromkeys((*CHANNEL_NAMES, "set_density_matrix"), qc.Instruction),
    "mcp": standard_gates.MCPhaseGate,
    "mcphase": standard_gates.MCPhaseGate,
    "mcu1": standard_gates.MCU1Gate,
    "mcx": standard_gates.MCXGate,
    "mcx_gray": standard_gates.MCXGrayCode,
    "multiplexer": library.UCGate,
    "pauli": library.PauliGate,
    "save_state": SaveInstruction,
    "set_statevector": qc.Instruction,
    "state_preparation": library.StatePreparation,
    "unitary": library.UnitaryGate,
    **{f"save_{kind}": SaveInstruction for kind in SAVE_KINDS},
}
"""Instructions whose number of qubits is not fixed by their name."""

WIDEST = 512
"""Qubits of the target. Without a number Qiskit asks for the backend's names instead; a larger one takes it longer."""

_REVERSIBLE = ("cx", "cz", "ecr", "rxx", "ryy", "rzx", "rzz", "swap")
"""Gates of two qubits that Qiskit can turn round where a coupling map has the other direction only."""

NOT_COUPLED = frozenset(
    {
        "cu2",
        *(name for name, row in GATES.items() if row.num_qubits != 1 and name not in _REVERSIBLE),
        *(name for name in OF_ANY_WIDTH if name != "initialize" and not name.startswith(("save_", "set_"))),
    }
)
"""Gates that no coupling map can restrict."""

_UNRESTRICTED = ("fused", "initialize", *CHANNEL_NAMES)

CONTROL_FLOW: dict[str, Any] = {
    "box": qc.BoxOp,
    "break_loop": qc.BreakLoopOp,
    "continue_loop": qc.ContinueLoopOp,
    "for_loop": qc.ForLoopOp,
    "if_else": qc.IfElseOp,
    "store": qc.Store,
    "switch_case": qc.SwitchCaseOp,
    "while_loop": qc.WhileLoopOp,
}


@lru_cache(maxsize=1)
def build_target() -> Target:
    """All instructions on all qubits, without errors or durations, every pair of qubits connected."""
    target = Target(num_qubits=WIDEST, description="FusedSimulator")
    for name, gate in library.get_standard_gate_name_mapping().items():
        if name in GATES:
            target.add_instruction(gate, name=name)
    target.add_instruction(library.U2Gate(Parameter("phi"), Parameter("lam")).control(annotated=False), name="cu2")
    for instruction in (qc.Measure(), qc.Reset(), qc.Delay(Parameter("t"))):
        target.add_instruction(instruction)
    for name, kind in (OF_ANY_WIDTH | CONTROL_FLOW).items():
        target.add_instruction(kind, name=name)
    return target


def target_like(source: Target) -> tuple[Target, list[str]]:
    """A target with another one's instructions and connections, errors and durations.

    What it does not mention (fused gates, saves, control flow) is allowed everywhere. Returned with the names of
    instructions left out because they cannot be simulated.
    """
    target = Target(
        num_qubits=source.num_qubits,
        description="FusedSimulator",
        dt=source.dt,
        qubit_properties=source.qubit_properties,
        concurrent_measurements=source.concurrent_measurements,
    )
    left_out = []
    known = GATES.keys() | OF_ANY_WIDTH.keys() | CONTROL_FLOW.keys() | {"measure", "reset", "delay", "id"}
    for name in source.operation_names:
        operation = source.operation_from_name(name)
        if name not in known and getattr(operation, "definition", None) is None:
            left_out.append(name)
        elif isinstance(operation, type):
            target.add_instruction(operation, name=name)
        else:
            everywhere = source.qargs_for_operation_name(name) is None
            target.add_instruction(operation, None if everywhere else dict(source[name]), name=name)
    for name, kind in (OF_ANY_WIDTH | CONTROL_FLOW).items():
        everywhere = name in CONTROL_FLOW or name.startswith(("save_", "set_")) or name in _UNRESTRICTED
        if everywhere and name not in target.operation_names:
            target.add_instruction(kind, name=name)
    return target, left_out
