"""Arrays in a GPU's memory: what is computed from them stays there.

Where x or w of a call is such an array (CuPy's, or any that DLPack finds on a CUDA device, as PyTorch's), values,
gradients, probabilities and amplitudes are arrays of the device's library, made on the current stream; cotangents may
be such arrays in any call. States never leave the device anyway. What still crosses are the parameters, because angles
and coefficients are made on the host, and the overlaps, from which gradients are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, Self, TypeVar, cast

from .devices import Device, DeviceWithMemory

_Method = TypeVar("_Method", bound=Callable[..., Any])


class HasResident(Protocol):
    """What `keeps_residence` asks of a program."""

    memory_of_device: DeviceWithMemory | None

    @property
    def resident(self) -> Self:
        """The same program, whose results stay in the device's memory."""
        ...


def keeps_residence(method: _Method) -> _Method:
    """Let a program's method ``(self, x, w, ...)`` take arrays in the device's memory and keep its results there."""

    @wraps(method)
    def call(self: HasResident, x: Any = None, w: Any = None, *rest: Any, **options: Any) -> Any:
        memory = self.memory_of_device
        if memory is None or not (memory.is_resident(x) or memory.is_resident(w)):
            return method(self, x, w, *rest, **options)
        x, w = (memory.to_host(array) if memory.is_resident(array) else array for array in (x, w))
        return method(self.resident, x, w, *rest, **options)

    return cast(_Method, call)


def memory_of(device: Device) -> DeviceWithMemory | None:
    """The device, if it has a memory of its own."""
    return device if isinstance(device, DeviceWithMemory) else None
