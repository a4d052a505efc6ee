"""Derivatives of states and probabilities against finite differences of Qiskit's statevectors, in both modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, ParameterVector, QuantumCircuit
from qiskit.circuit.library import efficient_su2, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector

from qiskit_fusedqml import DifferentiableCircuit
from qiskit_fusedqml.devices.registry import make_device
from qiskit_fusedqml.engine import probabilities as module
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import FusedQMLError, InvalidInputError, OutOfMemoryError
from qiskit_fusedqml.interfaces.qiskit.lowering import lower
from qiskit_fusedqml.ir.program import Program, Rotation

RNG = np.random.default_rng(21)
TOLERANCE = 5e-8  # of the differences
OBSERVABLES = [SparsePauliOp(["ZXY", "IIZ"], [0.3, 0.9]), SparsePauliOp("XXI")]


def circuit_of_everything() -> QuantumCircuit:
    """Plain and controlled rotations, products of parameters, repeated parameters, and a phase."""
    p = ParameterVector("p", 5)
    circuit = efficient_su2(3, reps=1).compose(zz_feature_map(3, reps=1))
    circuit.crx(p[0], 0, 1)
    circuit.cp(p[1] * p[0], 1, 2)
    circuit.mcp(p[2], [0, 1], 2)
    circuit.rxx(p[4], 0, 2)
    circuit.crz(p[3], 2, 0)
    circuit.cu(p[0], p[1], p[2], p[3], 0, 2)
    circuit.p(p[1], 0)
    circuit.global_phase = p[3]
    return circuit


CIRCUIT = circuit_of_everything()


@pytest.fixture(scope="module")
def exact() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of values, the states (B, N) at them, and their derivatives (B, P, N) by differences of order 4."""
    step, weights = 1e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    rows = RNG.uniform(-2, 2, (2, CIRCUIT.num_parameters))

    def state(values: np.ndarray) -> np.ndarray:
        return np.asarray(Statevector(CIRCUIT.assign_parameters(values)).data)

    slopes = [
        [
            sum(weight * state(row + k * step * unit) for k, weight in weights.items()) / step
            for unit in np.eye(len(row))
        ]
        for row in rows
    ]
    return rows, np.array([state(row) for row in rows]), np.array(slopes)


def differentiable(device: Any = "CPU", **options: Any) -> DifferentiableCircuit:
    return DifferentiableCircuit(CIRCUIT, OBSERVABLES, device=device, **options)


@pytest.mark.parametrize("device", ["reference", "CPU"])
def test_overlaps_with_the_state_s_derivatives(device: str, exact: Any) -> None:
    rows, states, slopes = exact
    expected = np.stack(
        [2 * np.einsum("bi,ij,bpj->bp", states.conj(), o.to_matrix(), slopes) for o in OBSERVABLES], axis=1
    )
    f = differentiable(device)
    np.testing.assert_allclose(f.overlap_jacobian(None, rows), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(f.jacobian(None, rows), expected.real, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("device", ["reference", "CPU"])
def test_any_function_of_the_amplitudes_is_pulled_back(device: str, exact: Any) -> None:
    rows, states, slopes = exact
    cotangents = RNG.normal(size=states.shape) + 1j * RNG.normal(size=states.shape)
    amplitudes, pullback = differentiable(device).state_vjp(None, rows)
    dx, dw = pullback(cotangents)
    np.testing.assert_allclose(amplitudes, states, rtol=0, atol=1e-12)
    assert dx is None
    np.testing.assert_allclose(dw, np.einsum("bi,bpi->bp", cotangents.conj(), slopes).real, rtol=0, atol=TOLERANCE)
    with pytest.raises(FusedQMLError, match="state_vjp again"):
        pullback(cotangents)


def test_the_pullback_of_states_with_inputs_and_in_pieces() -> None:
    ansatz = efficient_su2(3, reps=1)
    circuit, x, w = zz_feature_map(3, reps=1).compose(ansatz), RNG.normal(size=(5, 3)), RNG.normal(size=12)
    inputs = [p for p in circuit.parameters if p not in set(ansatz.parameters)]
    results = []
    for budget in (None, 9 * 16 * 8 / 2**20):
        f = DifferentiableCircuit(circuit, None, inputs, input_gradients=True, max_memory_mb=budget)
        amplitudes, pullback = f.state_vjp(x, w)
        results.append((amplitudes, *pullback(amplitudes.conj() ** 2)))
    assert len(f.memory.chunks(f.read(x, w), 4)) > 1
    for whole, pieces in zip(*results, strict=True):
        np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-12)
    step = 1e-6
    for k, unit in enumerate(np.eye(3)):
        g = amplitudes.conj() ** 2
        slope = (f.statevector(x + step * unit, w) - f.statevector(x - step * unit, w)) / (2 * step)
        np.testing.assert_allclose(results[0][1][:, k], (g.conj() * slope).sum(axis=1).real, rtol=0, atol=1e-8)
    with pytest.raises(InvalidInputError, match=r"shape \(5, 4\)"):
        f.state_vjp(x, w)[1](np.ones((5, 4)))
    with pytest.raises(InvalidInputError, match="NaN"):
        f.state_vjp(x, w)[1](np.full((5, 8), np.nan))


@pytest.mark.parametrize("cost", [1e-9, 1e9], ids=["forward", "backward"])
@pytest.mark.parametrize("device", ["reference", "CPU"])
def test_probabilities_in_both_modes(device: str, cost: float, exact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKWARD_COST", 1 / cost)
    rows, states, slopes = exact
    each = 2 * (states.conj()[:, None] * slopes).real  # (B, P, N)
    f = differentiable(device)
    monkeypatch.setattr(module, "_backward" if cost < 1 else "_forward", None)  # must not be taken
    np.testing.assert_allclose(
        f.probability_jacobian(None, rows, np.arange(8), 8), each.swapaxes(1, 2), rtol=0, atol=TOLERANCE
    )
    groups = np.array([0, 1, -1, 1, 0, 0, 1, 3])
    summed = np.stack([each[..., groups == k].sum(axis=-1) for k in range(4)], axis=1)
    columns = [7, 2, 2, 11]
    np.testing.assert_allclose(
        f.probability_jacobian(None, rows, groups, 4, columns), summed[..., columns], rtol=0, atol=TOLERANCE
    )
    probabilities = np.abs(states) ** 2
    expected = np.stack([probabilities[:, groups == k].sum(axis=-1) for k in range(4)], axis=1)
    np.testing.assert_allclose(f.grouped_probabilities(None, rows, groups, 4), expected, rtol=0, atol=1e-12)


def test_the_cheaper_mode_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for name in ("_forward", "_backward"):
        original = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *arguments, _name=name, _original=original: taken.append(_name) or _original(*arguments),
        )
    circuit = efficient_su2(4, reps=2)
    f, w = DifferentiableCircuit(circuit), RNG.normal(size=circuit.num_parameters)
    parity = np.bitwise_count(np.arange(16)).astype(int) % 2
    f.probability_jacobian(None, w, parity, 2)
    f.probability_jacobian(None, w, np.arange(16), 16)
    assert taken == ["_backward", "_forward"]


@pytest.mark.parametrize("cost", [1e-9, 1e9], ids=["forward", "backward"])
def test_probabilities_by_classical_bit_in_pieces(cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKWARD_COST", 1 / cost)
    circuit = efficient_su2(3, reps=1)
    circuit.add_register(ClassicalRegister(3))
    circuit.measure([2, 0], [0, 2])
    w = RNG.normal(size=(3, 12))
    f = DifferentiableCircuit(circuit)
    outcomes, groups = f.reachable_outcomes()
    assert outcomes.tolist() == [0, 1, 4, 5]
    step = 1e-6
    expected = np.stack(
        [(f.probabilities(w=w + step * u) - f.probabilities(w=w - step * u)) / (2 * step) for u in np.eye(12)], axis=-1
    )
    whole = f.probability_jacobian(None, w, groups, 4)
    np.testing.assert_allclose(whole, expected[:, outcomes], rtol=0, atol=1e-8)
    tight = DifferentiableCircuit(circuit, max_memory_mb=5 * 16 * 8 / 2**20)
    assert tight.unrolled.blocks(3, 12)[1] < 12
    np.testing.assert_allclose(tight.probability_jacobian(None, w, groups, 4), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_clbits", [3, 40, 62, 63, 64, 200])
def test_classical_bits_far_beyond_the_qubits(num_clbits: int) -> None:
    circuit, w = efficient_su2(2, reps=1), RNG.normal(size=8)
    plain = DifferentiableCircuit(circuit)
    circuit.add_register(ClassicalRegister(num_clbits))
    circuit.measure([1, 0], [0, num_clbits - 1])
    f = DifferentiableCircuit(circuit)
    outcomes, groups = f.reachable_outcomes()
    assert outcomes.tolist() == [0, 1, 1 << (num_clbits - 1), (1 << (num_clbits - 1)) + 1]
    swapped = [0, 2, 1, 3]
    np.testing.assert_allclose(
        f.grouped_probabilities(None, w, groups, 4), plain.probabilities(w=w)[:, swapped], rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(
        f.probability_jacobian(None, w, groups, 4),
        plain.probability_jacobian(None, w, np.arange(4), 4)[:, swapped],
        rtol=0,
        atol=1e-14,
    )
    if num_clbits > 3:
        with pytest.raises(OutOfMemoryError, match=f"probabilities of {num_clbits} classical bits"):
            f.probabilities(w=w)


def test_a_slot_that_feeds_several_rotations() -> None:
    lowered = lower(efficient_su2(2, reps=0))
    instructions = (*lowered.program.instructions, Rotation(0b11, 0, slot=1), Rotation(0b01, 0, 0b10, 0b10, slot=1))
    program = Program(2, lowered.program.num_angles, instructions)
    f = ProgramFunction(program, lowered.angle_map, None)
    w, step = RNG.normal(size=4), 1e-6
    expected = [(f.statevector(w=w + step * u)[0] - f.statevector(w=w - step * u)[0]) / (2 * step) for u in np.eye(4)]
    rotations = f.unrolled.depending_on(np.array([1]))
    assert len(rotations) == 3
    tangents = f.unrolled.tangents(w[None], rotations)[0]
    slopes = f.unrolled.slopes(w[None], rotations)[0]
    np.testing.assert_allclose(slopes.T @ tangents, np.array(expected) * [[0], [1], [0], [0]], rtol=0, atol=1e-8)


def test_single_precision() -> None:
    f, exact = differentiable(precision="single"), differentiable()
    rows = RNG.uniform(-2, 2, (2, CIRCUIT.num_parameters))
    ours, theirs = (each.probability_jacobian(None, rows, np.arange(8), 8) for each in (f, exact))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(f.overlap_jacobian(None, rows), exact.overlap_jacobian(None, rows), rtol=0, atol=2e-5)


class Sabotaged:
    """Turns the bra a little before it is swept back."""

    def __init__(self) -> None:
        self.inner = make_device("CPU")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def backward(self, tape: Any, coefficients: Any, ket: Any, bra: Any, **options: Any) -> Any:
        return 1.001 * self.inner.backward(tape, coefficients, ket, bra, **options)


def test_the_comparison_sees_a_wrong_sweep(exact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, states, slopes = exact
    cotangents = states.conj()
    expected = np.einsum("bi,bpi->bp", cotangents.conj(), slopes).real
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            differentiable(Sabotaged()).state_vjp(None, rows)[1](cotangents)[1], expected, rtol=0, atol=TOLERANCE
        )
    original = ProgramFunction.statevector
    monkeypatch.setattr(ProgramFunction, "statevector", lambda self, x, w: original(self, x, np.asarray(w) * 1.001))
    with pytest.raises(AssertionError):
        test_probabilities_in_both_modes("CPU", 1e-9, exact, monkeypatch)
