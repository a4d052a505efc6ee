"""`FusedLayer`: a circuit as a layer of a PyTorch network.

A training step is one forward and one backward sweep, whatever the number of observables: the final states are held
from ``forward`` to ``backward``, where the gradients that arrive for all outputs go into a single bra.

``torch.compile`` and ``torch.export`` see two operators with known shapes, and compile what stands around them.
Operators take no objects, so they know a layer by a number, and what they return depends on numbers only: final states
go from the first to the second if the second is asked about the values that the first was run at last.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from math import prod
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression

from ...arrays import real_array
from ...distributed.batches import RankBatches, StateRanks
from ...engine.options import engine_arguments
from ...errors import FusedQMLError, InvalidInputError
from ..qiskit.circuit import DifferentiableCircuit
from .tensors import array, joined, on_own_stream, tensor

Pullback = Callable[[ArrayLike], tuple[NDArray[np.floating] | None, NDArray[np.floating]]]

# torch's own question before it applies a function; should it be gone, the answer that is right in any case
_torch_func_is_at_work: Callable[[], bool] = getattr(
    torch._C,  # noqa: SLF001
    "_are_functorch_transforms_active",
    lambda: True,
)
_NUMBERS = count(1)
_LAYERS: weakref.WeakValueDictionary[int, FusedLayer] = weakref.WeakValueDictionary()
"""The layers by the numbers that the operators know them by."""

_HELD: dict[int, tuple[Pullback | None, torch.Tensor, torch.Tensor, bool]] = {}
"""The newest forward pass of each compiled layer: its pullback, inputs, weights, and whether inputs have gradients."""


class FusedLayer(torch.nn.Module):
    """Expectation values of a circuit as a layer: inputs (..., num_inputs) -> (..., num_observables).

    The weights are the parameter ``weight``. Gradients flow to the weights and to the inputs. Second derivatives are
    not available through autograd; `DifferentiableCircuit.hvp` of ``layer.function`` gives products with the Hessian.
    Of ``torch.func``, `functional_call`, `grad`, `vjp`, `jacrev` and `vmap` (over inputs, weights or both) work.

    Tensors may be on a GPU, whatever simulates; results are where the input is. With ``device="GPU"`` they are passed
    on by DLPack, and where inputs or weights are in the GPU's memory the host waits for nothing; non-finite numbers
    then give non-finite results (`qiskit_fusedqml.engine.program_function`). All is done on torch's current stream, on
    the GPU that was CuPy's current one when the layer was made; tensors of another one are refused. From the second
    step with tensors of the same shapes on, a step is two CUDA graphs and a prediction one, where states are not too
    large for that (`qiskit_fusedqml.engine.recorded_steps`); then ``torch.cuda.graph`` captures these, too.

    ``torch.compile`` compiles what stands around the layer, without a graph break. Final states of the newest forward
    pass are then kept for its backward pass, which compares its values with those (a GPU is waited for); a layer called
    several times in one step computes the others again.

    Torch's own threads only compete with the simulation's for the cores: ``torch.set_num_threads(1)`` helps where the
    rest of the network is small.

    Args:
        circuit: The circuit; measurements at its end are ignored.
        observables: Anything Estimator V2 accepts, one output each.
        inputs: Parameters that take the columns of the layer's input, in this order.
        weights: Parameters that are trained; by default all others in the order of ``circuit.parameters``.
        initial_weights: Their first values, (num_weights,); by default uniform in [-1, 1).
        dtype: Type of ``weight``, by default torch's default type. Outputs have the promoted type of input and weight.
        device, precision, num_threads, max_memory_mb, checkpoint: As of `DifferentiableCircuit`.
        noise_model, noise_parameters, noise_scale, readout, trajectories, noise_seed: Likewise.
        comm, comm_timeout: A communicator whose ranks share the work, all of them called with the same inputs, and
            seconds that they wait for each other.
        ranks_per_state: How many of them share a state; the samples of a batch are divided among groups of so many. All
            ranks by default.

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
        noise_parameters: Iterable[Parameter] | None = None,
        noise_model: Any = None,
        noise_scale: float | Parameter | ParameterExpression = 1.0,
        readout: bool = False,
        trajectories: int | None = None,
        noise_seed: int | None = None,
        comm: Any = None,
        comm_timeout: float | None = None,
        ranks_per_state: int | None = None,
    ) -> None:
        super().__init__()
        self._options = engine_arguments(locals())
        self._observables = observables
        self._ranks = None if comm is None else StateRanks(comm, comm_timeout, ranks_per_state)
        self.function = self._made(circuit, inputs, weights, noise_parameters=noise_parameters)
        self.weight = torch.nn.Parameter(torch.empty(self.function.num_weights, dtype=dtype))
        self._register()
        self.reset_parameters()
        if initial_weights is not None:
            is_tensor = isinstance(initial_weights, torch.Tensor)
            given = torch.as_tensor(initial_weights if is_tensor else real_array(initial_weights, "initial_weights"))
            if given.shape != self.weight.shape:
                found, expected = tuple(given.shape), tuple(self.weight.shape)
                raise InvalidInputError(f"initial_weights has shape {found}; {expected} is expected.")
            self.weight.data.copy_(given)

    def reset_parameters(self) -> None:
        """Draw new weights, uniform in [-1, 1), and parameters of noise in [0, 0.1); of ranks, the first one does."""
        torch.nn.init.uniform_(self.weight, -1.0, 1.0)
        if self.function.num_noise_parameters:
            torch.nn.init.uniform_(self.weight.data[-self.function.num_noise_parameters :], 0.0, 0.1)
        if self._ranks is not None:
            own, shared = self.weight.data.double().numpy(force=True), cast(Any, self.function)
            self.weight.data.copy_(torch.from_numpy(shared.agreed(own)))

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
            InvalidInputError: If it is no real tensor, its last dimension is not num_inputs, or a number is not finite.
        """
        width, weight = self.function.num_inputs, self.weight
        if x is None:
            x = weight.new_zeros((width,) if not width else (0,))
        if not isinstance(x, torch.Tensor) or x.dtype.is_complex:
            given = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise InvalidInputError(f"The input is of type {given}; a torch.Tensor of real numbers is expected.")
        shape = x.shape
        if not shape or shape[-1] != width:
            raise InvalidInputError(f"The input has shape {tuple(shape)}; (..., {width}) is expected.")
        samples = x
        if len(shape) != 2 or not width:
            samples = x.reshape(-1, width) if width else x.new_zeros((prod(shape[:-1]), 0))
        inputs_too = samples.requires_grad
        differentiated = torch.is_grad_enabled() and (inputs_too or weight.requires_grad)
        values: torch.Tensor
        if torch.compiler.is_compiling():
            outputs, number = self.function.num_observables, self._number
            values = torch.ops.qiskit_fusedqml.values(samples, weight, outputs, number, differentiated, inputs_too)
        else:
            values = _Expectation.apply(samples, weight, _Call(self, differentiated, inputs_too))
        return values if samples is x else values.reshape(*shape[:-1], values.shape[-1])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register()  # a copy is a layer of its own

    @cached_property
    def function_of_inputs_too(self) -> DifferentiableCircuit:
        """``function`` with gradients for the inputs."""
        f = self.function
        return self._made(f.circuit, f.inputs, f.weights, input_gradients=True)

    def _made(self, circuit: QuantumCircuit, inputs: Any, weights: Any, **more: Any) -> DifferentiableCircuit:
        """The circuit; where ranks share states, with the samples of a batch among those that share one each."""
        ranks = self._ranks
        shared: dict[str, Any] = {} if ranks is None else {"comm": ranks.of_state, "comm_timeout": ranks.timeout}
        function = DifferentiableCircuit(circuit, self._observables, inputs, weights, **self._options, **shared, **more)
        if ranks is None:
            return function
        return cast(DifferentiableCircuit, RankBatches(function, ranks.all, ranks.of_state.size))

    def _register(self) -> None:
        self._number = next(_NUMBERS)
        _LAYERS[self._number] = self
        weakref.finalize(self, _HELD.pop, self._number, None).atexit = False


@dataclass(eq=False)
class _Call:
    """One evaluation of a layer, from its forward to its backward pass.

    Attributes:
        layer: The layer.
        differentiated: Whether a backward pass may follow.
        inputs_too: Whether it is likely to want gradients of the inputs.
        pullback: Holds the final states for it, until it is used.
    """

    layer: FusedLayer
    differentiated: bool
    inputs_too: bool
    pullback: Pullback | None = None

    @property
    def function(self) -> DifferentiableCircuit:
        """The circuit."""
        return self.layer.function_of_inputs_too if self.inputs_too and self.differentiated else self.layer.function

    def values(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Values (B, n_obs), also for B = 0; weights (n_w,), or (B, n_w) per sample."""
        function, batch = self.function, len(x)
        kind = x.dtype if x.dtype is weight.dtype else torch.result_type(x, weight)
        if not batch:
            return x.new_zeros((batch, function.num_observables), dtype=kind)
        with on_own_stream(function, x, weight):
            arguments = array(function, x) if function.num_inputs else None, array(function, weight)
            if self.differentiated:
                values, self.pullback = function.vjp(*arguments)
            else:
                values = function.values(*arguments)
            found = tensor(values, x, kind)
        return found if len(found) == batch else found.repeat(batch, 1)  # without inputs all samples are the same

    def gradients(
        self, x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(dx, dw), dx None without ``inputs_too``; from new states if a graph is walked a second time."""
        if not len(x):
            return torch.zeros_like(x), torch.zeros_like(weight)
        function = self.function
        pullback, self.pullback = self.pullback, None
        if not function.num_inputs and weight.ndim == 1:
            cotangents = cotangents.sum(dim=0, keepdim=True)
        with on_own_stream(function, x, weight, cotangents):
            if pullback is None:
                pullback = function.vjp(array(function, x) if function.num_inputs else None, array(function, weight))[1]
            dx, dw = pullback(array(function, cotangents))
            return None if dx is None else tensor(dx, x, x.dtype), tensor(dw, weight, weight.dtype)


class _Expectation(torch.autograd.Function):
    """Samples (B, num_inputs) and weights (n_w,) or (B, n_w) -> values (B, n_obs)."""

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """As of torch, without the binding of arguments, which takes as long as all the rest of a call."""
        plain: Any = super() if _torch_func_is_at_work() else super(torch.autograd.Function, cls)
        return plain.apply(*inputs)

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, call: _Call) -> torch.Tensor:
        return call.values(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG004
        x, weight, ctx.call = inputs
        ctx.save_for_backward(x, weight)  # torch then sees weights that were changed in between

    @staticmethod
    def backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        call, (wants_dx, wants_dw, _) = ctx.call, ctx.needs_input_grad
        if wants_dx and not call.inputs_too:  # under torch.func it is not known before
            call = _Call(call.layer, differentiated=True, inputs_too=True)
        if torch.is_grad_enabled():  # create_graph, or torch.func
            dx, dw = _Gradient.apply(x, weight, cotangents, call)
        else:
            dx, dw = call.gradients(x, weight, cotangents)
        return dx if wants_dx else None, dw if wants_dw else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[torch.Tensor, int]:
        """A batch of evaluations is one with more samples."""
        *tensors, call = inputs
        x, weight = joined(info.batch_size, in_dims, tensors)
        values: torch.Tensor = _Expectation.apply(x, weight, replace(call, differentiated=False))
        return values.unflatten(0, (info.batch_size, len(x) // info.batch_size)), 0


class _Gradient(torch.autograd.Function):
    """The pullback; a function of its own so that its derivative can be refused, and a batch of them taken."""

    @staticmethod
    def forward(
        x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor, call: _Call
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dx, dw = call.gradients(x, weight, cotangents)
        return torch.zeros_like(x) if dx is None else dx, dw

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:  # noqa: ARG004
        raise FusedQMLError(
            "Second derivatives of a FusedLayer are not available through autograd (create_graph=True, nested "
            "torch.func.grad, gradient penalties); layer.function.hvp(x, w, v) gives exact products with the Hessian."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, int]]:
        """A batch of pullbacks is one with more samples, each with weights of its own."""
        *tensors, call = inputs
        count, shared = info.batch_size, tensors[1].ndim == (1 if in_dims[1] is None else 2)
        x, weight, cotangents = joined(count, in_dims, tensors, per_sample=True)
        dx, dw = _Gradient.apply(x, weight, cotangents, replace(call, pullback=None))
        dx, dw = (each.unflatten(0, (count, len(x) // count)) for each in (dx, dw))
        return (dx, dw.sum(dim=1) if shared else dw), (0, 0)


def _layer(number: int) -> FusedLayer:
    found = _LAYERS.get(number)
    if found is None:
        raise FusedQMLError(
            f"FusedLayer number {number} does not exist in this process (any more); what was compiled or exported with "
            "a layer needs it alive. Compile again."
        )
    return found


def _values(
    x: torch.Tensor, weight: torch.Tensor, num_outputs: int, layer: int, differentiated: bool, inputs_too: bool
) -> torch.Tensor:
    call = _Call(_layer(layer), differentiated, inputs_too)
    values = call.values(x, weight)
    if differentiated:
        _HELD[layer] = (call.pullback, x.clone(), weight.clone(), inputs_too)
    return values.reshape(len(x), num_outputs)


def _gradients(
    x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor, layer: int, inputs_too: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    call, held = _Call(_layer(layer), differentiated=True, inputs_too=inputs_too), _HELD.pop(layer, None)
    if held and held[3] == inputs_too and torch.equal(held[1], x) and torch.equal(held[2], weight):
        call.pullback = held[0]
    return _Gradient.forward(x, weight, cotangents, call)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    x, weight, _, ctx.layer, _, ctx.inputs_too = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
    dx, dw = torch.ops.qiskit_fusedqml.gradients(*ctx.saved_tensors, cotangents, ctx.layer, ctx.inputs_too)
    return dx, dw, None, None, None, None


_operator = torch.library.custom_op(
    "qiskit_fusedqml::values",
    _values,
    mutates_args=(),
    schema="(Tensor x, Tensor weight, int num_outputs, int layer, bool differentiated, bool inputs_too) -> Tensor",
)
_operator.register_fake(
    lambda x, weight, num_outputs, *_: x.new_empty((len(x), num_outputs), dtype=torch.result_type(x, weight))
)
_operator.register_autograd(_backward, setup_context=_save)
torch.library.custom_op(
    "qiskit_fusedqml::gradients",
    _gradients,
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor cotangents, int layer, bool inputs_too) -> (Tensor, Tensor)",
).register_fake(lambda x, weight, *_: (torch.empty_like(x), torch.empty_like(weight)))
