"""Circuits with noise against Aer's density matrices, and readout errors against its counts and their definition."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Delay, Instruction, Parameter, ParameterVector
from qiskit.circuit.library import UnitaryGate, XGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import DensityMatrix, Kraus, SuperOp
from support.channels import five_points, random_channel
from support.mixed import final_state, lowered_state

from qiskit_fusedqml.devices.registry import make_device
from qiskit_fusedqml.engine.program_function import ProgramFunction
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.circuit import DifferentiableCircuit
from qiskit_fusedqml.interfaces.qiskit.lowering import lower, lower_dynamic
from qiskit_fusedqml.interfaces.qiskit.lowering.circuits import Walker
from qiskit_fusedqml.interfaces.qiskit.noise import ParametricNoiseModel, noise_model_from_backend, read_noise
from qiskit_fusedqml.ir import dynamic as ir
from qiskit_fusedqml.ir.channels import Channel
from qiskit_fusedqml.ir.program import validate
from qiskit_fusedqml.planner import fuse

aer: Any = pytest.importorskip("qiskit_aer.noise")
AerSimulator: Any = pytest.importorskip("qiskit_aer").AerSimulator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHOTS = 10_000


def noise_model() -> Any:
    """Errors of all kinds, on some qubits and on all."""
    model = aer.NoiseModel()
    one = aer.depolarizing_error(0.05, 1).compose(aer.amplitude_damping_error(0.03))
    model.add_all_qubit_quantum_error(one, ["h", "x", "sx", "rz", "ry", "rx", "u", "p", "id", "unitary", "pauli"])
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 2), ["cx", "cz", "swap", "cp", "rzz"])
    local = aer.thermal_relaxation_error(50, 60, 10).tensor(aer.thermal_relaxation_error(30, 20, 10, 0.1))
    model.add_quantum_error(local, "cx", [0, 1], warnings=False)
    model.add_quantum_error(aer.kraus_error(random_channel(np.random.default_rng(4), 1)), "x", [2], warnings=False)
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.2, 1), ["own"])
    model.add_all_qubit_quantum_error(aer.reset_error(0.1, 0.05), "reset")
    model.add_all_qubit_quantum_error(aer.PauliLindbladError(["XII", "IZZ", "YXI"], [0.1, 0.05, 0.2]), "ccx")
    return model


def density_matrix(circuit: QuantumCircuit, model: Any = None) -> NDArray[np.complex128]:
    """Aer's."""
    saved = circuit.copy()
    saved.save_density_matrix()
    result = AerSimulator(method="density_matrix").run(saved, noise_model=model).result()
    return np.asarray(result.data(0)["density_matrix"])


def random_circuit(seed: int) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(3)
    for _ in range(25):
        a, b, c = rng.permutation(3).tolist()
        angle = rng.uniform(0, 6)
        steps: list[Callable[[], Any]] = [
            lambda a=a: circuit.h(a),
            lambda a=a: circuit.x(a),
            lambda a=a: circuit.append(XGate(label="own"), [a]),
            lambda a=a, angle=angle: circuit.rx(angle, a),
            lambda a=a, b=b: circuit.cx(a, b),
            lambda a=a, b=b: circuit.cz(a, b),
            lambda a=a, b=b, angle=angle: circuit.rzz(angle, a, b),
            lambda a=a, b=b: circuit.swap(a, b),
            lambda a=a, b=b, c=c: circuit.ccx(a, b, c),
            lambda a=a: circuit.reset(a),
            lambda a=a: circuit.u(0.1, 0.2, 0.3, a),
            lambda a=a: circuit.append(UnitaryGate([[0, 1j], [1j, 0]]), [a]),
            lambda a=a: circuit.append(Kraus(random_channel(rng, 1)).to_instruction(), [a]),
            lambda a=a, b=b: circuit.append(Instruction("kraus", 2, 0, random_channel(rng, 2)), [a, b]),
            circuit.barrier,
        ]
        steps[rng.integers(len(steps))]()
    return circuit


@pytest.mark.parametrize("seed", range(8))
def test_noisy_circuits_are_those_of_aer(seed: int) -> None:
    circuit, model = random_circuit(seed), noise_model()
    lowered = lower(circuit, noise=model)
    validate(lowered.program)
    np.testing.assert_allclose(lowered_state(lowered, 3).data, density_matrix(circuit, model), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_channels_in_circuits_need_no_model(seed: int) -> None:
    circuit = random_circuit(seed)
    circuit.append(
        Instruction("superop", 1, 0, [SuperOp(Kraus(random_channel(np.random.default_rng(1), 1))).data]), [0]
    )
    circuit.append(aer.depolarizing_error(0.1, 2).to_instruction(), [2, 1])
    circuit.append(aer.PauliLindbladError(["XIY", "ZZI"], [0.1, 0.2]).to_instruction(), [1, 0, 2])
    lowered = lower(circuit)
    assert lowered.program.is_noisy
    assert lowered.num_resets == 0
    np.testing.assert_allclose(lowered_state(lowered, 3).data, density_matrix(circuit), atol=1e-12)


@pytest.mark.parametrize("own", [False, True])
def test_a_transpiled_circuit_under_a_backends_noise(own: bool) -> None:
    backend = GenericBackendV2(4, seed=2)
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.ry(0.7, 2)
    circuit.delay(4000, 1, "dt")
    circuit.delay(2.22, 2, "us")
    circuit.cx(1, 2)
    physical = transpile(circuit, backend, initial_layout=[3, 1, 2], optimization_level=1, seed_transpiler=1)
    stock = aer.NoiseModel.from_backend(backend)
    lowered = lower(physical, noise=noise_model_from_backend(backend) if own else stock)
    assert lowered.active.qubits == (1, 2, 3)  # the noise is that of the original numbers
    np.testing.assert_allclose(lowered_state(lowered, 4).data, density_matrix(physical, stock), atol=1e-12)


def test_idle_qubits_of_a_schedule_are_not_simulated() -> None:
    backend = GenericBackendV2(5, seed=2)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.delay(4000, 0, "dt")
    circuit.cx(0, 1)
    physical = transpile(circuit, backend, initial_layout=[3, 1], scheduling_method="alap", seed_transpiler=1)
    assert {physical.find_bit(each.qubits[0]).index for each in physical.get_instructions("delay")} == set(range(5))
    cold, warm = (aer.NoiseModel.from_backend(backend, temperature=kelvin) for kelvin in (0, 40))
    assert lower(physical, noise=cold).active.qubits == (1, 3)
    assert len(lower(physical, noise=warm).active) == 5
    for model in (cold, warm):
        found = lowered_state(lower(physical, noise=model), 5).data
        np.testing.assert_allclose(found, density_matrix(physical, model), atol=1e-12)
    dynamic = physical.copy()
    dynamic.save_density_matrix([1, 3])
    assert lower_dynamic(dynamic, noise=cold).active.qubits == (1, 3)


def test_other_passes_of_a_model_are_run() -> None:
    model = aer.NoiseModel()
    noise = aer.LocalNoisePass(lambda *_: aer.depolarizing_error(0.3, 1), op_types=Delay)
    model._custom_noise_passes.append(noise)
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.delay(1, 0)
    found = lowered_state(lower(circuit, noise=model), 1).data
    np.testing.assert_allclose(found, density_matrix(circuit, model), atol=1e-12)


def test_gates_made_of_others_have_the_noise_of_these_unless_they_have_their_own() -> None:
    inner = QuantumCircuit(2, name="mine")
    inner.h(0)
    inner.cx(0, 1)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_gate(), [1, 0])
    model = noise_model()
    decomposed = density_matrix(circuit.decompose(), model)
    np.testing.assert_allclose(lowered_state(lower(circuit, noise=model), 2).data, decomposed, atol=1e-12)
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.3, 2), ["mine"])
    expected = DensityMatrix(circuit).evolve(SuperOp(aer.depolarizing_error(0.3, 2)), [1, 0])
    np.testing.assert_allclose(lowered_state(lower(circuit, noise=model), 2).data, expected.data, atol=1e-12)


def test_what_is_controlled_or_inverted_has_no_noise_inside() -> None:
    inner = QuantumCircuit(1)
    inner.x(0)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_gate().control(annotated=True), [0, 1])
    circuit.append(inner.to_gate().inverse(annotated=True), [1])
    with pytest.warns(UserWarning, match="run without noise"):
        lowered = lower(circuit, noise=noise_model())
    assert not lowered.program.is_noisy


def test_the_comparison_notices_a_default_error_composed_with_that_of_exact_qubits() -> None:
    circuit, model = QuantumCircuit(3), noise_model()
    circuit.cx(0, 1)
    found = lower(circuit, noise=model)
    np.testing.assert_allclose(lowered_state(found, 3).data, density_matrix(circuit, model), atol=1e-12)
    noise = read_noise(model)
    errors = dict(noise.errors["cx"])
    wrong = replace(noise, errors={"cx": {(0, 1): [*errors[None], *errors[0, 1]]}})
    assert np.abs(lowered_state(lower(circuit, noise=wrong), 3).data - density_matrix(circuit, model)).max() > 1e-3


def test_the_comparison_notices_an_error_of_a_measurement_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 0.25), ("I", 0.75)]), "measure")
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    written = Walker._noisy

    def after(self: Any, operation: Any, operands: Any, _channels: Any) -> Any:
        yield from written(self, operation, operands, [])  # after it, they change nothing that is read

    expected = aer_frequencies(circuit, model)
    assert np.abs(probabilities(circuit, model) - expected).max() < 0.02
    monkeypatch.setattr(Walker, "_noisy", after)
    assert np.abs(probabilities(circuit, model) - expected).max() > 0.2


# Measurements


def test_errors_of_measurements_come_before_them() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 0.25), ("I", 0.75)]), "measure")
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    found = lowered_state(lower(circuit, noise=model), 1)
    np.testing.assert_allclose(found.probabilities(), [0.75, 0.25], atol=1e-12)


def probabilities(circuit: QuantumCircuit, model: Any) -> NDArray[np.float64]:
    """The probabilities (2**num_clbits,) of what is read."""
    lowered = lower(circuit, noise=model)
    measurement = lowered.measurement
    outcomes = final_state(lowered.program).probabilities(measurement.qubits)
    result = np.zeros(2**circuit.num_clbits)
    result[measurement.values_read()] = measurement.read(outcomes)
    return result


def aer_frequencies(circuit: QuantumCircuit, model: Any, shots: int = SHOTS) -> NDArray[np.float64]:
    run = AerSimulator(method="density_matrix").run(circuit, noise_model=model, shots=shots, seed_simulator=3)
    counts = run.result().get_counts().int_outcomes()
    return np.array([counts.get(k, 0) for k in range(2**circuit.num_clbits)]) / shots


def readout_model() -> Any:
    model = aer.NoiseModel()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.3, 0.7]])
    model.add_readout_error([[0.6, 0.4], [0.2, 0.8]], [1], warnings=False)
    rng = np.random.default_rng(5)
    joint = rng.random((4, 4))
    model.add_readout_error(joint / joint.sum(axis=1, keepdims=True), [0, 2], warnings=False)
    return model


def measured(build: Callable[[QuantumCircuit], Any]) -> QuantumCircuit:
    circuit = QuantumCircuit(4, 3)
    circuit.ry(0.8, 0)
    circuit.cx(0, 2)
    circuit.ry(1.1, 1)
    build(circuit)
    return circuit


MEASUREMENTS: dict[str, Callable[[QuantumCircuit], Any]] = {
    "each": lambda c: c.measure([0, 1, 2], [2, 0, 1]),
    "idle": lambda c: c.measure([3, 1], [0, 2]),
    "joint": lambda c: c.append(Instruction("measure", 2, 2, []), [0, 2], [2, 0]),
    "joint, not listed": lambda c: c.append(Instruction("measure", 2, 2, []), [2, 0], [2, 0]),
    "one qubit twice": lambda c: (c.measure(0, 0), c.measure(0, 1)),
    "written over": lambda c: (c.measure(0, 0), c.measure(1, 0)),
    "after a reset": lambda c: (c.measure(0, 0), c.reset(0), c.measure(0, 1)),
}


@pytest.mark.parametrize("kind", MEASUREMENTS)
def test_misread_outcomes_are_those_of_aer(kind: str) -> None:
    circuit, model = measured(MEASUREMENTS[kind]), readout_model()
    found = probabilities(circuit, model)
    assert abs(found.sum() - 1) < 1e-12
    assert not lower(circuit, noise=model).program.is_noisy  # readout leaves states pure
    expected = aer_frequencies(circuit, model)
    error = np.sqrt(found * (1 - found) / SHOTS)
    assert (np.abs(found - expected) < 5 * error + 1e-9).all()


def test_shots_are_misread_with_the_probabilities() -> None:
    measurement = lower(measured(MEASUREMENTS["joint"]), noise=readout_model()).measurement
    for wide in (False, True):
        outcomes = np.full(20_000, 4)  # qubits 0 and 2 are read to bits 2 and 0
        values = measurement.misread(outcomes.astype(object) if wide else outcomes, np.random.default_rng(1))
        expected = measurement.readout[0].probabilities[1]
        for read, probability in enumerate(expected):
            share = np.mean(values == (read >> 1) + 4 * (read & 1))
            assert abs(share - probability) < 5 * np.sqrt(probability / 20_000)


def test_derivatives_are_pulled_back_through_readout() -> None:
    for build in MEASUREMENTS.values():
        measurement = lower(measured(build), noise=readout_model()).measurement
        rng = np.random.default_rng(1)
        forward = rng.normal(size=(2, 2 ** len(measurement.qubits)))
        back = rng.normal(size=(2, 2 ** len(measurement.clbits)))
        left, right = (measurement.read(forward) * back).sum(), (forward * measurement.read_pulled(back)).sum()
        assert abs(left - right) < 1e-12


def test_bits_that_were_misread_together_are_written_over_together() -> None:
    def build(circuit: QuantumCircuit) -> None:
        circuit.append(Instruction("measure", 2, 2, []), [0, 2], [0, 1])
        circuit.measure(1, 1)

    with pytest.raises(UnsupportedInstructionError, match=r"writes over one of the classical bits \(0, 1\)"):
        lower(measured(build), noise=readout_model())


# Parameters


def parametric() -> tuple[ParametricNoiseModel, list[Parameter]]:
    p = ParameterVector("p", 3)
    model = ParametricNoiseModel()
    model.add_error("depolarizing", p[0], ["rx", "ry"])
    model.add_error("depolarizing2", 2 * p[1], "cx")
    model.add_error("amplitude_damping", p[1] * p[2], "cx")
    model.add_error("phase_flip", 0.05, "ry", [1])
    return model, list(p)


def ansatz() -> QuantumCircuit:
    theta = ParameterVector("theta", 3)
    circuit = QuantumCircuit(2)
    circuit.ry(theta[0], 0)
    circuit.cx(0, 1)
    circuit.rx(theta[1] * theta[2], 1)
    circuit.ry(0.4, 1)
    return circuit


def test_parameters_of_noise_come_after_those_of_the_circuit() -> None:
    model, p = parametric()
    circuit = ansatz()
    lowered = lower(circuit, noise=model)
    validate(lowered.program)
    assert lowered.parameters == (*circuit.parameters, *p)
    values = [0.3, 0.5, 0.7, 0.1, 0.2, 0.15]
    state = lowered_state(lowered, 2, values)
    bound = aer.NoiseModel()
    one = aer.depolarizing_error(0.1, 1)
    bound.add_all_qubit_quantum_error(one, ["rx", "ry"])
    bound.add_quantum_error(aer.pauli_error([("Z", 0.05), ("I", 0.95)]), "ry", [1], warnings=False)
    damping = aer.amplitude_damping_error(0.2 * 0.15)
    bound.add_all_qubit_quantum_error(aer.depolarizing_error(0.4, 2).compose(damping.tensor(damping)), "cx")
    expected = density_matrix(circuit.assign_parameters(values[:3]), bound)
    np.testing.assert_allclose(state.data, expected, atol=1e-12)
    # in an order of one's own
    order = [p[2], *circuit.parameters, p[0], p[1]]
    again = lowered_state(lower(circuit, order, noise=model), 2, [0.15, 0.3, 0.5, 0.7, 0.1, 0.2])
    np.testing.assert_allclose(again.data, state.data, atol=1e-14)
    with pytest.raises(InvalidInputError, match="listed nowhere: p"):
        lower(circuit, list(circuit.parameters), noise=model)


def test_parameters_of_noise_out_of_range_are_named() -> None:
    lowered = lower(ansatz(), noise=parametric()[0])
    f = ProgramFunction(lowered.program, lowered.angle_map, None)
    f.probabilities(None, [0.3, 0.5, 0.7, 1.1, 0.2, 0.15])
    with pytest.raises(InvalidInputError, match=r"parameters p\[0\] are not possible: p of depolarizing is 1.5; 0 to"):
        f.probabilities(None, [0.3, 0.5, 0.7, 1.5, 0.2, 0.15])
    with pytest.raises(InvalidInputError, match=r"p\[1\], p\[2\] are not possible: gamma of amplitude_damping is -0.2"):
        f.probabilities(None, [0.3, 0.5, 0.7, 0.1, 0.2, -1.0])


@pytest.mark.parametrize("order", [3, [], [Parameter("q")]])
def test_orders_of_parameters_of_noise_are_checked(order: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"noise_parameters is .*the noise has the parameters \['p\[0\]'"):
        DifferentiableCircuit(ansatz(), noise_model=parametric()[0], noise_parameters=order)


def test_what_is_of_pure_states_is_refused() -> None:
    lowered = lower(ansatz(), noise=parametric()[0])
    with pytest.raises(UnsupportedInstructionError, match="circuit has noise, which leaves a mixed state; a QGT is of"):
        lowered.check_pure("a QGT")


def test_derivatives_with_respect_to_noise_are_those_of_differences() -> None:
    """The chain rule of the program, with the families' derivatives, by hand."""
    lowered = lower(ansatz(), noise=parametric()[0])
    values = np.array([0.3, 0.5, 0.7, 0.1, 0.2, 0.15])
    observable = np.diag([1.0, -0.5, 0.3, -1.0])

    def value(*own: float) -> float:
        return float(np.trace(observable @ lowered_state(lowered, 2, own).data).real)

    angles = lowered.angle_map.evaluate(values)
    slopes = np.zeros(lowered.program.num_angles)
    for slot in range(len(slopes)):
        unit = np.eye(len(slopes))[slot]

        def along(step: float, unit: NDArray[np.float64] = unit) -> float:
            state = final_state(lowered.program, angles + step * unit)
            return float(np.trace(observable @ state.data).real)

        slopes[slot] = five_points(along, [0.0], 0, 1e-3)
    found = lowered.angle_map.pullback(values, slopes)
    expected = [five_points(value, values.tolist(), k, 1e-3) for k in range(6)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_scaled_noise_is_repeated_noise(scale: float) -> None:
    model = aer.NoiseModel()
    once = aer.depolarizing_error(0.05, 1).compose(aer.amplitude_damping_error(0.03))
    model.add_all_qubit_quantum_error(once, ["h", "ry"])
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.2, 0.8]])
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.reset(0)  # no noise: it is not scaled
    circuit.ry(0.4, 0)
    circuit.measure(0, 0)
    free = Parameter("s")
    by_number = lower(circuit, noise=model, noise_scale=scale)
    by_parameter = lower(circuit, noise=model, noise_scale=free)
    assert by_parameter.parameters == (free,)
    state = lowered_state(by_number, 1)
    np.testing.assert_allclose(lowered_state(by_parameter, 1, [scale]).data, state.data, atol=1e-12)
    np.testing.assert_array_equal(by_number.measurement.readout[0].probabilities, [[0.9, 0.1], [0.2, 0.8]])
    if float(scale).is_integer():
        repeated = aer.NoiseModel()
        for _ in range(int(scale)):
            repeated.add_all_qubit_quantum_error(once, ["h", "ry"], warnings=False)
        unmeasured = circuit.remove_final_measurements(inplace=False)
        np.testing.assert_allclose(state.data, density_matrix(unmeasured, repeated), atol=1e-12)


@pytest.mark.parametrize("scale", [-1.0, np.inf, "x", np.nan, True, None, np.array([1.0, 2.0])])
def test_bad_scales(scale: Any) -> None:
    message = "noise_scale is .*; a number from 0 on, a Parameter or an expression of some is expected"
    with pytest.raises(InvalidInputError, match=message):
        lower(QuantumCircuit(1), noise=noise_model(), noise_scale=scale)
    with pytest.raises(InvalidInputError, match=message):
        DifferentiableCircuit(QuantumCircuit(1), noise_scale=scale)


def test_relaxation_of_many_delays_is_scaled() -> None:
    """Channels of delays are made for each of them, and another one may take a former one's place in memory."""
    model = ParametricNoiseModel()
    model.add_delay_relaxation([1.0], [0.8])
    circuit = QuantumCircuit(1)
    circuit.h(0)
    times = np.random.default_rng(2).uniform(0, 0.01, 200)
    for time in times:
        circuit.delay(time, 0, "s")
    value = DifferentiableCircuit(circuit, ["X"], noise_model=model, noise_scale=2).values()
    np.testing.assert_allclose(value, [[np.exp(-2 * times.sum() / 0.8)]], rtol=1e-12)


def test_noise_that_cannot_be_scaled() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.reset_error(1.0), "x")
    with pytest.raises(
        InvalidInputError, match=r"instruction 0 \('x'\).*noise_scale is 1.5: noise that has no real log"
    ):
        lower(circuit, noise=model, noise_scale=1.5)
    own = ParametricNoiseModel()
    own.add_error("depolarizing", Parameter("p"), "x")
    with pytest.raises(InvalidInputError, match="depolarizing has the parameters p"):
        lower(circuit, noise=own, noise_scale=2)


@pytest.mark.parametrize("error", [aer.reset_error(1.0), aer.pauli_error([("X", 0.7), ("I", 0.3)])])
def test_all_noise_can_be_left_out_or_repeated(error: Any) -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    model, doubled = aer.NoiseModel(), aer.NoiseModel()
    model.add_all_qubit_quantum_error(error, "ry")
    doubled.add_all_qubit_quantum_error(error.compose(error), "ry")
    for scale, expected in ((0, aer.NoiseModel()), (2, doubled)):
        state = lowered_state(lower(circuit, noise=model, noise_scale=scale), 1)
        np.testing.assert_allclose(state.data, density_matrix(circuit, expected), atol=1e-12)


# Warnings and refusals


def test_a_model_that_finds_nothing_is_said_once() -> None:
    model = noise_model()
    circuit = QuantumCircuit(1, name="clean")
    circuit.t(0)
    with pytest.warns(UserWarning, match="circuit 'clean' has none of these, but t, and is run without noise"):
        assert not lower(circuit, noise=model).program.is_noisy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lower(circuit, noise=model)
        circuit.h(0)
        lower(circuit, noise=noise_model())
        lower(circuit, noise=readout_model())  # without any error, only measurements are noisy
        lower(QuantumCircuit(1), noise=aer.NoiseModel())


def test_errors_are_placed() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 2), ["own"])
    circuit = QuantumCircuit(1)
    circuit.append(XGate(label="own"), [0])
    with pytest.raises(InvalidInputError, match=r"instruction 0 \('x'\) of the circuit: .* an error of 2 qubits"):
        lower(circuit, noise=model)
    circuit = QuantumCircuit(1)
    circuit.append(Instruction("kraus", 1, 0, [np.eye(2) / 2]), [0])
    with pytest.raises(InvalidInputError, match=r"instruction 0 \('kraus'\).*no channel: .*trace \(off by 0.75\)"):
        lower(circuit)
    circuit = QuantumCircuit(4)
    circuit.append(Instruction("kraus", 4, 0, [np.eye(16) * 0.5**0.5] * 2), range(4))
    with pytest.raises(UnsupportedInstructionError, match=r"instruction 0 \('kraus'\).*4 qubits at once; at most 3"):
        lower(circuit)


def test_noisy_programs_are_not_planned_for_amplitudes() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    with pytest.raises(UnsupportedInstructionError, match=r"has 1 channel\(s\) and so mixed states"):
        fuse(lower(circuit, noise=noise_model()).program, make_device("CPU").cost_model)


# Dynamic circuits


def test_dynamic_circuits_have_channels_where_operations_are() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.measure([0, 1], [0, 1])
    model = noise_model()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.3, 0.7]])
    nodes = lower_dynamic(circuit, noise=model).dynamic.nodes
    (branch,) = (node for node in nodes if isinstance(node, ir.Branch))
    (inside,) = branch.then
    assert isinstance(inside, ir.Segment)
    assert [type(each) for each in inside.program.instructions].count(Channel) == 1  # conditional as the gate
    assert {node.flips for node in nodes if isinstance(node, ir.Measure)} == {(0.1, 0.3)}
    assert [node for node in nodes if isinstance(node, ir.Reset)] == [ir.Reset(0)]
    mixed = lower_dynamic(circuit, mixed=True, noise=model).dynamic
    assert not any(isinstance(node, ir.Reset) for node in mixed.nodes)  # a channel
    ir.validate(mixed)


def test_idle_qubits_that_may_be_misread_are_measured() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.measure([0, 1], [0, 1])
    model = aer.NoiseModel()
    model.add_readout_error([[0.9, 0.1], [0.3, 0.7]], [1])
    lowered = lower_dynamic(circuit, noise=model)
    assert lowered.active.qubits == (1,)
    assert [node for node in lowered.dynamic.nodes if isinstance(node, ir.Measure)] == [ir.Measure(0, 1, (0.1, 0.3))]


def test_bits_of_dynamic_circuits_that_are_misread_together_are_so_at_the_end() -> None:
    circuit = measured(MEASUREMENTS["joint"])
    circuit.measure(1, 1)
    lowered = lower_dynamic(circuit, noise=readout_model())
    flips = {node.clbit: node.flips for node in lowered.dynamic.nodes if isinstance(node, ir.Measure)}
    assert flips == {0: ir.NEVER, 1: (0.4, 0.2), 2: ir.NEVER}
    (together,) = lowered.measurement.readout
    assert together.clbits == (2, 0)
    with circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(3)
    assert lower_dynamic(circuit, noise=readout_model()).measurement.readout
    with circuit.if_test((circuit.clbits[2], 1)):
        circuit.x(3)
    with pytest.raises(UnsupportedInstructionError, match=r"bits \[0, 2\] are misread together and decide what is run"):
        lower_dynamic(circuit, noise=readout_model())


def test_qubits_that_are_misread_together_are_not_measured_in_blocks() -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.h(range(3))
    with circuit.if_test((circuit.clbits[1], 0)):
        circuit.append(Instruction("measure", 2, 2, []), [0, 2], [2, 0])
    with pytest.raises(UnsupportedInstructionError, match="cannot be measured in a block"):
        lower_dynamic(circuit, noise=readout_model())


def test_elements_of_vectors_are_in_their_order() -> None:
    p = ParameterVector("p", 12)
    model = ParametricNoiseModel()
    model.add_error("bit_flip", p[10] * p[2] * p[0], "x")
    assert read_noise(model).parameters == (p[0], p[2], p[10])


def test_channels_in_dynamic_circuits() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Kraus(random_channel(np.random.default_rng(1), 1)).to_instruction(), [0])
    assert read_noise(aer.NoiseModel()).parameters == ()
    circuit.save_density_matrix()
    (segment, _) = lower_dynamic(circuit).dynamic.nodes
    assert isinstance(segment, ir.Segment)
    assert segment.program.is_noisy
