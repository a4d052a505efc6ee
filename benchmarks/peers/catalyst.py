"""Catalyst: the whole step compiled by ``qjit``, samples and layers as compiled loops, adjoint on lightning.qubit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import catalyst
import jax.numpy as jnp
import numpy as np
import pennylane as qml
from spec import Gate, Workload, primitive

from peers.adapter import Adapter as AdapterProtocol, Array, Step, UnsupportedError
from peers.pennylane_circuit import observable, operation


class Adapter(AdapterProtocol):
    """See `peers.adapter.Adapter`."""

    packages = ("pennylane-catalyst", "pennylane", "pennylane-lightning", "jax", "numpy")
    note = "qjit; catalyst.for_loop over samples and layers, value_and_grad of an adjoint QNode"

    def __init__(self, workload: Workload, precision: str, threads: int, step_limit: float) -> None:  # noqa: ARG002
        """See `peers.adapter.Adapter`."""
        if precision != "double":
            raise UnsupportedError("Catalyst's runtime computes in double precision only")
        if len(workload.observables) > 1 and workload.wanted != "jacobian":
            raise UnsupportedError("the adapter has one observable, or a Jacobian")
        self.workload = workload
        self.batch = workload.batch
        # an argument without entries would be refused
        self.inputs = workload.inputs() if workload.num_inputs else np.zeros((self.batch, 1))
        self.prefix = [part for gate in workload.prefix for part in primitive(gate)]
        self.layer = [part for gate in workload.layer for part in primitive(gate)]
        self.compiled = qml.qjit(self._program())

    def step(self, weights: Array) -> Step:
        """See `peers.adapter.Adapter`."""
        values, *gradients = (np.asarray(array) for array in self.compiled(self.inputs, weights))
        values = values.reshape(self.batch, -1)
        if self.workload.wanted == "values":
            return Step(values)
        if self.workload.wanted == "jacobian":
            return Step(values, jacobian=gradients[0])
        return Step(values, weights=gradients[0], inputs=gradients[1] if len(gradients) > 1 else None)

    def report(self) -> dict[str, Any]:
        """See `peers.adapter.Adapter`."""
        return {}

    def _circuit(self) -> Any:
        workload = self.workload
        observables = [observable(terms) for terms in workload.observables]

        @qml.qnode(qml.device("lightning.qubit", wires=workload.num_qubits), diff_method="adjoint")
        def circuit(x: Any, w: Any) -> Any:
            _apply(self.prefix, x, w, 0)

            @catalyst.for_loop(0, workload.num_layers, 1)
            def layers(number: Any) -> None:
                _apply(self.layer, x, w, number * workload.weights_per_layer)

            if workload.num_layers:
                layers()
            values = tuple(qml.expval(o) for o in observables)
            return values if len(values) > 1 else values[0]

        return circuit

    def _program(self) -> Any:
        """The step: a compiled loop over the samples."""
        circuit, batch, wanted = self._circuit(), self.batch, self.workload.wanted
        num_obs, num_weights = len(self.workload.observables), self.workload.num_weights

        def values_of(x: Any, w: Any) -> Any:
            return jnp.stack(jnp.atleast_1d(jnp.asarray(circuit(x, w))))

        def forward(xs: Any, w: Any) -> Any:
            def body(i: Any, values: Any) -> Any:
                return values.at[i].set(values_of(xs[i], w))

            return (catalyst.for_loop(0, batch, 1)(body)(jnp.zeros((batch, num_obs))),)

        def gradient(xs: Any, w: Any) -> Any:
            both = wanted == "weights+inputs"

            def body(i: Any, values: Any, dw: Any, dx: Any) -> Any:
                value, parts = catalyst.value_and_grad(circuit, argnums=(1, 0) if both else (1,))(xs[i], w)
                dx = dx.at[i].set(parts[1]) if both else dx
                return values.at[i].set(value), dw + parts[0], dx

            start = (jnp.zeros(batch), jnp.zeros(num_weights), jnp.zeros(xs.shape if both else 1))
            result = catalyst.for_loop(0, batch, 1)(body)(*start)
            return result if both else result[:2]

        def jacobian(xs: Any, w: Any) -> Any:
            def body(i: Any, values: Any, rows: Any) -> Any:
                row = jnp.stack([jnp.ravel(r) for r in catalyst.jacobian(circuit, argnums=1)(xs[i], w)])
                return values.at[i].set(values_of(xs[i], w)), rows.at[i].set(row)

            start = (jnp.zeros((batch, num_obs)), jnp.zeros((batch, num_obs, num_weights)))
            return catalyst.for_loop(0, batch, 1)(body)(*start)

        return {"values": forward, "jacobian": jacobian}.get(wanted, gradient)


def _apply(gates: Sequence[Gate], x: Any, w: Any, shift: Any) -> None:
    for gate in gates:
        theta: Any = 0.0
        if gate.angles:
            theta = gate.angles[0].scale
            for factor in gate.angles[0].factors:
                source = x[factor.index] if factor.source == "input" else w[shift + factor.index]
                theta = theta * (factor.offset + factor.slope * source)
        operation(gate, theta)
