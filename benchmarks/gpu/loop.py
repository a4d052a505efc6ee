"""The training loop that users write: `FusedLayer` with tensors on the GPU, Adam, and nothing that waits.

It needs PyTorch, Qiskit and the package as installed, with its compiled module.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

STEPS = 20
"""Between two waits."""


def missing() -> str:
    """What it lacks; empty if nothing."""
    for name in ("torch", "qiskit", "qiskit_fusedqml.devices._native"):
        try:
            module = __import__(name, fromlist=["_"])
        except ImportError as error:
            return f"{name} cannot be imported: {error}"
        if name.endswith("_native") and not hasattr(module, "all_finite"):
            return "the package's compiled module is not installed"
    return ""


def layer(n: int, layers: int, precision: str) -> Any:
    """RY encoding, then layers of RX RY RZ on every qubit and a ring of CX; <Z> of each qubit."""
    from qiskit.circuit import ParameterVector, QuantumCircuit

    from qiskit_fusedqml import FusedLayer

    x, w = ParameterVector("x", n), ParameterVector("w", 3 * n * layers)
    weights, circuit = iter(w), QuantumCircuit(n)
    for q in range(n):
        circuit.ry(x[q], q)
    for _ in range(layers):
        for q in range(n):
            for gate in (circuit.rx, circuit.ry, circuit.rz):
                gate(next(weights), q)
        for q in range(n):
            circuit.cx(q, (q + 1) % n)
    labels = ["I" * (n - 1 - q) + "Z" + "I" * q for q in range(n)]
    return FusedLayer(circuit, labels, inputs=list(x), weights=list(w), device="GPU", precision=precision)


def run(n: int, layers: int, batch: int, precision: str, seconds: float, *, emulated: bool) -> dict[str, Any]:
    """Times of a step, whether the loss falls, and whether a side stream and another thread give the same."""
    import torch

    place = "cpu" if emulated else "cuda"
    torch.manual_seed(0)
    circuit = layer(n, layers, precision)
    network = torch.nn.Sequential(torch.nn.Linear(n, n), circuit, torch.nn.Linear(n, 2)).to(place)
    data, labels = torch.randn(batch, n, device=place), torch.randint(0, 2, (batch,), device=place)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses: list[Any] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(network(data), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    def wait() -> None:
        if not emulated:
            torch.cuda.synchronize()

    step()
    wait()
    host, whole, end = [], [], time.perf_counter() + seconds
    count = 2 if emulated else STEPS
    while not whole or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            step()
        host.append((time.perf_counter() - start) / count)
        wait()
        whole.append((time.perf_counter() - start) / count)
    first, last = float(losses[0]), float(losses[-1])
    return {
        "name": f"n{n}",
        "n": n,
        "layers": layers,
        "batch": batch,
        "precision": precision,
        "step_ms": 1e3 * float(np.median(whole)),
        "host_ms": 1e3 * float(np.median(host)),
        "first_loss": first,
        "last_loss": last,
        "steps": len(losses),
        "elsewhere": elsewhere(network, data, emulated=emulated),
        "captured": None if emulated else captured(network, data, labels, seconds),
        "right": last < first,
    }


def captured(network: Any, data: Any, labels: Any, seconds: float) -> dict[str, Any]:
    """A step as one CUDA graph of PyTorch's: its time, and how far its gradients are from those outside of a graph."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), 0.02, capturable=True)

    def gradients() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(data), labels).backward()

    side, graph, times = torch.cuda.Stream(), torch.cuda.CUDAGraph(), []
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            for _ in range(3):
                gradients()
                optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            torch.nn.functional.cross_entropy(network(data), labels).backward()
            optimizer.step()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        graph.replay()
        found = [parameter.grad.clone() for parameter in network.parameters()]
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), before, strict=True):
                parameter.copy_(value)
        gradients()
        expected = [parameter.grad for parameter in network.parameters()]
        off = max(float((one - two).abs().max()) for one, two in zip(found, expected, strict=True))
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(STEPS):
                graph.replay()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / STEPS)
    except Exception as error:  # noqa: BLE001 (what else was measured stays)
        return {"problem": f"{type(error).__name__}: {error}"}
    return {"step_ms": 1e3 * float(np.median(times)), "gradients_off": off}


def elsewhere(network: Any, data: Any, *, emulated: bool) -> dict[str, float]:
    """Largest differences of outputs on a side stream and in another thread; 0 where there is no GPU."""
    import torch

    def outputs() -> Any:
        with torch.no_grad():
            return network(data).cpu()

    expected, found = outputs(), {}
    with ThreadPoolExecutor(1) as pool:
        found["thread"] = float((pool.submit(outputs).result() - expected).abs().max())
    if not emulated:
        with torch.cuda.stream(torch.cuda.Stream()):
            found["stream"] = float((outputs() - expected).abs().max())
    return found
