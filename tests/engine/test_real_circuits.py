"""Circuits of real gates, which the CPU device runs on real states, against Qiskit and the parameter-shift rule."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector

from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.engine.state_gradients import initial_state_cotangents, overlap_jacobian
from qiskit_fusedqml.interfaces.qiskit.circuit import DifferentiableCircuit

N = 4
X = ParameterVector("x", N)
OBSERVABLES = [
    SparsePauliOp(["ZIII", "IXZI", "IIYY"], [0.3, 0.7, -0.4]),
    SparsePauliOp(["XYZI"]),
    SparsePauliOp(["IIIY", "XXXX"], [1.0, 0.5]),
]


def encoder() -> QuantumCircuit:
    circuit = QuantumCircuit(N)
    circuit.h(0)
    for q in range(N):
        circuit.ry(X[q], q)
    for q in range(N):
        circuit.cz(q, (q + 1) % N)
    return circuit


def ansatz() -> QuantumCircuit:
    """RealAmplitudes, then H, CZ and controlled RY among its layers."""
    w = ParameterVector("w", 12)
    circuit = real_amplitudes(N, reps=1, entanglement="circular", parameter_prefix="v")
    circuit.cz(0, 2)
    circuit.ccz(0, 1, 3)
    circuit.h(1)
    for q in range(N):
        circuit.ry(w[q], q)
    circuit.swap(0, 3)
    circuit.z(2)
    circuit.cry(w[4], 1, 2)
    circuit.ch(0, 1)
    return circuit


ANSATZ = ansatz()
CIRCUIT = encoder().compose(ANSATZ)
WEIGHTS = list(ANSATZ.parameters)
SHIFTED = [p for p in WEIGHTS if str(p) != "w[4]"]
"""Weights of RY, whose gradients the two-term shift gives."""


def circuit_function(**options: object) -> DifferentiableCircuit:
    return DifferentiableCircuit(CIRCUIT, OBSERVABLES, inputs=list(X), weights=WEIGHTS, **options)


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    rows = []
    for row in x:
        values = dict(zip(X, row, strict=True)) | dict(zip(WEIGHTS, w, strict=True))
        state = Statevector(CIRCUIT.assign_parameters(values))
        rows.append([state.expectation_value(o).real for o in OBSERVABLES])
    return np.array(rows)


def shifted(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Jacobian (B, n_obs, number) of inputs and of the weights of RY."""
    turns = np.pi / 2
    inputs = [(expected(x + turns * e, w) - expected(x - turns * e, w)) / 2 for e in np.eye(N)]
    units = [turns * (np.array(WEIGHTS) == p) for p in SHIFTED]
    weights = [(expected(x, w + e) - expected(x, w - e)) / 2 for e in units]
    return np.stack(inputs, axis=-1), np.stack(weights, axis=-1)


def data(batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch)
    return rng.uniform(-2, 2, (batch, N)), rng.uniform(-3, 3, len(WEIGHTS))


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("single", 2e-5)])
@pytest.mark.parametrize("batch", [1, 9])
def test_values_and_gradients(batch: int, precision: str, tolerance: float) -> None:
    f = circuit_function(input_gradients=True, precision=precision)
    assert f.plan.tape.is_real
    assert "qubits, real amplitudes, " in str(f.plan)
    x, w = data(batch)
    np.testing.assert_allclose(f.values(x, w), expected(x, w), atol=tolerance)
    of_inputs, of_weights = shifted(x, w)
    of_ry = [WEIGHTS.index(p) for p in SHIFTED]
    np.testing.assert_allclose(f.jacobian(x, w, wrt="inputs"), of_inputs, atol=tolerance)
    np.testing.assert_allclose(f.jacobian(x, w)[..., of_ry], of_weights, atol=tolerance)
    cotangents = np.random.default_rng(0).normal(size=(batch, len(OBSERVABLES)))
    _, dx, dw = f.value_and_vjp(x, w, cotangents)
    assert dx is not None
    np.testing.assert_allclose(dx, np.einsum("bo,boi->bi", cotangents, of_inputs), atol=10 * tolerance)
    np.testing.assert_allclose(dw[of_ry], np.einsum("bo,bow->w", cotangents, of_weights), atol=20 * tolerance)


def test_the_gradient_of_a_controlled_rotation() -> None:
    f, (x, w), step = circuit_function(), data(2), 1e-5
    number = next(k for k, p in enumerate(WEIGHTS) if str(p) == "w[4]")
    unit = step * np.eye(len(WEIGHTS))[number]
    slope = (expected(x, w + unit) - expected(x, w - unit)) / (2 * step)
    np.testing.assert_allclose(f.jacobian(x, w)[..., number], slope, atol=1e-8)


@pytest.mark.parametrize("batch", [1, 3])
def test_states_and_their_derivatives(batch: int) -> None:
    """States are complex arrays; a complex cotangent of them takes the complex kernels."""
    f, (x, w) = circuit_function(), data(batch)
    found = f.statevector(x, w)
    assert np.iscomplexobj(found)
    for row, state in zip(x, found, strict=True):
        values = dict(zip(X, row, strict=True)) | dict(zip(WEIGHTS, w, strict=True))
        np.testing.assert_allclose(state, Statevector(CIRCUIT.assign_parameters(values)).data, atol=1e-12)
    rng, step = np.random.default_rng(1), 1e-6
    cotangents = rng.normal(size=found.shape) + 1j * rng.normal(size=found.shape)
    for given in (cotangents, cotangents.real.astype(complex)):
        states, pullback = f.state_vjp(x, w)
        np.testing.assert_allclose(states, found, atol=1e-14)
        gradient = pullback(given)[1]
        for e, slope in zip(step * np.eye(len(WEIGHTS)), gradient, strict=True):
            change = f.statevector(x, w + e) - f.statevector(x, w - e)
            assert np.vdot(given, change).real / (2 * step) == pytest.approx(slope, abs=1e-7)


def test_initial_states_of_both_kinds() -> None:
    f = DifferentiableCircuit(ANSATZ, OBSERVABLES, weights=WEIGHTS)
    rng, w = np.random.default_rng(0), data(1)[1]
    start = rng.normal(size=(3, 2**N)) + 1j * rng.normal(size=(3, 2**N))
    for states in (start, start.real.astype(complex)):
        normed = states / np.linalg.norm(states, axis=1, keepdims=True)
        found = f.values(None, np.tile(w, (3, 1)), initial_states=normed)
        bound = ANSATZ.assign_parameters(dict(zip(WEIGHTS, w, strict=True)))
        for state, values in zip(normed, found, strict=True):
            evolved = Statevector(state).evolve(bound)
            np.testing.assert_allclose(values, [evolved.expectation_value(o).real for o in OBSERVABLES], atol=1e-12)


def test_imaginary_parts_of_overlaps() -> None:
    """``2 <psi| O |d psi>`` of an imaginary observable is imaginary, though its expectation value is 0."""
    f, (x, w), step = circuit_function(), data(2), 1e-6
    found = overlap_jacobian(f, x, w)
    states = f.statevector(x, w)
    for number, e in enumerate(step * np.eye(len(WEIGHTS))):
        slopes = (f.statevector(x, w + e) - f.statevector(x, w - e)) / (2 * step)
        for k, observable in enumerate(OBSERVABLES):
            expected = 2 * np.einsum("bi,ij,bj->b", states.conj(), observable.to_matrix(), slopes)
            np.testing.assert_allclose(found[:, k, number], expected, atol=1e-8)
    assert np.abs(found[:, 1].imag).max() > 0.1


def test_cotangents_of_the_initial_state_are_complex() -> None:
    f, w = DifferentiableCircuit(ANSATZ, OBSERVABLES, weights=WEIGHTS), data(1)[1]
    cotangents = np.array([[0.3, -0.8, 1.1]])
    found = initial_state_cotangents(f, None, w[None], None, cotangents, None)
    matrix = Operator(ANSATZ.assign_parameters(dict(zip(WEIGHTS, w, strict=True)))).data
    whole = sum(c * o.to_matrix() for c, o in zip(cotangents[0], OBSERVABLES, strict=True))
    np.testing.assert_allclose(found[0], 2 * (matrix.conj().T @ whole @ matrix)[:, 0], atol=1e-12)
    assert np.abs(found.imag).max() > 0.1


def test_half_of_the_memory_is_asked_for() -> None:
    real = circuit_function().memory_estimate(64)
    circuit = CIRCUIT.copy()
    circuit.s(0)
    whole = DifferentiableCircuit(circuit, OBSERVABLES, inputs=list(X), weights=WEIGHTS).memory_estimate(64)
    assert 2 * real.states == whole.states


def test_one_complex_gate_makes_the_plan_complex() -> None:
    for gate in ("s", "sx", "t"):
        circuit = CIRCUIT.copy()
        getattr(circuit, gate)(1)
        f = DifferentiableCircuit(circuit, OBSERVABLES, inputs=list(X), weights=WEIGHTS)
        assert not f.plan.tape.is_real
        assert "real" not in str(f.plan)


def test_results_are_reproducible_to_the_bit() -> None:
    (x, w), found = data(19), set()
    for _ in range(3):
        values, _, gradient = circuit_function(device=CPUDevice(num_threads=2)).value_and_vjp(x, w, np.ones((19, 3)))
        found.add((values.tobytes(), gradient.tobytes()))
    assert len(found) == 1
