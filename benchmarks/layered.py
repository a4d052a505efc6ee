"""The circuit of W1 to W6 as a program, without Qiskit, and its values and gradients: for `deep.py` and `trade.py`."""

from __future__ import annotations

from typing import Any

import machine
import numpy as np


def layered(num_qubits: int, layers: int, axes: str = "xyz") -> Any:
    """RY encoding, then rotations of every qubit and a ring of CX, as a program: no Qiskit involved."""
    from qiskit_fusedqml.ir.program import Program, Rotation

    chosen = [{"x": (1, 0), "y": (1, 1), "z": (0, 1)}[axis] for axis in axes]
    ring = []
    for q in range(num_qubits):
        control, target = 1 << q, 1 << (q + 1) % num_qubits
        ring += [Rotation(target, 0, control, control, theta=np.pi), Rotation(0, 0, control, control, theta=-np.pi)]
    instructions = [Rotation(1 << q, 1 << q, slot=q) for q in range(num_qubits)]
    slot = num_qubits
    for _ in range(layers):
        for q in range(num_qubits):
            for x, z in chosen:
                instructions.append(Rotation(x << q, z << q, slot=slot))
                slot += 1
        instructions += ring
    return Program(num_qubits, slot, tuple(instructions))


def engine(num_qubits: int, layers: int, precision: str, axes: str = "xyz", classes: int = 1, **options: Any) -> Any:
    """A program's values and gradients: Z of the first qubits, and the norm."""
    from qiskit_fusedqml.engine.options import EngineOptions
    from qiskit_fusedqml.engine.program_function import ProgramFunction
    from qiskit_fusedqml.ir.angles import AngleMap
    from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm

    program = layered(num_qubits, layers, axes)
    count = program.num_angles
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    sums = [PauliSum(num_qubits, (PauliTerm(1.0, 0, 1 << q),)) for q in range(classes)]
    sums.append(PauliSum(num_qubits, (PauliTerm(1.0, 0, 0),)))
    chosen = EngineOptions(precision=precision, num_threads=machine.cores(), **options)
    return ProgramFunction(program, angles, sums, chosen, num_inputs=num_qubits)
