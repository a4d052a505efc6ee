"""States: initial ones, and those that save and set instructions name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.quantum_info import Statevector
from qiskit.result.models import ExperimentResultData

from ....arrays import shown
from ....errors import InvalidInputError, SimulationError, UnsupportedInstructionError
from ....ir.dynamic import SAVE_KINDS, SAVE_SUBTYPES, Save
from ....ir.encoding import AmplitudeEncoding
from ....ir.observables import PauliSum, PauliTerm
from .expressions import AngleTable

Amplitudes = NDArray[np.complex128]


WHOLE_STATE = frozenset({"statevector", "statevector_dict", "amplitudes", "amplitudes_sq"})
"""Kinds that are defined for all qubits of a circuit only."""

RESERVED_LABELS = frozenset({"counts", "memory", "self", *dir(ExperimentResultData())})
"""What a result's data already means by a name: a value saved under it would replace counts, shots or a method."""

AMPLITUDES = frozenset({"statevector", "statevector_dict", "amplitudes"})
"""Kinds that mixed states do not have."""


def prepared_amplitudes(params: Sequence[Any], num_qubits: int) -> Amplitudes:
    """The amplitudes (2**k,) of k qubits that a gate's parameters stand for.

    These are 2**k amplitudes, the letters of a label such as "01+", or a single integer.
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
        slot, constant = table.angle((1.0,), 0.0, (param,))
        if slot < 0:
            constants[position] = constant
        else:
            positions.append(position)
    return AmplitudeEncoding(qubits, constants, np.array(positions, dtype=np.intp), table.angle_map())


def read_save(
    operation: Any, qubits: tuple[int, ...], num_qubits: int, labels: set[str], *, is_mixed: bool = False
) -> Save:
    """The node of a save instruction on some of the program's qubits; its label is added to those taken."""
    kind = operation.name.removeprefix("save_")
    if kind == "state":  # Aer's instruction for what the method's states are
        kind = "density_matrix" if is_mixed else "statevector"
    if kind not in SAVE_KINDS or operation._subtype not in SAVE_SUBTYPES:  # noqa: SLF001 (Aer has no public name)
        known = ", ".join(f"save_{name}" for name in SAVE_KINDS)
        method = "density_matrix" if is_mixed else "statevector"
        raise UnsupportedInstructionError(f"the {method} method cannot save it; it can {known}")
    label = operation._label  # noqa: SLF001
    if label == "_method_":
        label = kind
    if label in RESERVED_LABELS:
        raise SimulationError(
            f"{operation.name} has the label {shown(label)}, which a result needs for itself; choose another text."
        )
    if label in labels:
        raise SimulationError(f'Duplicate key "{label}" in save instruction.')
    labels.add(label)
    if is_mixed and kind in AMPLITUDES:
        raise SimulationError(
            f"{operation.name} ({shown(label)}) saves amplitudes, and method='density_matrix' has mixed states. Save "
            "the density matrix, or use method='statevector', whose shots are trajectories of pure states."
        )
    if kind in WHOLE_STATE and sorted(qubits) != list(range(num_qubits)):
        raise SimulationError(
            f"{operation.name} was applied to {len(qubits)} qubits of {num_qubits}; it saves the state of all of them."
        )
    argument: Any = None
    if kind in ("expval", "expval_var"):
        columns = (0,) if kind == "expval" else (0, 1)
        argument = tuple(_pauli_sum(operation.params, column, qubits, num_qubits) for column in columns)
    elif kind in ("amplitudes", "amplitudes_sq"):
        argument = tuple(int(index) for index in operation.params)
    return Save(kind, label, qubits, operation._subtype, argument)  # noqa: SLF001


def read_set_statevector(operation: Any, qubits: tuple[int, ...], num_qubits: int) -> Amplitudes:
    """The amplitudes of a ``set_statevector`` instruction."""
    if qubits != tuple(range(num_qubits)):
        raise SimulationError(f"set_statevector was applied to qubits {qubits}; all of them are expected, in order.")
    amplitudes = np.asarray(operation.params[0], dtype=np.complex128).reshape(-1)
    norm = np.linalg.norm(amplitudes)
    if amplitudes.shape != (2**num_qubits,) or not np.isclose(norm, 1.0, atol=1e-8):
        raise InvalidInputError(f"its state has {len(amplitudes)} amplitudes and norm {norm:.6g}; 1 is expected")
    return amplitudes


def read_set_density_matrix(operation: Any, qubits: tuple[int, ...], num_qubits: int) -> Amplitudes:
    """The density matrix (2**n, 2**n) of a ``set_density_matrix`` instruction."""
    if qubits != tuple(range(num_qubits)):
        raise SimulationError(f"set_density_matrix was applied to qubits {qubits}; all of them are expected, in order.")
    matrix = np.asarray(operation.params[0], dtype=np.complex128)
    if matrix.shape != (2**num_qubits,) * 2 or not np.allclose(matrix, matrix.conj().T, atol=1e-8):
        raise InvalidInputError(
            f"its matrix has the shape {matrix.shape}; a Hermitian {(2**num_qubits,) * 2} is needed"
        )
    lowest, trace = np.linalg.eigvalsh(matrix)[0], np.trace(matrix).real
    if lowest < -1e-8 or not np.isclose(trace, 1.0, atol=1e-8):
        raise InvalidInputError(
            f"its matrix has the trace {trace:.6g} and the lowest eigenvalue {lowest:.3g}; it is no state"
        )
    return matrix


def _pauli_sum(params: Sequence[Any], column: int, qubits: Sequence[int], num_qubits: int) -> PauliSum:
    """One of the two sums in Aer's list of (Pauli label, (coefficient, coefficient in the square))."""
    terms = []
    for label, coefficients in params:
        x = sum(1 << qubits[k] for k, letter in enumerate(reversed(label)) if letter in "XY")
        z = sum(1 << qubits[k] for k, letter in enumerate(reversed(label)) if letter in "YZ")
        terms.append(PauliTerm(float(np.real(coefficients[column])), x, z))
    return PauliSum(num_qubits, tuple(terms))
