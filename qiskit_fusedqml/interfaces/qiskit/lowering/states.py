"""States: what `initialize` and `StatePreparation` prepare, and fresh qubits in the place of those that are reset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.quantum_info import Statevector

from ....errors import InvalidInputError, UnsupportedInstructionError
from ....ir.encoding import AmplitudeEncoding
from ....ir.program import MAX_QUBITS
from .expressions import AngleTable
from .operations import RESETTING

Amplitudes = NDArray[np.complex128]


def prepared_amplitudes(params: Sequence[Any], num_qubits: int) -> Amplitudes:
    """The amplitudes (2**k,) of k qubits that a gate's parameters stand for.

    These are 2**k amplitudes, the letters of a label such as "01+", or a single integer.

    Raises:
        InvalidInputError: If the amplitudes are parametrised.
    """
    if any(isinstance(param, ParameterExpression) and param.parameters for param in params):
        raise InvalidInputError(
            "initial states with free parameters are not supported; bind them, or encode data by rotations"
        )
    if all(isinstance(param, str) for param in params):
        return np.asarray(Statevector.from_label("".join(params)).data, dtype=np.complex128)
    if len(params) == 1:  # an amplitude list has at least two entries
        amplitudes = np.zeros(2**num_qubits, dtype=np.complex128)
        amplitudes[int(np.real(complex(params[0])))] = 1.0
        return amplitudes
    return np.array([complex(param) for param in params], dtype=np.complex128)


def amplitude_encoding(
    params: Sequence[Any], qubits: tuple[int, ...], parameters: Sequence[Parameter]
) -> AmplitudeEncoding:
    """An initial state of k qubits whose 2**k amplitudes are numbers and expressions of parameters, normalised."""
    table = AngleTable(parameters)
    constants = np.zeros(len(params))
    positions = []
    for position, param in enumerate(params):
        slot, constant = table.add((1.0,), 0.0, (param,))
        if slot < 0:
            constants[position] = constant
        else:
            positions.append(position)
    return AmplitudeEncoding(qubits, constants, np.array(positions, dtype=np.intp), table.angle_map())


def product_state(num_qubits: int, pieces: Sequence[tuple[tuple[int, ...], Amplitudes]]) -> Amplitudes:
    """The product (2**n,) of states on disjoint sets of qubits, with |0> on all others.

    Bit j of the index of a part's amplitudes is the part's j-th qubit.
    """
    joined: Amplitudes = np.ones(1, dtype=np.complex128)
    order: list[int] = []
    for qubits, amplitudes in pieces:
        joined = np.multiply.outer(amplitudes, joined).reshape(-1)
        order.extend(qubits)
    k = len(order)
    # axis k - 1 - j of the reshaped array is qubit order[j]; the result's axes are the qubits descending
    axes = [k - 1 - order.index(qubit) for qubit in sorted(order, reverse=True)]
    state = np.zeros((2,) * num_qubits, dtype=np.complex128)
    place = tuple(slice(None) if qubit in order else 0 for qubit in reversed(range(num_qubits)))
    state[place] = joined.reshape((2,) * k).transpose(axes)
    return state.reshape(-1)


def with_fresh_qubits(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[int]]:
    """The same circuit with a fresh qubit for each that is reset after something has acted on it.

    The state of the circuit's qubits is then the mixture that a reset leaves behind: the outcome of a measurement of a
    qubit that nothing acts on any more does not matter to the others. Resets inside of other instructions stay.

    Returns:
        A circuit on more qubits, the circuit's own first, and the qubit at which each of these ends.

    Raises:
        UnsupportedInstructionError: If there would be more than 40 qubits.
    """
    place = {qubit: k for k, qubit in enumerate(circuit.qubits)}
    used: set[int] = set()
    count = circuit.num_qubits
    moved = []
    for instruction in circuit.data:
        if instruction.name in RESETTING:
            for qubit in instruction.qubits:
                if place[qubit] in used:
                    place[qubit] = count
                    count += 1
        qubits = [place[qubit] for qubit in instruction.qubits]
        if instruction.name not in ("barrier", "delay"):
            used.update(qubits)
        moved.append((instruction, qubits))
    if count > MAX_QUBITS:
        raise UnsupportedInstructionError(
            f"Circuit {circuit.name!r} has {circuit.num_qubits} qubits and resets {count - circuit.num_qubits} of them "
            f"after their first use. Exact values need a fresh qubit for each of these, {MAX_QUBITS} qubits in all at "
            "the most; FusedSimulator and FusedSampler have no such limit."
        )
    wider = circuit.copy_empty_like()
    if count > circuit.num_qubits:
        wider.add_register(QuantumRegister(count - circuit.num_qubits))
    for instruction, qubits in moved:
        wider.append(instruction.operation, qubits, instruction.clbits, copy=False)
    return wider, list(place.values())
