"""What a circuit for `FusedSimulator` may be made of."""

from __future__ import annotations

from functools import lru_cache

from qiskit.circuit import Measure
from qiskit.circuit.library import (
    DiagonalGate,
    Initialize,
    StatePreparation,
    UnitaryGate,
    get_standard_gate_name_mapping,
)
from qiskit.circuit.library.standard_gates import MCPhaseGate, MCXGate
from qiskit.transpiler import Target

from ...gates import GATES
from ..transpiler import FusedGate

OF_ANY_WIDTH = {
    "diagonal": DiagonalGate,
    "fused": FusedGate,
    "initialize": Initialize,
    "mcphase": MCPhaseGate,
    "mcx": MCXGate,
    "state_preparation": StatePreparation,
    "unitary": UnitaryGate,
}
"""Instructions whose number of qubits is not fixed by their name."""


@lru_cache(maxsize=8)
def build_target(num_qubits: int) -> Target:
    """All instructions on all qubits, without errors or durations, every pair of qubits connected.

    Args:
        num_qubits: Number of qubits.
    """
    target = Target(num_qubits=num_qubits, description="FusedSimulator")
    for name, gate in get_standard_gate_name_mapping().items():
        if name in GATES:
            target.add_instruction(gate, name=name)
    target.add_instruction(Measure())
    for name, kind in OF_ANY_WIDTH.items():
        target.add_instruction(kind, name=name)
    return target
