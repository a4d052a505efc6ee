"""From Qiskit to this package: the only reader of Qiskit's circuits and observables.

`circuits` walks a `QuantumCircuit` and writes a program, `expressions` reads its parameter expressions into an angle
map, `states` its initial states, `names` says what the names of operations mean, and `lowered` holds what comes of it;
`dynamic` writes circuits that measure or branch as they go, for which `classical` reads conditions, `saves` save
instructions, and `jumps` jumps. `resets` puts fresh qubits in the place of those that are reset, and `observables`
turns what Estimator V2 accepts into Pauli sums.
"""

from __future__ import annotations

from .circuits import lower
from .dynamic import active_qubits, free_parameters, lower_dynamic
from .lowered import Lowered
from .names import MULTI_CONTROLLED
from .observables import lower_observable, lower_observables
from .resets import RESETTING, with_fresh_qubits

__all__ = [
    "MULTI_CONTROLLED",
    "RESETTING",
    "Lowered",
    "active_qubits",
    "free_parameters",
    "lower",
    "lower_dynamic",
    "lower_observable",
    "lower_observables",
    "with_fresh_qubits",
]
