"""Gates of many qubits given by their entries: no synthesis, right states, gradients past them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import AnnotatedOperation, ControlModifier, Gate, ParameterVector
from qiskit.circuit.library import DiagonalGate, HamiltonianGate, PermutationGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_hermitian, random_unitary

from qiskit_fusedqml import DifferentiableCircuit, FusedEstimator, FusedSimulator
from qiskit_fusedqml.errors import UnsupportedInstructionError
from qiskit_fusedqml.interfaces.qiskit.backend import save
from qiskit_fusedqml.ir import matrices


@pytest.fixture(autouse=True)
def no_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may ask for the definition of a large gate."""

    def refusing(define: Callable[[Gate], None]) -> Callable[[Gate], None]:
        def refuse(self: Gate) -> None:
            assert self.num_qubits == 1, f"{self.name} is synthesised"
            define(self)

        return refuse

    for gate in (UnitaryGate, DiagonalGate):
        monkeypatch.setattr(gate, "_define", refusing(gate._define))


def prepared(n: int) -> QuantumCircuit:
    """A product state without symmetries."""
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(0.3 + 0.7 * q, q)
        circuit.rz(1.1 * q - 0.4, q)
    return circuit


def state_of(circuit: QuantumCircuit, **options: object) -> np.ndarray:
    copied = circuit.copy()
    save(copied, "statevector")
    return np.asarray(FusedSimulator(**options).run(copied).result().get_statevector())


def applied(matrix: np.ndarray, qubits: list[int], state: np.ndarray) -> np.ndarray:
    """A matrix on some qubits of a state (2**n,), qubit ``qubits[j]`` being bit j of its index; by NumPy alone."""
    n, k = len(state).bit_length() - 1, len(qubits)
    axes = [n - 1 - q for q in reversed(qubits)]
    tensor = np.tensordot(matrix.reshape((2,) * 2 * k), state.reshape((2,) * n), axes=(range(k, 2 * k), axes))
    return np.moveaxis(tensor, range(k), axes).reshape(-1)


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-13), ("single", 1e-6)])
@pytest.mark.parametrize(("n", "k"), [(6, 6), (7, 7), (9, 7), (9, 8), (13, 7), (10, 10)])
def test_dense_unitaries(n: int, k: int, precision: str, tolerance: float) -> None:
    rng = np.random.default_rng([n, k])
    qubits = [int(q) for q in rng.permutation(n)[:k]]
    matrix = random_unitary(2**k, seed=k).data
    circuit = prepared(n)
    circuit.append(UnitaryGate(matrix), qubits)
    expected = applied(matrix, qubits, Statevector(prepared(n)).data)
    np.testing.assert_allclose(state_of(circuit, precision=precision), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("k", "controls"), [(1, 4), (2, 3), (3, 4), (5, 3), (7, 1), (6, 5)])
def test_unitaries_under_controls(k: int, controls: int) -> None:
    rng = np.random.default_rng([k, controls])
    n, value = k + controls, int(rng.integers(2**controls))
    matrix = random_unitary(2**k, seed=k).data
    circuit = prepared(n)
    annotated = AnnotatedOperation(UnitaryGate(matrix), ControlModifier(controls, value))
    circuit.append(annotated, [*range(k, n), *range(k)])
    expected = Statevector(prepared(n)).data.reshape(2**controls, 2**k).copy()
    expected[value] = matrix @ expected[value]
    np.testing.assert_allclose(state_of(circuit), expected.reshape(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-12), ("single", 1e-6)])
@pytest.mark.parametrize(("n", "k"), [(7, 7), (10, 8), (12, 12), (17, 17)])
def test_diagonals(n: int, k: int, precision: str, tolerance: float) -> None:
    rng = np.random.default_rng([n, k])
    qubits = [int(q) for q in rng.permutation(n)[:k]]
    phases = np.exp(1j * rng.uniform(-3, 3, 2**k))
    before = prepared(n)
    before.x(0)
    before.cx(0, n - 1)
    circuit, after = before.copy(), QuantumCircuit(n)
    for q in range(n):
        after.rx(0.2 * q + 0.1, q)
    circuit.append(DiagonalGate(list(phases)), qubits)
    index = np.arange(2**n)
    places = sum((index >> q & 1) << j for j, q in enumerate(qubits))
    expected = Statevector(Statevector(before).data * phases[places]).evolve(after)
    found = state_of(circuit.compose(after), precision=precision)
    np.testing.assert_allclose(found, expected.data, rtol=0, atol=tolerance)


@pytest.mark.parametrize("controls", [0, 2])
def test_permutations_are_addresses(controls: int) -> None:
    rng = np.random.default_rng(controls)
    pattern = [int(q) for q in rng.permutation(10)]
    circuit = prepared(10 + controls)
    operation = (
        AnnotatedOperation(PermutationGate(pattern), ControlModifier(controls))
        if controls
        else PermutationGate(pattern)
    )
    circuit.append(operation, [*range(10, 10 + controls), *range(10)])
    index = np.arange(2**10)
    moved = sum((index >> j & 1) << source for j, source in enumerate(pattern))  # place j gets qubit pattern[j]
    expected = Statevector(prepared(10 + controls)).data.reshape(2**controls, 2**10).copy()
    expected[-1] = expected[-1][moved]
    np.testing.assert_allclose(state_of(circuit), expected.reshape(-1), rtol=0, atol=1e-12)


def test_the_permutation_test_is_qiskits() -> None:
    circuit = prepared(4)
    circuit.append(PermutationGate([2, 0, 3, 1]), range(4))
    np.testing.assert_allclose(state_of(circuit), Statevector(circuit).data, rtol=0, atol=1e-12)


def test_evolution_under_a_dense_hamiltonian() -> None:
    hamiltonian = random_hermitian(2**7, seed=1)
    circuit = prepared(7)
    circuit.append(HamiltonianGate(hamiltonian, 0.3), range(7))
    energies, vectors = np.linalg.eigh(hamiltonian.data)
    evolution = vectors @ np.diag(np.exp(-0.3j * energies)) @ vectors.conj().T
    expected = evolution @ Statevector(prepared(7)).data
    np.testing.assert_allclose(state_of(circuit), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", ["CPU", "reference"])
def test_gradients_past_large_gates(device: str) -> None:
    rng = np.random.default_rng(3)
    n, t = 8, ParameterVector("t", 6)
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for q in range(3):
        circuit.ry(t[q], q)
    circuit.append(UnitaryGate(random_unitary(2**7, seed=1)), range(1, 8))
    circuit.crx(t[3], 2, 5)
    circuit.append(DiagonalGate(list(np.exp(1j * rng.uniform(-3, 3, 2**n)))), range(n))
    circuit.rx(t[4], 0)
    circuit.rz(t[5], 0)
    circuit.rx(0.3, 0)
    observables = ["Z" * n, "X" + "I" * (n - 2) + "Y"]
    f = DifferentiableCircuit(circuit, observables, device=device)
    values = np.linspace(0.1, 1.2, 6)

    def exact(point: np.ndarray) -> list[float]:
        state = Statevector(prepared_by_numpy(circuit, point))
        return [float(state.expectation_value(SparsePauliOp(o)).real) for o in observables]

    def prepared_by_numpy(circuit: QuantumCircuit, point: np.ndarray) -> np.ndarray:
        state = np.zeros(2**n, complex)
        state[0] = 1
        for instruction in circuit.assign_parameters(point).data:
            operation, qubits = instruction.operation, [circuit.find_bit(q).index for q in instruction.qubits]
            matrix = np.diag(operation.params) if operation.name == "diagonal" else operation.to_matrix()
            state = applied(np.asarray(matrix), qubits, state)
        return state

    np.testing.assert_allclose(f.values(None, values)[0], exact(values), rtol=0, atol=1e-12)
    step = 1e-5
    differences = [
        (np.array(exact(values + step * unit)) - exact(values - step * unit)) / (2 * step) for unit in np.eye(6)
    ]
    np.testing.assert_allclose(f.jacobian(None, values)[0], np.transpose(differences), rtol=0, atol=1e-8)


def test_what_is_too_large_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "MAX_MATRIX_QUBITS", 3)
    circuit = QuantumCircuit(4)
    circuit.append(UnitaryGate(np.eye(16)), range(4))
    with pytest.raises(UnsupportedInstructionError, match=r"'unitary'.*dense matrices are used up to"):
        FusedEstimator().run([(circuit, "ZZZZ")]).result()
