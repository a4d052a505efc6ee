"""What a careful user writes in JAX: superoperators, runs of one qubit multiplied, a scan over the layers."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import noise_workloads as noisy
import numpy as np
from noise_workloads import NoisyWorkload
from spec import Gate

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples

PAULIS = (np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1]))
PAIRS = [np.kron(first, second) for first in PAULIS for second in PAULIS]


def superoperator(kraus: list[Array]) -> Array:
    """The matrix on vectors of matrices, rows fastest."""
    return sum(np.kron(k.conj(), k) for k in kraus)  # type: ignore[return-value]


def noise_of_rotations() -> Array:
    """Depolarizing of one qubit."""
    p = noisy.P1
    return superoperator([np.sqrt(1 - 3 / 4 * p if k == 0 else p / 4) * each for k, each in enumerate(PAULIS)])


def noisy_cx(damping: bool) -> Array:
    """CX, the first qubit its control, and its noise."""
    p, g = noisy.P2, noisy.GAMMA
    cx = np.eye(4)[[0, 1, 3, 2]]
    result = superoperator([np.sqrt(1 - 15 / 16 * p if k == 0 else p / 16) * each for k, each in enumerate(PAIRS)])
    if damping:
        kraus = [np.array([[1, 0], [0, np.sqrt(1 - g)]]), np.array([[0, np.sqrt(g)], [0, 0]])]
        result = superoperator([np.kron(a, b) for a in kraus for b in kraus]) @ result
    return result @ superoperator([cx])


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("jax", "jaxlib", "numpy")

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if workload.noise == "device" or workload.trajectories or workload.shots:
            raise UnsupportedError("the adapter has exact values of depolarizing and damping")
        jax.config.update("jax_enable_x64", True)
        self.workload, self.n = workload, workload.num_qubits
        self.inputs = jnp.asarray(workload.inputs())
        self.rotation_noise = jnp.asarray(noise_of_rotations())
        self.pair = jnp.asarray(noisy_cx(damping=workload.noise == "device-like"))
        one = self.energy if workload.wanted == "values" else jax.value_and_grad(self.energy, argnums=1)
        self.whole = self.n < 6
        self.note = "jit, scan over layers, " + ("vmap over samples" if self.whole else "a call for every sample")
        self.compiled = jax.jit(jax.vmap(one, (0, None)) if self.whole else one)
        self.batch = workload.batch if self.whole else 1
        self.step(workload.weights(0))
        start = time.perf_counter()
        self.step(workload.weights(1))
        self.seconds = time.perf_counter() - start
        self.batch = affordable_samples(workload, self.seconds / self.batch, step_limit)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        w = jnp.asarray(weights)
        if self.whole:
            found = jax.device_get(self.compiled(self.inputs[: self.batch], w))
        else:
            parts = [jax.device_get(self.compiled(self.inputs[b], w)) for b in range(self.batch)]
            found = (
                np.array(parts) if self.workload.wanted == "values" else tuple(map(np.array, zip(*parts, strict=True)))
            )
        if self.workload.wanted == "values":
            return Step(np.asarray(found)[:, None])
        return Step(np.asarray(found[0])[:, None], weights=np.asarray(found[1]).sum(axis=0))

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"devices": [str(device) for device in jax.devices()]}

    def energy(self, x: Any, w: Any) -> Any:
        """The value for one sample."""
        n, layers, first = self.n, self.workload.num_layers, self.workload.first_weight
        rho = jnp.zeros((2,) * (2 * n), complex).at[(0,) * (2 * n)].set(1)
        rho = self.run(rho, self.workload.prefix, x, w, 0)
        if layers:
            stacked = w[first:].reshape(layers, -1)

            def body(rho: Any, own: Any) -> tuple[Any, None]:
                return self.run(rho, self.workload.layer, x, own, first), None

            rho, _ = jax.lax.scan(body, rho, stacked)
        p = jnp.real(jnp.diagonal(rho.reshape(2**n, 2**n)))
        return jnp.dot(p, 1.0 - 2.0 * np.bitwise_count(np.arange(2**n)) / n)

    def run(self, rho: Any, gates: tuple[Gate, ...], x: Any, w: Any, first: int) -> Any:
        """Gates and their noise; runs of one qubit are multiplied before they are applied."""
        runs: dict[int, Any] = {}
        for gate in gates:
            if gate.name == "cx":
                for q in gate.qubits:
                    rho = self.apply(rho, runs.pop(q), (q,)) if q in runs else rho
                rho = self.apply(rho, self.pair, gate.qubits)
            else:
                (q,), (factor,) = gate.qubits, gate.angles[0].factors
                theta = x[factor.index] if factor.source == "input" else w[factor.index - first]
                pauli = PAULIS["xyz".index(gate.name[1]) + 1]
                u = jnp.cos(theta / 2) * PAULIS[0] - 1j * jnp.sin(theta / 2) * pauli
                own = self.rotation_noise @ jnp.kron(u.conj(), u)
                runs[q] = own @ runs[q] if q in runs else own
        for q, own in runs.items():
            rho = self.apply(rho, own, (q,))
        return rho

    def apply(self, rho: Any, matrix: Any, qubits: tuple[int, ...]) -> Any:
        """A superoperator on some qubits; the first n axes of rho are its rows."""
        n, k = self.n, len(qubits)
        axes = [2 * n - 1 - q for q in qubits] + [n - 1 - q for q in qubits]
        out = jnp.tensordot(matrix.reshape((2,) * (4 * k)), rho, (list(range(2 * k, 4 * k)), axes))
        return jnp.moveaxis(out, range(2 * k), axes)
