"""Features as amplitudes: their scale does not matter, down to and up to the smallest and largest numbers."""

from __future__ import annotations

import numpy as np
import pytest

from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.encoding import AmplitudeEncoding

FEATURES = np.array([[0.1, 0.5, -0.3, 0.7], [-0.2, 0.0, 0.4, 1.3]])
BRAS = np.random.default_rng(7).normal(size=(2, 4)) + 0j
ALL = AngleMap(4, np.zeros(4), np.arange(4), np.arange(4), np.ones(4))
ENCODING = AmplitudeEncoding((0, 1), np.zeros(4), np.arange(4), ALL)


@pytest.mark.parametrize("exponent", [-340, -305, -200, -163, -150, 0, 150, 153, 200, 307])
def test_states_and_derivatives_at_every_scale(exponent: int) -> None:
    scale = 10.0**exponent if exponent > -308 else 2.0**-1073 * 4
    scaled = FEATURES * scale
    norms = np.linalg.norm(scaled / scale, axis=-1, keepdims=True)
    expected = scaled / scale / norms
    np.testing.assert_allclose(ENCODING.states(scaled, 2, None), expected, rtol=1e-14)
    inner = (expected * BRAS.real).sum(axis=-1, keepdims=True)
    slopes = (BRAS.real - expected * inner) / norms
    if exponent > -300:  # below, derivatives are no numbers of the machine
        found = ENCODING.pullback(scaled, BRAS, None) * scale
        np.testing.assert_allclose(found, slopes, rtol=1e-12, atol=1e-13)


def test_powers_of_two_change_no_bit() -> None:
    expected = ENCODING.states(FEATURES, 2, None)
    for exponent in (-900, -30, 30, 900):
        np.testing.assert_array_equal(ENCODING.states(np.ldexp(FEATURES, exponent), 2, None), expected)
    np.testing.assert_array_equal(expected, FEATURES / np.linalg.norm(FEATURES, axis=-1, keepdims=True))


def test_zeros_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"The amplitudes of sample 1 are all 0"):
        ENCODING.states(FEATURES * [[1.0], [0.0]], 2, None)
    with pytest.raises(InvalidInputError, match="The amplitudes are all 0"):
        ENCODING.states(np.zeros(4), 2, None)
