"""Saved values in the types they have on Aer, and save instructions for those who do not have Aer installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction
from qiskit.quantum_info import DensityMatrix, SparsePauliOp, Statevector
from qiskit.result import ProbDistribution

from ....errors import InvalidInputError
from ....simulation import Saved

_DEFAULT_SUBTYPES = {
    **dict.fromkeys(("statevector", "statevector_dict", "amplitudes"), "single"),
    **dict.fromkeys(("expval", "expval_var", "probabilities", "probabilities_dict"), "average"),
    **dict.fromkeys(("amplitudes_sq", "density_matrix"), "average"),
}
_DEFAULT_LABELS = {
    "expval": "expectation_value",
    "expval_var": "expectation_value_variance",
    "amplitudes_sq": "amplitudes_squared",
}


class SaveInstruction(Instruction):
    """Keeps a result of the state where it stands; it has Aer's name and fields, so that Aer knows what is meant.

    Args:
        kind: The name without ``save_``: "statevector", "statevector_dict", "amplitudes", "amplitudes_sq", "expval",
            "expval_var", "probabilities", "probabilities_dict" or "density_matrix".
        num_qubits: Number of qubits it is about.
        label: The key of the result.
        params: As on Aer.
        pershot: Whether every shot's value is kept.
        conditional: Whether values are kept apart by the classical bits.

    Raises:
        InvalidInputError: For another kind.
    """

    _directive = True

    def __init__(
        self,
        kind: str,
        num_qubits: int,
        label: str | None = None,
        params: Sequence[Any] = (),
        *,
        pershot: bool = False,
        conditional: bool = False,
    ) -> None:
        if kind not in _DEFAULT_SUBTYPES:
            raise InvalidInputError(f"kind is {kind!r}; one of {', '.join(_DEFAULT_SUBTYPES)} is expected.")
        subtype = "list" if pershot else _DEFAULT_SUBTYPES[kind]
        self._subtype = f"c_{subtype}" if conditional else subtype
        super().__init__(f"save_{kind}", num_qubits, 0, list(params))
        self._label = label or _DEFAULT_LABELS.get(kind, kind)

    def validate_parameter(self, parameter: Any) -> Any:
        """Accept anything: parameters are read when the circuit is run."""
        return parameter

    def inverse(self, annotated: bool = False) -> SaveInstruction:  # noqa: ARG002 (Qiskit's signature)
        """The instruction itself."""
        return self


def save(
    circuit: QuantumCircuit,
    kind: str,
    qubits: Sequence[int] | None = None,
    *,
    label: str | None = None,
    operator: Any = None,
    indices: Sequence[int] = (),
    pershot: bool = False,
    conditional: bool = False,
) -> QuantumCircuit:
    """Append a `SaveInstruction`: what ``circuit.save_statevector()`` and its kin do once qiskit-aer is imported.

    Args:
        circuit: The circuit, changed in place.
        kind: See `SaveInstruction`.
        qubits: The qubits it is about; all of them by default.
        label: The key of the result; by default as on Aer.
        operator: For "expval" and "expval_var", a Hermitian operator on these qubits: what `SparsePauliOp` takes, or
            an ``Operator``.
        indices: For "amplitudes" and "amplitudes_sq", the basis states.
        pershot: Whether every shot's value is kept.
        conditional: Whether values are kept apart by the classical bits.

    Returns:
        The circuit.
    """
    chosen = list(range(circuit.num_qubits)) if qubits is None else list(qubits)
    params: Sequence[Any] = list(indices)
    if kind in ("expval", "expval_var"):
        params = _pauli_params(operator)
    instruction = SaveInstruction(kind, len(chosen), label, params, pershot=pershot, conditional=conditional)
    circuit.append(instruction, chosen)
    return circuit


def _pauli_params(operator: Any) -> list[Any]:
    """Aer's list of (label, (coefficient in the operator, coefficient in its square))."""
    if not isinstance(operator, SparsePauliOp):
        matrix = hasattr(operator, "dim")
        operator = SparsePauliOp.from_operator(operator) if matrix else SparsePauliOp(operator)
    first, second = (
        dict(zip(each.paulis.to_labels(), each.coeffs.real.tolist(), strict=True))
        for each in (operator.simplify(), (operator @ operator).simplify())
    )
    return [(label, (first.get(label, 0.0), second.get(label, 0.0))) for label in sorted({*first, *second})]


def saved_value(saved: Saved, zero_threshold: float) -> Any:
    """A saved value in the type that it has in a result; dictionaries have entries above the threshold only."""
    kind = saved.save.kind

    def converted(value: Any) -> Any:
        if isinstance(value, list):  # one value a shot
            values = [converted(part) for part in value]
            return np.array(values, dtype=np.float64) if kind == "expval" else values
        match kind:
            case "statevector":
                return Statevector(np.asarray(value, dtype=np.complex128))
            case "statevector_dict":
                return {hex(k): complex(v) for k, v in _nonzero(value, zero_threshold).items()}
            case "expval":
                return float(value)
            case "probabilities_dict":
                return ProbDistribution(_nonzero(value, zero_threshold))
            case "density_matrix":
                return DensityMatrix(np.asarray(value, dtype=np.complex128))
            case _:
                return np.asarray(value)

    if isinstance(saved.value, dict):
        return {hex(key): converted(value) for key, value in saved.value.items()}
    return converted(saved.value)


def _nonzero(value: NDArray[Any], threshold: float) -> dict[int, Any]:
    kept = np.flatnonzero(np.abs(value) > threshold)
    return dict(zip(kept.tolist(), value[kept].tolist(), strict=True))
