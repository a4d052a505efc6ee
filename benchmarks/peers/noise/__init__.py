"""The tools that simulate noise: adapters as in `peers`, of workloads with noise only.

``general`` is this package without the collapse of a batch to one state, ``simulator`` its backend `FusedSimulator`.
"""

from __future__ import annotations

from peers import OURS, Peer

NOISE_PEERS: dict[str, Peer] = {
    OURS: Peer("qiskit_fusedqml", "peers.noise.fusedqml", None),
    "general": Peer("qiskit_fusedqml, a state for every sample", "peers.noise.general", None),
    "simulator": Peer("FusedSimulator", "peers.noise.simulator", None, ("double",)),
    "aer": Peer("Qiskit Aer", "peers.noise.aer", None, ("double",)),
    "default.mixed": Peer("PennyLane default.mixed, backprop", "peers.noise.default_mixed", None, ("double",)),
    "jax": Peer("superoperators in JAX: jit, scan", "peers.noise.superoperators", "tensorcircuit", ("double",)),
    "tensorcircuit": Peer("TensorCircuit-NG: DMCircuit", "peers.noise.tensorcircuit", "tensorcircuit", ("double",)),
}
"""All columns, ours first."""
