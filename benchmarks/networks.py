"""Networks, layers, kernels and geometric tensors beside Qiskit Machine Learning's own classes, in one run.

    python benchmarks/networks.py                  # all of it: a few minutes, most of them for the stock classes
    python benchmarks/networks.py kernel tensor    # some of it

Two kinds of lines. *Overhead*: a class of ours beside the engine's call that it stands for, in turns. *Speed-up*: a
class of ours beside the stock class. Medians of milliseconds; a stock class that would take minutes gets fewer
samples or parameters, its time is scaled by the number of circuits and marked ``*``. Answers are compared first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.gradients import LinCombQGT, ParamShiftSamplerGradient
from qiskit_machine_learning.kernels import FidelityStatevectorKernel
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from qiskit_machine_learning.primitives import QMLSampler

from qiskit_fusedqml import (
    FusedEstimator,
    FusedEstimatorGradient,
    FusedEstimatorQNN,
    FusedFidelityKernel,
    FusedLayer,
    FusedQGT,
    FusedSamplerQNN,
)
from qiskit_fusedqml.demo.model import classifier_circuit

SHAPES = {"W1": (4, 3, 256), "W2": (8, 5, 128), "W3": (12, 10, 32)}
"""Qubits, layers, samples of the main workloads."""


def milliseconds(*steps: Callable[[], Any], repeats: int = 30) -> list[float]:
    """Medians of steps that take turns, after two that do not count."""
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 2):
        for step, own in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if repeat >= 2:
                own.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]


def once(step: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of a slow step, and what it returned."""
    start = time.perf_counter()
    result = step()
    return 1e3 * (time.perf_counter() - start), result


def networks(rng: np.random.Generator) -> Iterator[str]:
    """A forward and a backward pass of a network, and of a layer, beside the engine's calls."""
    for name, (qubits, layers, batch) in SHAPES.items():
        circuit, inputs, weights = classifier_circuit(qubits, layers)
        x, w = rng.normal(size=(batch, qubits)), rng.normal(size=len(weights))
        observable = SparsePauliOp("Z" + "I" * (qubits - 1))
        options = {"circuit": circuit, "observables": observable, "input_params": inputs, "weight_params": weights}
        ours = FusedEstimatorQNN(**options)
        stock = EstimatorQNN(estimator=FusedEstimator(), gradient=FusedEstimatorGradient(), **options)
        layer, rows = FusedLayer(circuit, observable, inputs), torch.tensor(x)
        f = ours.differentiable

        def step(layer: Any = layer, rows: Any = rows) -> None:
            layer.weight.grad = None
            layer(rows).square().sum().backward()

        def both(network: Any, x: Any = x, w: Any = w) -> None:
            network.forward(x, w)
            network.backward(x, w)

        np.testing.assert_allclose(ours.backward(x, w)[1], stock.backward(x, w)[1], atol=1e-10)
        engine, network, classes, vjp, torch_step = milliseconds(
            lambda f=f, x=x, w=w: (f.values(x, w), f.jacobian(x, w)),
            lambda ours=ours: both(ours),
            lambda stock=stock: both(stock),
            lambda f=f, x=x, w=w: f.value_and_vjp(x, w, lambda values: 2 * values),
            step,
        )
        yield f"{name}  engine's values + jacobian  {engine:8.2f} ms"
        yield f"{name}  FusedEstimatorQNN           {network:8.2f} ms  (+ {network - engine:.2f})"
        yield f"{name}  stock network, our classes  {classes:8.2f} ms  (+ {classes - engine:.2f})"
        yield f"{name}  engine's value_and_vjp      {vjp:8.2f} ms"
        yield f"{name}  FusedLayer                  {torch_step:8.2f} ms  (+ {torch_step - vjp:.2f})"


def sampler(rng: np.random.Generator) -> Iterator[str]:
    """A SamplerQNN with a parity interpret: 8 qubits, 32 samples, 24 weights."""
    circuit, inputs, weights = classifier_circuit(8, 1)
    x, w = rng.normal(size=(32, 8)), rng.normal(size=24)
    options = {
        "circuit": circuit,
        "input_params": inputs,
        "weight_params": weights,
        "interpret": lambda outcome: outcome.bit_count() % 2,
        "output_shape": 2,
    }
    ours = FusedSamplerQNN(**options)
    stock = SamplerQNN(sampler=QMLSampler(), gradient=ParamShiftSamplerGradient(QMLSampler()), **options)
    slow, expected = once(lambda: (stock.forward(x[:1], w), stock.backward(x[:1], w)[1]))
    np.testing.assert_allclose(ours.backward(x[:1], w)[1], expected[1], atol=1e-9)
    forward, backward = milliseconds(lambda: ours.forward(x, w), lambda: ours.backward(x, w))
    yield f"FusedSamplerQNN, forward + backward  {forward + backward:8.2f} ms, stock {32 * slow:.0f}* ms"


def kernel(rng: np.random.Generator) -> Iterator[str]:
    """A kernel matrix of 400 samples, 10 qubits."""
    features, x = zz_feature_map(10, reps=2), rng.uniform(-1, 1, (400, 10))
    ours, stock = FusedFidelityKernel(feature_map=features), FidelityStatevectorKernel(feature_map=features)
    # what n samples cost is n states and n**2 overlaps
    small, first = once(lambda: stock.evaluate(x[:20]))
    large, second = once(lambda: stock.evaluate(x[:60]))
    np.testing.assert_allclose(ours.evaluate(x[:60]), second, atol=1e-10)
    np.testing.assert_allclose(first, second[:20, :20], atol=1e-12)
    states, overlaps = np.linalg.solve([[20, 20**2], [60, 60**2]], [small, large])
    slow = 400 * states + 400**2 * max(overlaps, 0.0)
    (fast,) = milliseconds(lambda: ours.evaluate(x))
    yield f"FusedFidelityKernel 400 x 400        {fast:8.2f} ms, stock {slow:.0f}* ms: {slow / fast:.0f} times"


def tensor(rng: np.random.Generator) -> Iterator[str]:
    """The geometric tensor of 60 parameters on 10 qubits."""
    circuit, w = real_amplitudes(10, reps=5), rng.normal(size=60)
    few = circuit.parameters[-4:]
    ours = FusedQGT()
    stock = LinCombQGT(StatevectorEstimator())
    stock.run([circuit], [w], [few]).result()  # builds the circuits of all pairs, which does not count
    slow, result = once(lambda: stock.run([circuit], [w], [few]).result())
    np.testing.assert_allclose(ours.run([circuit], [w], [few]).result().qgts[0], result.qgts[0], atol=1e-8)
    slow *= (60 * 61) / (4 * 5)
    (fast,) = milliseconds(lambda: ours.run([circuit], [w]).result())
    yield f"FusedQGT of 60 parameters            {fast:8.2f} ms, stock {slow:.0f}* ms: {slow / fast:.0f} times"


PARTS = {"networks": networks, "sampler": sampler, "kernel": kernel, "tensor": tensor}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lines of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    torch.set_num_threads(1)
    for part in parser.parse_args(arguments).parts:
        for line in PARTS[part](np.random.default_rng(0)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
