"""From Qiskit to this package: the only reader of Qiskit's circuits and observables.

`circuits` walks a `QuantumCircuit` and writes a program; `operations` says what the names of operations mean,
`expressions` reads parameter expressions into an angle map, and `states` initial and saved states. `dynamic` writes
circuits that measure or branch as they go, for which `classical` reads conditions and jumps.
`observables` turns what Estimator V2 accepts into Pauli sums.
"""

from __future__ import annotations

from .circuits import Lowered, lower
from .dynamic import active_qubits, lower_dynamic
from .observables import lower_observable, lower_observables
from .operations import MULTI_CONTROLLED, free_parameters, with_blocks
from .states import with_fresh_qubits

__all__ = [
    "MULTI_CONTROLLED",
    "Lowered",
    "active_qubits",
    "free_parameters",
    "lower",
    "lower_dynamic",
    "lower_observable",
    "lower_observables",
    "with_blocks",
    "with_fresh_qubits",
]
