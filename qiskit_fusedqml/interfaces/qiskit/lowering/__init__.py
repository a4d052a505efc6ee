"""From Qiskit to this package: the only reader of Qiskit's circuits and observables.

`circuits` walks a `QuantumCircuit` and writes its instructions by a `writer`, which keeps account of the qubits that
they act on; `programs` leaves out the others. `operations` says what the names of operations mean, `expressions` reads
parameter expressions into an angle map, and `states` initial and saved states. `dynamic` writes circuits that measure
or branch as they go, for which `classical` reads conditions and jumps. `noise` finds what a noise model adds.
`observables` turns what Estimator V2 accepts into Pauli sums.
"""

from __future__ import annotations

from .circuits import AmplitudesWithoutValuesError
from .dynamic import lower_dynamic
from .observables import lower_observable, lower_observables
from .operations import MULTI_CONTROLLED, free_parameters, with_blocks
from .programs import Lowered, lower

__all__ = [
    "MULTI_CONTROLLED",
    "AmplitudesWithoutValuesError",
    "Lowered",
    "free_parameters",
    "lower",
    "lower_dynamic",
    "lower_observable",
    "lower_observables",
    "with_blocks",
]
