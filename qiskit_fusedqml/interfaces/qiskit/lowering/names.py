"""What the names of operations mean, and which operations mean what their names say."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from qiskit.circuit import Gate, Instruction

from ....ir.gates import GATES, GateRow

RAW_FEATURES = "ParameterizedInitialize"
"""Name of the one instruction of ``RawFeatureVector`` circuits; it has no definition until its parameters are bound."""

MULTI_CONTROLLED: dict[str, str] = {
    "cu2": "u2",
    "mcp": "p",
    "mcphase": "p",
    "mcr": "r",
    "mcrx": "rx",
    "mcry": "ry",
    "mcrz": "rz",
    "mcswap": "swap",
    "mcsx": "sx",
    "mcu": "u",
    "mcu1": "u1",
    "mcu2": "u2",
    "mcu3": "u3",
    "mcx": "x",
    "mcx_gray": "x",
    "mcy": "y",
    "mcz": "z",
}
"""Names of qiskit-aer for gates with any number of controls, and the gate under the controls."""


def controlled_row(name: str, num_params: int, num_qubits: int) -> GateRow | None:
    """The gate that a name of `MULTI_CONTROLLED` puts under controls.

    Args:
        name: The name.
        num_params: Number of parameters.
        num_qubits: Number of qubits, the controls included.

    Returns:
        The row of the gate, whose targets are the last of the qubits; None if the numbers do not fit the name.
    """
    # with a fourth parameter it is the controlled gate's phase, as for cu
    row = GATES["cu" if name == "mcu" and num_params == 4 else MULTI_CONTROLLED[name]]
    return row if row.num_params == num_params and row.num_targets < num_qubits else None


def has_the_names_meaning(operation: Any) -> bool:
    """Whether an operation means what its name means to Qiskit or qiskit-aer.

    Gates defined by users, or in OpenQASM programs (their class is in ``qiskit.qasm2``), mean their definitions,
    whatever their names. Of an operation that is a name and nothing else, as Aer runs it, the name is all there is.
    """
    kind: Any = getattr(operation, "base_class", type(operation))
    own = _is_of_qiskit(kind)
    return operation.definition is None if own is None else own


@lru_cache(maxsize=256)
def _is_of_qiskit(kind: type) -> bool | None:
    """Whether Qiskit says what a class of operations means; None if its names do, where there is no definition."""
    if kind in (Gate, Instruction) or kind.__module__.startswith("qiskit_aer."):
        return None
    return kind.__module__.startswith("qiskit.circuit.")
