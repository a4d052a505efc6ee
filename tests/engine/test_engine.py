"""The engine's face: values, gradients and probabilities against Qiskit, and how often it sweeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, ParameterVector, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import efficient_su2, real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp, Statevector
from support.tapes import replaced

from qiskit_fusedqml.devices.calibration import Calibration
from qiskit_fusedqml.devices.cpu import CPUDevice
from qiskit_fusedqml.devices.registry import make_device
from qiskit_fusedqml.engine.options import EngineOptions
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import (
    DeviceUnavailableError,
    FusedQMLError,
    InvalidInputError,
    OutOfMemoryError,
)
from qiskit_fusedqml.interfaces.qiskit.circuit import DifferentiableCircuit
from qiskit_fusedqml.interfaces.qiskit.lowering import lower
from qiskit_fusedqml.ir.angles import AngleMap
from qiskit_fusedqml.ir.encoding import AmplitudeEncoding
from qiskit_fusedqml.planner.cost import Factors

N = 3
FEATURES = zz_feature_map(N, reps=2)
ANSATZ = efficient_su2(N, reps=1)
CIRCUIT = FEATURES.compose(ANSATZ)
OBSERVABLES = [SparsePauliOp(["ZII", "XYZ"], [0.3, 0.7]), SparsePauliOp("IZX")]
NUM_WEIGHTS = ANSATZ.num_parameters
DEVICES = ["reference", "CPU"]


def _data(batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-2, 2, (batch, N)), rng.uniform(-3, 3, NUM_WEIGHTS)


def _bound(x: np.ndarray, w: np.ndarray) -> QuantumCircuit:
    return CIRCUIT.assign_parameters(
        dict(zip(FEATURES.parameters, x, strict=True)) | dict(zip(ANSATZ.parameters, w, strict=True))
    )


def _expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    states = [Statevector(_bound(row, w)) for row in x]
    return np.array([[state.expectation_value(o).real for o in OBSERVABLES] for state in states])


def _expected_jacobian(x: np.ndarray, w: np.ndarray, step: float = 3e-6) -> np.ndarray:
    """Central differences, columns [inputs, weights]."""
    columns = [(_expected(x + step * e, w) - _expected(x - step * e, w)) / (2 * step) for e in np.eye(N)]
    columns += [(_expected(x, w + step * e) - _expected(x, w - step * e)) / (2 * step) for e in np.eye(NUM_WEIGHTS)]
    return np.stack(columns, axis=-1)


def _circuit(device: object = "CPU", **options: object) -> DifferentiableCircuit:
    return DifferentiableCircuit(
        CIRCUIT, OBSERVABLES, inputs=FEATURES.parameters, weights=ANSATZ.parameters, device=device, **options
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch", [1, 5])
def test_sweeps_start_from_given_states(device: str, batch: int) -> None:
    rng = np.random.default_rng(2)
    states = rng.normal(size=(batch, 2**N)) + 1j * rng.normal(size=(batch, 2**N))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    rows = rng.uniform(-3, 3, (batch, NUM_WEIGHTS))
    f = DifferentiableCircuit(ANSATZ, weights=ANSATZ.parameters, device=device)
    found = f.statevector(None, rows, initial_states=states)
    for k in range(batch):
        expected = Statevector(states[k]).evolve(ANSATZ.assign_parameters(rows[k])).data
        np.testing.assert_allclose(found[k], expected, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch", [1, 5, 19])
def test_values_and_all_gradients(device: str, batch: int) -> None:
    x, w = _data(batch)
    f = _circuit(device, input_gradients=True)
    expected, jacobian = _expected(x, w), _expected_jacobian(x, w)
    np.testing.assert_allclose(f.values(x, w), expected, atol=1e-12)
    np.testing.assert_allclose(f.jacobian(x, w, wrt="all"), jacobian, atol=1e-8)
    np.testing.assert_allclose(f.jacobian(x, w), jacobian[..., N:], atol=1e-8)
    np.testing.assert_allclose(f.jacobian(x, w, wrt="inputs"), jacobian[..., :N], atol=1e-8)
    cotangents = np.random.default_rng(1).normal(size=expected.shape)
    values, dx, dw = f.value_and_vjp(x, w, cotangents)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(dx, np.einsum("bo,bon->bn", cotangents, jacobian[..., :N]), atol=1e-7)
    np.testing.assert_allclose(dw, np.einsum("bo,bon->n", cotangents, jacobian[..., N:]), atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_agree_with_parameter_shift_to_1e_10(device: str) -> None:
    """The ansatz holds single-frequency rotations only, so the two-term shift is exact."""
    x, w = _data(2)
    shifts = np.pi / 2 * np.eye(NUM_WEIGHTS)
    expected = np.stack([(_expected(x, w + s) - _expected(x, w - s)) / 2 for s in shifts], axis=-1)
    np.testing.assert_allclose(_circuit(device).jacobian(x, w), expected, atol=1e-10)


def test_single_precision_is_close_and_returns_single() -> None:
    x, w = _data(9)
    f = _circuit(precision="single", input_gradients=True)
    values, dx, dw = f.value_and_vjp(x, w, np.ones((9, 2)))
    exact = _circuit(input_gradients=True).value_and_vjp(x, w, np.ones((9, 2)))
    assert {values.dtype, dx.dtype, dw.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(values, exact[0], atol=1e-5)
    assert np.linalg.norm(dw - exact[2]) < 1e-5 * np.linalg.norm(exact[2])
    assert np.linalg.norm(dx - exact[1]) < 1e-5 * np.linalg.norm(exact[1])


def test_weights_by_row_equal_separate_calls() -> None:
    x, _ = _data(4)
    w = np.random.default_rng(2).uniform(-3, 3, (4, NUM_WEIGHTS))
    w[:, 2] = 0.7
    f = _circuit(input_gradients=True)
    cotangents = np.random.default_rng(3).normal(size=(4, 2))
    values, dx, dw = f.value_and_vjp(x, w, cotangents)
    for row in range(4):
        one = f.value_and_vjp(x[row : row + 1], w[row], cotangents[row : row + 1])
        np.testing.assert_allclose(values[row], one[0][0], atol=1e-12)
        np.testing.assert_allclose(dx[row], one[1][0], atol=1e-11)
        np.testing.assert_allclose(dw[row], one[2], atol=1e-11)


def test_a_batch_equals_a_loop_and_any_memory_budget() -> None:
    x, w = _data(7)
    f = _circuit(input_gradients=True)
    cotangents = np.random.default_rng(3).normal(size=(7, 2))
    whole = f.value_and_vjp(x, w, cotangents)
    tight = _circuit(input_gradients=True, max_memory_mb=3 * f.device.state_bytes(N, 1) / 2**20)
    assert len(tight.memory.chunks(tight.read(x, w), 2)) > 1
    for ours, theirs in zip(tight.value_and_vjp(x, w, cotangents), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(tight.jacobian(x, w), f.jacobian(x, w), atol=1e-12)
    loop = sum(f.value_and_vjp(x[k : k + 1], w, cotangents[k : k + 1])[2] for k in range(7))
    np.testing.assert_allclose(whole[2], loop, atol=1e-11)


def test_value_and_grad_is_what_an_optimiser_wants() -> None:
    x, w = _data(3)
    targets = np.ones((3, 2))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        return float(((values - targets) ** 2).sum()), 2 * (values - targets)

    value, gradient = _circuit().value_and_grad(x, w, loss)
    step = 1e-6 * np.eye(NUM_WEIGHTS)[4]
    difference = (loss(_expected(x, w + step))[0] - loss(_expected(x, w - step))[0]) / 2e-6
    assert value == pytest.approx(loss(_expected(x, w))[0])
    assert gradient[4] == pytest.approx(difference, abs=1e-7)


def test_without_a_loss_the_values_are_summed() -> None:
    x, w = _data(3)
    f = _circuit()
    values, _, gradient = f.value_and_vjp(x, w, np.ones((3, 2)))
    for found in (f.value_and_grad(x, w), f.value_and_grad(w=w, x=x), f.value_and_grad(x, w, loss=None)):
        assert found[0] == pytest.approx(values.sum(), abs=1e-12)
        np.testing.assert_allclose(found[1], gradient, rtol=0, atol=1e-12)


def test_an_eigensolver_is_one_line_of_scipy() -> None:
    from scipy.optimize import minimize

    hamiltonian = SparsePauliOp.from_list([("ZZ", 0.8), ("XI", 0.4), ("IX", 0.3), ("YY", 0.1)])
    f = DifferentiableCircuit(efficient_su2(2, reps=1), [hamiltonian])
    start = np.random.default_rng(3).uniform(-1, 1, f.num_weights)
    found = minimize(lambda w: f.value_and_grad(w=w), start, jac=True)
    assert found.fun == pytest.approx(np.linalg.eigvalsh(hamiltonian.to_matrix())[0], abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [np.mean, np.square, lambda _values: (1.0,), lambda values: (values, values)],
    ids=["number", "array", "one", "arrays"],
)
def test_a_loss_without_derivatives_is_refused(loss: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"\(loss, dloss/dvalues\) is expected.* shape \(3, 2\)"):
        _circuit().value_and_grad(*_data(3), loss)


def test_inputs_given_to_a_circuit_without_are_asked_about() -> None:
    f = DifferentiableCircuit(real_amplitudes(2, reps=1), ["ZZ"])
    with pytest.raises(InvalidInputError, match=r"shape \(2, 4\).*no inputs: was inputs=\.\.\. meant"):
        f.values(np.zeros((2, 4)), np.zeros(4))


class CountingDevice:
    """Counts the sweeps a call makes."""

    def __init__(self) -> None:
        self.inner = make_device("CPU")
        self.cost_model = self.inner.cost_model
        self.forward_sweeps = 0
        self.backward_sweeps = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def forward(self, *arguments: object) -> None:
        self.forward_sweeps += 1
        self.inner.forward(*arguments)

    def backward(self, *arguments: object, **options: object) -> np.ndarray:
        self.backward_sweeps += 1
        return self.inner.backward(*arguments, **options)


def test_a_training_step_is_one_forward_and_one_backward_sweep() -> None:
    x, w = _data(6)
    device = CountingDevice()
    f = _circuit(device)
    f.value_and_vjp(x, w, lambda values: 2 * (values - 1))
    assert (device.forward_sweeps, device.backward_sweeps) == (1, 1)
    f.jacobian(x, w)
    assert (device.forward_sweeps, device.backward_sweeps) == (2, 1 + len(OBSERVABLES))


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("budget", [None, 5], ids=["at once", "in pieces"])
def test_trained_amplitudes_take_one_backward_sweep_for_all_observables(batch: int | None, budget: int | None) -> None:
    """And a forward sweep of the inverse, which carries the bra to the initial amplitudes."""
    lowered, size, device = lower(ANSATZ), 2**N, CountingDevice()
    count = NUM_WEIGHTS + size
    features = AngleMap(count, np.zeros(size), np.arange(size), NUM_WEIGHTS + np.arange(size), np.ones(size))
    memory = budget and budget * device.inner.state_bytes(N, 1) / 2**20
    f = ProgramFunction(
        lowered.program,
        replace(lowered.angle_map, num_parameters=count, names=()),
        _circuit().observables,
        EngineOptions(device, max_memory_mb=memory),
        encoding=AmplitudeEncoding(tuple(range(N)), np.zeros(size), np.arange(size), features),
    )

    def loss(row: np.ndarray, cotangent: np.ndarray) -> float:
        amplitudes = row[NUM_WEIGHTS:] / np.linalg.norm(row[NUM_WEIGHTS:])
        state = Statevector(amplitudes).evolve(ANSATZ.assign_parameters(row[:NUM_WEIGHTS]))
        return float(cotangent @ [state.expectation_value(o).real for o in OBSERVABLES])

    rng = np.random.default_rng(4)
    w = rng.normal(size=count if batch is None else (batch, count))
    rows, cotangents = np.atleast_2d(w), rng.normal(size=(batch or 1, 2))
    pairs, step = list(zip(rows, cotangents, strict=True)), 1e-5 * np.eye(count)
    expected = [[(loss(row + e, c) - loss(row - e, c)) / 2e-5 for e in step] for row, c in pairs]
    values, _, dw = f.value_and_vjp(None, w, cotangents)
    np.testing.assert_allclose(np.atleast_2d(dw), expected, atol=1e-8)
    np.testing.assert_allclose((values * cotangents).sum(axis=1), [loss(*pair) for pair in pairs], atol=1e-12)
    if budget is None:
        assert (device.forward_sweeps, device.backward_sweeps) == (2, 1)
    jacobian = np.einsum("bk,bkp->bp", cotangents, f.jacobian(None, w))
    np.testing.assert_allclose(jacobian, expected, atol=1e-8)


def test_a_pullback_is_single_use() -> None:
    x, w = _data(2)
    _, pullback = _circuit().vjp(x, w)
    pullback(np.ones((2, 2)))
    with pytest.raises(FusedQMLError, match="vjp again"):
        pullback(np.ones((2, 2)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_inputs_without_influence_have_gradients_of_zero(batch: int, shape: tuple[int, ...]) -> None:
    """No angle depends on them; with weights for each row, too."""
    lowered = lower(ANSATZ)
    good = lowered.angle_map
    shifted = replace(good, num_parameters=good.num_parameters + N, columns=good.columns + N, names=())
    f = ProgramFunction(lowered.program, shifted, _circuit().observables, num_inputs=N, input_gradients=True)
    x, w = _data(batch)
    _, dx, dw = f.value_and_vjp(x, np.tile(w, (batch, 1)) if shape else w, np.ones((batch, 2)))
    np.testing.assert_array_equal(dx, np.zeros((batch, N)))
    _, _, expected = ProgramFunction(lowered.program, good, f.observables).value_and_vjp(None, w, np.ones((1, 2)))
    np.testing.assert_allclose(dw, np.tile(expected, (batch, 1)) if shape else batch * expected, atol=1e-12)


@pytest.mark.parametrize("tight", [False, True])
def test_a_pullback_belongs_to_the_values_of_its_call(tight: bool) -> None:
    """Arrays may be changed in place between the two, held in memory or computed again."""
    x, w = _data(4)
    f = _circuit(input_gradients=True)
    budget = 3 * f.device.state_bytes(N, 1) / 2**20 if tight else None
    g = _circuit(input_gradients=True, max_memory_mb=budget)
    cotangents = np.ones((4, 2))
    expected = f.value_and_vjp(x, w, cotangents)
    _, pullback = g.vjp(x, w)
    x += 1.0
    w *= 2.0
    for ours, theirs in zip(pullback(cotangents), expected[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


class SabotagedDevice(CountingDevice):
    """Scales one diagonal angle by 1.001."""

    def forward(self, tape: object, coefficients: object, ket: object) -> None:
        super().forward(tape, replaced(coefficients, angles=1.001 * coefficients.angles), ket)


def test_a_sabotaged_device_is_seen() -> None:
    x, w = _data(2)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(_circuit(SabotagedDevice()).values(x, w), _expected(x, w), atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_statevectors_and_probabilities(device: str) -> None:
    x, w = _data(3)
    f = _circuit(device)
    expected = np.array([Statevector(_bound(row, w)).data for row in x])
    np.testing.assert_allclose(f.statevector(x, w), expected, atol=1e-12)
    np.testing.assert_allclose(f.probabilities(x, w), np.abs(expected) ** 2, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_probabilities_follow_classical_bits(device: str) -> None:
    a, b = QuantumRegister(2, "a"), QuantumRegister(2, "b")
    c, d = ClassicalRegister(1, "c"), ClassicalRegister(3, "d")
    circuit = QuantumCircuit(b, a, d, c)
    circuit.compose(efficient_su2(4, reps=1), inplace=True)
    circuit.measure(a[1], d[2])
    circuit.measure(b[0], c[0])
    circuit.measure(b[0], d[0])
    w = np.random.default_rng(5).uniform(-3, 3, circuit.num_parameters)
    state = Statevector(circuit.remove_final_measurements(inplace=False).assign_parameters(w))
    expected = np.zeros(16)
    for index, p in enumerate(np.abs(state.data) ** 2):
        # qubits in order b0 b1 a0 a1, clbits d0 d1 d2 c0
        expected[(index & 1) | (index >> 3 & 1) << 2 | (index & 1) << 3] += p
    f = DifferentiableCircuit(circuit, device=device)
    np.testing.assert_allclose(f.probabilities(w=w)[0], expected, atol=1e-12)


def test_more_than_ten_inputs_keep_their_order() -> None:
    x = ParameterVector("x", 12)
    circuit = QuantumCircuit(12)
    for q in range(12):
        circuit.ry(x[q], q)
    observables = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], 12) for q in range(12)]
    values = np.linspace(0.1, 1.5, 24).reshape(2, 12)
    f = DifferentiableCircuit(circuit, observables, inputs=x)
    np.testing.assert_allclose(f.values(values), np.cos(values), atol=1e-12)


def test_parameter_subsets_in_any_order() -> None:
    x, w = _data(2)
    f = _circuit()
    everything = f.jacobian(x, w, wrt="all")
    chosen = [ANSATZ.parameters[5], FEATURES.parameters[2], ANSATZ.parameters[0]]
    np.testing.assert_allclose(f.jacobian(x, w, wrt=chosen), everything[..., [N + 5, 2, N]], atol=1e-12)


def test_states_prepared_at_the_start_and_one_state_a_sample() -> None:
    rng = np.random.default_rng(8)
    states = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    circuit = QuantumCircuit(2)
    circuit.initialize(states[0])
    circuit.compose(real_amplitudes(2, reps=1), inplace=True)
    w = rng.uniform(-1, 1, circuit.num_parameters)
    bound = circuit.assign_parameters(w)
    expected = [Statevector(s).evolve(bound.copy_empty_like().compose(_gates(bound))).data for s in states]
    f = DifferentiableCircuit(circuit, ["ZI"])
    np.testing.assert_allclose(f.statevector(w=w)[0], expected[0], atol=1e-12)
    lowered = lower(circuit)
    program = type(lowered.program)(2, lowered.program.num_angles, lowered.program.instructions, states)
    many = ProgramFunction(program, lowered.angle_map, f.observables)
    np.testing.assert_allclose(many.statevector(w=w), expected, atol=1e-12)
    assert many.value_and_vjp(None, w, np.ones((3, 1)))[2].shape == w.shape


def _gates(circuit: QuantumCircuit) -> QuantumCircuit:
    """Everything after the initialisation."""
    gates = circuit.copy_empty_like()
    for instruction in circuit.data[1:]:
        gates.append(instruction)
    return gates


def test_any_number_of_threads_gives_the_same_numbers() -> None:
    x, w = _data(33)
    results = [_circuit(num_threads=k).value_and_vjp(x, w, np.ones((33, 2))) for k in (1, 2, 3)]
    for values, _, dw in results[1:]:
        np.testing.assert_allclose(values, results[0][0], atol=1e-12)
        np.testing.assert_allclose(dw, results[0][2], atol=1e-12)
    again = _circuit(num_threads=2).value_and_vjp(x, w, np.ones((33, 2)))
    np.testing.assert_array_equal(again[2], results[1][2])


def test_a_batch_too_small_for_the_threads_is_cut_into_tiles_for_them() -> None:
    device = CPUDevice("double", 2, Calibration(2, 3, True, 1.0, Factors()))
    f = _circuit(device)
    for batch, tile in ((2, 2), (2 * device.cost_model.lanes, 3)):
        x, w = _data(batch)
        np.testing.assert_allclose(f.value_and_vjp(x, w, np.ones((batch, 2)))[0], _expected(x, w), atol=1e-12)
        *_, binding = f.plans.made()
        assert max(len(block.tile) for block in binding.plan.tape.blocks) == tile
    assert f.plan is binding.plan


@pytest.mark.parametrize("precision", ["double", "single"])
def test_samples_spread_over_groups_for_the_threads_give_the_same_numbers(precision: str) -> None:
    """With several threads, lanes hold qubits so that each thread has samples of its own."""
    n, deep = 10, {"precision": precision}
    circuit = efficient_su2(n, reps=3, entanglement="circular")
    rng = np.random.default_rng(3)
    w = rng.uniform(-3, 3, circuit.num_parameters)
    observable = SparsePauliOp.from_sparse_list([("ZZ", [0, 9], 0.5), ("X", [4], 0.5)], num_qubits=n)
    # the angles of the first rotations differ by sample
    made = [
        DifferentiableCircuit(circuit, [observable], inputs=list(circuit.parameters)[:n], num_threads=k, **deep)
        for k in (1, 2, 5)
    ]
    for batch in (1, 2, 3, 4, 7, 8):
        x = rng.uniform(-3, 3, (batch, n))
        one, *others = (f.value_and_vjp(x, w[n:], np.ones((batch, 1))) for f in made)
        for other in others:
            for found, expected in zip(other, one, strict=True):
                if expected is not None:
                    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if precision == "double" else 2e-5)
        spread = [[each for each in f.plans.made() if each][-1].plan.tape.lane_qubits for f in made]
        assert spread[0] <= min(spread)
        assert batch > 1 or len(set(spread)) == 1  # nothing to spread
    state = Statevector(circuit.assign_parameters(np.concatenate([x[0], w[n:]])))
    assert abs(one[0][0, 0] - state.expectation_value(observable).real) < 1e-5


def test_calls_from_many_threads_at_once() -> None:
    f = _circuit()
    cases = [_data(3, seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda case: f.value_and_vjp(*case, np.ones((3, 2))), cases))
    for (x, w), (values, _, dw) in zip(cases, results, strict=True):
        np.testing.assert_allclose(values, _expected(x, w), atol=1e-12)
        np.testing.assert_allclose(dw, f.value_and_vjp(x, w, np.ones((3, 2)))[2], atol=1e-12)


def test_wrong_shapes_say_what_was_given_and_what_is_expected() -> None:
    f = _circuit()
    x, w = _data(2)
    with pytest.raises(InvalidInputError, match=r"x has shape \(2, 2\); \(B, 3\)"):
        f.values(x[:, :2], w)
    with pytest.raises(InvalidInputError, match=r"w has shape \(3,\); \(12,\)"):
        f.values(x, w[:3])
    with pytest.raises(ValueError, match="2 rows and w has 3"):
        f.values(x, np.tile(w, (3, 1)))
    with pytest.raises(InvalidInputError, match=r"Cotangents have shape \(2, 3\); \(2, 2\)"):
        f.value_and_vjp(x, w, np.ones((2, 3)))
    with pytest.raises(InvalidInputError, match="NaN"):
        f.value_and_vjp(x, w, np.full((2, 2), np.nan))
    with pytest.raises(InvalidInputError, match="x is None"):
        f.values(None, w)
    with pytest.raises(InvalidInputError, match="wrt is 'both'"):
        f.jacobian(x, w, wrt="both")


def test_what_is_not_real_is_refused() -> None:
    f = _circuit()
    x, w = _data(2)
    with pytest.raises(InvalidInputError, match="x: complex numbers"):
        f.values(x + 1j, w)
    with pytest.raises(InvalidInputError, match=r"w: \['a', .* cannot be read as real numbers"):
        f.values(x, ["a"] * 12)
    with pytest.raises(InvalidInputError, match=r"x: .* cannot be read as real numbers"):
        f.values([[0.1, 0.2], [0.3]], w)
    with pytest.raises(InvalidInputError, match="cotangents: complex numbers"):
        f.value_and_vjp(x, w, np.ones((2, 2), complex))
    with pytest.raises(InvalidInputError, match="v: complex numbers"):
        f.hvp(x, w, w * 1j)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinite_parameters_are_named(bad: float) -> None:
    x, w = _data(2)
    w[1] = bad
    with pytest.raises(InvalidInputError, match="finite"):
        _circuit().values(x, w)
    x, w = _data(2)
    x[1, 0] = bad
    with pytest.raises(InvalidInputError, match="finite"):
        _circuit().values(x, w)


def test_parameters_must_be_the_circuits() -> None:
    stranger = ParameterVector("s", 1)
    with pytest.raises(ValueError, match="s"):
        DifferentiableCircuit(CIRCUIT, OBSERVABLES, inputs=stranger)
    with pytest.raises(ValueError, match="listed nowhere"):
        DifferentiableCircuit(CIRCUIT, OBSERVABLES, inputs=FEATURES.parameters, weights=ANSATZ.parameters[:-1])


def test_too_much_memory_is_refused_with_the_size_needed() -> None:
    wide = QuantumCircuit(38)
    wide.h(range(38))
    with pytest.raises(MemoryError, match="TiB"):
        DifferentiableCircuit(wide, ["Z" * 38]).values()
    with pytest.raises(OutOfMemoryError, match="max_memory_mb"):
        _circuit(max_memory_mb=1e-5).values(*_data(1))
    with pytest.raises(InvalidInputError, match="max_memory_mb"):
        _circuit(max_memory_mb=-1)


def test_unknown_devices_and_precisions_are_refused() -> None:
    with pytest.raises(DeviceUnavailableError, match="CUDA"):
        _circuit("GPU")
    with pytest.raises(InvalidInputError, match="'TPU'"):
        _circuit("TPU")
    with pytest.raises(InvalidInputError, match="'half'"):
        _circuit(precision="half")
    with pytest.raises(InvalidInputError, match="num_threads"):
        _circuit(num_threads=0)


def test_what_it_is_can_be_printed() -> None:
    expected = "DifferentiableCircuit(3 qubits, 3 inputs, 12 weights, 2 observables, device='CPU', precision='double')"
    assert repr(_circuit()) == expected


def test_without_observables_there_are_no_values() -> None:
    f = DifferentiableCircuit(real_amplitudes(2))
    w = np.zeros(f.num_weights)
    np.testing.assert_allclose(f.probabilities(w=w)[0], [1, 0, 0, 0], atol=1e-15)
    with pytest.raises(FusedQMLError, match="observables"):
        f.values(w=w)


def test_plans_are_made_once() -> None:
    x, w = _data(4)
    f = _circuit()
    f.value_and_vjp(x, w, np.ones((4, 2)))
    made = f.plans.made()
    f.value_and_vjp(x, 2 * w, np.ones((4, 2)))
    assert f.plans.made() == made
    assert "block 0" in str(f.plan)
