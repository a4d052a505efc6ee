"""Save instructions against `qiskit.quantum_info` and against a follower of every branch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Instruction
from qiskit.circuit.library import real_amplitudes
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, Statevector, partial_trace
from qiskit.result import ProbDistribution
from support.branches import worlds

from qiskit_fusedqml import FusedSimulator
from qiskit_fusedqml.errors import InvalidInputError, UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import SaveInstruction, save

SHOTS = 4000
OBSERVABLE = SparsePauliOp(["ZXI", "IYZ", "XXX"], [0.5, -1.2, 0.3])


def data_of(circuit: QuantumCircuit, **options: Any) -> dict[str, Any]:
    result = FusedSimulator(seed_simulator=7, shots=SHOTS).run(circuit, **options).result()
    assert result.success, result.status
    return dict(result.data())


def everything(circuit: QuantumCircuit) -> QuantumCircuit:
    """All kinds of saves of three qubits."""
    save(circuit, "statevector")
    save(circuit, "statevector_dict", label="dict")
    save(circuit, "expval", operator=OBSERVABLE)
    save(circuit, "expval_var", operator=OBSERVABLE)
    save(circuit, "expval", [2, 0], label="pair", operator=Operator(SparsePauliOp("ZX")))
    save(circuit, "probabilities", [2, 0])
    save(circuit, "probabilities_dict", [1], label="one")
    save(circuit, "amplitudes", indices=[5, 0])
    save(circuit, "amplitudes_sq", indices=[5, 0])
    save(circuit, "density_matrix", [2, 0])
    return circuit


def test_every_kind_against_quantum_info() -> None:
    circuit = random_circuit(3, 4, seed=8)
    circuit.global_phase = 0.4
    state = Statevector(circuit)
    data = data_of(everything(circuit))
    assert isinstance(data["statevector"], Statevector)
    assert isinstance(data["density_matrix"], DensityMatrix)
    assert isinstance(data["one"], ProbDistribution)
    assert isinstance(data["expectation_value"], float)
    np.testing.assert_allclose(data["statevector"].data, state.data, atol=1e-12)
    dense = np.zeros(8, complex)
    for key, amplitude in data["dict"].items():
        dense[int(key, 16)] = amplitude
    np.testing.assert_allclose(dense, state.data, atol=1e-9)
    mean = state.expectation_value(OBSERVABLE).real
    square = state.expectation_value(OBSERVABLE @ OBSERVABLE).real
    assert data["expectation_value"] == pytest.approx(mean, abs=1e-12)
    np.testing.assert_allclose(data["expectation_value_variance"], [mean, square - mean**2], atol=1e-12)
    assert data["pair"] == pytest.approx(state.expectation_value(SparsePauliOp("ZX"), [2, 0]).real, abs=1e-12)
    np.testing.assert_allclose(data["probabilities"], state.probabilities([2, 0]), atol=1e-12)
    assert data["one"] == pytest.approx(dict(enumerate(state.probabilities([1]))), abs=1e-12)
    np.testing.assert_allclose(data["amplitudes"], state.data[[5, 0]], atol=1e-12)
    np.testing.assert_allclose(data["amplitudes_squared"], np.abs(state.data[[5, 0]]) ** 2, atol=1e-12)
    expected = partial_trace(state, [1]).data.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
    np.testing.assert_allclose(data["density_matrix"].data, expected, atol=1e-12)


def test_zero_entries_are_left_out_of_dictionaries() -> None:
    circuit = QuantumCircuit(3)
    circuit.ry(2e-4, 0)
    save(circuit, "statevector_dict")
    save(circuit, "probabilities_dict")
    assert set(data_of(circuit)["probabilities_dict"]) == {0, 1}
    assert set(data_of(circuit, zero_threshold=1e-3)["statevector_dict"]) == {"0x0"}


def split() -> QuantumCircuit:
    """Two bits of different probabilities; the state depends on both of them."""
    circuit = QuantumCircuit(3, 3)
    circuit.ry(0.9, 0)
    circuit.cx(0, 1)
    circuit.ry(0.4, 1)
    circuit.measure([0, 1], [0, 2])
    with circuit.if_test((0, True)):
        circuit.ry(0.7, 2)
    circuit.rx(0.3, 0)
    return circuit


def by_bits() -> dict[int, tuple[float, Statevector]]:
    return {sum(v << k for k, v in w.bits.items()): (w.probability, w.state) for w in worlds(split())}


def test_averages_over_shots() -> None:
    circuit = everything(split())
    data = data_of(circuit)
    counts = {int(key, 16): count for key, count in data["counts"].items()}
    # the averages are over the shots that were drawn, which the counts tell
    states = by_bits()
    assert set(counts) == set(states)
    share = {key: count / SHOTS for key, count in counts.items()}
    mean = sum(share[key] * state.expectation_value(OBSERVABLE).real for key, (_, state) in states.items())
    assert data["expectation_value"] == pytest.approx(mean, abs=1e-12)
    probabilities = sum(share[key] * state.probabilities([2, 0]) for key, (_, state) in states.items())
    np.testing.assert_allclose(data["probabilities"], probabilities, atol=1e-12)
    density = sum(
        share[key] * partial_trace(state, [1]).data.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
        for key, (_, state) in states.items()
    )
    np.testing.assert_allclose(data["density_matrix"].data, density, atol=1e-12)


def test_conditional_values_belong_to_the_bits() -> None:
    circuit = split()
    for kind, fields in (
        ("statevector", {}),
        ("expval", {"operator": OBSERVABLE}),
        ("probabilities", {}),
        ("density_matrix", {}),
    ):
        save(circuit, kind, conditional=True, **fields)
    data = data_of(circuit)
    states = {hex(key): state for key, (_, state) in by_bits().items()}
    assert set(data["statevector"]) == set(states) == set(data["counts"])
    for key, state in states.items():
        assert abs(np.vdot(data["statevector"][key].data, state.data)) == pytest.approx(1.0, abs=1e-12)
        assert data["expectation_value"][key] == pytest.approx(state.expectation_value(OBSERVABLE).real, abs=1e-12)
        np.testing.assert_allclose(data["probabilities"][key], state.probabilities(), atol=1e-12)
        np.testing.assert_allclose(data["density_matrix"][key].data, DensityMatrix(state).data, atol=1e-12)


def test_one_value_per_shot() -> None:
    circuit = split()
    save(circuit, "expval", operator=OBSERVABLE, pershot=True)
    save(circuit, "statevector", pershot=True)
    save(circuit, "probabilities", [0], label="c", pershot=True, conditional=True)
    save(circuit, "statevector", label="last")
    data = data_of(circuit, memory=True)
    states = by_bits()
    assert len(data["statevector"]) == len(data["expectation_value"]) == SHOTS
    for bits, value, state in list(zip(data["memory"], data["expectation_value"], data["statevector"], strict=True))[
        :60
    ]:
        exact = states[int(bits, 16)][1]
        assert value == pytest.approx(exact.expectation_value(OBSERVABLE).real, abs=1e-12)
        assert abs(np.vdot(state.data, exact.data)) == pytest.approx(1.0, abs=1e-12)
    assert {key: len(values) for key, values in data["c"].items()} == data["counts"]
    last = states[int(data["memory"][-1], 16)][1]
    assert abs(np.vdot(data["last"].data, last.data)) == pytest.approx(1.0, abs=1e-12)


def test_values_per_shot_before_anything_is_random() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    save(circuit, "expval", operator=SparsePauliOp("IX"), pershot=True)
    circuit.measure([0, 1], [0, 1])
    assert data_of(circuit)["expectation_value"] == pytest.approx([1.0])  # as on Aer: all shots share the state
    circuit.x(0)
    circuit.measure(0, 1)
    assert data_of(circuit)["expectation_value"] == pytest.approx([1.0] * SHOTS)


def test_saves_in_chunks_of_shots() -> None:
    circuit = QuantumCircuit(9, 8)
    for k in range(8):
        circuit.ry(0.4 + 0.2 * k, k)
        circuit.measure(k, k)
        with circuit.if_test((k, True)):
            circuit.x(k + 1)
    circuit.h(8)
    save(circuit, "expval", [8], operator=SparsePauliOp("X"))
    save(circuit, "probabilities_dict", list(range(8)), pershot=True)
    data = data_of(circuit, memory=True, max_memory_mb=3, shots=300)
    wide = data_of(circuit, memory=True, shots=300)
    for found in (data, wide):
        signs = [1 - 2 * (int(value, 16) >> 7) for value in found["memory"]]
        assert found["expectation_value"] == pytest.approx(np.mean(signs), abs=1e-12)
        measured = [next(iter(each)) for each in found["probabilities_dict"]]
        assert len(measured) == 300
        bits = [int(value, 16) for value in found["memory"]]
        assert measured == bits  # nothing acts on a qubit after its measurement


def test_saves_with_parameter_binds() -> None:
    circuit = real_amplitudes(3, reps=1)
    names = list(circuit.parameters)
    save(circuit, "statevector")
    rows = np.random.default_rng(3).normal(size=(4, 6))
    result = FusedSimulator().run(circuit, [dict(zip(names, rows.T, strict=True))]).result()
    for k, row in enumerate(rows):
        expected = Statevector(real_amplitudes(3, reps=1).assign_parameters(row))
        np.testing.assert_allclose(result.get_statevector(k).data, expected.data, atol=1e-12)


def test_saves_inside_branches_and_in_single_precision() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.ry(0.6, 0)
    circuit.measure(0, 0)
    with circuit.if_test((0, True)):
        circuit.h(1)
        circuit.append(SaveInstruction("expval", 1, "inside", [("X", (1.0, 0.0))]), [1])
    save(circuit, "probabilities", [1])
    data = data_of(circuit, precision="single")
    ones = data["counts"].get("0x1", 0) / SHOTS
    assert data["inside"] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(data["probabilities"], [1 - ones / 2, ones / 2], atol=1e-6)


def test_set_statevector() -> None:
    amplitudes = np.array([0.6, 0, 0, 0.8j])
    instruction = Instruction("set_statevector", 2, 0, [])
    instruction._params = [amplitudes]
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 1)
    circuit.append(instruction, [0, 1])
    circuit.x(0)
    save(circuit, "statevector")
    np.testing.assert_allclose(data_of(circuit)["statevector"].data, [0, 0.6, 0.8j, 0], atol=1e-12)
    instruction._params = [2 * amplitudes]
    with pytest.raises(UnsupportedInstructionError, match="norm 2"):
        FusedSimulator().run(circuit.copy()).result()


def test_labels_must_differ() -> None:
    circuit = QuantumCircuit(1, 1)
    save(circuit, "statevector")
    save(circuit, "density_matrix", label="statevector")
    fine = QuantumCircuit(1, 1)
    fine.measure(0, 0)
    result = FusedSimulator().run([circuit, fine], shots=3).result()
    assert not result.success
    assert result.results[0].status == 'ERROR: Duplicate key "statevector" in save instruction.'
    assert result.get_counts(1) == {"0": 3}


@pytest.mark.parametrize("label", ["counts", "memory", "self", "to_dict", "_data_attributes"])
def test_labels_that_a_result_needs_for_itself(label: str) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    save(circuit, "statevector", label=label)
    circuit.measure(0, 0)
    result = FusedSimulator().run(circuit, shots=3, memory=True).result()
    assert not result.success
    assert f"has the label {label!r}, which a result needs for itself" in result.status


@pytest.mark.parametrize("label", ["statevector", "snapshots", "Counts", "a b"])
def test_other_labels_stand_beside_counts_and_shots(label: str) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    save(circuit, "statevector", label=label)
    circuit.measure(0, 0)
    data = FusedSimulator().run(circuit, shots=3, memory=True).result().data(0)
    assert (data["counts"], data["memory"]) == ({"0x1": 3}, ["0x1"] * 3)
    np.testing.assert_allclose(data[label].data, [0.0, 1.0])


def test_the_whole_state_is_saved_or_nothing() -> None:
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    save(circuit, "statevector", [1])
    assert "1 qubits of 2" in FusedSimulator().run(circuit).result().results[0].status
    with pytest.raises(InvalidInputError, match="kind is 'unitary'"):
        SaveInstruction("unitary", 2)


def test_saves_survive_transpilation() -> None:
    circuit = random_circuit(3, 3, seed=2)
    expected = Statevector(circuit)
    save(circuit, "statevector")
    circuit.h(0)
    for level in range(4):
        data = data_of(transpile(circuit, FusedSimulator(), optimization_level=level))
        assert abs(np.vdot(data["statevector"].data, expected.data)) == pytest.approx(1.0, abs=1e-9)
