"""Between tensors and the engine's arrays, and several evaluations as one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from ..qiskit.circuit import DifferentiableCircuit


def joined(
    count: int, in_dims: tuple[int | None, ...], tensors: Sequence[torch.Tensor], *, per_sample: bool = False
) -> list[torch.Tensor]:
    """``count`` evaluations as one: (count * B, ...) of inputs, weights and maybe cotangents.

    Weights stay shared if all evaluations share them, unless ``per_sample``.
    """
    moved = [
        tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=False)
    ]
    if moved[1].ndim == 2:
        if in_dims[1] is None and not per_sample:
            return [moved[0].flatten(0, 1), tensors[1]]
        moved[1] = moved[1][:, None].expand(count, moved[0].shape[1], -1)
    return [tensor.flatten(0, 1) for tensor in moved]


def array(function: DifferentiableCircuit, tensor: torch.Tensor) -> Any:
    """The tensor itself where the device that simulates reaches its memory, else its numbers on the host.

    The latter without a copy where they are there already; from a GPU they come once its current stream has got there.
    """
    memory = function.memory_of_device
    if memory is not None and memory.is_on_device(tensor):
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.detach().double()  # CuPy, like NumPy, has none
        return tensor.detach() if tensor.requires_grad else tensor
    if tensor.dtype is not torch.float64:
        tensor = tensor.detach().double()
    return tensor.numpy(force=True)


def on_own_stream(function: DifferentiableCircuit, *tensors: torch.Tensor) -> AbstractContextManager[Any]:
    """Where the device that simulates works on torch's current stream, if it reaches the memory of one of the tensors.

    What is freed within is then reused in the order of that stream only.
    """
    memory = function.memory_of_device
    if memory is not None:
        for each in tensors:
            if memory.is_on_device(each):
                return memory.current(torch.cuda.current_stream(each.device).cuda_stream)
    return nullcontext()


def tensor(array: Any, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A result as a tensor of that type where another is, without a copy if it is there and of that type already.

    What is in a GPU's memory comes by DLPack, which makes torch's current stream wait for the one that writes it.
    """
    if not isinstance(array, np.ndarray):
        return torch.from_dlpack(array).to(like.device, dtype)
    found = torch.from_numpy(array if array.flags.carray else np.require(array, requirements=["C", "W"]))
    # every question to torch is a trip through its dispatcher, in code that a sweep has thrown out of the cache
    return found if found.dtype is dtype and like.is_cpu else found.to(like.device, dtype)
