"""Networks, layers, kernels and geometric tensors beside Qiskit Machine Learning's own classes, in one run.

    python benchmarks/networks.py --json results/networks.json     # all of it: about half a minute on a quiet machine
    python benchmarks/networks.py kernel tensor                    # some of it
    python benchmarks/compare.py results/networks.json --readme benchmarks/README.md

Two kinds of lines. *Overhead*: a class of ours beside the engine's call that it stands for, in turns; medians, and the
median of the differences within a turn. In its turn each is called twice in a row, and the second call counts: in
training a step follows a step of the same kind, and not one of somebody else's, whose code has taken the caches. The
first calls are in the file, too (``first``). *Speed-up*: a class of ours beside the stock class, which runs once; where
that would take minutes it gets fewer samples or parameters, and its time is scaled by the number of circuits and marked
``*``. Answers are compared before anything is timed.

The layer is measured twice: forward and backward for given cotangents, beside the engine's `vjp` and its pullback, and
a step that ends in a loss (a sum of squares), beside `value_and_vjp`. Torch takes its time for any layer, the more the
colder the caches are, and a sweep leaves them cold; ``torch`` is what the same two calls, or the same step, take around
a ``torch.nn.Linear`` of as many inputs that comes right after the engine's call. It is part of the difference.
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
from typing import Any, NamedTuple

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
from qiskit_fusedqml.demo.network import classifier_circuit

SHAPES = {name: sizes(name) for name in ("W1", "W2", "W3")}
"""Qubits, layers, samples of the main workloads."""

Entry = dict[str, Any]


class Times(NamedTuple):
    """Seconds of one contender's calls, turn by turn.

    Attributes:
        first: Of the first call in a turn, after another contender's.
        again: Of the second one.
    """

    first: list[float]
    again: list[float]


def seconds(*steps: Callable[[], Any], repeats: int = 40) -> list[Times]:
    """Times of steps that take turns, after two turns that do not count."""
    times = [Times([], []) for _ in steps]
    for repeat in range(repeats + 2):
        for step, own in zip(steps, times, strict=True):
            for calls in own:
                start = time.perf_counter()
                step()
                if repeat >= 2:
                    calls.append(time.perf_counter() - start)
    return times


def once(step: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a slow step, and what it returned."""
    start = time.perf_counter()
    result = step()
    return time.perf_counter() - start, result


def overhead(what: str, own: Times, beside: str, engine: Times, allowed: float, linear: Times | None = None) -> Entry:
    """An entry of the first kind.

    Args:
        what: The class.
        own: Its times.
        beside: The engine's call.
        engine: Its times.
        allowed: The target for the difference, in seconds.
        linear: What comes right after the engine's call to show what torch takes for any layer.
    """
    again, first = (
        {
            "seconds": statistics.median(mine),
            "reference": statistics.median(other),
            "more": statistics.median(one - two for one, two in zip(mine, other, strict=True)),
        }
        for mine, other in ((own.again, engine.again), (own.first, engine.first))
    )
    torch_alone = {} if linear is None else {"torch": statistics.median(linear.first)}
    return {"what": what, "beside": beside, "scaled": False, **again, "allowed": allowed, "first": first, **torch_alone}


def speedup(what: str, own: Times, beside: str, slow: float, *, scaled: bool, **target: float) -> Entry:
    """An entry of the second kind; the target is ``faster`` (times) or ``within`` (seconds)."""
    return {
        "what": what,
        "seconds": statistics.median(own.again),
        "beside": beside,
        "reference": slow,
        "scaled": scaled,
        **target,
    }


def networks(rng: np.random.Generator) -> Iterator[Entry]:
    """A forward and a backward pass of a network beside the engine's Jacobian."""
    for name, (qubits, layers, batch) in SHAPES.items():
        circuit, inputs, weights = classifier_circuit(qubits, layers)
        x, w = rng.normal(size=(batch, qubits)), rng.normal(size=len(weights))
        observable = SparsePauliOp("Z" + "I" * (qubits - 1))
        options = {"circuit": circuit, "observables": observable, "input_params": inputs, "weight_params": weights}
        ours, engine = FusedEstimatorQNN(**options), FusedEstimatorQNN(**options).differentiable
        stock = EstimatorQNN(estimator=FusedEstimator(), gradient=FusedEstimatorGradient(), **options)

        def both(network: Any, x: Any = x, w: Any = w) -> None:
            network.forward(x, w)
            network.backward(x, w)

        np.testing.assert_allclose(ours.backward(x, w)[1], engine.jacobian(x, w), atol=1e-10)
        np.testing.assert_allclose(stock.backward(x, w)[1], engine.jacobian(x, w), atol=1e-10)
        jacobian, network, classes = seconds(
            lambda f=engine, x=x, w=w: f.jacobian(x, w),
            lambda ours=ours: both(ours),
            lambda stock=stock: both(stock),
        )
        yield overhead(f"{name}: `FusedEstimatorQNN`", network, "`jacobian`", jacobian, 0.5e-3)
        yield overhead(f"{name}: stock network, our classes", classes, "`jacobian`", jacobian, 2.5e-3 + 10e-6 * batch)


def layers(rng: np.random.Generator) -> Iterator[Entry]:
    """A torch layer, forward and backward and in a step with a loss, beside the engine's calls."""
    for name, (qubits, depth, batch) in SHAPES.items():
        circuit, inputs, _ = classifier_circuit(qubits, depth)
        layer = FusedLayer(circuit, SparsePauliOp("Z" + "I" * (qubits - 1)), inputs, dtype=torch.float64)
        linear, engine = torch.nn.Linear(qubits, 1, bias=False, dtype=torch.float64), layer.function
        rows, given = torch.tensor(rng.normal(size=(batch, qubits))), torch.tensor(rng.normal(size=(batch, 1)))
        x, w, cotangents = rows.numpy(), layer.weight.detach().numpy(), given.numpy()

        def back(module: Any, rows: Any = rows, given: Any = given) -> None:
            module.weight.grad = None
            module(rows).backward(given)

        def step(module: Any, rows: Any = rows) -> None:
            module.weight.grad = None
            module(rows).square().sum().backward()

        def pulled(f: Any = engine, x: Any = x, w: Any = w, cotangents: Any = cotangents) -> Any:
            values, pullback = f.vjp(x, w)
            return values, pullback(cotangents)[1]

        back(layer)
        np.testing.assert_allclose(layer.weight.grad, pulled()[1], atol=1e-12)
        vjp, plain, own, squares, plain_step, own_step = seconds(
            pulled,
            lambda linear=linear: back(linear),
            lambda layer=layer: back(layer),
            lambda f=engine, x=x, w=w: f.value_and_vjp(x, w, lambda values: 2 * values),
            lambda linear=linear: step(linear),
            lambda layer=layer: step(layer),
        )
        yield overhead(f"{name}: `FusedLayer`, forward and backward", own, "`vjp`", vjp, 0.3e-3, plain)
        yield overhead(f"{name}: `FusedLayer`, a step", own_step, "`value_and_vjp`", squares, 0.3e-3, plain_step)


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


PARTS = {"networks": networks, "layers": layers, "sampler": sampler, "kernel": kernel, "tensor": tensor}


def line(entry: Entry) -> str:
    """An entry in a line of text."""
    ours, other = 1e3 * entry["seconds"], 1e3 * entry["reference"]
    text = f"{entry['what']:<44}{ours:9.2f} ms  beside {entry['beside']}, {other:.2f}{'*' * entry['scaled']} ms: "
    if "more" in entry:
        alone = f", {1e3 * entry['torch']:.2f} of it torch's own" if "torch" in entry else ""
        first = f"{1e3 * entry['first']['more']:+.2f} in first calls"
        return f"{text}{1e3 * entry['more']:+.2f} ms{alone} ({first}), {1e3 * entry['allowed']:.2f} allowed"
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
