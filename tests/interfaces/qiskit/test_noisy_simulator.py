"""`FusedSimulator` under noise against qiskit-aer's density matrices: what is saved, counts, and by which method."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Instruction, Parameter, ParameterVector
from qiskit.circuit.library import real_amplitudes
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import (
    DensityMatrix,
    Kraus,
    SparsePauliOp,
    Statevector,
    SuperOp,
    random_density_matrix,
    random_quantum_channel,
)
from support.counting import assert_drawn_from

from qiskit_fusedqml import FusedEstimator, FusedSampler, FusedSimulator
from qiskit_fusedqml.engine import plans
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.interfaces.qiskit.backend.options import runner_options
from qiskit_fusedqml.interfaces.qiskit.cache import CACHE
from qiskit_fusedqml.interfaces.qiskit.compiled import compile_runner

aer: Any = pytest.importorskip("qiskit_aer.noise")
AerSimulator: Any = pytest.importorskip("qiskit_aer").AerSimulator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SHOTS = 20_000
READOUT = [[0.9, 0.1], [0.25, 0.75]]


def noise_model(*, readout: bool = True) -> Any:
    """Mixtures, damping and resets, of one and two qubits."""
    model = aer.NoiseModel()
    one = aer.depolarizing_error(0.05, 1).compose(aer.amplitude_damping_error(0.1))
    model.add_all_qubit_quantum_error(one, ["h", "rx", "ry", "sx"])
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 2), ["cx"])
    local = aer.thermal_relaxation_error(50, 30, 10).tensor(aer.thermal_relaxation_error(50, 70, 10))
    model.add_quantum_error(local, ["cx"], [1, 2], warnings=False)
    model.add_quantum_error(aer.reset_error(0.1, 0.05), ["rz"], [0])
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 0.05), ("I", 0.95)]), ["measure", "reset"])
    if readout:
        model.add_all_qubit_readout_error(READOUT)
    return model


def pauli_model() -> Any:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 0.1), ("Z", 0.1), ("I", 0.8)]), ["h", "ry"])
    return model


def random_gates(seed: int, n: int = 4, *, resets: bool = True) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(n, n)
    for _ in range(20):
        first, second = rng.permutation(n)[:2].tolist()
        name = rng.choice(["cx", "rx", "ry", "rz", "h"])
        if name == "cx":
            circuit.cx(first, second)
        elif name == "h":
            circuit.h(first)
        else:
            getattr(circuit, name)(rng.normal(), first)
        if resets and rng.random() < 0.1:
            circuit.reset(second)
    return circuit


def exact_probabilities(circuit: QuantumCircuit, model: Any) -> dict[str, float]:
    """Of all qubits, misread by `READOUT`, from Aer's density matrix."""
    saved = circuit.remove_final_measurements(inplace=False)
    saved.save_density_matrix()
    state = AerSimulator(method="density_matrix").run(saved, noise_model=model, shots=1).result().data(0)
    probabilities = np.diag(state["density_matrix"].data).real.reshape((2,) * circuit.num_qubits)
    flip = np.array([[0.95, 0.05], [0.05, 0.95]])  # the error before measurements
    confusion = flip @ READOUT
    for axis in range(circuit.num_qubits):
        probabilities = np.moveaxis(np.tensordot(probabilities, confusion, axes=(axis, 0)), -1, axis)
    flat = probabilities.reshape(-1)
    return {format(k, f"0{circuit.num_qubits}b"): float(p) for k, p in enumerate(flat)}


def metadata(result: Any) -> tuple[str, str, bool]:
    found = result.results[0].metadata
    return found["method"], found["noise"], found["measure_sampling"]


def as_array(value: Any) -> NDArray[Any]:
    return np.array([value[key] for key in sorted(value)]) if isinstance(value, dict) else np.asarray(value)


# What is saved, exactly


def saving_everything(circuit: QuantumCircuit) -> QuantumCircuit:
    observable = SparsePauliOp(["XX", "ZY", "YI"], [1.0, 0.5, 2.0])
    circuit.save_density_matrix(label="whole")
    circuit.save_density_matrix([2, 0], label="two")
    circuit.save_expectation_value(observable, [1, 3])
    circuit.save_expectation_value_variance(observable, [3, 0])
    circuit.save_probabilities([3, 1])
    circuit.save_probabilities_dict([2, 0], label="dict")
    circuit.save_amplitudes_squared([0, 3, 5])
    circuit.save_state(label="state")
    return circuit


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("precision", ["double", "single"])
def test_saves_are_those_of_aer(seed: int, precision: str) -> None:
    circuit = saving_everything(random_gates(seed))
    options = {"noise_model": noise_model(), "method": "density_matrix", "shots": 10}
    expected = AerSimulator().run(circuit, **options).result().data(0)
    result = FusedSimulator(precision=precision).run(circuit, **options).result()
    assert result.success, result.status
    assert metadata(result) == ("density_matrix", "superop", True)
    found = result.data(0)
    assert found.keys() - {"counts"} == expected.keys() - {"counts"}
    assert isinstance(found["state"], DensityMatrix)
    for key in expected.keys() - {"counts"}:
        tolerance = 1e-10 if precision == "double" else 1e-5
        np.testing.assert_allclose(as_array(found[key]), as_array(expected[key]), rtol=0, atol=tolerance, err_msg=key)
    assert result.results[0].metadata["result_types"]["state"] == "save_density_matrix"


def test_the_comparison_sees_noise_that_is_left_out() -> None:
    circuit = saving_everything(random_gates(1))
    options = {"method": "density_matrix", "shots": 10}
    expected = AerSimulator().run(circuit, noise_model=noise_model(), **options).result().data(0)
    found = FusedSimulator().run(circuit, **options).result().data(0)
    assert np.abs(found["whole"].data - expected["whole"].data).max() > 0.01


def test_misreading_changes_counts_and_nothing_that_is_saved() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_readout_error(READOUT)
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.save_probabilities([0])
    circuit.measure(0, 0)
    for method, name in (("automatic", "statevector"), ("density_matrix", "density_matrix")):
        result = FusedSimulator(method=method).run(circuit, noise_model=model, shots=SHOTS, seed_simulator=1).result()
        assert metadata(result) == (name, "readout", True)
        np.testing.assert_allclose(result.data(0)["probabilities"], [0, 1], atol=1e-12)
        assert_drawn_from(result.get_counts(), {"0": 0.25, "1": 0.75}, SHOTS)


def test_averages_of_a_batch_are_taken_in_the_heisenberg_picture() -> None:
    """Few observables at many values of an encoding are pulled back once; the values are Aer's, and those of states."""
    x, w = ParameterVector("x", 3), ParameterVector("w", 6)
    circuit = QuantumCircuit(3)
    for q in range(3):
        circuit.ry(x[q], q)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    for k in range(2):
        for q in range(3):
            circuit.rx(w[3 * k + q], q)
        circuit.cx(0, 2)
        circuit.cx(2, 1)
    circuit.save_expectation_value(SparsePauliOp(["ZZI", "IXY"], [0.7, -0.2]), [2, 0, 1], label="mean")
    circuit.save_expectation_value_variance(SparsePauliOp(["IIZ"]), [0, 1, 2], label="variance")
    rng = np.random.default_rng(1)
    values = {p: rng.normal(size=9).tolist() for p in x} | {p: [rng.normal()] * 9 for p in w}
    simulator = FusedSimulator(noise_model=noise_model(readout=False), method="density_matrix")
    together = simulator.run(circuit, [values]).result()
    assert num_plans(simulator, circuit) == 2
    own = AerSimulator(method="density_matrix", noise_model=noise_model(readout=False))
    expected = own.run(circuit, parameter_binds=[values], shots=1).result()
    for k in range(9):
        alone = simulator.run(circuit, [{p: each[k : k + 1] for p, each in values.items()}]).result().data(0)
        for label in ("mean", "variance"):
            np.testing.assert_allclose(together.data(k)[label], alone[label], atol=1e-12)
            np.testing.assert_allclose(together.data(k)[label], expected.data(k)[label], atol=1e-7)
    assert num_plans(simulator, circuit) == 1


def num_plans(simulator: FusedSimulator, circuit: QuantumCircuit) -> int:
    """Number of plans by which a circuit was run the last time: that of the encoding is one of its own."""
    options = runner_options(vars(simulator.options))
    return len(*compile_runner(CACHE.known(circuit), options).runner.plans.values())


@pytest.mark.parametrize("shots", [1 << 10, 1 << 12])
def test_few_and_many_shots_are_misread_alike(shots: int) -> None:
    """Fewer shots than values are drawn first and then misread; more are drawn as they are read."""
    model, n = aer.NoiseModel(), 11
    model.add_all_qubit_readout_error(READOUT)
    circuit = QuantumCircuit(n, n)
    circuit.x(range(1, n))
    circuit.measure(range(n), range(n))
    counts = FusedSimulator(noise_model=model).run(circuit, shots=shots, seed_simulator=1).result().get_counts()
    assert sum(counts.values()) == shots
    bits = np.array([[int(bit) for bit in reversed(word)] for word in counts])
    ones = np.array(list(counts.values())) @ bits / shots
    expected = np.array([0.1] + [0.75] * (n - 1))
    assert (np.abs(ones - expected) < 5 * np.sqrt(expected * (1 - expected) / shots)).all()


def test_the_account_of_a_plan_for_mixed_states() -> None:
    circuit = random_gates(1)
    circuit.save_density_matrix()
    simulator = FusedSimulator(noise_model=noise_model(), method="density_matrix", max_parallel_threads=2)
    found = simulator.run(circuit, fusion_verbose=True).result().results[0].metadata
    assert found["parallel_state_update"] == found["fusion"]["parallelization"] == 2
    assert found["fusion"]["applied"]
    assert 1 <= found["fusion"]["max_fused_qubits"] <= 4
    assert found["fusion"]["channels"] > 10
    assert "channels" in found["fusion"]["plan"]
    assert found["fusion"]["output_ops"]


def test_noise_is_scaled() -> None:
    circuit = random_gates(3)
    circuit.save_density_matrix()
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 1), ["h", "rx", "ry"])
    once, twice, never = (
        FusedSimulator(noise_model=model, noise_scale=scale, method="density_matrix").run(circuit).result().data(0)
        for scale in (1.0, 2.0, 0.0)
    )
    squared = aer.NoiseModel()
    error = aer.depolarizing_error(0.1, 1)
    squared.add_all_qubit_quantum_error(error.compose(error), ["h", "rx", "ry"])
    expected = FusedSimulator(noise_model=squared, method="density_matrix").run(circuit).result().data(0)
    np.testing.assert_allclose(twice["density_matrix"].data, expected["density_matrix"].data, atol=1e-12)
    assert np.abs(once["density_matrix"].data - twice["density_matrix"].data).max() > 1e-3
    ideal = FusedSimulator(method="density_matrix").run(circuit).result().data(0)["density_matrix"]
    np.testing.assert_allclose(never["density_matrix"].data, ideal.data, atol=1e-12)


def test_channels_and_resets_need_no_noise_model() -> None:
    channel = random_quantum_channel(4, 4, 3, seed=1)
    circuit = random_gates(2, 3)
    circuit.append(Kraus(channel).to_instruction(), [2, 0])
    circuit.reset(1)
    circuit.h(1)
    circuit.append(SuperOp(random_quantum_channel(2, 2, 2, seed=2)).to_instruction(), [1])
    circuit.append(aer.depolarizing_error(0.2, 1).to_instruction(), [2])
    circuit.save_density_matrix()
    found, expected = (
        kind(method="density_matrix").run(circuit).result().data(0)["density_matrix"].data
        for kind in (FusedSimulator, AerSimulator)
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_states_are_set() -> None:
    state = random_density_matrix(8, seed=1)
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.set_density_matrix(state)
    circuit.cx(0, 2)
    circuit.initialize([0.6, 0.8], 1)
    circuit.save_density_matrix()
    result = FusedSimulator().run(circuit).result()
    assert metadata(result) == ("density_matrix", "ideal", True)
    expected = state.evolve(QuantumCircuit(3).compose(_cx(0, 2))).reset([1])
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    expected = expected.evolve(SuperOp(np.kron(rotation, rotation)), [1])
    np.testing.assert_allclose(result.data(0)["density_matrix"].data, expected.data, atol=1e-12)
    circuit = QuantumCircuit(2)
    circuit.set_statevector(Statevector.from_label("+1"))
    circuit.save_density_matrix()
    found = FusedSimulator(method="density_matrix").run(circuit).result().data(0)["density_matrix"]
    assert found == DensityMatrix.from_label("+1")


def _cx(control: int, target: int) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.cx(control, target)
    return circuit


def test_bound_batches_are_one_batch_and_share_their_plans() -> None:
    ansatz = real_amplitudes(3, reps=1)
    ansatz.save_density_matrix()
    values = np.random.default_rng(1).normal(size=(5, ansatz.num_parameters))
    model = noise_model()
    simulator = FusedSimulator(noise_model=model, method="density_matrix")
    binds = [{p: values[:, k].tolist() for k, p in enumerate(ansatz.parameters)}]
    result = simulator.run(ansatz, parameter_binds=binds).result()
    bound = [ansatz.assign_parameters(row) for row in values]
    expected = AerSimulator(method="density_matrix").run(bound, noise_model=model).result()
    for k in range(5):
        np.testing.assert_allclose(
            result.data(k)["density_matrix"].data, expected.data(k)["density_matrix"].data, atol=1e-12
        )
    simulator.run(bound[0]).result()
    before = len(plans.SHARED)
    again = simulator.run(bound[1:]).result()
    assert len(plans.SHARED) == before
    np.testing.assert_allclose(again.data(0)["density_matrix"].data, result.data(1)["density_matrix"].data, atol=1e-12)


# Counts


@pytest.mark.parametrize("method", ["automatic", "density_matrix", "statevector"])
@pytest.mark.parametrize("seed", range(4))
def test_counts_are_drawn_from_the_exact_probabilities(seed: int, method: str) -> None:
    circuit, model = random_gates(seed), noise_model()
    circuit.measure(range(4), range(4))
    result = FusedSimulator(method=method).run(circuit, noise_model=model, shots=SHOTS, seed_simulator=7).result()
    expected = ("statevector", "kraus", False) if method == "statevector" else ("density_matrix", "superop", True)
    assert metadata(result) == expected
    assert_drawn_from(result.get_counts(), exact_probabilities(circuit, model), SHOTS)


def test_the_comparison_sees_a_readout_error_that_is_left_out() -> None:
    circuit = random_gates(0)
    circuit.measure(range(4), range(4))
    result = (
        FusedSimulator().run(circuit, noise_model=noise_model(readout=False), shots=SHOTS, seed_simulator=7).result()
    )
    with pytest.raises(AssertionError):
        assert_drawn_from(result.get_counts(), exact_probabilities(circuit, noise_model()), SHOTS)


def teleportation() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.ry(0.7, 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((1, True)):
        circuit.rx(np.pi, 2)
    with circuit.if_test((0, True)):
        circuit.z(2)
    circuit.reset(0)
    circuit.h(0)
    circuit.measure([2, 0], [2, 0])
    return circuit


def until_read_as_one() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.ry(1.0, 0)
        circuit.cx(0, 1)
        circuit.measure(0, 0)
    circuit.measure(1, 1)
    return circuit


def repeated() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    with circuit.for_loop(range(3)):
        circuit.rx(0.4, 0)
        circuit.cx(0, 1)
        circuit.measure(1, 0)
        circuit.reset(1)
    circuit.measure(0, 1)
    return circuit


@pytest.mark.parametrize("method", ["statevector", "density_matrix"])
@pytest.mark.parametrize("make", [teleportation, until_read_as_one, repeated])
def test_dynamic_circuits_have_the_counts_of_aer(make: Any, method: str) -> None:
    circuit, model, shots = make(), noise_model(), 10_000
    result = FusedSimulator(method=method).run(circuit, noise_model=model, shots=shots, seed_simulator=3).result()
    assert metadata(result) == (method, "superop" if method == "density_matrix" else "kraus", False)
    found = result.get_counts()
    reference = AerSimulator(method="density_matrix").run(circuit, noise_model=model, shots=shots, seed_simulator=5)
    expected = reference.result().get_counts()
    both = np.array([[each.get(key, 0) for key in sorted({*found, *expected})] for each in (found, expected)])
    difference, total = both[0] - both[1], both.sum(axis=0)
    assert (difference**2 / total).sum() < len(total) + 6 * np.sqrt(2 * len(total)) + 12


def test_averages_over_trajectories_tend_to_the_exact_values() -> None:
    circuit = saving_everything(random_gates(5))
    model, shots = noise_model(), 10_000
    exact = FusedSimulator(method="density_matrix").run(circuit, noise_model=model).result().data(0)
    drawn = FusedSimulator(method="statevector").run(circuit, noise_model=model, shots=shots, seed_simulator=2).result()
    found = drawn.data(0)
    assert isinstance(found["state"], Statevector)  # of the last shot
    for key in ("whole", "two", "expectation_value", "probabilities", "dict", "amplitudes_squared"):
        np.testing.assert_allclose(as_array(found[key]), as_array(exact[key]), atol=6 * 3 / np.sqrt(shots))


def test_the_sequence_and_the_counts_of_a_seed_are_the_same() -> None:
    circuit, model = random_gates(1), noise_model()
    circuit.measure(range(4), range(4))
    for method in ("density_matrix", "statevector"):
        simulator = FusedSimulator(method=method, noise_model=model, shots=3000, seed_simulator=4)
        result = simulator.run(circuit).result()
        kept = simulator.run(circuit, memory=True).result()
        assert result.get_counts() == kept.get_counts()
        names, numbers = np.unique(kept.get_memory(), return_counts=True)
        assert dict(zip(names.tolist(), numbers.tolist(), strict=True)) == kept.get_counts()
        assert simulator.run(circuit, seed_simulator=5).result().get_counts() != result.get_counts()
        assert simulator.run([circuit, circuit]).result().get_counts(0) == result.get_counts()


@pytest.mark.parametrize("method", ["density_matrix", "statevector"])
def test_counts_of_a_seed_depend_neither_on_memory_nor_on_threads(method: str) -> None:
    circuit, model = teleportation(), noise_model()
    options = {"noise_model": model, "method": method, "shots": 2000, "seed_simulator": 9}
    expected = FusedSimulator(**options).run(circuit).result().get_counts()
    for changed in ({"max_memory_mb": 1}, {"max_memory_mb": 0.1}, {"max_parallel_threads": 1}):
        assert FusedSimulator(**options, **changed).run(circuit).result().get_counts() == expected
    one, two = Parameter("a"), teleportation()
    two.ry(one, 1)
    two.measure(1, 1)
    together = FusedSimulator(**options).run(two, [{one: [0.1, 0.2, 0.3]}]).result()
    alone = FusedSimulator(**options | {"seed_simulator": 9 + 2 * 2113}).run(two, [{one: [0.3]}]).result()
    assert together.get_counts(2) == alone.get_counts()


def test_misreadings_of_several_qubits_together() -> None:
    model = aer.NoiseModel()
    rows = np.random.default_rng(2).dirichlet(np.ones(4), size=4)
    model.add_readout_error(rows, [0, 1])
    circuit = QuantumCircuit(2, 2)
    circuit.ry(1.0, 0)
    circuit.cx(0, 1)
    circuit.append(Instruction("measure", 2, 2, []), [0, 1], [0, 1])
    probabilities = np.array([np.cos(0.5) ** 2, 0, 0, np.sin(0.5) ** 2]) @ rows
    expected = {format(k, "02b"): float(p) for k, p in enumerate(probabilities)}
    for memory in (True, False):
        result = FusedSimulator(noise_model=model, seed_simulator=1).run(circuit, shots=SHOTS, memory=memory).result()
        assert_drawn_from(result.get_counts(), expected, SHOTS)
    circuit.h(1)  # trajectories, by the shot
    circuit.reset(1)
    result = FusedSimulator(noise_model=model, seed_simulator=1).run(circuit, shots=SHOTS).result()
    assert_drawn_from(result.get_counts(), expected, SHOTS)


# The method, by Aer's rule


def ended(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure_all()
    return circuit


def mid_circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.h(0)
    return ended(circuit)


def saved(kind: str) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.ry(0.3, 1)
    getattr(circuit, f"save_{kind}")(*([[0, 1]] if kind.startswith("amplitudes") else []))
    return circuit


def with_kraus() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(Kraus(random_quantum_channel(2, 2, 2, seed=1)).to_instruction(), [0])
    circuit.ry(0.2, 1)
    return ended(circuit)


SAVED = ["density_matrix", "state", "probabilities", "statevector", "statevector_dict", "amplitudes_squared"]


@pytest.mark.filterwarnings("ignore:The noise model has errors of")
@pytest.mark.parametrize(
    ("method", "shots"), [("automatic", 4), ("automatic", 5), ("statevector", 5), ("density_matrix", 5)]
)
@pytest.mark.parametrize("model", [pauli_model(), noise_model(), None], ids=["pauli", "all", "none"])
@pytest.mark.parametrize(
    "circuit",
    [ended(random_gates(1, 2)), mid_circuit(), with_kraus(), *map(saved, SAVED)],
    ids=["end", "middle", "kraus", *SAVED],
)
def test_method_and_noise_are_those_of_aer(circuit: QuantumCircuit, model: Any, method: str, shots: int) -> None:
    """Where Aer has neither stabilizers nor errors whose circuits hold resets instead of Kraus operators."""
    expected, found = (
        kind(method=method, noise_model=model).run(circuit, shots=shots).result()
        for kind in (AerSimulator, FusedSimulator)
    )
    assert found.success == expected.success
    if not found.success:
        assert "saves amplitudes, and method='density_matrix' has mixed states" in found.status
        return
    method_of_aer, noise_of_aer, samples = metadata(expected)
    is_stabilizer = method_of_aer == "stabilizer"
    own = metadata(found)
    assert own[0] == ("statevector" if is_stabilizer else method_of_aer)
    if "kraus" not in circuit.count_ops():  # Aer names how the model's errors are simulated, not the circuit's
        assert own[1] == noise_of_aer
    assert own[2] == samples or circuit.count_ops().get("measure", 0) == 0
    assert found.results[0].data.to_dict().keys() >= expected.results[0].data.to_dict().keys() - {
        "counts",
        "stabilizer",
    }


def test_density_matrices_beyond_memory() -> None:
    circuit = QuantumCircuit(10)
    circuit.h(range(10))
    circuit.cx(range(9), range(1, 10))
    circuit.measure_all()
    model = noise_model()
    simulator = FusedSimulator(noise_model=model, max_memory_mb=7, shots=2000, seed_simulator=1)
    assert metadata(simulator.run(circuit).result())[0] == "statevector"
    assert metadata(simulator.run(circuit, max_memory_mb=100).result())[0] == "density_matrix"
    result = simulator.run(circuit, method="density_matrix").result()
    assert not result.success
    assert "density matrix of 10 qubits (8.0 MiB)" in result.status
    assert "use method='statevector', which runs trajectories" in result.status


def test_the_device_without_density_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit_fusedqml.devices import registry
    from qiskit_fusedqml.engine import options

    def refuse(*_: Any, **__: Any) -> Any:
        raise registry.DeviceUnavailableError("The device has no mixed states yet.")

    monkeypatch.setattr(options, "make_mixed_device", refuse)
    circuit = ended(random_gates(2, 2))
    assert metadata(FusedSimulator(noise_model=pauli_model()).run(circuit).result())[:2] == ("statevector", "circuit")
    with pytest.raises(registry.DeviceUnavailableError, match="no mixed states"):
        FusedSimulator(noise_model=pauli_model(), method="density_matrix").run(circuit).result()


# Errors


@pytest.mark.parametrize(
    ("operation", "kind", "message"),
    [
        (Instruction("kraus", 1, 0, [np.eye(2) / 2]), InvalidInputError, r"trace \(off by 0.75\)"),
        (Instruction("kraus", 1, 0, [np.eye(2)] * 2), InvalidInputError, r"trace \(off by 1\)"),
        (Instruction("kraus", 1, 0, []), UnsupportedInstructionError, "does not say which one"),
        (
            Instruction("superop", 1, 0, [np.diag([1, -1, -1, 1]) @ np.eye(4)[[0, 2, 1, 3]]]),
            InvalidInputError,
            "positive",
        ),
        (Instruction("set_density_matrix", 1, 0, [np.diag([2.0, -1.0])]), UnsupportedInstructionError, "eigenvalue -1"),
        (Instruction("set_density_matrix", 1, 0, [np.eye(4) / 4]), UnsupportedInstructionError, r"shape \(4, 4\)"),
    ],
)
def test_what_is_no_channel_and_no_state(operation: Instruction, kind: type[Exception], message: str) -> None:
    circuit = QuantumCircuit(1)
    circuit.append(operation, [0])
    save(circuit, "density_matrix")
    with pytest.raises(kind, match=rf"instruction 0 \('{operation.name}'\).*{message}"):
        FusedSimulator().run(circuit).result()


def test_a_density_matrix_is_not_set_among_state_vectors() -> None:
    circuit = QuantumCircuit(1)
    circuit.set_density_matrix(DensityMatrix.from_label("+"))
    circuit.save_density_matrix()
    result = FusedSimulator(method="statevector").run(circuit).result()
    assert not result.success
    assert "needs method='density_matrix'" in result.status


def test_errors_of_the_model_that_are_wider_than_their_gate() -> None:
    model = {"errors": [aer.depolarizing_error(0.1, 2).to_dict() | {"operations": ["h"], "gate_qubits": [(0,)]}]}
    circuit = QuantumCircuit(1)
    circuit.h(0)
    save(circuit, "density_matrix")
    with pytest.raises(InvalidInputError, match="error of 2 qubits for 'h', which acts on 1"):
        FusedSimulator(noise_model=model).run(circuit).result()


def test_parameters_of_noise_have_no_values_here() -> None:
    from qiskit_fusedqml import ParametricNoiseModel

    model = ParametricNoiseModel()
    model.add_error("depolarizing", Parameter("p"), "h")
    circuit = ended(random_gates(1, 2))
    with pytest.raises(InvalidInputError, match=r"parameters \['p'\], for which there are no values here"):
        FusedSimulator(noise_model=model).run(circuit).result()


def test_a_model_of_other_gates_warns() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 1), ["sx"])
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    with pytest.warns(UserWarning, match="errors of sx; circuit .* has none of these"):
        FusedSimulator(noise_model=model).run(circuit).result()


# Backends and primitives


def isa_circuit(backend: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.ry(0.4, 2)
    circuit.cx(1, 2)
    return transpile(circuit, backend, optimization_level=1, seed_transpiler=2)


def test_a_backend_is_simulated_without_qiskit_aer() -> None:
    code = (
        "import sys\n"
        "sys.modules['qiskit_aer'] = None\n"
        "from qiskit import QuantumCircuit\n"
        "from qiskit.providers.fake_provider import GenericBackendV2\n"
        "from qiskit_fusedqml import FusedSimulator\n"
        "circuit = QuantumCircuit(1)\n"
        "circuit.x(0)\n"
        "circuit.measure_all()\n"
        "simulator = FusedSimulator.from_backend(GenericBackendV2(2, seed=1), shots=10000)\n"
        "result = simulator.run(circuit, seed_simulator=1).result()\n"
        "print(result.results[0].metadata['noise'], len(result.get_counts()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "superop 2"


def test_noise_of_a_backend_is_attached() -> None:
    backend = GenericBackendV2(5, seed=3)
    ours, theirs = FusedSimulator.from_backend(backend), AerSimulator.from_backend(backend)
    circuit = isa_circuit(ours)
    circuit.save_density_matrix()
    found, expected = (
        each.run(circuit, method="density_matrix").result().data(0)["density_matrix"].data for each in (ours, theirs)
    )
    np.testing.assert_allclose(np.trace(found), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # Aer's trace is off by as much
    assert ours.target["cx"][(0, 1)].error == backend.target["cx"][(0, 1)].error
    ideal = FusedSimulator.from_backend(backend, noise_model=None).run(circuit, method="density_matrix").result()
    np.testing.assert_allclose(ideal.data(0)["density_matrix"].purity(), 1.0, atol=1e-10)
    assert metadata(ours.run(circuit, noise_model=None).result())[1] == "ideal"
    ours.set_options(noise_model=None)
    assert metadata(ours.run(circuit).result())[1] == "ideal"
    # of simulators it is their option
    assert FusedSimulator.from_backend(theirs).options.noise_model is theirs.options.noise_model
    assert FusedSimulator.from_backend(FusedSimulator()).options.noise_model is None


def test_primitives_have_the_noise_of_a_backend() -> None:
    backend = GenericBackendV2(4, seed=3)
    simulator = FusedSimulator.from_backend(backend)
    circuit = isa_circuit(simulator)
    observable = SparsePauliOp(["ZZZ", "XXX"]).apply_layout(circuit.layout)
    saving = circuit.copy()
    saving.save_expectation_value(observable, range(4))
    expected = AerSimulator.from_backend(backend).run(saving, method="density_matrix").result().data(0)
    for source in (backend, simulator):
        value = FusedEstimator.from_backend(source).run([(circuit, observable)]).result()[0].data.evs
        np.testing.assert_allclose(value, expected["expectation_value"], rtol=0, atol=1e-9)
    measured = circuit.copy()
    measured.measure_all()
    counts = FusedSampler.from_backend(backend, seed=1).run([measured], shots=SHOTS).result()[0].data.meas.get_counts()
    reference = (
        AerSimulator.from_backend(backend).run(measured, shots=10 * SHOTS, seed_simulator=1).result().get_counts()
    )
    for key, count in reference.items():
        assert abs(count / 10 - counts.get(key, 0)) < 6 * np.sqrt(1 + 1.1 * count / 10)


def test_a_sampler_with_noise() -> None:
    circuit, model = random_gates(2), noise_model()
    circuit.measure(range(4), range(4))
    sampler = FusedSampler(noise_model=model, seed=3)
    counts = sampler.run([circuit], shots=SHOTS).result()[0].data.c.get_counts()
    assert_drawn_from(counts, exact_probabilities(circuit, model), SHOTS)
    same = FusedSampler(seed=3, options={"backend_options": {"noise_model": model}})
    assert same.run([circuit], shots=SHOTS).result()[0].data.c.get_counts() == counts
    trajectories = FusedSampler(seed=3, options={"backend_options": {"noise_model": model, "method": "statevector"}})
    counts = trajectories.run([circuit], shots=SHOTS).result()[0].data.c.get_counts()
    assert_drawn_from(counts, exact_probabilities(circuit, model), SHOTS)
    ideal = FusedSampler(noise_model=model, noise_scale=0.0, seed=3)
    assert ideal.options.noise_scale == 0.0
    assert ideal.runner_options.engine.noise_scale == 0.0


def test_noise_goes_to_other_processes() -> None:
    backend = GenericBackendV2(3, seed=3)
    simulator = FusedSimulator.from_backend(backend, seed_simulator=1)
    circuit = isa_circuit(simulator)
    circuit.measure_all()
    expected = simulator.run([circuit] * 2).result()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = simulator.run([circuit] * 2, executor=executor, max_job_size=1).result()
    for k in range(2):
        assert found.get_counts(k) == expected.get_counts(k)
