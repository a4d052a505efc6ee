"""What every device refuses, in the same words."""

from __future__ import annotations

import numpy as np
import pytest
from support.tapes import TapeMaker, tape_of

from qiskit_fusedqml.devices import Device
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.observables import PauliSum
from qiskit_fusedqml.planner.tape import RY


def check_refusals(device: Device) -> None:
    """Coefficients, states and observables that do not fit."""
    tape = tape_of(RY(1, 1, 2), RY(1, 1, 0, batched=True))
    given = TapeMaker(np.random.default_rng(0), 3)
    given.num_pairs = [2, 1]
    with pytest.raises(InvalidInputError, match="needs 3 pairs, got 2"):
        device.forward(tape, given.coefficients(2), device.allocate(tape, 2, None))
    given.num_pairs = [3, 1]
    with pytest.raises(InvalidInputError, match="one value for each"):
        device.forward(tape, given.coefficients(3), device.allocate(tape, 2, None))
    with pytest.raises(InvalidInputError, match="number of qubits"):
        device.forward(tape, given.coefficients(2), device.allocate(tape_of(n=4), 2, None))
    ket, bra = device.allocate(tape, 2, None), device.allocate(tape, 3, None)
    with pytest.raises(InvalidInputError, match="differ in shape"):
        device.backward(tape, given.coefficients(2), ket, bra, per_sample=False)
    with pytest.raises(InvalidInputError, match=r"shape \(4,\)"):
        device.allocate(tape, 2, np.ones(4, complex))
    with pytest.raises(InvalidInputError, match="Observable 0 acts on 2 qubits"):
        device.expectation(device.allocate(tape, 1, None), tape.frame, [PauliSum(2, ())])
