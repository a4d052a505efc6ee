"""From Qiskit to this package: the only reader of Qiskit's circuits and observables.

`circuits` walks a `QuantumCircuit` and writes a program, `expressions` reads its parameter expressions into an angle
map, `states` its initial states, and `observables` turns what Estimator V2 accepts into Pauli sums.
"""

from __future__ import annotations

from .circuits import Lowered, lower
from .observables import lower_observable, lower_observables

__all__ = ["Lowered", "lower", "lower_observable", "lower_observables"]
