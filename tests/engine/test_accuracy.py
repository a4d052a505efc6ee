"""Deep circuits: gradients of 1000 layers in both precisions, against NumPy matrices."""

from __future__ import annotations

from functools import cache, reduce

import numpy as np
import pytest
from support.programs import layered

from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.observables import PauliSum, PauliTerm
from qiskit_fusedqml.ir.program import Program

N = 4
LIMIT = {"double": 1e-11, "single": 3e-5}
"""How far a gradient of 1000 layers may be off, relative to its norm."""

DRIFT = {"double": 1e-12, "single": 1e-5}
"""How far the norm of a state may be from 1 after 1000 layers."""

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
AXES = {"xyz": ((1, 0, X), (1, 1, Y), (0, 1, Z)), "y": ((1, 1, Y),)}


def circuit(n: int, layers: int, axes: str) -> Program:
    """RY encoding, then rotations of every qubit and a ring of CX."""
    program, masks = layered(n, layers), {(x, z) for x, z, _ in AXES[axes]}
    kept = [r for r in program.instructions if r.slot < n or (bool(r.x), bool(r.z)) in masks]
    return Program(n, program.num_angles, tuple(kept))


def engine(n: int, layers: int, axes: str, precision: str, **options: object) -> ProgramFunction:
    program = circuit(n, layers, axes)
    count = program.num_angles
    angles = AngleMap(count, np.zeros(count), np.arange(count), np.arange(count), np.ones(count))
    sums = [PauliSum(n, (PauliTerm(0.5, 0, 1), PauliTerm(0.5, 0, 1 << (n - 1)))), PauliSum(n, (PauliTerm(1.0, 0, 0),))]
    return ProgramFunction(
        program, angles, sums, EngineOptions(precision=precision, num_threads=2, **options), num_inputs=n
    )


def values_of(layers: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    return rng.uniform(-1, 1, (1, n)), rng.uniform(-3, 3, (layers, n, 3))


def turned(axis: np.ndarray, theta: float) -> np.ndarray:
    return np.cos(theta / 2) * np.eye(2) - 1j * np.sin(theta / 2) * axis


def on(matrices: list[np.ndarray]) -> np.ndarray:
    """Qubit 0 is the lowest bit."""
    return reduce(np.kron, matrices[::-1])


def ring() -> np.ndarray:
    """CX from each qubit to the next one, as a matrix."""
    image = np.arange(2**N)
    for q in range(N):
        image = image ^ ((image >> q & 1) << (q + 1) % N)
    matrix = np.zeros((2**N, 2**N))
    matrix[image, np.arange(2**N)] = 1.0
    return matrix


@cache
def truth(layers: int, axes: str) -> tuple[float, np.ndarray]:
    """Value and gradient (layers, N, 3) of the first observable from 16 x 16 matrices."""
    x, w = values_of(layers)
    paulis = [(("xyz").index(name), pauli) for name, (*_, pauli) in zip(axes, AXES[axes], strict=True)]
    gates = [[[turned(pauli, w[k, q, a]) for a, pauli in paulis] for q in range(N)] for k in range(layers)]
    ket = on([turned(Y, theta) for theta in x[0]])[:, 0]
    cx, kets = ring(), []
    products = [[reduce(lambda first, then: then @ first, gates[k][q]) for q in range(N)] for k in range(layers)]
    for k in range(layers):
        kets.append(ket)
        ket = cx @ on(products[k]) @ ket
    observable = on([0.5 * Z, *[np.eye(2)] * (N - 1)]) + on([*[np.eye(2)] * (N - 1), 0.5 * Z])
    value, bra = float((ket.conj() @ observable @ ket).real), observable @ ket
    gradient = np.zeros((layers, N, 3))
    for k in reversed(range(layers)):
        bra = cx.T @ bra
        for q in range(N):
            for position, (a, pauli) in enumerate(paulis):
                slope = [*gates[k][q][: position + 1], -0.5j * pauli, *gates[k][q][position + 1 :]]
                own = [*products[k][:q], reduce(lambda first, then: then @ first, slope), *products[k][q + 1 :]]
                gradient[k, q, a] = 2.0 * (bra.conj() @ on(own) @ kets[k]).real
        bra = on(products[k]).conj().T @ bra
    return value, gradient


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("axes", ["xyz", "y"])
@pytest.mark.parametrize("checkpoint", [None, 16])
def test_gradients_of_a_thousand_layers(precision: str, axes: str, checkpoint: int | None) -> None:
    layers = 1000
    x, w = values_of(layers)
    value, expected = truth(layers, axes)
    f = engine(N, layers, axes, precision, checkpoint=checkpoint)
    values, _, gradient = f.value_and_vjp(x, w.reshape(-1), [[1.0, 0.0]])
    assert abs(values[0, 0] - value) < LIMIT[precision]
    assert abs(values[0, 1] - 1.0) < DRIFT[precision]
    difference = np.linalg.norm(gradient - expected.reshape(-1))
    assert difference < LIMIT[precision] * np.linalg.norm(expected)


def test_a_planted_error_is_seen() -> None:
    x, w = values_of(1000)
    _, expected = truth(1000, "y")
    gradient = engine(N, 1000, "y", "double").value_and_vjp(x, (1 + 1e-6) * w.reshape(-1), [[1.0, 0.0]])[2]
    assert np.linalg.norm(gradient - expected.reshape(-1)) > 3e-5 * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 10, 14])
@pytest.mark.parametrize("layers", [1, 3, 10, 30, 100, 300, 1000])
@pytest.mark.parametrize("axes", ["xyz", "y"])
def test_single_precision_against_double(n: int, layers: int, axes: str) -> None:
    x, w = values_of(layers, n)
    single, double = (
        engine(n, layers, axes, precision).value_and_vjp(x, w.reshape(-1), [[1.0, 0.0]])
        for precision in ("single", "double")
    )
    assert abs(single[0][0, 1] - 1.0) < DRIFT["single"]
    # one layer on 14 qubits has gradients of 1e-6, as its ring makes a product of all Z: below that nothing counts
    noise = float(np.finfo(np.float32).eps) / 2
    assert np.linalg.norm(single[2] - double[2]) < LIMIT["single"] * np.linalg.norm(double[2]) + noise
