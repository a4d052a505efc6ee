"""`Lowered`: what a circuit means."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter

from ....ir.angles import AngleMap
from ....ir.dynamic import DynamicProgram
from ....ir.encoding import AmplitudeEncoding
from ....ir.program import Program


@dataclass(frozen=True, eq=False)
class Lowered:
    """What a circuit means.

    Attributes:
        dynamic: The program and the measurements at its end.
        angle_map: Parameter values -> the program's angles; slot k is the k-th parametrised rotation.
        parameters: The parameters in the order of the values.
        encoding: Amplitudes that are parameters; whoever runs the program has to prepare them.
        constants: Constant angles that were lifted out of the program: the values (K,) of the angle map's last K
            parameters.
    """

    dynamic: DynamicProgram
    angle_map: AngleMap
    parameters: tuple[Parameter, ...]
    encoding: AmplitudeEncoding | None = None
    constants: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def program(self) -> Program:
        """The straight-line program before the measurements."""
        return self.dynamic.straight_line()

    @property
    def num_clbits(self) -> int:
        """Number of classical bits over all registers."""
        return self.dynamic.num_clbits

    @property
    def measurements(self) -> tuple[tuple[int, int], ...]:
        """Pairs (qubit, clbit) by ascending clbit; clbits that are never written are left out."""
        return self.dynamic.terminal_measurements()
