"""Random circuits on `FusedSimulator`, as many as wanted: ``make fuzz ARGS="--count 1000"``.

The kinds take turns: dynamic circuits against a follower of every branch, circuits that went through OpenQASM 2 or 3
against `Statevector`, circuits with resets on a few of many qubits against `DensityMatrix`, those of
`support.random_kinds` (controlled gates of one's own, dense gates, many classical bits), dynamic circuits under other
budgets against themselves, and, with ``--aer``, dynamic circuits against qiskit-aer's counts with fusion off.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, qasm2, qasm3, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import DensityMatrix, Pauli, SparsePauliOp, Statevector
from support.branches import distribution
from support.counting import assert_drawn_from
from support.random_dynamic import random_dynamic
from support.random_kinds import custom_gate, custom_state, with_dense_gate, with_many_bits

from qiskit_fusedqml import DifferentiableCircuit, FusedSimulator
from qiskit_fusedqml.interfaces.qiskit.backend import save

SHOTS = 4000
LEGACY = qasm2.LEGACY_CUSTOM_INSTRUCTIONS


def counts_of(circuit: QuantumCircuit, seed: int, **options: bool) -> dict[int, int]:
    """Our counts."""
    result = FusedSimulator(seed_simulator=seed, **options).run(circuit, shots=SHOTS).result()
    return {int(key, 16): count for key, count in result.data(0)["counts"].items()}


def dynamic(rng: np.random.Generator, seed: int) -> None:
    """Against the follower of every branch."""
    circuit = random_dynamic(rng, depth=int(rng.integers(1, 3)))
    assert_drawn_from(counts_of(circuit, seed, fusion_enable=bool(seed % 4)), distribution(circuit), SHOTS)


def imported(rng: np.random.Generator, seed: int) -> None:
    """Against the state of a circuit that was written and read again."""
    n = int(rng.integers(2, 7))
    source = random_circuit(n, int(rng.integers(2, 9)), max_operands=4, seed=seed)
    source = source.decompose(reps=int(rng.integers(3)))
    try:
        circuit = (
            qasm2.loads(qasm2.dumps(source), custom_instructions=LEGACY)
            if seed % 2
            else qasm3.loads(qasm3.dumps(source))
        )
    except (ImportError, qasm2.QASM2ExportError, qasm3.QASM3ImporterError):
        circuit = source
    expected = Statevector(circuit)
    save(circuit, "statevector")
    state = FusedSimulator().run(circuit).result().get_statevector()
    np.testing.assert_allclose(state.data, expected.data, rtol=0, atol=1e-10)


def wide(rng: np.random.Generator, seed: int) -> None:
    """A circuit with resets on a few qubits of many, against its density matrix: values, gradient and counts."""
    n, width = int(rng.integers(1, 5)), int(rng.integers(5, 200))
    small, angle = QuantumCircuit(n), Parameter("a")
    for part in range(int(rng.integers(1, 4))):
        small.compose(random_circuit(n, 2, max_operands=min(n, 3), seed=seed + part), inplace=True)
        small.rx(angle, int(rng.integers(n)))
        if part and rng.random() < 0.5:
            small.reset(int(rng.integers(n)))
    places = rng.choice(width, n, replace=False).tolist()
    large = QuantumCircuit(width).compose(small.to_instruction() if seed % 2 else small, places)
    idle = int(rng.choice([q for q in range(width) if q not in places]))
    label, letter = "".join(rng.choice(list("IXYZ"), n)), str(rng.choice(list("IZ")))
    operator = SparsePauliOp.from_sparse_list([(label + letter, [*places, idle], 1.0)], width)

    def value(at: float) -> float:
        return float(np.real(DensityMatrix(small.assign_parameters([at])).expectation_value(Pauli(label[::-1]))))

    at, step = float(rng.uniform(0, 3)), 1e-5
    f = DifferentiableCircuit(large, [operator])
    np.testing.assert_allclose(f.values(None, [at]), [[value(at)]], rtol=0, atol=1e-9)
    slope = (value(at + step) - value(at - step)) / (2 * step)
    np.testing.assert_allclose(f.jacobian(None, [at]), [[[slope]]], rtol=0, atol=1e-7)
    measured = large.assign_parameters([at])
    measured.add_register(ClassicalRegister(n))
    measured.measure(places, range(n))
    chances = DensityMatrix(small.assign_parameters([at])).probabilities()
    assert_drawn_from(counts_of(measured, seed), dict(enumerate(chances)), SHOTS)


def custom_gates(rng: np.random.Generator, seed: int) -> None:
    """A controlled gate of one's own: value and gradient against its matrix, and differences of that."""
    circuit, u = custom_gate(rng)
    label, value, step = "".join(np.random.default_rng(seed).choice(list("XYZ"), circuit.num_qubits)), 0.8, 1e-5
    f = DifferentiableCircuit(circuit, [label], weights=[u])
    expected = [
        custom_state(seed, at).expectation_value(Pauli(label)).real for at in (value - step, value, value + step)
    ]
    np.testing.assert_allclose(f.values(None, [value])[0, 0], expected[1], rtol=0, atol=1e-10)
    slope = (expected[2] - expected[0]) / (2 * step)
    np.testing.assert_allclose(f.jacobian(None, [value])[0, 0, 0], slope, rtol=0, atol=1e-7)
    bound = circuit.assign_parameters([value])
    save(bound, "statevector")
    state = FusedSimulator().run(bound).result().get_statevector()
    np.testing.assert_allclose(state.data, custom_state(seed, value).data, rtol=0, atol=1e-10)


def dense_gates(rng: np.random.Generator, seed: int) -> None:
    """A large dense gate, against the same as one matrix."""
    circuit, plain = with_dense_gate(rng, seed)
    save(circuit, "statevector")
    state = FusedSimulator().run(circuit).result().get_statevector()
    np.testing.assert_allclose(state.data, Statevector(plain).data, rtol=0, atol=1e-10)


def many_bits(rng: np.random.Generator, seed: int) -> None:
    """More classical bits than a table has room for, against the distribution of those written."""
    circuit, expected = with_many_bits(rng, seed)
    assert_drawn_from(counts_of(circuit, seed), expected, SHOTS)


def budgets(rng: np.random.Generator, seed: int) -> None:
    """The same seed under other budgets and numbers of threads gives the same counts, or none."""
    circuit = random_dynamic(rng, depth=int(rng.integers(1, 3)))
    expected = counts_of(circuit, seed)
    for options in ({"max_memory_mb": 1}, {"max_memory_mb": 0.1}, {"max_parallel_threads": 3}):
        result = FusedSimulator(seed_simulator=seed, **options).run(circuit, shots=SHOTS).result()
        if result.success:
            assert {int(key, 16): count for key, count in result.data(0)["counts"].items()} == expected, options
        else:
            assert "memory" in result.status, result.status


def beside_aer(rng: np.random.Generator, seed: int) -> None:
    """Against another simulator's counts, for circuits that it can run."""
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(method="statevector", fusion_enable=False, seed_simulator=seed)
    n, depth = (int(number) for number in rng.integers(2, 7, size=2))
    source = random_circuit(n, depth, max_operands=3, measure=True, conditional=True, reset=True, seed=seed)
    circuit = transpile(source, simulator, optimization_level=0)
    result = simulator.run(circuit, shots=SHOTS).result()
    theirs = {int(key, 16): count for key, count in result.data(0)["counts"].items()}
    ours = counts_of(circuit, seed)
    # two samples of one distribution: chi-square of the homogeneity
    keys = sorted({*theirs, *ours})
    first, second = (np.array([counts.get(key, 0) for key in keys], dtype=float) for counts in (ours, theirs))
    chi2 = float(np.sum((first - second) ** 2 / (first + second)))
    freedom = max(len(keys) - 1, 1)
    assert chi2 < freedom + 6 * np.sqrt(2 * freedom) + 20, f"{ours} and {theirs}"


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--aer", action="store_true")
    arguments = parser.parse_args()
    kinds: list[Callable[[np.random.Generator, int], None]] = [
        *(dynamic, imported, custom_gates, wide, dense_gates, many_bits, budgets),
        *([beside_aer] * arguments.aer),
    ]
    began, failures = time.perf_counter(), []
    for seed in range(arguments.first, arguments.first + arguments.count):
        kind = kinds[seed % len(kinds)]
        try:
            kind(np.random.default_rng(seed), seed)
        except Exception as error:  # noqa: BLE001 (every failure is counted)
            failures.append(f"{kind.__name__}, seed {seed}: {type(error).__name__}: {error}"[:400])
            print(failures[-1], flush=True)
    print(f"{arguments.count} circuits, {len(failures)} disagreements, {time.perf_counter() - began:.0f} s")
    return min(len(failures), 1)


if __name__ == "__main__":
    sys.exit(main())
