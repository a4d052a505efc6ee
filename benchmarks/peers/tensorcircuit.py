"""TensorCircuit-NG on JAX: ``lax.scan`` over the layers, ``vmap`` over the samples, the whole step under ``jit``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from spec import Angle, Gate, Term, Workload, primitive

from peers.adapter import Adapter as AdapterProtocol, Array, Step


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("tensorcircuit-ng", "jax", "jaxlib", "numpy")
    note = "jit of vmap over samples, lax.scan over layers; observables as precomputed diagonals and index flips"

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        tc.set_backend("jax")
        tc.set_dtype("complex128" if precision == "double" else "complex64")
        self.workload = workload
        self.batch = workload.batch
        self.real = np.float64 if precision == "double" else np.float32
        self.inputs = jnp.asarray(workload.inputs(), dtype=self.real)
        self.prefix = [part for gate in workload.prefix for part in primitive(gate)]
        self.layer = [part for gate in workload.layer for part in primitive(gate)]
        self.observables = [_by_flip(terms, workload.num_qubits) for terms in workload.observables]
        self.compiled = jax.jit(self._compiled_step())

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        result = self.compiled(self.inputs, jnp.asarray(weights, dtype=self.real))
        return Step(**{name: np.asarray(array) for name, array in result.items()})

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {"devices": [str(device) for device in jax.devices()]}

    def _sample(self, x: Any, w: Any) -> Any:
        """The observables' values for one sample, (n_obs,)."""
        n, layers = self.workload.num_qubits, self.workload.num_layers
        first, per_layer = self.workload.first_weight, self.workload.weights_per_layer
        # a layer's weight indices start where the prefix's end
        state = _run(tc.Circuit(n), self.prefix, x, w, 0)
        if layers:
            stacked = w[first:].reshape(layers, per_layer)

            def body(ket: Any, layer_weights: Any) -> tuple[Any, None]:
                return _run(tc.Circuit(n, inputs=ket), self.layer, x, layer_weights, first), None

            state, _ = jax.lax.scan(body, state, stacked)
        return jnp.stack([_expectation(state, parts) for parts in self.observables])

    def _compiled_step(self) -> Any:
        batched = jax.vmap(self._sample, in_axes=(0, None))
        wanted = self.workload.wanted
        if wanted == "values":
            return lambda x, w: {"values": batched(x, w)}
        if wanted == "jacobian":

            def with_values(x: Any, w: Any) -> tuple[Any, Any]:
                values = self._sample(x, w)
                return values, values

            per_sample = jax.vmap(jax.jacrev(with_values, argnums=1, has_aux=True), in_axes=(0, None))

            def jacobian_step(x: Any, w: Any) -> dict[str, Any]:
                jacobian, values = per_sample(x, w)
                return {"values": values, "jacobian": jacobian}

            return jacobian_step

        def total(x: Any, w: Any) -> tuple[Any, Any]:
            values = batched(x, w)
            return values.sum(), values

        names = {"weights": 1} | ({"inputs": 0} if wanted == "weights+inputs" else {})
        gradient = jax.value_and_grad(total, argnums=tuple(names.values()), has_aux=True)

        def step(x: Any, w: Any) -> dict[str, Any]:
            (_, values), parts = gradient(x, w)
            return {"values": values} | dict(zip(names, parts, strict=True))

        return step


def _angle(angle: Angle, x: Any, w: Any, first: int) -> Any:
    result = angle.scale
    for factor in angle.factors:
        source = x[factor.index] if factor.source == "input" else w[factor.index - first]
        result = result * (factor.offset + factor.slope * source)
    return result


def _run(circuit: Any, gates: Sequence[Gate], x: Any, w: Any, first: int) -> Any:
    for gate in gates:
        arguments = {"theta": _angle(gate.angles[0], x, w, first)} if gate.angles else {}
        getattr(circuit, gate.name)(*gate.qubits, **arguments)
    return circuit.state()


def _by_flip(terms: Sequence[Term], n: int) -> list[tuple[Array | None, Any]]:
    """The observable as a sum over flips x of ``conj(a[i]) D_x[i] a[i ^ x]``: pairs of the permutation and D_x."""
    index = np.arange(2**n)
    tables: dict[int, Any] = {}
    for term in terms:
        flip, table = 0, np.full(2**n, term.coefficient, dtype=complex)
        for letter, qubit in term.paulis:
            place = n - 1 - qubit  # TensorCircuit's qubit 0 is the most significant bit
            bit = index >> place & 1
            if letter != "Z":
                flip |= 1 << place
            if letter != "X":
                table *= 1 - 2 * bit
            if letter == "Y":
                table *= -1j
        tables[flip] = tables.get(flip, 0) + table
    return [(index ^ flip if flip else None, table) for flip, table in sorted(tables.items())]


def _expectation(state: Any, parts: Sequence[tuple[Any, Any]]) -> Any:
    total = 0.0
    for permutation, table in parts:
        if permutation is None:
            total += jnp.sum(jnp.asarray(table.real, dtype=state.real.dtype) * jnp.abs(state) ** 2)
        else:
            total += jnp.sum(jnp.conj(state) * jnp.asarray(table, dtype=state.dtype) * state[permutation]).real
    return total
