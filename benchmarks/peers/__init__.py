"""The tools measured beside this package, one adapter a module, each run in a process and an environment of its own.

`PEERS` names them; `adapter` says what a module provides; `__main__` is the process; `session` talks to it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One column of the tables.

    Attributes:
        title: The name shown.
        module: The adapter's module.
        venv: The folder of its environment under the one `setup_peers.sh` fills; None for the running interpreter's.
        precisions: What it computes in.
    """

    title: str
    module: str
    venv: str | None
    precisions: tuple[str, ...] = ("double", "single")


OURS = "ours"
PEERS: dict[str, Peer] = {
    OURS: Peer("qiskit_fusedqml", "peers.fusedqml", None),
    "tensorcircuit": Peer("TensorCircuit-NG (JAX: jit, scan, vmap)", "peers.tensorcircuit", "tensorcircuit"),
    "lightning": Peer("PennyLane lightning.qubit, adjoint", "peers.lightning", "lightning"),
    "catalyst": Peer("Catalyst qjit + lightning.qubit, adjoint", "peers.catalyst", "catalyst", ("double",)),
    "mindquantum": Peer("MindQuantum mqvector", "peers.mindquantum", "mindquantum"),
    "qulacs": Peer("Qulacs backprop", "peers.qulacs", "qulacs", ("double",)),
    "aer": Peer("Qiskit Aer, parameter shift", "peers.aer", "aer"),
    "param_shift": Peer("stock EstimatorQNN, parameter shift", "peers.param_shift", "param_shift", ("double",)),
}
"""All columns, ours first."""
