"""Circuits as PennyLane's demonstrations have them, on this device and, by backpropagation, on default.qubit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from support import plugin

# backpropagation through default.qubit discards imaginary parts that are 0
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

Build = Callable[[Any], tuple[Callable[..., Any], tuple[Any, ...]]]


plugin.register()


def compare(build: Build, wires: Any, steps: int = 2) -> None:
    """Costs and weights of some steps of gradient descent."""
    histories = []
    for name in ("fusedqml.qubit", "default.qubit"):
        cost, weights = build(qml.device(name, wires=wires))
        optimizer, costs = qml.AdamOptimizer(0.1), []
        for _ in range(steps):
            found, value = optimizer.step_and_cost(cost, *weights)
            weights = tuple(found) if isinstance(found, list | tuple) else (found,)
            costs.append(value)
        histories.append((costs, weights))
    np.testing.assert_allclose(histories[0][0], histories[1][0], atol=1e-10)
    for first, second in zip(histories[0][1], histories[1][1], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-8)


def test_a_classifier_with_data_reuploading() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-1, 1, (6, 3)), rng.integers(0, 2, 6)
    states = pnp.array([[1.0, 0.0], [0.0, 1.0]], requires_grad=False)

    def build(device: Any) -> Any:
        @qml.qnode(device)
        def fidelity(weights: Any, sample: Any, target: Any) -> Any:
            for layer in weights:
                qml.Rot(*sample, wires=0)
                qml.Rot(*layer, wires=0)
            return qml.expval(qml.Hermitian(pnp.outer(target, target), wires=[0]))

        def cost(weights: Any) -> Any:
            return sum((1 - fidelity(weights, sample, states[label])) ** 2 for sample, label in zip(x, y, strict=True))

        return cost, (pnp.array(rng_of(2).uniform(size=(3, 3)), requires_grad=True),)

    compare(build, [0])


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_qaoa() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
    cost_h = qml.dot([0.5] * len(edges), [qml.Z(i) @ qml.Z(j) for i, j in edges])
    mixer_h = qml.dot([1.0] * 4, [qml.X(i) for i in range(4)])

    def build(device: Any) -> Any:
        @qml.qnode(device)
        def cost(angles: Any) -> Any:
            for wire in range(4):
                qml.Hadamard(wires=wire)
            qml.layer(layer, 2, angles[0], angles[1])
            return qml.expval(cost_h)

        def layer(gamma: Any, alpha: Any) -> None:
            qml.qaoa.cost_layer(gamma, cost_h)
            qml.qaoa.mixer_layer(alpha, mixer_h)

        return cost, (pnp.array([[0.5, 0.4], [0.3, 0.7]], requires_grad=True),)

    compare(build, 4)


def test_vqe_of_four_electrons() -> None:
    positions = pnp.array([[0.0, 0.0, 1.8 * k] for k in range(4)], requires_grad=False)
    molecule = qml.qchem.Molecule(["H"] * 4, positions)
    hamiltonian = qml.qchem.diff_hamiltonian(molecule)()
    assert len(hamiltonian.terms()[0]) > 100
    singles, doubles = qml.qchem.excitations(4, 8)
    start = qml.qchem.hf_state(4, 8)

    def build(device: Any) -> Any:
        @qml.qnode(device)
        def energy(amplitudes: Any) -> Any:
            qml.AllSinglesDoubles(amplitudes, range(8), start, singles, doubles)
            return qml.expval(hamiltonian)

        return energy, (pnp.array(0.05 * rng_of(3).normal(size=len(singles) + len(doubles)), requires_grad=True),)

    compare(build, 8, steps=1)


def test_a_quanvolution() -> None:
    image = rng_of(4).uniform(size=(6, 6))

    def build(device: Any) -> Any:
        @qml.qnode(device)
        def quantum(patch: Any, weights: Any) -> Any:
            for wire in range(4):
                qml.RY(np.pi * patch[wire], wires=wire)
            qml.RandomLayers(weights, wires=range(4), seed=5)
            return [qml.expval(qml.PauliZ(wire)) for wire in range(4)]

        def cost(weights: Any) -> Any:
            total = 0.0
            for j in range(0, 6, 2):
                for k in range(0, 6, 2):
                    patch = [image[j, k], image[j, k + 1], image[j + 1, k], image[j + 1, k + 1]]
                    total = total + pnp.sum(pnp.stack(quantum(patch, weights)) ** 2)
            return total

        return cost, (pnp.array(rng_of(5).uniform(0, 6, (1, 4)), requires_grad=True),)

    compare(build, 4)


def test_trotter_steps_and_exponentials() -> None:
    hamiltonian = qml.dot([0.4, -0.7, 0.3], [qml.Z(0) @ qml.Z(1), qml.X(1), qml.Y(2) @ qml.X(0)])

    def build(device: Any) -> Any:
        @qml.qnode(device)
        def circuit(time: Any, angle: Any) -> Any:
            qml.Hadamard(0)
            qml.TrotterProduct(hamiltonian, time, n=2, order=2)
            qml.exp(qml.X(0) @ qml.Y(2), 0.3j)
            qml.pow(qml.RX(angle, wires=1), 3)
            qml.prod(qml.RY(angle, 0), qml.S(2))
            qml.QFT(range(3))
            qml.GroverOperator(range(3))
            return qml.expval(qml.Z(0) @ qml.X(2)), qml.var(qml.Y(1))

        return lambda *angles: sum(circuit(*angles)), (
            pnp.array(0.8, requires_grad=True),
            pnp.array(0.2, requires_grad=True),
        )

    compare(build, 3)
