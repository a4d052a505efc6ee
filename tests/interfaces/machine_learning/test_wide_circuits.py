"""qiskit-machine-learning's classes on circuits for large devices and on circuits with resets."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import DensityMatrix, SparsePauliOp, Statevector

from qiskit_fusedqml import (
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedFidelity,
    FusedFidelityKernel,
    FusedLayer,
    FusedQGT,
    FusedSampler,
    FusedSamplerGradient,
    FusedSamplerQNN,
)
from qiskit_fusedqml.errors import UnsupportedInstructionError

networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
torch = pytest.importorskip("torch")

T = ParameterVector("t", 3)
VALUES = [0.3, 0.7, 1.1]
OPERATOR = SparsePauliOp(["ZZI", "XIY", "IIZ"], [0.3, 0.5, 0.7])


def narrow() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.ry(T[0], 0)
    circuit.cx(0, 1)
    circuit.ry(T[1], 1)
    circuit.cx(1, 2)
    circuit.rx(T[2], 2)
    return circuit


def wide(num_qubits: int, circuit: QuantumCircuit | None = None) -> QuantumCircuit:
    backend = GenericBackendV2(num_qubits, seed=1)
    layout = [num_qubits - 1, num_qubits - 3, num_qubits - 2]
    return transpile(circuit or narrow(), backend, initial_layout=layout, optimization_level=0, seed_transpiler=1)


def probabilities(values: list[float]) -> np.ndarray:
    return np.asarray(Statevector(narrow().assign_parameters(values)).probabilities())


def slopes() -> np.ndarray:
    """Derivatives (3, 8) of the probabilities, by parameter shift."""
    shifts = np.pi / 2 * np.eye(3)
    return np.array([probabilities(VALUES + s) - probabilities(VALUES - s) for s in shifts]) / 2


@pytest.mark.parametrize("num_qubits", [5, 60])
def test_gradients(num_qubits: int) -> None:
    circuit, placed = narrow(), wide(num_qubits)
    operator = OPERATOR.apply_layout(placed.layout)
    gradient = FusedEstimatorGradient()
    want = gradient.run([circuit], [OPERATOR], [VALUES]).result().gradients[0]
    found = gradient.run([placed], [operator], [VALUES]).result().gradients[0]
    np.testing.assert_allclose(found, want, atol=1e-10)
    tensors = [FusedQGT().run([each], [VALUES]).result().qgts[0] for each in (circuit, placed)]
    np.testing.assert_allclose(*tensors, atol=1e-10)


@pytest.mark.parametrize("num_qubits", [5, 60])
@pytest.mark.parametrize("measured", ["before", "after", "never"])
def test_gradients_of_probabilities(num_qubits: int, measured: str) -> None:
    placed = wide(num_qubits, narrow().measure_all(inplace=False) if measured == "before" else None)
    if measured == "after":
        placed.measure_all()
    found = FusedSamplerGradient().run([placed], [VALUES]).result().gradients[0]
    dense = np.array([[row.get(k, 0.0) for k in range(8)] for row in found])
    assert max(max(row) for row in found) < 8
    np.testing.assert_allclose(dense, slopes(), atol=1e-10)


@pytest.mark.parametrize("num_qubits", [5, 20])
def test_networks_of_probabilities(num_qubits: int) -> None:
    placed = wide(num_qubits)
    stock = networks.SamplerQNN(
        circuit=placed,
        sampler=FusedSampler(default_shots=200_000, seed=1),
        input_params=[],
        weight_params=list(T),
        gradient=FusedSamplerGradient(),
    )
    ours = FusedSamplerQNN(circuit=placed, input_params=[], weight_params=list(T))
    for network, tolerance in ((stock, 0.01), (ours, 1e-10)):
        np.testing.assert_allclose(np.asarray(network.forward([], VALUES))[0], probabilities(VALUES), atol=tolerance)
        np.testing.assert_allclose(np.asarray(network.backward([], VALUES)[1])[0], slopes().T, atol=1e-10)


def test_networks_of_values_and_layers() -> None:
    circuit, placed = narrow(), wide(156)
    operator = OPERATOR.apply_layout(placed.layout)
    found, want = (
        FusedEstimatorQNN(circuit=each, observables=o, input_params=list(T[:1]), weight_params=list(T[1:]))
        for each, o in ((placed, operator), (circuit, OPERATOR))
    )
    np.testing.assert_allclose(
        found.forward([VALUES[:1]], VALUES[1:]), want.forward([VALUES[:1]], VALUES[1:]), atol=1e-12
    )
    np.testing.assert_allclose(
        found.backward([VALUES[:1]], VALUES[1:])[1], want.backward([VALUES[:1]], VALUES[1:])[1], atol=1e-12
    )
    layers = [
        FusedLayer(each, [o], inputs=T[:1], initial_weights=VALUES[1:], dtype=torch.float64)
        for each, o in ((placed, operator), (circuit, OPERATOR))
    ]
    x = torch.tensor([[0.3], [0.9]], dtype=torch.float64)
    results = [layer(x) for layer in layers]
    torch.testing.assert_close(*results)
    for result in results:
        result.sum().backward()
    torch.testing.assert_close(*(layer.weight.grad for layer in layers))


def test_kernels() -> None:
    samples = np.random.default_rng(1).uniform(0, 1, (5, 3))
    kernels = [FusedFidelityKernel(feature_map=each) for each in (narrow(), wide(60))]
    np.testing.assert_allclose(*(kernel.evaluate(samples) for kernel in kernels), atol=1e-10)
    assert kernels[1].evaluate(samples, samples[:2]).shape == (5, 2)


@pytest.mark.parametrize("local", [False, True])
def test_fidelities_of_circuits_on_different_qubits(local: bool) -> None:
    one, other = QuantumCircuit(4), QuantumCircuit(4)
    one.ry(0.4, 0)
    one.cx(0, 2)
    other.rx(0.9, 2)
    other.ry(0.5, 3)
    want = abs(Statevector(one).inner(Statevector(other))) ** 2
    if local:
        undone = Statevector(one.compose(other.inverse()))
        want = np.mean([undone.probabilities([k])[0] for k in range(4)])
    found = FusedFidelity(local=local).run([one], [other]).result().fidelities[0]
    np.testing.assert_allclose(found, want, atol=1e-12)
    wide_one, wide_other = (QuantumCircuit(80).compose(each, [70, 3, 9, 51]) for each in (one, other))
    if local:
        want = 1 - 4 * (1 - want) / 80
    found = FusedFidelity(local=local).run([wide_one], [wide_other]).result().fidelities[0]
    np.testing.assert_allclose(found, want, atol=1e-12)


# --- resets ---


def with_reset() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.ry(T[0], 0)
    circuit.cx(0, 1)
    circuit.reset(0)
    circuit.ry(T[1], 0)
    circuit.crx(T[2], 1, 0)
    return circuit


def test_gradients_and_networks_with_resets() -> None:
    circuit, operator = with_reset(), SparsePauliOp(["ZZ", "IX", "YI"], [1.0, 0.4, 0.2])

    def state(values: np.ndarray) -> DensityMatrix:
        return DensityMatrix(circuit.assign_parameters(values))

    steps = 1e-5 * np.eye(3)
    pairs = [(state(VALUES + step), state(VALUES - step)) for step in steps]
    want = [np.real(a.expectation_value(operator) - b.expectation_value(operator)) / 2e-5 for a, b in pairs]
    of_outcomes = np.array([(a.probabilities() - b.probabilities()) / 2e-5 for a, b in pairs])
    found = FusedEstimatorGradient().run([circuit], [operator], [VALUES]).result().gradients[0]
    np.testing.assert_allclose(found, want, atol=1e-8)
    rows = FusedSamplerGradient().run([circuit], [VALUES]).result().gradients[0]
    np.testing.assert_allclose([[row.get(k, 0.0) for k in range(4)] for row in rows], of_outcomes, atol=1e-8)
    network = FusedEstimatorQNN(circuit=circuit, observables=operator, input_params=[], weight_params=list(T))
    value = np.real(state(np.array(VALUES)).expectation_value(operator))
    np.testing.assert_allclose(network.forward([], VALUES), [[value]], atol=1e-10)
    np.testing.assert_allclose(network.backward([], VALUES)[1][0, 0], want, atol=1e-8)
    sampled = FusedSamplerQNN(circuit=circuit, input_params=[], weight_params=list(T))
    np.testing.assert_allclose(sampled.forward([], VALUES)[0], state(np.array(VALUES)).probabilities(), atol=1e-10)
    np.testing.assert_allclose(sampled.backward([], VALUES)[1][0], of_outcomes.T, atol=1e-8)
    layer = FusedLayer(circuit, [operator], initial_weights=VALUES, dtype=torch.float64)
    layer().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), want, atol=1e-8)


def test_what_is_of_pure_states_is_refused() -> None:
    from qiskit_machine_learning.gradients import DerivativeType

    circuit = with_reset()
    imaginary = FusedEstimatorGradient(derivative_type=DerivativeType.IMAG)
    kernel = FusedFidelityKernel(feature_map=circuit)
    for ask in (
        lambda: FusedQGT().run([circuit], [VALUES]).result(),
        lambda: imaginary.run([circuit], [SparsePauliOp("ZZ")], [VALUES]).result(),
        lambda: FusedFidelity().run([circuit], [circuit], [VALUES], [VALUES]).result(),
        lambda: kernel.evaluate([VALUES]),
    ):
        with pytest.raises(UnsupportedInstructionError, match=r"resets 1 qubit\(s\).*pure states"):
            ask()
