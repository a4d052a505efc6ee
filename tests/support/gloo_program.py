"""What the ranks of torch.distributed run in a test: ``python gloo_program.py RANK SIZE FILE``."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed

sys.path.insert(0, str(Path(__file__).parent.parent))  # where `support` lies

from support import staged

from qiskit_fusedqml import DifferentiableCircuit, FusedLayer
from qiskit_fusedqml.errors import CommunicationError

rank, size, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
distributed.init_process_group(
    "gloo", init_method=f"file://{file}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
)
circuit, observables = staged.layered(7, 3, "ring"), ["ZIIIIII", "XIIIIIY"]
w, ones = np.linspace(-1, 1, circuit.num_parameters), np.ones((1, 2))
f = DifferentiableCircuit(circuit, observables, comm=distributed.group.WORLD, comm_timeout=25, num_threads=1)
own = DifferentiableCircuit(circuit, observables, num_threads=1).value_and_vjp(None, w, ones)
values, _, gradient = f.value_and_vjp(None, w, ones)
assert np.abs(values - own[0]).max() < 1e-12
assert np.abs(gradient - own[2]).max() < 1e-12
everyone = [torch.zeros(len(gradient), dtype=torch.float64) for _ in range(size)]
distributed.all_gather(everyone, torch.from_numpy(gradient))
assert all(torch.equal(everyone[0], each) for each in everyone)

layer = FusedLayer(
    circuit, observables, comm=distributed.group.WORLD, comm_timeout=25, ranks_per_state=1, num_threads=1,
    initial_weights=w, dtype=torch.float64,
)  # fmt: skip
layer().sum().backward()
assert np.abs(layer.weight.grad.numpy() - own[2]).max() < 1e-12
f = DifferentiableCircuit(circuit, observables, comm=distributed.group.WORLD, comm_timeout=4, num_threads=1)
if rank:
    sys.stdout.write("all right\n")
    sys.exit(0)  # the others ask once more, and wait
try:
    f.values(None, w)
except CommunicationError:
    sys.stdout.write("all right\n")
