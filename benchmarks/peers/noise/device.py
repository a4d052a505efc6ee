"""The device of workload N5 and its circuit: what Qiskit's tools share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noise_workloads as noisy
import numpy as np
from noise_workloads import NoisyWorkload
from qiskit import ClassicalRegister, QuantumCircuit, transpile
from qiskit.circuit import Delay, Measure, Parameter, Reset
from qiskit.circuit.library import CXGate, IGate, RZGate, SXGate, XGate, real_amplitudes, zz_feature_map
from qiskit.providers import BackendV2, Options, QubitProperties
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, amplitude_damping_error, depolarizing_error

from peers.adapter import Array
from peers.qiskit_circuit import build


class Jakarta(BackendV2):
    """A device of 7 qubits as it reported itself once; it runs nothing."""

    def __init__(self) -> None:
        super().__init__(name="jakarta")
        self._target = _target(json.loads((Path(__file__).parents[2] / "jakarta.json").read_text()))

    @property
    def target(self) -> Target:
        """What it can do, and how well."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """Any number."""
        return

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """Refused."""
        raise NotImplementedError("This device is for transpilation and for its noise.")


def _target(data: dict[str, Any]) -> Target:
    qubits = data["qubits"]
    properties = [QubitProperties(t1=q["t1"], t2=q["t2"], frequency=q["frequency"]) for q in qubits]
    target = Target(num_qubits=len(qubits), dt=data["dt"], qubit_properties=properties)
    gate_seconds = data["gate_seconds"]
    for gate in (IGate(), XGate(), SXGate()):
        errors = {(k,): InstructionProperties(gate_seconds, q["gate_error"]) for k, q in enumerate(qubits)}
        target.add_instruction(gate, errors)
    target.add_instruction(
        RZGate(Parameter("theta")), {(k,): InstructionProperties(0.0, 0.0) for k in range(len(qubits))}
    )
    cx = {tuple(pair["qubits"]): InstructionProperties(pair["seconds"], pair["error"]) for pair in data["cx"]}
    target.add_instruction(CXGate(), cx)
    read = {(k,): InstructionProperties(data["measure_seconds"], q["readout_error"]) for k, q in enumerate(qubits)}
    target.add_instruction(Measure(), read)
    target.add_instruction(
        Reset(), {(k,): InstructionProperties(data["reset_seconds"], None) for k in range(len(qubits))}
    )
    target.add_instruction(Delay(Parameter("t")), {(k,): None for k in range(len(qubits))})
    return target


@dataclass(frozen=True)
class NoisyCircuit:
    """A workload's circuit in Qiskit, what is measured, and its noise.

    Attributes:
        circuit: The circuit.
        observable: The observable on its qubits.
        final: The qubits that hold the workload's qubits at the end.
        inputs: Its parameters.
        weights: Its parameters.
        noise: The noise model.
    """

    circuit: QuantumCircuit
    observable: SparsePauliOp
    final: tuple[int, ...]
    inputs: list[Parameter]
    weights: list[Parameter]
    noise: NoiseModel

    def measured(self) -> QuantumCircuit:
        """With all qubits measured."""
        circuit = self.circuit.copy()
        circuit.add_register(ClassicalRegister(len(self.final), "c"))
        circuit.measure(self.final, range(len(self.final)))
        return circuit

    def binds(self, inputs: Array, weights: Array) -> list[dict[Parameter, list[float]]]:
        """Values of the parameters for a batch, as ``parameter_binds`` takes them."""
        columns: dict[Parameter, list[float]] = {p: inputs[:, k].tolist() for k, p in enumerate(self.inputs)}
        columns |= {p: [value] * len(inputs) for p, value in zip(self.weights, weights.tolist(), strict=True)}
        return [columns]


def noisy_circuit(workload: NoisyWorkload) -> NoisyCircuit:
    """The workload in Qiskit."""
    if workload.noise == "device":
        return _on_device(workload)
    built = build(workload)
    noise = NoiseModel(basis_gates=["rx", "ry", "rz", "cx"])
    pair, damping = depolarizing_error(noisy.P2, 2), amplitude_damping_error(noisy.GAMMA)
    if workload.noise == "device-like":
        pair = pair.compose(damping.tensor(damping))
    noise.add_all_qubit_quantum_error(depolarizing_error(noisy.P1, 1), ["rx", "ry", "rz"])
    noise.add_all_qubit_quantum_error(pair, ["cx"])
    final = tuple(range(workload.num_qubits))
    return NoisyCircuit(built.circuit, built.observables[0], final, list(built.inputs), list(built.weights), noise)


def _on_device(workload: NoisyWorkload) -> NoisyCircuit:
    n, repetitions = workload.num_qubits, workload.num_weights // workload.num_qubits - 1
    features = zz_feature_map(n, reps=1, entanglement="linear")
    ansatz = real_amplitudes(n, reps=repetitions, entanglement="linear")
    backend = Jakarta()
    circuit = transpile(
        features.compose(ansatz), backend, optimization_level=1, seed_transpiler=1, initial_layout=list(range(n))
    )
    observable = SparsePauliOp.from_sparse_list([("Z", [q], 1 / n) for q in range(n)], n)
    return NoisyCircuit(
        circuit,
        observable.apply_layout(circuit.layout),
        tuple(circuit.layout.final_index_layout()[:n]),
        list(features.parameters),
        list(ansatz.parameters),
        NoiseModel.from_backend(backend),
    )


def mean_z(counts: dict[str, int], table: Array) -> float:
    """The mean of all Z over the shots of counts with hexadecimal keys; ``table`` has that of every outcome."""
    outcomes = np.fromiter((int(key, 16) for key in counts), np.intp, len(counts))
    shots = np.fromiter(counts.values(), np.float64, len(counts))
    return float(table[outcomes] @ shots / shots.sum())


def mean_z_table(n: int) -> Array:
    """The mean of all Z for every outcome of n bits."""
    return 1.0 - 2.0 * np.bitwise_count(np.arange(2**n)) / n
