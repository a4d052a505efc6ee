"""TensorCircuit-NG's density matrices on JAX: ``jit`` of ``vmap``, and a scan over the layers."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import noise_workloads as noisy
import numpy as np
import tensorcircuit as tc
from noise_workloads import NoisyWorkload
from spec import Gate

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError, affordable_samples
from peers.noise.superoperators import PAIRS


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("tensorcircuit-ng", "jax", "jaxlib", "numpy")
    note = "DMCircuit, jit, vmap over samples, scan over layers"

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if workload.noise == "device" or workload.trajectories or workload.shots:
            raise UnsupportedError("the adapter has exact values of depolarizing and damping")
        tc.set_backend("jax")
        tc.set_dtype("complex128")
        p = noisy.P2
        kraus = [np.sqrt(1 - 15 / 16 * p if k == 0 else p / 16) * pair for k, pair in enumerate(PAIRS)]
        self.pair = [tc.gates.Gate(k.reshape(2, 2, 2, 2).astype(complex)) for k in kraus]
        self.workload = workload
        one = self.energy if workload.wanted == "values" else jax.value_and_grad(self.energy, argnums=1)
        self.compiled = jax.jit(jax.vmap(one, (0, None)))
        self.batch = workload.batch if workload.num_qubits < 6 else 1
        self.inputs = jnp.asarray(workload.inputs())
        self.step(workload.weights(0))
        start = time.perf_counter()
        self.step(workload.weights(1))
        self.batch = affordable_samples(workload, (time.perf_counter() - start) / self.batch, step_limit)

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        found = jax.device_get(self.compiled(self.inputs[: self.batch], jnp.asarray(weights)))
        if self.workload.wanted == "values":
            return Step(np.asarray(found)[:, None])
        return Step(np.asarray(found[0])[:, None], weights=np.asarray(found[1]).sum(axis=0))

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"devices": [str(device) for device in jax.devices()]}

    def energy(self, x: Any, w: Any) -> Any:
        """The value for one sample."""
        n, layers, first = self.workload.num_qubits, self.workload.num_layers, self.workload.first_weight
        rho = self.run(tc.DMCircuit(n), self.workload.prefix, x, w, 0)
        if layers:

            def body(rho: Any, own: Any) -> tuple[Any, None]:
                return self.run(tc.DMCircuit(n, dminputs=rho), self.workload.layer, x, own, first), None

            rho, _ = jax.lax.scan(body, rho, w[first:].reshape(layers, -1))
        return jnp.dot(jnp.real(jnp.diagonal(rho)), 1.0 - 2.0 * np.bitwise_count(np.arange(2**n)) / n)

    def run(self, circuit: Any, gates: tuple[Gate, ...], x: Any, w: Any, first: int) -> Any:
        """Gates and their noise."""
        p = noisy.P1
        for gate in gates:
            if gate.name == "cx":
                circuit.cnot(*gate.qubits)
                circuit.general_kraus(self.pair, *gate.qubits)
                if self.workload.noise == "device-like":
                    for q in gate.qubits:
                        circuit.amplitudedamping(q, gamma=noisy.GAMMA, p=1.0)
            else:
                (q,), (factor,) = gate.qubits, gate.angles[0].factors
                theta = x[factor.index] if factor.source == "input" else w[factor.index - first]
                getattr(circuit, gate.name)(q, theta=theta)
                circuit.depolarizing(q, px=p / 4, py=p / 4, pz=p / 4)
        return circuit.densitymatrix()
