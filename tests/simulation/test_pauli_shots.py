"""Shots under Pauli noise with measurements at the end, against density matrices of qiskit.quantum_info."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import DensityMatrix, Kraus, SuperOp
from support.counting import assert_drawn_from

from qiskit_fusedqml import FusedSimulator
from qiskit_fusedqml.engine import prefixes
from qiskit_fusedqml.engine.pauli_frames import PauliFrames
from qiskit_fusedqml.simulation import pauli_shots
from qiskit_fusedqml.simulation.pauli_shots import PauliShots

N, SHOTS = 4, 20_000
PAULIS = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}


def error(probabilities: dict[str, float]) -> Kraus:
    """A mixture of Pauli strings."""
    strings = []
    for name, p in probabilities.items():
        matrix = np.eye(1)
        for letter in name:
            matrix = np.kron(matrix, PAULIS[letter])
        strings.append(np.sqrt(p) * matrix)
    return Kraus(strings)


ONE = error({"I": 0.9, "X": 0.04, "Y": 0.01, "Z": 0.05})
TWO = error({"II": 0.8, "XZ": 0.1, "YI": 0.04, "ZY": 0.06})
CERTAIN = error({"I": 0.0, "X": 0.3, "Z": 0.7})


def circuit(angles: Any, *, measured: bool = True) -> QuantumCircuit:
    """Gates of every kind with errors between them, one of which happens for certain."""
    made = QuantumCircuit(QuantumRegister(N), ClassicalRegister(N + 1))
    for q in range(N):
        made.ry(angles[q], q)
        made.append(ONE, [q])
    made.cx(0, 1)
    made.append(TWO, [0, 1])
    made.cp(angles[4], 1, 2)
    made.append(CERTAIN, [2])
    made.h(3)
    made.rzz(angles[5], 2, 3)
    made.rx(angles[6], 2)
    made.append(TWO, [3, 2])
    made.ccx(0, 1, 3)
    for q, clbit in ((2, 0), (0, 4), (1, 1), (3, 2)):
        made.append(ONE, [q])
        if measured:
            made.measure(q, clbit)
    return made


ANGLES = np.random.default_rng(3).normal(size=(3, 7))


def exact(angles: Any) -> dict[str, float]:
    state = DensityMatrix.from_label("0" * N)
    made = circuit(angles, measured=False)
    for instruction in made.data:
        places = [made.find_bit(q).index for q in instruction.qubits]
        state = state.evolve(SuperOp(instruction.operation), places)
    found: dict[str, float] = {}
    for outcome, p in enumerate(state.probabilities([2, 1, 3, 0])):
        bits = [outcome >> k & 1 for k in range(4)]
        key = "".join(map(str, (bits[3], 0, bits[2], bits[1], bits[0])))
        found[key] = found.get(key, 0.0) + float(p)
    return found


@pytest.fixture(params=["one place", "several places"])
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "several places":
        monkeypatch.setattr(prefixes, "SMALLEST_WORK", 0)


def counts(given: QuantumCircuit, **options: Any) -> dict[str, int]:
    simulator = FusedSimulator(method="statevector", shots=SHOTS, seed_simulator=5, **options)
    return dict(simulator.run(given).result().get_counts())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shots of every call of `PauliShots.draw`."""
    found: list[int] = []
    draw = PauliShots.draw

    def counting(self: PauliShots, values: Any, of_set: Any, keys: Any, shots: int) -> Any:
        found.append(shots)
        return draw(self, values, of_set, keys, shots)

    monkeypatch.setattr(PauliShots, "draw", counting)
    return found


@pytest.mark.usefixtures("places")
def test_counts_are_drawn_from_the_exact_probabilities(drawn: list[int]) -> None:
    assert_drawn_from(counts(circuit(ANGLES[0])), exact(ANGLES[0]), SHOTS)
    assert drawn == [SHOTS]


def test_a_frame_that_flips_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    propagate = PauliFrames.propagate

    def faulty(self: PauliFrames, strings: Any) -> Any:
        found = propagate(self, strings)
        return found._replace(x=np.zeros_like(found.x))

    monkeypatch.setattr(PauliFrames, "propagate", faulty)
    with pytest.raises(AssertionError):
        assert_drawn_from(counts(circuit(ANGLES[0])), exact(ANGLES[0]), SHOTS)


@pytest.mark.usefixtures("places")
def test_parameter_sets_are_drawn_together() -> None:
    names = ParameterVector("a", 7)
    binds = [{name: ANGLES[:, k].tolist() for k, name in enumerate(names)}]
    simulator = FusedSimulator(method="statevector", shots=SHOTS, seed_simulator=5)
    result = simulator.run(circuit(names), parameter_binds=binds).result()
    for k, angles in enumerate(ANGLES):
        assert_drawn_from(result.get_counts(k), exact(angles), SHOTS)
    alone = FusedSimulator(method="statevector", shots=SHOTS, seed_simulator=5).run(circuit(ANGLES[0])).result()
    assert alone.get_counts() == result.get_counts(0)


@pytest.mark.usefixtures("places")
def test_shots_depend_neither_on_memory_nor_on_what_is_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = counts(circuit(ANGLES[1]))
    assert counts(circuit(ANGLES[1]), max_memory_mb=4, max_parallel_threads=1) == expected
    monkeypatch.setattr(pauli_shots, "DRAWN_BYTES", 1 << 16)
    assert counts(circuit(ANGLES[1])) == expected


def test_misread_bits() -> None:
    aer = pytest.importorskip("qiskit_aer.noise")
    model = aer.NoiseModel()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.2, 0.8]])
    confusion = np.array([[0.9, 0.1], [0.2, 0.8]])
    probabilities = np.zeros((2,) * 5)
    for key, p in exact(ANGLES[2]).items():
        probabilities[tuple(map(int, key))] = p
    for axis in (0, 2, 3, 4):
        probabilities = np.moveaxis(np.tensordot(probabilities, confusion, axes=(axis, 0)), -1, axis)
    expected = {format(k, "05b"): float(p) for k, p in enumerate(probabilities.reshape(-1))}
    assert_drawn_from(counts(circuit(ANGLES[2]), noise_model=model), expected, SHOTS)


def test_what_is_measured_and_used_again_is_followed(drawn: list[int]) -> None:
    made = circuit(ANGLES[0])
    made.h(0)
    made.measure(0, 3)
    found = counts(made)
    assert not drawn
    by_bit = dict.fromkeys("01", 0)
    for key, count in found.items():
        by_bit[key[1]] += count
    assert_drawn_from(by_bit, {"0": 0.5, "1": 0.5}, SHOTS)
