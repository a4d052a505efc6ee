"""Second derivatives are refused where the framework would leave them out.

The device's gradients are numbers, so that a derivative of them in autograd or torch would be 0, and the Hessian of a
loss would lack a term without a word. `refuse_second_derivatives` lets results pass a function whose first derivatives
are those of the device, with zeros added that know all they depend on: who differentiates the zeros gets the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import pennylane as qml
from autograd.extend import Box, defvjp_argnums, primitive
from pennylane.exceptions import DeviceError

from . import traced
from .tapes import unchanged


def refuse_second_derivatives(tape: Any) -> Any:
    """The tape, and a function that gives its results with first derivatives only."""
    numbers = tape.get_parameters(trainable_only=False)
    boxes = [number for number in numbers if isinstance(number, Box)]
    if boxes:
        return (tape,), lambda results: _first_only(results[0], *boxes)
    tensors = [number for number in numbers if qml.math.get_interface(number) == "torch" and number.requires_grad]
    if tensors:
        from .second_order_torch import first_only

        return (tape,), lambda results: first_only(results[0], tensors, refuse)
    return unchanged(tape)


@qml.transform  # type: ignore[untyped-decorator]
def refuse_in_jax(tape: Any) -> Any:
    """The same for JAX with ``grad_on_execution=True``, which takes Jacobians for constants; else it refuses itself."""
    numbers = [number for number in tape.get_parameters(trainable_only=False) if traced.is_traced(number)]
    return (tape,), lambda results: traced.first_only(refuse)(results[0], numbers) if numbers else results[0]


def refuse() -> NoReturn:
    """Say that there are no second derivatives, and where there are."""
    raise DeviceError(
        "Second derivatives are not available from the gradients of fusedqml.qubit (a Hessian, create_graph=True, a "
        'gradient penalty). qml.QNode(..., diff_method="parameter-shift", max_diff=2) has them.'
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
