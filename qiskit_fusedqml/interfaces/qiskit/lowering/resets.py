"""Resets without randomness: a qubit that is reset is left alone, and a fresh one takes its place.

The state of all other qubits is then the mixture that a reset leaves behind: what a qubit that nothing acts on any more
would have been found in does not matter to them.
"""

from __future__ import annotations

from qiskit import QuantumCircuit, QuantumRegister

from ....errors import UnsupportedInstructionError
from ....ir.program import MAX_QUBITS

RESETTING = frozenset({"reset", "initialize"})
"""Instructions that begin by resetting their qubits."""

_IDLE = frozenset({"barrier", "delay"})


def with_fresh_qubits(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[int]]:
    """The same circuit with a fresh qubit for each that is reset after something has acted on it.

    Args:
        circuit: The circuit; resets inside of other instructions stay what they are.

    Returns:
        A circuit on more qubits, the circuit's own first, and the qubit at which each of these ends.

    Raises:
        UnsupportedInstructionError: If there would be more than 40 qubits.
    """
    place = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    used: set[int] = set()
    count = circuit.num_qubits
    placed = []
    for instruction in circuit.data:
        if instruction.name in RESETTING:
            for qubit in instruction.qubits:
                if place[qubit] in used:
                    place[qubit] = count
                    count += 1
        qubits = [place[qubit] for qubit in instruction.qubits]
        if instruction.name not in _IDLE:
            used.update(qubits)
        placed.append((instruction, qubits))
    if count > MAX_QUBITS:
        raise UnsupportedInstructionError(
            f"Circuit {circuit.name!r} has {circuit.num_qubits} qubits and resets {count - circuit.num_qubits} of them "
            f"after their first use. Exact values need a fresh qubit for each of these, {MAX_QUBITS} qubits in all at "
            "the most; FusedSimulator and FusedSampler have no such limit."
        )
    wider = circuit.copy_empty_like()
    if count > circuit.num_qubits:
        wider.add_register(QuantumRegister(count - circuit.num_qubits))
    for instruction, qubits in placed:
        wider.append(instruction.operation, qubits, instruction.clbits, copy=False)
    return wider, list(place.values())
