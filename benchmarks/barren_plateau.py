"""Variance of gradients against depth and number of qubits: the data of tutorial 05 at full size.

``python benchmarks/barren_plateau.py [--qubits 2,4,6] [--layers 1,10,100] [--samples 32] [--json FILE]``

Layers of RY and RZ on every qubit and a ring of CZ, weights uniform in [0, 2 pi). For each sample the derivatives of
two observables with respect to *all* weights are computed: Z0 Z1, which looks at two qubits, and Z on every qubit. A
weight has a variance over the samples; what is kept is the mean of these variances over all weights, and over those of
the first layer. Times are the processor's, so that other programs do not count.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp

from qiskit_fusedqml import DifferentiableCircuit


def layered(num_qubits: int, num_layers: int) -> QuantumCircuit:
    """RY and RZ on every qubit, then a ring of CZ; weights in order of application."""
    circuit, weight = QuantumCircuit(num_qubits), iter(ParameterVector("w", 2 * num_qubits * num_layers))
    for _ in range(num_layers):
        for qubit in range(num_qubits):
            circuit.ry(next(weight), qubit)
            circuit.rz(next(weight), qubit)
        for qubit in range(num_qubits if num_qubits > 2 else 1):
            circuit.cz(qubit, (qubit + 1) % num_qubits)
    return circuit


def measure(num_qubits: int, num_layers: int, samples: int, options: dict[str, Any]) -> dict[str, Any]:
    """The variances of one size, local observable first."""
    local = SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 1.0)], num_qubits)
    f = DifferentiableCircuit(layered(num_qubits, num_layers), [local, SparsePauliOp("Z" * num_qubits)], **options)
    rng = np.random.default_rng([num_qubits, num_layers])
    total = np.zeros((2, 2, f.num_weights))  # sums of derivatives and of their squares
    began = time.process_time()
    for _ in range(samples):
        derivatives = f.jacobian(w=rng.uniform(0, 2 * np.pi, f.num_weights))[0]
        total += derivatives, derivatives**2
    seconds = time.process_time() - began
    mean, square = total / samples
    variances = (square - mean**2) * samples / (samples - 1)
    return {
        "qubits": num_qubits,
        "layers": num_layers,
        "weights": f.num_weights,
        "samples": samples,
        "variance_all_weights": variances.mean(axis=1).tolist(),
        "variance_first_layer": variances[:, : 2 * num_qubits].mean(axis=1).tolist(),
        "processor_seconds_per_sample": seconds / samples,
    }


def numbers(text: str) -> list[int]:
    """``2,4,6``."""
    return [int(word) for word in text.split(",")]


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--qubits", type=numbers, default=numbers("2,4,6,8,10,12,14,16,18"))
    parser.add_argument("--layers", type=numbers, default=numbers("1,2,5,10,20,50,100,200,500"))
    parser.add_argument(
        "--samples", type=int, default=32, help="random weight vectors of each size, more where there are few weights"
    )
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--json", type=Path, help="where to write everything")
    arguments = parser.parse_args()
    report: dict[str, Any] = machine.report(
        threads=arguments.threads, observables=["Z0 Z1", "Z on every qubit"], entries=[]
    )
    print(f"{'qubits':>6}{'layers':>8}{'samples':>9}{'local':>12}{'global':>12}{'CPU s a sample':>18}")
    for num_qubits in arguments.qubits:
        for num_layers in arguments.layers:
            samples = max(arguments.samples, 4096 // (2 * num_qubits * num_layers))
            entry = measure(num_qubits, num_layers, samples, {"num_threads": arguments.threads})
            report["entries"].append(entry)
            local, everywhere = entry["variance_all_weights"]
            sizes = f"{num_qubits:>6}{num_layers:>8}{samples:>9}"
            print(f"{sizes}{local:>12.2e}{everywhere:>12.2e}{entry['processor_seconds_per_sample']:>18.4f}", flush=True)
    machine.save(report, arguments.json)


if __name__ == "__main__":
    main()
