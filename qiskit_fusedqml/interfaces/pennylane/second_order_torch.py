"""Results in torch with first derivatives only; see `second_order`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from typing_extensions import override

Refuse = Callable[[], Any]


def first_only(results: Any, tensors: Sequence[torch.Tensor], refuse: Refuse) -> Any:
    """Results, a tensor or a tuple of them, that depend on tensors; ``refuse`` raises for second derivatives."""
    if isinstance(results, tuple):
        return _FirstOnly.apply(len(results), refuse, *results, *tensors)
    return _FirstOnly.apply(1, refuse, results, *tensors)[0]


class _FirstOnly(torch.autograd.Function):
    """Results as they are."""

    @staticmethod
    @override
    def forward(ctx: Any, count: int, refuse: Refuse, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.refuse = refuse
        ctx.save_for_backward(*tensors[count:])
        return tuple(result.view_as(result) for result in tensors[:count])

    @staticmethod
    @override
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        numbers = ctx.saved_tensors
        zeros = [None] * len(numbers)
        if torch.is_grad_enabled():  # create_graph
            zeros = _Zeros.apply(len(numbers), ctx.refuse, *numbers, *cotangents)
        return None, None, *cotangents, *zeros


class _Zeros(torch.autograd.Function):
    """Zeros like some numbers, which no derivative may be taken of."""

    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(count: int, _refuse: Refuse, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros_like(number) for number in tensors[:count])

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.refuse = inputs[1]

    @staticmethod
    @override
    def backward(ctx: Any, *_cotangents: torch.Tensor) -> Any:
        ctx.refuse()
