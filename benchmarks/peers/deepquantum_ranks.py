"""DeepQuantum's distributed state vector, one rank: value and gradient of layers RX RY RZ and a ring of CX.

Run by `distributed_state.py` in an environment of its own, by ``python -m torch.distributed.run``. The last line of
rank 0 holds the value, the gradient and the times as JSON. Its qubit 0 is the leftmost one.
"""

from __future__ import annotations

import json
import sys
import time

import deepquantum as dq
import torch

STEPS = 3


def main(n: int, layers: int, weights: list[float]) -> None:
    """Values and gradients of one observable, Z on every qubit."""
    torch.set_num_threads(1)
    rank, _, _ = dq.setup_distributed(backend="gloo")
    circuit = dq.DistributedQubitCircuit(n)
    for _ in range(layers):
        for q in range(n):
            for turn in (circuit.rx, circuit.ry, circuit.rz):
                turn(q)
        for q in range(n):
            circuit.cnot(q, (q + 1) % n)
    circuit.observable(wires=list(range(n)), basis="z" * n)
    circuit.to(torch.double)
    with torch.no_grad():
        for parameter, weight in zip(circuit.parameters(), weights, strict=True):
            parameter.fill_(weight)
    times = []
    for _ in range(STEPS):
        torch.distributed.barrier()
        began = time.perf_counter()
        trained = list(circuit.parameters())  # its backward pass puts others in their place
        circuit()
        value = circuit.expectation()
        value.sum().backward()
        times.append(time.perf_counter() - began)
    if rank == 0:
        gradient = [float(parameter.grad) for parameter in trained]
        sys.stdout.write(json.dumps({"value": float(value.sum()), "gradient": gradient, "seconds": times}) + "\n")
    dq.cleanup_distributed()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.stdin.read() if len(sys.argv) < 4 else sys.argv[3]))
