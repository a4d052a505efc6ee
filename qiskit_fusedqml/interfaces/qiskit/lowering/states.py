"""Initial states: what `initialize` and `StatePreparation` at the start of qubits prepare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.quantum_info import Statevector

from ....errors import InvalidInputError
from ....ir.encoding import AmplitudeEncoding
from .expressions import AngleTable
from .operands import Operands

Amplitudes = NDArray[np.complex128]


@dataclass
class Preparation:
    """The initial states met on the way through a circuit.

    Attributes:
        encoding: Amplitudes that are parameters, if there are any.
        mask: The qubits that have an initial state.
    """

    encoding: AmplitudeEncoding | None = None
    mask: int = 0
    _pieces: list[tuple[tuple[int, ...], Amplitudes]] = field(default_factory=list)

    def add(self, params: Sequence[Any], operands: Operands) -> None:
        """Take in the initial state that a gate's parameters stand for.

        Raises:
            InvalidInputError: If the amplitudes are parametrised.
        """
        self._pieces.append((operands.targets, prepared_amplitudes(params, len(operands.targets))))
        self.mask |= operands.mask

    def encode(self, params: Sequence[Any], operands: Operands, parameters: Sequence[Parameter]) -> None:
        """Take in amplitudes that are parameters; there can be one such state."""
        self.encoding = amplitude_encoding(params, operands.targets, parameters)
        self.mask |= operands.mask

    def amplitudes(self, num_qubits: int) -> Amplitudes | None:
        """The state (2**n,) of all qubits; None if it is |0...0>."""
        return product_state(num_qubits, self._pieces) if self._pieces else None


def prepared_amplitudes(params: Sequence[Any], num_qubits: int) -> Amplitudes:
    """The amplitudes (2**k,) that a gate's parameters stand for.

    Args:
        params: Qiskit's: 2**k amplitudes, the letters of a label such as "01+", or a single integer.
        num_qubits: Number of qubits k.

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
    """An initial state whose amplitudes are expressions of parameters, divided by their norm.

    Args:
        params: 2**k real numbers and expressions.
        qubits: The k qubits.
        parameters: The parameters in the order of the values.
    """
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
    """The product of states on disjoint sets of qubits, with |0> on all others.

    Args:
        num_qubits: Number of qubits n.
        pieces: Qubits and amplitudes of each part; bit j of an amplitude's index is the part's j-th qubit.

    Returns:
        Amplitudes (2**n,).
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
    prepared = set(order)
    state[tuple(slice(None) if qubit in prepared else 0 for qubit in reversed(range(num_qubits)))] = joined.reshape(
        (2,) * k
    ).transpose(axes)
    return state.reshape(-1)
