"""Programs with channels, run on density matrices by Qiskit's quantum_info: instruction after instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, Pauli, SuperOp, partial_trace
from support.channels import all_labels
from support.interpreter import program_unitary

from qiskit_fusedqml.interfaces.qiskit.lowering import Lowered
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import Program


def superop(matrix: NDArray[np.float64]) -> SuperOp:
    """``S = 2**-k sum_ab T[a, b] vec(P_a) vec(P_b)^dagger`` of a transfer matrix, vec stacking columns."""
    labels = all_labels((len(matrix).bit_length() - 1) // 2)
    vectors = np.array([Pauli(label).to_matrix().ravel(order="F") for label in labels]).T
    return SuperOp(vectors @ matrix @ vectors.conj().T / np.sqrt(len(matrix)))


def final_state(program: Program, angles: Sequence[float] | NDArray[np.float64] = ()) -> DensityMatrix:
    """The state that a program leaves."""
    start = np.eye(1, 2**program.num_qubits)[0] if program.initial_state is None else program.initial_state
    state = DensityMatrix(start)
    values = np.asarray(angles, dtype=float)
    for each in program.instructions:
        if isinstance(each, Channel):
            matrix = each.matrix
            if each.family is not None:
                matrix = each.family.transfer(*each.parameters(values))
            assert matrix is not None
            state = state.evolve(superop(matrix), list(each.qubits))
        else:
            own = replace(program, instructions=(each,), initial_state=None, cuts=())
            state = state.evolve(Operator(program_unitary(own, values)))
    return state


def lowered_state(lowered: Lowered, num_qubits: int, values: Sequence[float] = ()) -> DensityMatrix:
    """The state of all qubits of a circuit, of which those that are not active are in ``|0>``."""
    own = final_state(lowered.program, lowered.angle_map.evaluate(np.asarray(values, dtype=float)))
    circuit = QuantumCircuit(max(num_qubits, *(q + 1 for q in lowered.active.qubits)))
    state = DensityMatrix(circuit)
    index = lowered.active.basis_states()
    full = np.zeros_like(state.data)
    full[np.ix_(index, index)] = own.data
    extra = list(range(num_qubits, circuit.num_qubits))
    return partial_trace(DensityMatrix(full), extra) if extra else DensityMatrix(full)
