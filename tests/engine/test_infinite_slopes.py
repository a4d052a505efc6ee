"""Derivatives by the strength of damping at 1, where the slope of coherences is infinite."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.channel_table import CHANNELS
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program, Rotation


def function(z: int, x: int, device: str, *, paired: bool) -> ProgramFunction:
    """RX of qubit 0 damped with a strength, alone or with its neighbour by an error of both."""
    damping = Channel((0,), None, CHANNELS["amplitude_damping"], (1,), (0.0,))
    both = Channel((0, 1), None, CHANNELS["depolarizing2"], (-1,), (0.1,))
    instructions = (Rotation(1, 0, slot=0), *((both,) if paired else ()), damping, *((both,) if paired else ()))
    numbers = np.arange(2)
    angle_map = AngleMap(2, np.zeros(2), numbers, numbers, np.ones(2), names=("theta", "gamma"))
    observable = PauliSum(2, (PauliTerm(1.0, x, z),))
    return ProgramFunction(Program(2, 2, instructions), angle_map, [observable], EngineOptions(device=device))


def gradient(f: ProgramFunction, gamma: float) -> NDArray[np.floating]:
    return f.value_and_grad(w=[0.7, gamma])[1]


@pytest.mark.parametrize("device", ["CPU", "reference"])
@pytest.mark.parametrize("paired", [False, True])
def test_the_limit_is_the_derivative_where_coherences_are_not_seen(device: str, paired: bool) -> None:
    f = function(1, 0, device, paired=paired)
    found = gradient(f, 1.0)
    step = 1e-5
    values = [f.values(w=[0.7, 1.0 - k * step])[0, 0] for k in range(3)]
    assert found[1] == pytest.approx((3 * values[0] - 4 * values[1] + values[2]) / (2 * step), abs=1e-8)
    np.testing.assert_allclose(found, gradient(f, 1.0 - 1e-12), atol=1e-8)


@pytest.mark.parametrize("device", ["CPU", "reference"])
@pytest.mark.parametrize("paired", [False, True])
def test_infinite_derivatives_name_the_parameter(device: str, paired: bool) -> None:
    f = function(1, 1, device, paired=paired)
    assert f.values(w=[0.7, 1.0])[0, 0] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InvalidInputError, match=r"gamma.*derivative is infinite"):
        gradient(f, 1.0)
    assert np.isfinite(gradient(f, 0.999)).all()
