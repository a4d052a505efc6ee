"""`FusedSimulator`: a Qiskit backend on the engine. Circuits in, counts out.

`simulator` is the backend, `options` are its options, `target` is what ``transpile`` may use, `experiments` one
circuit's way from parameter values to a result and its metadata, `saves` the save instructions and their values, and
`job` the handle that ``run`` returns, with the errors that programs written for Aer catch.
"""

from __future__ import annotations

from .job import FusedSimulatorJob
from .saves import SaveInstruction, save
from .simulator import FusedSimulator

__all__ = ["FusedSimulator", "FusedSimulatorJob", "SaveInstruction", "save"]
