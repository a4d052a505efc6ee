"""Networks, layers, kernels and geometric tensors beside Qiskit Machine Learning's own classes, in one run.

    python benchmarks/networks.py --json results/networks.json     # all of it: about half a minute on a quiet machine
    python benchmarks/networks.py kernel tensor                    # some of it
    python benchmarks/compare.py results/networks.json --readme README.md

Two kinds of lines. *Overhead*: a class of ours beside the engine's call that it stands for, in turns; medians, and the
median of the differences within a turn. *Speed-up*: a class of ours beside the stock class, which runs once; where that
would take minutes it gets fewer samples or parameters, and its time is scaled by the number of circuits and marked
``*``. Answers are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.gradients import LinCombQGT, ParamShiftSamplerGradient
from qiskit_machine_learning.kernels import FidelityStatevectorKernel
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from qiskit_machine_learning.primitives import QMLSampler
from workloads import sizes

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

SHAPES = {name: sizes(name) for name in ("W1", "W2", "W3")}
"""Qubits, layers, samples of the main workloads."""

Entry = dict[str, Any]


def seconds(*steps: Callable[[], Any], repeats: int = 40) -> list[list[float]]:
    """Times of steps that take turns, after two turns that do not count."""
    times: list[list[float]] = [[] for _ in steps]
    for repeat in range(repeats + 2):
        for step, own in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if repeat >= 2:
                own.append(time.perf_counter() - start)
    return times


def once(step: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a slow step, and what it returned."""
    start = time.perf_counter()
    result = step()
    return time.perf_counter() - start, result


def overhead(what: str, own: list[float], beside: str, engine: list[float], allowed: float) -> Entry:
    """An entry of the first kind; ``allowed`` is the target for the difference, in seconds."""
    difference = statistics.median(one - other for one, other in zip(own, engine, strict=True))
    return {
        "what": what,
        "seconds": statistics.median(own),
        "beside": beside,
        "reference": statistics.median(engine),
        "scaled": False,
        "more": difference,
        "allowed": allowed,
    }


def speedup(what: str, own: list[float], beside: str, slow: float, *, scaled: bool, **target: float) -> Entry:
    """An entry of the second kind; the target is ``faster`` (times) or ``within`` (seconds)."""
    return {
        "what": what,
        "seconds": statistics.median(own),
        "beside": beside,
        "reference": slow,
        "scaled": scaled,
        **target,
    }


def networks(rng: np.random.Generator) -> Iterator[Entry]:
    """A forward and a backward pass of a network, and of a layer, beside the engine's calls."""
    for name, (qubits, layers, batch) in SHAPES.items():
        circuit, inputs, weights = classifier_circuit(qubits, layers)
        x, w = rng.normal(size=(batch, qubits)), rng.normal(size=len(weights))
        observable = SparsePauliOp("Z" + "I" * (qubits - 1))
        options = {"circuit": circuit, "observables": observable, "input_params": inputs, "weight_params": weights}
        ours, engine = FusedEstimatorQNN(**options), FusedEstimatorQNN(**options).differentiable
        stock = EstimatorQNN(estimator=FusedEstimator(), gradient=FusedEstimatorGradient(), **options)
        layer, rows = FusedLayer(circuit, observable, inputs, dtype=torch.float64), torch.tensor(x)

        def step(layer: Any = layer, rows: Any = rows) -> None:
            layer.weight.grad = None
            layer(rows).square().sum().backward()

        def both(network: Any, x: Any = x, w: Any = w) -> None:
            network.forward(x, w)
            network.backward(x, w)

        np.testing.assert_allclose(ours.backward(x, w)[1], engine.jacobian(x, w), atol=1e-10)
        np.testing.assert_allclose(stock.backward(x, w)[1], engine.jacobian(x, w), atol=1e-10)
        jacobian, network, classes, vjp, torch_step = seconds(
            lambda f=engine, x=x, w=w: f.jacobian(x, w),
            lambda ours=ours: both(ours),
            lambda stock=stock: both(stock),
            lambda f=engine, x=x, w=w: f.value_and_vjp(x, w, lambda values: 2 * values),
            step,
        )
        yield overhead(f"{name}: `FusedEstimatorQNN`", network, "`jacobian`", jacobian, 0.5e-3)
        yield overhead(f"{name}: stock network, our classes", classes, "`jacobian`", jacobian, 2.5e-3 + 10e-6 * batch)
        yield overhead(f"{name}: `FusedLayer`, a step", torch_step, "`value_and_vjp`", vjp, 0.3e-3)


def sampler(rng: np.random.Generator) -> Iterator[Entry]:
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
    (own,) = seconds(lambda: (ours.forward(x, w), ours.backward(x, w)))
    yield speedup("`FusedSamplerQNN`, 8 qubits, 32 samples", own, "`SamplerQNN`", 32 * slow, scaled=True, within=5e-3)


def kernel(rng: np.random.Generator) -> Iterator[Entry]:
    """A kernel matrix of 400 samples, 10 qubits."""
    features, x = zz_feature_map(10, reps=2), rng.uniform(-1, 1, (400, 10))
    ours, stock = FusedFidelityKernel(feature_map=features), FidelityStatevectorKernel(feature_map=features)
    slow, expected = once(lambda: stock.evaluate(x))
    np.testing.assert_allclose(ours.evaluate(x), expected, atol=1e-10)
    (own,) = seconds(lambda: ours.evaluate(x))
    beside = "`FidelityStatevectorKernel`"
    yield speedup("`FusedFidelityKernel` 400 x 400, 10 qubits", own, beside, slow, scaled=False, faster=200.0)


def tensor(rng: np.random.Generator) -> Iterator[Entry]:
    """The geometric tensor of 60 parameters on 10 qubits."""
    circuit, w = real_amplitudes(10, reps=5), rng.normal(size=60)
    few = circuit.parameters[-4:]
    ours = FusedQGT()
    stock = LinCombQGT(StatevectorEstimator())
    stock.run([circuit], [w], [few]).result()  # builds the circuits of all pairs, which does not count
    slow, result = once(lambda: stock.run([circuit], [w], [few]).result())
    np.testing.assert_allclose(ours.run([circuit], [w], [few]).result().qgts[0], result.qgts[0], atol=1e-8)
    slow *= (60 * 61) / (4 * 5)
    (own,) = seconds(lambda: ours.run([circuit], [w]).result())
    yield speedup("`FusedQGT` of 60 parameters, 10 qubits", own, "`LinCombQGT`", slow, scaled=True, faster=300.0)


PARTS = {"networks": networks, "sampler": sampler, "kernel": kernel, "tensor": tensor}


def line(entry: Entry) -> str:
    """An entry in a line of text."""
    ours, other = 1e3 * entry["seconds"], 1e3 * entry["reference"]
    text = f"{entry['what']:<44}{ours:9.2f} ms  beside {entry['beside']}, {other:.2f}{'*' * entry['scaled']} ms: "
    if "more" in entry:
        return f"{text}{1e3 * entry['more']:+.2f} ms, {1e3 * entry['allowed']:.2f} allowed"
    return f"{text}{other / ours:.0f} times"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lines of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, help="where to write everything")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "kind": "networks",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "commit": machine.commit(),
        "threads": machine.cores(),
        "versions": {name: version(name) for name in ("qiskit", "qiskit-machine-learning", "torch", "numpy")},
        "load": {"before": machine.load()},
        "entries": [],
    }
    for part in options.parts:
        for entry in PARTS[part](np.random.default_rng(0)):
            record["entries"].append(entry)
            print(line(entry), flush=True)
    record["load"]["after"] = machine.load()
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
