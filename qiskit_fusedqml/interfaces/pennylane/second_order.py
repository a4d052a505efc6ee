"""Second derivatives are refused where the framework would leave them out.

The device's gradients are numbers, so that a derivative of them in autograd or torch would be 0, and the Hessian of a
loss would lack a term without a word. `refuse_second_derivatives` lets results pass a function whose first derivatives
are those of the device, with zeros added that know all they depend on: who differentiates the zeros gets the error.
torch and JAX are imported where they are at work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
import pennylane as qml
from autograd.extend import Box, defvjp_argnums, primitive
from pennylane.exceptions import DeviceError
from typing_extensions import override

from .tapes import unchanged


def refuse_second_derivatives(tape: Any) -> Any:
    """The tape, and a function that gives its results with first derivatives only."""
    numbers = tape.get_parameters(trainable_only=False)
    boxes = [number for number in numbers if isinstance(number, Box)]
    if boxes:
        return (tape,), lambda results: _first_only(results[0], *boxes)
    tensors = [number for number in numbers if qml.math.get_interface(number) == "torch" and number.requires_grad]
    if tensors:
        return (tape,), lambda results: _first_only_in_torch(results[0], tensors)
    return unchanged(tape)


@qml.transform  # type: ignore[untyped-decorator]
def refuse_in_jax(tape: Any) -> Any:
    """The same for JAX with ``grad_on_execution=True``, which takes Jacobians for constants; else it refuses itself."""
    numbers = [number for number in tape.get_parameters(trainable_only=False) if is_traced(number)]
    return (tape,), lambda results: _first_only_in_jax()(results[0], numbers) if numbers else results[0]


def is_traced(number: Any) -> bool:
    """Whether JAX follows a number."""
    import jax

    return isinstance(number, jax.core.Tracer)


def refuse() -> NoReturn:
    """Say that there are no second derivatives, and where there are."""
    raise DeviceError(
        "Second derivatives are not available from the gradients of fusedqml.qubit and fusedqml.mixed (a Hessian, "
        'create_graph=True, a gradient penalty). qml.QNode(..., diff_method="parameter-shift", max_diff=2) has them.'
    )


@primitive  # type: ignore[untyped-decorator]
def _first_only(results: Any, *_boxes: Any) -> Any:
    return results


@primitive  # type: ignore[untyped-decorator]
def _zeros(number: Any, _cotangents: Any) -> Any:
    return np.zeros_like(number)


def _pulled(argnums: Sequence[int], _results: Any, numbers: Sequence[Any], _options: Any) -> Callable[[Any], Any]:
    return lambda cotangents: [_zeros(numbers[k], cotangents) if k else cotangents for k in argnums]


defvjp_argnums(_first_only, _pulled)
defvjp_argnums(_zeros, lambda *_: lambda _cotangents: refuse())


def _first_only_in_torch(results: Any, tensors: Sequence[Any]) -> Any:
    """A tensor or a tuple of them, with first derivatives by the tensors they depend on."""
    parts = results if isinstance(results, tuple) else (results,)
    found = _torch_function().apply(len(parts), *parts, *tensors)
    return found if isinstance(results, tuple) else found[0]


@lru_cache(maxsize=1)
def _torch_function() -> Any:
    """What results in torch go through."""
    import torch

    class Zeros(torch.autograd.Function):
        """Zeros like some numbers, which no derivative may be taken of."""

        generate_vmap_rule = True

        @staticmethod
        @override
        def forward(count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.zeros_like(number) for number in tensors[:count])

        @staticmethod
        @override
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            """Nothing is saved."""

        @staticmethod
        @override
        def backward(ctx: Any, *_cotangents: torch.Tensor) -> Any:
            refuse()

    class FirstOnly(torch.autograd.Function):
        """Results as they are."""

        @staticmethod
        @override
        def forward(ctx: Any, count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ctx.save_for_backward(*tensors[count:])
            return tuple(result.view_as(result) for result in tensors[:count])

        @staticmethod
        @override
        def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
            numbers = ctx.saved_tensors
            zeros = [None] * len(numbers)
            if torch.is_grad_enabled():  # create_graph
                zeros = Zeros.apply(len(numbers), *numbers, *cotangents)
            return None, *cotangents, *zeros

    return FirstOnly


@lru_cache(maxsize=1)
def _first_only_in_jax() -> Callable[[Any, Any], Any]:
    """From results in JAX, and numbers they depend on, to the results; derivatives have a factor 1 that knows these."""
    import jax

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def results_of(results: Any, _numbers: Any) -> Any:
        return results

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def one(_numbers: Any) -> float:
        return 1.0

    @results_of.defjvp  # type: ignore[untyped-decorator]
    def _slopes(primals: Any, tangents: Any) -> Any:
        factor = one(primals[1])
        return primals[0], jax.tree.map(lambda tangent: tangent * factor, tangents[0])

    @one.defjvp  # type: ignore[untyped-decorator]
    def _no_slopes(_primals: Any, _tangents: Any) -> Any:
        refuse()

    return results_of  # type: ignore[no-any-return]
