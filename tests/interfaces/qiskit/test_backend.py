"""`FusedSimulator`: counts, headers, parameter binds, options, target, errors."""

from __future__ import annotations

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Clbit, Instruction, Parameter, Qubit
from qiskit.circuit.library import XGate, get_standard_gate_name_mapping, real_amplitudes
from qiskit.exceptions import QiskitError
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2, StatevectorEstimator
from qiskit.providers import BackendV2, JobError, JobStatus, JobV1
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.result import Counts
from qiskit.transpiler import CouplingMap
from support.branches import distribution
from support.circuits import bell
from support.counting import assert_drawn_from
from support.random_dynamic import random_dynamic

from qiskit_fusedqml import FusedSimulator, FusionPass
from qiskit_fusedqml.errors import (
    DeviceUnavailableError,
    FusedQMLError,
    InvalidInputError,
    UnsupportedInstructionError,
)
from qiskit_fusedqml.interfaces.qiskit.backend import options
from qiskit_fusedqml.ir.dynamic import SAVE_KINDS
from qiskit_fusedqml.ir.gates import GATES
from qiskit_fusedqml.simulation import sampling

RNG = np.random.default_rng(3)


def ansatz(num_qubits: int = 3) -> QuantumCircuit:
    circuit = real_amplitudes(num_qubits, reps=2)
    return circuit.assign_parameters(RNG.normal(size=circuit.num_parameters))


def test_counts_are_drawn_from_the_statevector() -> None:
    circuit = ansatz()
    probabilities = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    job = FusedSimulator().run(circuit, shots=200_000, seed_simulator=5)
    counts = job.result().get_counts()
    assert isinstance(counts, Counts)
    assert_drawn_from(counts, probabilities, 200_000)


def test_the_comparison_sees_wrong_probabilities() -> None:
    circuit = ansatz()
    wrong = circuit.copy()
    wrong.ry(0.05, 1)
    wrong.measure_all()
    counts = FusedSimulator().run(wrong, shots=200_000, seed_simulator=5).result().get_counts()
    with pytest.raises(AssertionError):
        assert_drawn_from(counts, Statevector(circuit).probabilities_dict(), 200_000)


def test_few_shots_of_many_outcomes() -> None:
    circuit = ansatz(8)
    probabilities = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    simulator = FusedSimulator(shots=100)
    total: dict[str, int] = {}
    for seed in range(200):
        for key, count in simulator.run(circuit, seed_simulator=seed).result().get_counts().items():
            total[key] = total.get(key, 0) + count
    likely = {key: p for key, p in probabilities.items() if p > 1e-3}
    rest = 1 - sum(likely.values())
    merged = {key: total.get(key, 0) for key in likely} | {"rest": sum(total.values())}
    merged["rest"] -= sum(merged[key] for key in likely)
    assert_drawn_from(merged, likely | {"rest": rest}, 20_000)


def test_one_seed_one_result() -> None:
    circuit = ansatz()
    circuit.measure_all()
    simulator = FusedSimulator(seed_simulator=12)
    first = simulator.run(circuit).result().get_counts()
    assert simulator.run(circuit).result().get_counts() == first
    assert simulator.run(circuit, memory=True).result().get_counts() == first
    assert simulator.run(circuit, seed_simulator=13).result().get_counts() != first
    assert FusedSimulator().run(circuit, seed_simulator=12).result().get_counts() == first


def test_every_experiment_can_be_repeated_alone() -> None:
    circuit = ansatz()
    circuit.measure_all()
    result = FusedSimulator().run([circuit] * 3).result()
    assert len({tuple(sorted(counts.items())) for counts in result.get_counts()}) == 3
    for position in range(3):
        again = FusedSimulator().run(circuit, seed_simulator=result.results[position].seed_simulator).result()
        assert again.get_counts() == result.get_counts(position)


def test_memory_is_the_counts_in_some_order() -> None:
    circuit = ansatz()
    circuit.measure_all()
    result = FusedSimulator().run(circuit, shots=500, memory=True).result()
    memory = result.get_memory()
    assert len(memory) == 500
    assert {key: memory.count(key) for key in set(memory)} == result.get_counts()
    assert memory != sorted(memory)
    assert set(result.data()["memory"]) == set(result.data()["counts"])
    with pytest.raises(QiskitError):
        FusedSimulator().run(circuit).result().get_memory()


def test_several_registers_and_unmeasured_bits() -> None:
    qubits = QuantumRegister(4, "q")
    x, y, z = ClassicalRegister(1, "x"), ClassicalRegister(3, "y"), ClassicalRegister(2, "z")
    circuit = QuantumCircuit(qubits, x, y, z, name="wired", metadata={"k": 1}, global_phase=0.25)
    circuit.x([0, 2])
    circuit.measure(qubits[0], y[2])
    circuit.measure(qubits[1], x[0])
    circuit.measure(qubits[2], z[0])
    circuit.measure(qubits[0], z[1])  # one qubit into two bits
    result = FusedSimulator().run(circuit, shots=10, memory=True).result()
    assert result.get_counts() == {"11 100 0": 10}
    assert result.get_memory() == ["11 100 0"] * 10
    assert result.data()["counts"] == {"0x38": 10}
    assert result.results[0].header == {
        "name": "wired",
        "n_qubits": 4,
        "memory_slots": 6,
        "creg_sizes": [["x", 1], ["y", 3], ["z", 2]],
        "qreg_sizes": [["q", 4]],
        "global_phase": 0.25,
        "metadata": {"k": 1},
    }
    assert result.get_counts("wired") == result.get_counts(circuit) == result.get_counts(0)


def test_a_bit_written_twice_holds_the_last_outcome() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.x(1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.measure(1, 0)
    assert FusedSimulator().run(circuit).result().get_counts() == {"1": 1024}


def test_bits_without_registers_and_measurements_inside_instructions() -> None:
    loose = QuantumCircuit([Qubit(), Qubit()], [Clbit(), Clbit(), Clbit()])
    loose.x(1)
    loose.measure(1, 2)
    assert FusedSimulator().run(loose, shots=5).result().get_counts() == {"100": 5}
    outer = QuantumCircuit(3, 4)
    outer.x(2)
    outer.append(loose.to_instruction(), [2, 0], [3, 1, 0])
    outer.measure(2, 2)
    assert FusedSimulator().run(outer, shots=5).result().get_counts() == {"0101": 5}


def test_more_bits_than_an_integer_holds() -> None:
    circuit = QuantumCircuit(3, 100)
    circuit.x([0, 2])
    circuit.measure([0, 1, 2], [99, 70, 3])
    result = FusedSimulator().run(circuit, shots=7, memory=True).result()
    assert result.get_counts() == {"1" + "0" * 95 + "1000": 7}
    assert result.data()["counts"] == {hex(2**99 + 8): 7}


@pytest.mark.parametrize("width", [62, 63, 64, 132])
def test_conditions_on_wide_registers(width: int) -> None:
    value = 2 ** (width - 1) + 5
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(width, "wide"), ClassicalRegister(1, "found"))
    circuit.x(0)
    circuit.measure([0] * 3, [0, 2, width - 1])
    circuit.x(0)
    with circuit.if_test((circuit.cregs[0], value - 1)):
        circuit.h(0)
    with circuit.if_test((circuit.cregs[0], value)):
        circuit.x(0)
    circuit.measure(0, width)
    assert FusedSimulator().run(circuit, shots=3).result().get_counts() == {f"1 {value:b}": 3}


def test_without_measurements_there_are_no_counts() -> None:
    result = FusedSimulator().run(ansatz()).result()
    assert result.success
    assert result.data() == {}
    with pytest.raises(QiskitError, match="No counts"):
        result.get_counts()


def test_parameter_binds_are_flattened_circuit_by_circuit() -> None:
    a, b = Parameter("a"), Parameter("b")
    one, two = QuantumCircuit(1, 1, name="one"), QuantumCircuit(1, 1, name="two")
    one.rx(a, 0)
    one.measure(0, 0)
    two.rx(a + b, 0)
    two.measure(0, 0)
    binds = [{a: [0.0, np.pi]}, {b: [np.pi], "a": [0.0]}]
    result = FusedSimulator().run([one, two], binds, shots=20).result()
    assert [result.get_counts(k) for k in range(3)] == [{"0": 20}, {"1": 20}, {"1": 20}]
    assert [each.header["name"] for each in result.results] == ["one", "one", "two"]


@pytest.mark.parametrize(
    ("binds", "message"),
    [
        (None, r"without values: \['a', 'b'\]"),
        ([{}], "without values"),
        ([{"a": [0.1]}], r"without values: \['b'\]"),
        ([{"a": [0.1], "b": [0.1, 0.2]}], "equal numbers"),
        ([{"a": [0.1], "b": [0.1], "c": [0.1]}], "'c'"),
        ([{"a": [0.1], "b": [np.nan]}], "'b' has the value nan"),
        ([{"a": [0.1], "b": [0.1]}] * 2, "1 circuits and 2 dictionaries"),
    ],
)
def test_parameters_that_do_not_fit_are_errors_of_the_job(binds: Any, message: str) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(Parameter("a"), 0)
    circuit.rz(Parameter("b"), 0)
    circuit.measure(0, 0)
    job = FusedSimulator().run(circuit, binds)
    assert job.status() == JobStatus.ERROR
    with pytest.raises(InvalidInputError, match=message):
        job.result()


def test_unsupported_instructions_are_errors_of_the_job() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.append(Instruction("kraus", 1, 0, []), [0])
    with pytest.raises(UnsupportedInstructionError, match=r"instruction 1 \('kraus'\).*does not say which one"):
        FusedSimulator().run([bell(), circuit]).result()


def test_too_little_memory_fails_the_experiment() -> None:
    wide = QuantumCircuit(18)
    wide.h(range(18))
    wide.measure_all()
    result = FusedSimulator(max_memory_mb=1).run([wide, bell()], shots=10).result()
    assert not result.success
    assert result.status == "PARTIAL COMPLETED"
    assert not result.results[0].success
    assert "ERROR" in result.results[0].status
    assert "Required memory: 4M, max memory: 1M" in result.results[0].status
    assert sum(result.get_counts(1).values()) == 10
    with pytest.raises(QiskitError):
        result.get_counts(0)
    assert FusedSimulator(max_memory_mb=1).run(wide).result().status.startswith("ERROR")


def test_the_job() -> None:
    simulator = FusedSimulator()
    circuit = bell()
    job = simulator.run(circuit)
    assert isinstance(job, JobV1)
    assert job.circuits()[0] is circuit
    assert job.backend() is simulator
    assert job.result(timeout=1).job_id == job.job_id()
    assert job.done()
    assert job.in_final_state()
    assert not job.cancel()
    job.wait_for_final_state(timeout=1)
    with pytest.raises(JobError):
        job.submit()
    assert simulator.run([]).result().success


def test_the_result_tells_what_was_done() -> None:
    simulator = FusedSimulator(precision="double")
    result = simulator.run(bell(), shots=10).result()
    assert result.backend_name == simulator.name == "fused_simulator"
    assert result.backend_version == simulator.backend_version
    assert result.status == "COMPLETED"
    assert result.time_taken > 0
    experiment = result.results[0]
    assert (experiment.shots, experiment.status, experiment.meas_level) == (10, "DONE", 2)
    assert experiment.metadata["method"] == "statevector"
    assert experiment.metadata["fusion"]["applied"]
    assert experiment.metadata["fusion"]["blocks"] >= 1
    assert experiment.metadata["fusion"]["instructions"] > experiment.metadata["fusion"]["blocks"]
    verbose = simulator.run(bell(), fusion_verbose=True).result().results[0].metadata["fusion"]["plan"]
    assert "2 qubits" in verbose
    assert type(result).from_dict(result.to_dict()).get_counts() == result.get_counts()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_simulatr": 1}, "did you mean 'seed_simulator'"),
        ({"foo": 1}, "'foo'"),
        ({"shots": 0}, "integer >= 1"),
        ({"shots": 1.5}, "integer >= 1"),
        ({"shots": True}, "integer >= 1"),
        ({"shots": "many"}, "integer >= 1"),
        ({"seed_simulator": -1}, "integer >= 0"),
        ({"method": "stabilizer"}, "'automatic', 'statevector', 'density_matrix'"),
        ({"device": "TPU"}, "'CPU', 'GPU'"),
        ({"precision": "half"}, "'double', 'single'"),
        ({"meas_level": 1}, "choose one of 2"),
        ({"noise_model": object()}, "a NoiseModel of qiskit-aer, its to_dict\\(\\) or a ParametricNoiseModel"),
        ({"noise_scale": -1.0}, "number >= 0"),
        ({"max_memory_mb": 0}, "positive"),
        ({"max_parallel_threads": -1}, "integer from 0 to"),
        ({"fusion_max_qubit": 0}, "integer >= 1"),
        ({"fusion_enable": "yes"}, "True or False"),
        ({"zero_threshold": -1.0}, "number >= 0"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FusedSimulator(**options)
    with pytest.raises(InvalidInputError, match=message):
        FusedSimulator().set_options(**options)
    unknown = set(options) & {"seed_simulatr", "foo"}
    if unknown:
        with pytest.warns(UserWarning, match=message):
            assert FusedSimulator().run(bell(), **options).result().success
    else:
        with pytest.raises(InvalidInputError, match=message):
            FusedSimulator().run(bell(), **options)


def test_options_are_kept_copied_and_reset() -> None:
    simulator = FusedSimulator(shots=7)
    assert sum(simulator.run(bell()).result().get_counts().values()) == 7
    assert sum(simulator.run(bell(), shots=9).result().get_counts().values()) == 9
    assert sum(simulator.run(bell(), shots=None).result().get_counts().values()) == 7
    for other in (copy.copy(simulator), copy.deepcopy(simulator), pickle.loads(pickle.dumps(simulator))):
        assert other.options.shots == 7
        assert sum(other.run(bell()).result().get_counts().values()) == 7
    simulator.set_options(shots=None, seed_simulator=4)
    assert (simulator.options.shots, simulator.options.seed_simulator) == (1024, 4)
    simulator.clear_options()
    assert simulator.options.seed_simulator is None


def test_options_of_aer_that_change_no_result_are_accepted_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_WARNED", set())
    with pytest.warns(UserWarning, match="max_shot_size"):
        simulator = FusedSimulator(max_shot_size=3, mps_log_data=True)
    circuit = bell()
    with pytest.warns(UserWarning, match="batched_shots_gpu"):
        assert simulator.run(circuit, batched_shots_gpu=True).result().success
    assert simulator.run(circuit, batched_shots_gpu=True, max_shot_size=4).result().success


def test_fusion_options_are_reported() -> None:
    circuit = ansatz(6)
    circuit.measure_all()
    reports = {}
    for name, fields in {"on": {}, "narrow": {"fusion_max_qubit": 2}, "off": {"fusion_enable": False}}.items():
        result = FusedSimulator(seed_simulator=3, **fields).run(circuit, shots=50_000).result()
        assert_drawn_from(
            result.get_counts(),
            Statevector(circuit.remove_final_measurements(inplace=False)).probabilities_dict(),
            50_000,
        )
        reports[name] = result.results[0].metadata["fusion"]
    assert reports["on"]["applied"]
    assert reports["on"]["enabled"]
    assert reports["narrow"]["max_fused_qubits"] == 2
    assert reports["on"]["max_fused_qubits"] > 2
    assert not reports["off"]["enabled"]
    assert not reports["off"]["applied"]
    assert reports["on"]["blocks"] < reports["narrow"]["blocks"] < reports["off"]["blocks"]


def test_the_partition_of_a_fused_circuit_is_a_hint() -> None:
    circuit = ansatz(4)
    fused = FusionPass(2)(circuit)
    fused.measure_all()
    for enable, said in ((True, "planned anew"), (False, "kept")):
        result = FusedSimulator(seed_simulator=3, fusion_enable=enable).run(fused, shots=20_000).result()
        report = result.results[0].metadata["fusion"]
        assert (report["partition"], report["fused_gates"]) == (said, fused.count_ops()["fused"])
        assert_drawn_from(result.get_counts(), Statevector(circuit).probabilities_dict(), 20_000)
        # a fused gate that is kept is one sweep, whatever stands next to it
        assert (report["blocks"] == fused.count_ops()["fused"]) != enable
    assert "partition" not in FusedSimulator().run(bell()).result().results[0].metadata["fusion"]


def test_fused_gates_in_blocks_are_counted() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((0, True)):
        circuit.ry(0.3, 0)
        circuit.cx(0, 1)
    circuit.measure(1, 0)
    report = FusedSimulator().run(FusionPass()(circuit)).result().results[0].metadata["fusion"]
    assert (report["fused_gates"], report["partition"]) == (1, "planned anew")


def test_the_blocks_of_a_plan_in_aers_words() -> None:
    circuit = QuantumCircuit(4)
    for q in range(3):
        circuit.cp(0.3, q, q + 1)
    circuit.measure_all()
    verbose = FusedSimulator(fusion_verbose=True, max_parallel_threads=1)
    report = verbose.run(circuit).result().results[0].metadata["fusion"]
    assert [block["name"] for block in report["output_ops"]] == ["diagonal"]
    assert report["parallelization"] == 1
    circuit = ansatz(4)
    circuit.measure_all()
    assert verbose.run(circuit).result().results[0].metadata["fusion"]["output_ops"][0]["name"] == "unitary"


def test_results_have_the_keys_they_have_on_aer() -> None:
    result = FusedSimulator().run(bell(), shots=3).result()
    assert {
        "time_taken_parameter_binding", "time_taken_execute", "omp_enabled", "max_gpu_memory_mb", "max_memory_mb",
        "parallel_experiments",
    } <= result.metadata.keys()  # fmt: skip
    assert {
        "time_taken", "num_bind_params", "parallel_state_update", "parallel_shots", "required_memory_mb",
        "input_qubit_map", "method", "device", "num_qubits", "active_input_qubits", "num_clbits", "remapped_qubits",
        "runtime_parameter_bind", "max_memory_mb", "noise", "measure_sampling", "batched_shots_optimization", "fusion",
    } <= result.results[0].metadata.keys()  # fmt: skip


def test_dynamic_circuits() -> None:
    circuit = QuantumCircuit(2, 3)
    theta = Parameter("theta")
    circuit.ry(theta, 0)
    circuit.measure(0, 0)
    circuit.reset(0)
    with circuit.for_loop(range(3)):
        with circuit.if_test((0, True)):
            circuit.ry(0.4 * theta, 1)
        circuit.measure(1, 1)
        with circuit.if_test((1, True)):
            circuit.break_loop()
    circuit.measure([0, 1], [1, 2])
    values = [0.3, 1.2, 2.5]
    result = FusedSimulator(seed_simulator=5).run(circuit, [{theta: values}], shots=20_000, memory=True).result()
    for k, value in enumerate(values):
        exact = {f"{key:03b}": p for key, p in distribution(circuit.assign_parameters([value])).items()}
        assert_drawn_from(result.get_counts(k), exact, 20_000)
        memory = result.get_memory(k)
        assert {key: memory.count(key) for key in set(memory)} == result.get_counts(k)
    metadata = result.results[0].metadata
    assert not metadata["measure_sampling"]
    assert metadata["batched_shots_optimization"]
    for level in range(4):
        kept = transpile(circuit, FusedSimulator(), optimization_level=level)
        assert {"for_loop", "reset"} <= kept.count_ops().keys()
        counts = FusedSimulator(seed_simulator=5).run(kept, [{theta: values[1:2]}], shots=20_000).result().get_counts()
        exact = {f"{key:03b}": p for key, p in distribution(circuit.assign_parameters(values[1:2])).items()}
        assert_drawn_from(counts, exact, 20_000)


def test_eight_threads_at_once() -> None:
    circuits = [random_dynamic(np.random.default_rng(seed)) for seed in range(6)] + [bell(), bell()]
    simulator = FusedSimulator(shots=500)

    def run(k: int) -> dict[str, int]:
        return dict(simulator.run(circuits[k % 8], seed_simulator=k).result().get_counts())

    alone = [run(k) for k in range(32)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(32))) == alone


def test_wide_circuits_with_idle_qubits() -> None:
    circuit = QuantumCircuit(60, 3)
    circuit.x([3, 55])
    circuit.cx(3, 40)
    circuit.measure([55, 20, 40], [0, 1, 2])
    result = FusedSimulator().run(circuit, shots=10).result()
    assert result.get_counts() == {"101": 10}
    metadata = result.results[0].metadata
    assert metadata["active_input_qubits"] == [3, 40, 55]
    assert metadata["num_qubits"] == 3
    assert metadata["remapped_qubits"]
    status = FusedSimulator(enable_truncation=False).run(circuit).result().results[0].status
    assert "Insufficient memory" in status
    assert f"Required memory: {2**44}M" in status


def test_qubits_that_nothing_measured_depends_on_are_left_out() -> None:
    circuit = QuantumCircuit(5, 2)
    circuit.h(range(5))
    circuit.cx(0, 1)
    circuit.cx(2, 3)
    circuit.barrier()
    circuit.measure([1, 4], [0, 1])
    result = FusedSimulator(seed_simulator=1).run(circuit, shots=4000).result()
    assert result.results[0].metadata["active_input_qubits"] == [0, 1, 4]
    assert_drawn_from(result.get_counts(), dict.fromkeys(("00", "01", "10", "11"), 0.25), 4000)
    circuit.cx(3, 4)  # connects them, if only after the measurement
    assert FusedSimulator().run(circuit).result().results[0].metadata["num_qubits"] == 5


def test_a_threshold_for_fusion() -> None:
    circuit = ansatz(5)
    circuit.measure_all()
    for threshold, applied in ((6, False), (5, False), (4, True)):
        result = FusedSimulator(fusion_threshold=threshold, fusion_verbose=True).run(circuit).result()
        fusion = result.results[0].metadata["fusion"]
        assert (fusion["enabled"], fusion["applied"], fusion["threshold"]) == (True, applied, threshold)
        assert (len(fusion["output_ops"]) > 5) != applied


@pytest.mark.parametrize("shots", [1e2, "100"], ids=["float", "text"])
def test_shots_that_stand_for_an_integer(shots: Any) -> None:
    with pytest.warns(DeprecationWarning, match="give an integer"):
        result = FusedSimulator().run(bell(), shots=shots).result()
    assert sum(result.get_counts().values()) == 100


def test_a_simulator_made_from_a_backend() -> None:
    backend = GenericBackendV2(5, basis_gates=["sx", "rz", "cx", "x"], coupling_map=CouplingMap.from_line(5), seed=2)
    simulator = FusedSimulator.from_backend(backend, noise_model=None, shots=5000, seed_simulator=1)
    assert simulator.options.noise_model is None
    assert simulator.num_qubits == 5
    assert set(simulator.coupling_map.get_edges()) == set(backend.coupling_map.get_edges())
    circuit = QuantumCircuit(5)
    circuit.h(0)
    circuit.cx(0, 4)
    circuit.ccx(0, 4, 2)
    circuit.measure_all()
    mapped = transpile(circuit, simulator, seed_transpiler=3)
    assert set(mapped.count_ops()) <= {"sx", "rz", "cx", "x", "measure", "barrier"}
    edges = set(backend.coupling_map.get_edges())
    for instruction in mapped.get_instructions("cx"):
        assert tuple(mapped.find_bit(qubit).index for qubit in instruction.qubits) in edges
    assert_drawn_from(simulator.run(mapped).result().get_counts(), {"00000": 0.5, "10101": 0.5}, 5000)
    assert pickle.loads(pickle.dumps(simulator)).num_qubits == 5
    with pytest.raises(InvalidInputError, match="BackendV2"):
        FusedSimulator.from_backend("ibm")  # type: ignore[arg-type]
    FusedSimulator.from_backend(FusedSimulator())


def test_a_device_that_is_not_there() -> None:
    simulator = FusedSimulator()
    assert simulator.available_devices()[0] == "CPU"
    if "GPU" not in simulator.available_devices():
        with pytest.raises(DeviceUnavailableError):
            FusedSimulator(device="GPU")
        with pytest.raises(FusedQMLError):
            simulator.run(bell(), device="GPU").result()


def test_something_that_is_no_circuit() -> None:
    with pytest.raises(InvalidInputError, match="str"):
        FusedSimulator().run(["h 0"])


@pytest.mark.filterwarnings("ignore:Providing `coupling_map`")
@pytest.mark.parametrize("coupling_map", [[[0, 1], [1, 2], [2, 3]], CouplingMap.from_ring(5)])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_coupling_map_beside_the_backend(coupling_map: object, level: int) -> None:
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.ccx(0, 2, 3)
    circuit.crx(0.4, 3, 0)
    circuit.cswap(0, 1, 3)
    circuit.append(XGate().control(3, ctrl_state=2), [3, 1, 0, 2])
    circuit.csx(2, 0)
    circuit.cp(0.7, 0, 3)
    backend = FusedSimulator()
    routed = transpile(circuit, backend, coupling_map=coupling_map, optimization_level=level, seed_transpiler=1)
    small = QuantumCircuit(5, global_phase=routed.global_phase)  # all others are idle
    for each in routed.data:
        small.append(each.operation, [routed.find_bit(qubit).index for qubit in each.qubits])
    for each in small.data:
        ends = [small.find_bit(qubit).index for qubit in each.qubits]
        assert len(ends) == 1 or (ends[0] - ends[1]) % 5 in (1, 4)
    found = Statevector(small).probabilities(routed.layout.final_index_layout())
    np.testing.assert_allclose(found, Statevector(circuit).probabilities(), atol=1e-9)
    measured = routed.copy()
    measured.measure_all()
    assert sum(backend.run(measured, shots=20).result().get_counts().values()) == 20
    assert {"ccx", "crx"} <= set(transpile(circuit, backend, optimization_level=0).count_ops())


def test_the_target() -> None:
    simulator = FusedSimulator()
    assert isinstance(simulator, BackendV2)
    assert simulator.max_circuits is None
    assert simulator.coupling_map is None
    assert simulator.target is simulator.target
    assert 20 <= simulator.num_qubits <= 40
    known = {name for name in get_standard_gate_name_mapping() if name in GATES}
    wide = {"unitary", "diagonal", "multiplexer", "pauli", "fused"} | {
        "cu2", "mcp", "mcphase", "mcr", "mcrx", "mcry", "mcrz", "mcswap", "mcsx", "mcu", "mcu1", "mcu2", "mcu3", "mcx",
        "mcx_gray", "mcy", "mcz",
    }  # fmt: skip
    states = {"initialize", "state_preparation", "set_statevector", "set_density_matrix", "save_state"}
    states |= {f"save_{kind}" for kind in SAVE_KINDS} | {"kraus", "superop", "quantum_channel"}
    flow = {"if_else", "for_loop", "while_loop", "switch_case", "box", "break_loop", "continue_loop", "store"}
    assert set(simulator.target.operation_names) == known | wide | states | flow | {"measure", "reset", "delay"}
    assert FusedSimulator(max_memory_mb=24).num_qubits == 20  # amplitudes of 16 bytes, probabilities of 8
    assert FusedSimulator(max_memory_mb=16, precision="single").num_qubits == 20
    assert FusedSimulator(max_memory_mb=16, method="density_matrix").num_qubits == 10  # 4**10 reals, and 2**10


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_transpile_for_it(level: int) -> None:
    circuit = QuantumCircuit(4)
    circuit.append(ansatz(4).to_gate(), range(4))
    circuit.mcp(0.3, [0, 1, 2], 3)
    circuit.mcx([3, 1], 0)
    circuit.unitary(np.kron(np.eye(2), [[0, 1], [1, 0]]), [2, 0])
    circuit.pauli("XYZ", [3, 0, 1])
    expected = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    simulator = FusedSimulator(seed_simulator=1)
    translated = transpile(circuit, simulator, optimization_level=level)
    assert translated.num_qubits == 4
    counts = simulator.run(translated, shots=50_000).result().get_counts()
    assert_drawn_from(counts, expected, 50_000)


def test_every_gate_of_the_target_runs() -> None:
    simulator = FusedSimulator(shots=1)
    for name in simulator.operation_names:
        operation = simulator.target.operation_from_name(name)
        if name in ("measure", "global_phase", "delay") or isinstance(operation, type):
            continue
        circuit = QuantumCircuit(operation.num_qubits)
        circuit.append(operation, range(operation.num_qubits))
        circuit = circuit.assign_parameters(RNG.normal(size=circuit.num_parameters))
        circuit.measure_all()
        assert simulator.run(circuit).result().success


def test_inside_backend_sampler() -> None:
    circuit = ansatz()
    probabilities = Statevector(circuit).probabilities_dict()
    circuit.measure_all()
    sampler = BackendSamplerV2(backend=FusedSimulator(), options={"seed_simulator": 3})
    counts = sampler.run([circuit], shots=20_000).result()[0].data.meas.get_counts()
    assert_drawn_from(counts, probabilities, 20_000)


def test_inside_backend_estimator() -> None:
    circuit = real_amplitudes(3, reps=1)
    pub = (circuit, [["ZZZ"], ["XIX"]], RNG.normal(size=(4, 6)))
    options = {"default_precision": 0.01, "seed_simulator": 3}
    ours = BackendEstimatorV2(backend=FusedSimulator(), options=options).run([pub]).result()[0].data
    exact = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert ours.evs.shape == (2, 4)
    assert np.abs(ours.evs - exact).max() < 0.05


def test_errors_are_those_of_aer_where_aer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class AerError(QiskitError):
        pass

    broken = QuantumCircuit(1, 1)
    broken.append(Instruction("kraus", 1, 0, []), [0])
    with pytest.raises(UnsupportedInstructionError) as plain:
        FusedSimulator().run(broken).result()
    assert not isinstance(plain.value, AerError)
    monkeypatch.setitem(sys.modules, "qiskit_aer", SimpleNamespace(AerError=AerError))
    for act in (
        lambda: FusedSimulator().run(broken).result(),
        lambda: FusedSimulator(foo=1),
        lambda: FusedSimulator().set_options(shots=0),
        lambda: FusedSimulator().run(bell(), method="stabilizer"),
        lambda: FusedSimulator().run(bell(), [{}, {}]).result(),
    ):
        with pytest.raises(AerError) as both:
            act()
        assert isinstance(both.value, FusedQMLError)
        assert both.value.message


@pytest.mark.parametrize("shots", [3, 1000])  # fewer and more than outcomes
def test_impossible_outcomes_are_never_drawn(shots: int) -> None:
    probabilities = np.zeros(64)
    probabilities[[5, 17, 40, 41, 42]] = [0.1, 0.2, 0.3, 0.4 - 1e-9, 1e-9]
    for seed in range(50):
        drawn = sampling.draw(probabilities, shots, np.random.default_rng(seed), keep=True)
        assert set(drawn.outcomes.tolist()) <= {5, 17, 40, 41, 42}
        in_place = sampling.draw(probabilities.copy(), shots, np.random.default_rng(seed), keep=True, overwrite=True)
        np.testing.assert_array_equal(in_place.sequence, drawn.sequence)
        assert drawn.counts.sum() == shots
        assert drawn.sequence is not None
        np.testing.assert_array_equal(np.bincount(drawn.sequence, minlength=len(drawn.counts)), drawn.counts)


def test_drawing_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 10)
    probabilities = np.full(1000, 1e-3)
    drawn = sampling.draw(probabilities, 95, np.random.default_rng(0), keep=False)
    assert drawn.counts.sum() == 95
    assert len(drawn.outcomes) > 70
