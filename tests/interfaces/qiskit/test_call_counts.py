"""What the first run of a circuit costs beside arithmetic: calls of Python functions of the package, devices made.

The numbers are those of the code, not of the machine. They may only fall: where one has, lower it here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from support.calls import calls_of
from support.circuits import bell

import qiskit_fusedqml
from qiskit_fusedqml import FusedSimulator
from qiskit_fusedqml.devices import cpu
from qiskit_fusedqml.engine.plans import SHARED

PACKAGE = str(Path(qiskit_fusedqml.__file__).parent)

LIMITS = {"Bell pair": 428, "100 gates": 993}


def hundred_gates() -> QuantumCircuit:
    """Of 8 qubits: RX, RZ and CX in layers, measured at the end."""
    circuit = QuantumCircuit(8)
    for layer in range(5):
        for q in range(8):
            circuit.rx(0.1 + layer + q, q)
            circuit.rz(0.2 + layer + q, q)
        for q in range(layer % 2, 7, 2):
            circuit.cx(q, q + 1)
    circuit.measure_all()
    return circuit


CIRCUITS = {"Bell pair": bell, "100 gates": hundred_gates}


def new_structure(name: str, simulator: FusedSimulator) -> int:
    """Calls of a run of a circuit that no plan is known for; one like it has been run before."""
    simulator.run(CIRCUITS[name](), shots=1024).result()
    circuit = CIRCUITS[name]()
    SHARED.clear()
    return calls_of(lambda: simulator.run(circuit, shots=1024).result(), PACKAGE)


@pytest.mark.parametrize("name", LIMITS)
def test_a_new_structure_costs_no_more_than_it_did(name: str) -> None:
    found = new_structure(name, FusedSimulator())
    assert found <= LIMITS[name], f"{found} calls where {LIMITS[name]} were enough"


def test_the_count_sees_options_that_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qiskit_fusedqml.interfaces.qiskit.backend.options.all", lambda _: False, raising=False)
    assert new_structure("Bell pair", FusedSimulator()) > LIMITS["Bell pair"]


def test_a_backend_makes_its_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = cpu.CPUDevice.__init__

    def counting(self: cpu.CPUDevice, precision: str = "double", *args: object, **kwargs: object) -> None:
        made.append(precision)
        original(self, precision, *args, **kwargs)  # type: ignore[arg-type]

    simulator = FusedSimulator(max_parallel_threads=1)
    monkeypatch.setattr(cpu.CPUDevice, "__init__", counting)
    for seed in range(3):
        simulator.run(bell(), shots=10 + seed, seed_simulator=seed).result()
    assert made == ["double"]
    simulator.run(bell(), precision="single").result()
    assert made == ["double", "single"]
    simulator.set_options(precision="single")
    metadata = simulator.run(bell()).result().results[0].metadata
    assert metadata["precision"] == "single"
    assert made == ["double", "single"]


def test_options_decide_whatever_was_read_before() -> None:
    simulator, circuit = FusedSimulator(), bell()

    def fuses(**options: object) -> bool:
        fusion = simulator.run(circuit, **options).result().results[0].metadata["fusion"]
        return bool(fusion["applied"])

    assert [fuses(), fuses(fusion_enable=False), fuses(), fuses(fusion_threshold=2)] == [True, False, True, False]
    simulator.options.update_options(fusion_enable=False)  # past set_options
    assert not fuses()


def test_a_noise_model_that_grew_is_read_again() -> None:
    noise_model = qiskit_fusedqml.ParametricNoiseModel()
    simulator = FusedSimulator(noise_model=noise_model, method="density_matrix")
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    assert simulator.run(circuit, seed_simulator=1).result().get_counts() == {"1": 1024}
    noise_model.add_error("amplitude_damping", 0.5, "x")
    counts = simulator.run(circuit, seed_simulator=1).result().get_counts()
    assert abs(counts["0"] / 1024 - 0.5) < 5 * np.sqrt(0.25 / 1024)
