"""A layer's values and gradients as operators of torch, which ``torch.compile`` and ``torch.export`` leave whole.

The compiler cannot look into a simulation. It sees two operators with known shapes instead, and compiles what stands
around them. Operators take no objects, so they know a layer by a number, and what they return depends on numbers only:
final states go from the first to the second if the second is asked about the values that the first was run at last.
"""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any, NamedTuple, Protocol

import torch

from ...errors import FusedQMLError


class Evaluation(Protocol):
    """A forward pass and the backward pass that belongs to it."""

    def values(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Values (B, num_outputs)."""

    def gradients(
        self, x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """(dx, dw), dx None without ``inputs_too``."""


class Layer(Protocol):
    """What the operators need of a layer."""

    def begin(self, differentiated: bool, inputs_too: bool) -> Evaluation:
        """An evaluation, which a backward pass may follow, perhaps for the inputs too."""


class Held(NamedTuple):
    """A layer's newest forward pass, with its states."""

    evaluation: Evaluation
    x: torch.Tensor
    weight: torch.Tensor
    inputs_too: bool


_NUMBERS = count(1)
_LAYERS: weakref.WeakValueDictionary[int, Layer] = weakref.WeakValueDictionary()
_HELD: dict[int, Held] = {}


def register(layer: Layer) -> int:
    """The number by which the operators know a layer from now on, as long as it lives."""
    number = next(_NUMBERS)
    _LAYERS[number] = layer
    weakref.finalize(layer, _HELD.pop, number, None).atexit = False
    return number


def _layer(number: int) -> Layer:
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
    evaluation = _layer(layer).begin(differentiated, inputs_too)
    values = evaluation.values(x, weight)
    if differentiated:
        _HELD[layer] = Held(evaluation, x.clone(), weight.clone(), inputs_too)
    return values.reshape(len(x), num_outputs)


def _shape_of_values(x: torch.Tensor, weight: torch.Tensor, num_outputs: int, *_: object) -> torch.Tensor:
    return x.new_empty((x.shape[0], num_outputs), dtype=torch.result_type(x, weight))


def _gradients(
    x: torch.Tensor, weight: torch.Tensor, cotangents: torch.Tensor, layer: int, inputs_too: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    held = _HELD.pop(layer, None)
    if held and held.inputs_too == inputs_too and torch.equal(held.x, x) and torch.equal(held.weight, weight):
        evaluation = held.evaluation
    else:
        evaluation = _layer(layer).begin(True, inputs_too)
    dx, dw = evaluation.gradients(x, weight, cotangents)
    return torch.zeros_like(x) if dx is None else dx, dw


def _shapes_of_gradients(x: torch.Tensor, weight: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    x, weight, _, ctx.layer, _, ctx.inputs_too = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, cotangents: torch.Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    dx, dw = torch.ops.qiskit_fusedqml.gradients(x, weight, cotangents, ctx.layer, ctx.inputs_too)
    return dx, dw, None, None, None, None


for operator, function, shapes, schema in (
    (
        "qiskit_fusedqml::values",
        _values,
        _shape_of_values,
        "(Tensor x, Tensor weight, int num_outputs, int layer, bool differentiated, bool inputs_too) -> Tensor",
    ),
    (
        "qiskit_fusedqml::gradients",
        _gradients,
        _shapes_of_gradients,
        "(Tensor x, Tensor weight, Tensor cotangents, int layer, bool inputs_too) -> (Tensor, Tensor)",
    ),
):
    torch.library.custom_op(operator, function, mutates_args=(), schema=schema)
    torch.library.register_fake(operator, shapes)
torch.library.register_autograd("qiskit_fusedqml::values", _backward, setup_context=_save)
