"""`FusedLayer`: a circuit as a layer of a PyTorch network.

A training step is one forward and one backward sweep, whatever the number of observables: the final states are held
from ``forward`` to ``backward``, where the gradients that arrive for all outputs go into a single bra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from ..errors import FusedQMLError, InvalidInputError
from .circuit import DifferentiableCircuit

Gradients = tuple[NDArray[np.floating] | None, NDArray[np.floating]]


class FusedLayer(torch.nn.Module):
    """Expectation values of a circuit as a layer: inputs (..., num_inputs) -> (..., num_observables).

    The weights are the parameter ``weight``. Gradients flow to the weights and to the inputs. Second derivatives are
    not available through autograd; `DifferentiableCircuit.hvp` of ``layer.function`` gives products with the Hessian.
    Tensors on a GPU are taken to the processor and back where the engine's device is "CPU".

    Torch's own threads only compete with the simulation's for the cores: ``torch.set_num_threads(1)`` helps where the
    rest of the network is small.

    Args:
        circuit: The circuit; measurements at its end are ignored.
        observables: Anything Estimator V2 accepts, one output each.
        inputs: Parameters that take the columns of the layer's input, in this order.
        weights: Parameters that are trained; by default all others in the order of ``circuit.parameters``.
        initial_weights: Their first values, (num_weights,); by default uniform in [-1, 1).
        dtype: Type of ``weight``, by default torch's default type. Outputs have the promoted type of input and weight.
        device: "CPU" or "GPU", where the circuit is simulated.
        precision: "double" or "single", the float type of the amplitudes.
        num_threads: Threads of the CPU device; None for the cores this process may use, capped by OMP_NUM_THREADS.
        max_memory_mb: Memory for states in MiB; None for half of the machine's. Larger batches are cut.
        checkpoint: States kept on the way forward for the sweep back: None, a number, or "auto"; see
            `DifferentiableCircuit`.

    Raises:
        InvalidInputError: If inputs and weights are not the circuit's parameters, each once, an observable does not
            fit, or ``initial_weights`` has another shape.

    Example:
        >>> import torch
        >>> from qiskit.circuit.library import real_amplitudes, zz_feature_map
        >>> from qiskit_fusedqml import FusedLayer
        >>> features, ansatz = zz_feature_map(2), real_amplitudes(2)
        >>> layer = FusedLayer(features.compose(ansatz), ["ZI", "IZ"], inputs=features.parameters)
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 2), layer)
        >>> network(torch.zeros(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        observables: Any,
        inputs: Iterable[Parameter] = (),
        weights: Iterable[Parameter] | None = None,
        *,
        initial_weights: ArrayLike | torch.Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: str = "CPU",
        precision: str = "double",
        num_threads: int | None = None,
        max_memory_mb: float | None = None,
        checkpoint: str | int | None = None,
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "num_threads": num_threads,
            "max_memory_mb": max_memory_mb,
            "checkpoint": checkpoint,
        }
        self._observables = observables
        self.function = DifferentiableCircuit(circuit, observables, inputs, weights, **self._options)
        self.weight = torch.nn.Parameter(torch.empty(self.function.num_weights, dtype=dtype))
        self.reset_parameters()
        if initial_weights is not None:
            given = torch.as_tensor(initial_weights)
            if given.shape != self.weight.shape:
                raise InvalidInputError(
                    f"initial_weights has shape {tuple(given.shape)}; {tuple(self.weight.shape)} is expected."
                )
            with torch.no_grad():
                self.weight.copy_(given)

    def reset_parameters(self) -> None:
        """Draw new weights, uniform in [-1, 1)."""
        torch.nn.init.uniform_(self.weight, -1.0, 1.0)

    def extra_repr(self) -> str:
        """Sizes, for ``print(network)``."""
        f = self.function
        return f"{f.num_qubits} qubits, inputs={f.num_inputs}, weights={f.num_weights}, outputs={f.num_observables}"

    def forward(self, x: torch.Tensor | None = None) -> torch.Tensor:
        """Expectation values.

        Args:
            x: Inputs (..., num_inputs); None for a circuit without inputs.

        Returns:
            (..., num_observables), of the promoted type of ``x`` and ``weight``, where ``x`` is.

        Raises:
            InvalidInputError: If the last dimension is not num_inputs, or a number is not finite.
        """
        width = self.function.num_inputs
        if x is None:
            x = self.weight.new_zeros((width,) if not width else (0,))
        if x.ndim == 0 or x.shape[-1] != width:
            raise InvalidInputError(f"The input has shape {tuple(x.shape)}; (..., {width}) is expected.")
        rows = x.reshape(-1, width) if width else x.new_zeros((int(np.prod(x.shape[:-1])), 0))
        wanted = torch.is_grad_enabled() and rows.requires_grad
        call = _Call(self._with_input_gradients if wanted else self.function, torch.is_grad_enabled())
        values: torch.Tensor = _Expectation.apply(rows, self.weight, call)
        return values.reshape(*x.shape[:-1], values.shape[-1])

    @cached_property
    def _with_input_gradients(self) -> DifferentiableCircuit:
        f = self.function
        return DifferentiableCircuit(
            f.circuit, self._observables, f.inputs, f.weights, input_gradients=True, **self._options
        )


@dataclass(eq=False)
class _Call:
    """One evaluation of a layer, from its forward to its backward pass.

    Attributes:
        function: The circuit.
        differentiated: Whether a backward pass may follow.
        pullback: Holds the final states for it, until it is used.
    """

    function: DifferentiableCircuit
    differentiated: bool
    pullback: Callable[[ArrayLike], Gradients] | None = None

    def values(self, x: NDArray[Any], w: NDArray[Any]) -> NDArray[np.floating]:
        """Values (B, n_obs), also for B = 0."""
        rows = x if self.function.num_inputs else None
        if not len(x):
            return np.zeros((0, self.function.num_observables))
        if not self.differentiated:
            values = self.function.values(rows, w)
        else:
            values, self.pullback = self.function.vjp(rows, w)
        return values if rows is not None else np.broadcast_to(values, (len(x), values.shape[1]))

    def gradients(self, x: NDArray[Any], w: NDArray[Any], cotangents: NDArray[Any]) -> Gradients:
        """(dx, dw), from the held states or, if a graph is walked a second time, from new ones."""
        if not len(x):
            return np.zeros(x.shape), np.zeros(w.shape)
        rows = x if self.function.num_inputs else None
        pullback, self.pullback = self.pullback, None
        if pullback is None:
            pullback = self.function.vjp(rows, w)[1]
        return pullback(cotangents if rows is not None else cotangents.sum(axis=0, keepdims=True))


class _Expectation(torch.autograd.Function):
    """Rows (B, num_inputs) and weights -> values (B, n_obs)."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, call: _Call) -> torch.Tensor:
        values = call.values(_array(x), _array(weight))
        return _tensor(values, x.device, torch.result_type(x, weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG004
        x, weight, ctx.call = inputs
        ctx.save_for_backward(x, weight)  # torch then sees weights that were changed in between

    @staticmethod
    def backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        pull = _Gradient.apply if torch.is_grad_enabled() else _Gradient.forward  # create_graph, or a plain step
        dx, dw = pull(x, weight, cotangents, ctx.call)
        return dx if ctx.needs_input_grad[0] else None, dw if ctx.needs_input_grad[1] else None, None


# torch asks for the signature at every call, and finding it out takes longer than all the rest of the call
_Expectation.forward.__signature__ = signature(_Expectation.forward)  # type: ignore[attr-defined]


class _Gradient(torch.autograd.Function):
    """The pullback; a function of its own so that its derivative can be refused."""

    @staticmethod
    def forward(
        x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor, call: _Call
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dx, dw = call.gradients(_array(x), _array(weight), _array(cotangents))
        rows = torch.zeros_like(x) if dx is None else _tensor(dx, x.device, x.dtype)
        return rows, _tensor(dw, weight.device, weight.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:  # noqa: ARG004
        raise FusedQMLError(
            "Second derivatives of a FusedLayer are not available through autograd (create_graph=True, nested "
            "torch.func.grad, gradient penalties); layer.function.hvp(x, w, v) gives exact products with the Hessian."
        )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor's numbers as float64; without a copy where they are that already."""
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def _tensor(array: NDArray[Any], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device=device, dtype=dtype)
