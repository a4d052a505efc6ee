"""A user's QNode on `fusedqml.qubit` beside `lightning.qubit`, both with ``diff_method="adjoint"``, taking turns.

    python benchmarks/qnodes.py [--parts training,single,overhead] [--seconds 10] [--json FILE]

Needed beside this package: its extra ``pennylane``. Both devices get the same quantum function, the same numbers and
the same number of threads, in one process. *Training*: the main workloads W1 to W6, samples broadcast, the values and
the gradient of their mean with respect to all weights. *Single*: one sample of 4 to 22 qubits, forward, and forward
with the gradient. *Overhead*: circuits so small that a call is nothing but Python. Answers are compared before anything
is timed; what counts are medians, and their ratios.

Beside *training* stand two floors, in the same turns. ``null.qubit`` is PennyLane's own device that simulates nothing:
a QNode on it is all that the framework does around a device. ``tape`` is what no device can spare its user: the quantum
function is run and its tape built, and the gradient of every gate's parameter goes back to the weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import machine

THREADS = os.environ.setdefault("OMP_NUM_THREADS", str(machine.cores()))  # lightning reads it when it is loaded

import numpy as np  # noqa: E402
import pennylane as qml  # noqa: E402
from autograd.extend import defvjp_argnums, primitive  # noqa: E402
from pennylane import numpy as pnp  # noqa: E402
from workloads import sizes  # noqa: E402

SHAPES = {name: sizes(name) for name in ("W1", "W2", "W3", "W4", "W5", "W6")}
"""Qubits, layers and samples of the main workloads."""

DEVICES = ("fusedqml.qubit", "lightning.qubit")


@dataclass(frozen=True)
class Case:
    """One comparison: a call for each device.

    Attributes:
        name: What it is.
        calls: A call for each of `DEVICES`, which returns arrays.
        floors: Calls that do nothing but a part of these.
    """

    name: str
    calls: tuple[Callable[[], Any], Callable[[], Any]]
    floors: dict[str, Callable[[], Any]] = field(default_factory=dict)


def ansatz(x: Any, w: Any) -> None:
    """RY encoding, then layers of RX RY RZ on every qubit and a ring of CNOT."""
    layers, n, _ = w.shape
    for q in range(n):
        qml.RY(x[..., q], wires=q)
    for layer in range(layers):
        for q in range(n):
            qml.RX(w[layer, q, 0], wires=q)
            qml.RY(w[layer, q, 1], wires=q)
            qml.RZ(w[layer, q, 2], wires=q)
        for q in range(n):
            qml.CNOT(wires=[q, (q + 1) % n])


def qnode(device: str, n: int) -> Any:
    """The mean of Z after the ansatz."""
    observable = qml.dot([1 / n] * n, [qml.Z(q) for q in range(n)])

    @qml.qnode(qml.device(device, wires=n), diff_method="adjoint")
    def circuit(x: Any, w: Any) -> Any:
        ansatz(x, w)
        return qml.expval(observable)

    return circuit


def numbers(n: int, layers: int, batch: int) -> tuple[Any, Any]:
    """Samples (B, n), or (n,) for one, and weights (layers, n, 3)."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi / 2, np.pi / 2, (batch, n) if batch > 1 else n)
    return pnp.array(x, requires_grad=False), pnp.array(rng.uniform(-np.pi, np.pi, (layers, n, 3)), requires_grad=True)


def step(circuit: Any, x: Any, w: Any) -> Callable[[], Any]:
    """Value and gradient of the mean over the samples."""
    gradient = qml.grad(lambda w: pnp.mean(circuit(x, w)))

    def call() -> Any:
        found = gradient(w)
        return np.append(np.ravel(found), gradient.forward)

    return call


@primitive
def discarded(*_: Any) -> float:
    """A number that parameters have no influence on."""
    return 0.0


defvjp_argnums(discarded, lambda argnums, *_: lambda _: [np.zeros(())] * len(argnums))


def tape_only(circuit: Any, x: Any, w: Any) -> Callable[[], Any]:
    """A QNode's tape and the way back from its parameters to the weights, without any device."""
    gradient = qml.grad(lambda w: discarded(*circuit.construct((x, w), {}).get_parameters()))
    return lambda: gradient(w)


def training() -> Iterator[Case]:
    """The main workloads."""
    for name, (n, layers, batch) in SHAPES.items():
        x, w = numbers(n, layers, batch)
        first, second = (step(qnode(device, n), x, w) for device in DEVICES)
        nothing = qnode("null.qubit", n)
        floors = {"null.qubit": step(nothing, x, w), "tape": tape_only(nothing, x, w)}
        yield Case(f"{name}, {batch} samples, value and gradient", (first, second), floors)


def single() -> Iterator[Case]:
    """One sample of 4 to 22 qubits, three layers."""
    for n in range(4, 23, 2):
        x, w = numbers(n, 3, 1)
        circuits = [qnode(device, n) for device in DEVICES]
        fixed = np.array(w)
        first, second = (lambda c=c, x=x, w=fixed: c(x, w) for c in circuits)
        yield Case(f"{n} qubits, forward", (first, second))
        first, second = (step(c, x, w) for c in circuits)
        yield Case(f"{n} qubits, value and gradient", (first, second))


def overhead() -> Iterator[Case]:
    """Calls of small circuits."""
    for n, layers in ((1, 1), (2, 1), (4, 2)):
        x, w = numbers(n, layers, 1)
        circuits = [qnode(device, n) if n > 1 else lone(device) for device in DEVICES]
        fixed = np.array(w)
        first, second = (lambda c=c, x=x, w=fixed: c(x, w) for c in circuits)
        yield Case(f"call, {n} qubits, {layers} layers", (first, second))
        first, second = (lambda c=c, x=x, w=w: c(x, w) for c in circuits)
        yield Case(f"call with trainable weights, {n} qubits, {layers} layers", (first, second))


def lone(device: str) -> Any:
    """One qubit, three rotations."""

    @qml.qnode(qml.device(device, wires=1), diff_method="adjoint")
    def circuit(x: Any, w: Any) -> Any:
        qml.RY(x[0], wires=0)
        qml.RX(w[0, 0, 0], wires=0)
        qml.RZ(w[0, 0, 1], wires=0)
        return qml.expval(qml.Z(0))

    return circuit


PARTS: dict[str, Callable[[], Iterator[Case]]] = {"training": training, "single": single, "overhead": overhead}


def seconds_of(call: Callable[[], Any]) -> float:
    """Duration of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(case: Case, seconds: float, most: int = 200) -> dict[str, Any]:
    """Times of both in turns, three of each at least; ours calls more often where it is so much faster.

    Raises:
        AssertionError: If the answers differ.
    """
    np.testing.assert_allclose(case.calls[0](), case.calls[1](), atol=1e-9)
    times: dict[str, list[float]] = {name: [] for name in (*DEVICES, *case.floors)}
    ours, theirs = DEVICES
    began = time.perf_counter()
    while len(times[theirs]) < 3 or (time.perf_counter() - began < seconds and len(times[theirs]) < most):
        times[ours].extend(seconds_of(case.calls[0]) for _ in range(3))
        times[theirs].append(seconds_of(case.calls[1]))
        for name, call in case.floors.items():
            times[name].append(seconds_of(call))
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {"case": case.name, "medians": medians, "seconds": times}


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each case")
    parser.add_argument("--only", default="", help="only cases whose name begins so")
    parser.add_argument("--json", type=Path, help="where to write everything")
    arguments = parser.parse_args()
    report: dict[str, Any] = machine.report(
        threads=int(THREADS),
        versions={name: version(name) for name in ("pennylane", "pennylane-lightning", "numpy")},
        entries=[],
    )
    print(f"{'':<48}{DEVICES[0]:>16}{DEVICES[1]:>18}{'ratio':>9}   floors")
    for part in arguments.parts.split(","):
        for case in PARTS[part]():
            if not case.name.startswith(arguments.only):
                continue
            entry = measure(case, arguments.seconds)
            report["entries"].append(entry)
            ours, theirs = (1e3 * entry["medians"][device] for device in DEVICES)
            floors = ", ".join(f"{name} {1e3 * entry['medians'][name]:.2f} ms" for name in case.floors)
            print(f"{case.name:<48}{ours:>13.2f} ms{theirs:>15.2f} ms{theirs / ours:>9.1f}   {floors}", flush=True)
    machine.save(report, arguments.json)


if __name__ == "__main__":
    main()
