"""Arrays in a GPU's memory: what is computed from them stays there.

Where x or w of a call is such an array (CuPy's, or any that DLPack finds on a CUDA device, as PyTorch's), all is made
there, from angles and coefficients to values, gradients, probabilities and amplitudes, on the current stream and
without waiting; the other of the two is taken there if it is on the host. Cotangents may be such arrays in any call.
Two things differ: numbers that are not finite are passed on, because to refuse them the host would have to wait, and
weights by row are taken to differ in every column. Jacobians, which are put together on the host, and the
probabilities of clbits in another order than their qubits' take the way over the host.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, Self, TypeVar, cast

from ..devices import Device, DeviceWithMemory, has_memory

_Method = TypeVar("_Method", bound=Callable[..., Any])


class HasResident(Protocol):
    """What `keeps_residence` asks of a program."""

    memory_of_device: DeviceWithMemory | None

    @property
    def resident(self) -> Self:
        """The same program, whose values and results are in the device's memory."""
        ...


def keeps_residence(method: _Method) -> _Method:
    """Let a program's method ``(self, x, w, ...)`` take arrays in the device's memory and keep its results there."""

    @wraps(method)
    def call(self: HasResident, x: Any = None, w: Any = None, *rest: Any, **options: Any) -> Any:
        program = self if _memory_with(self, x, w) is None else self.resident
        return method(program, x, w, *rest, **options)

    return cast(_Method, call)


def through_the_host(method: _Method) -> _Method:
    """The same for a method that works on the host: what it takes and what it gives crosses."""

    @wraps(method)
    def call(self: HasResident, x: Any = None, w: Any = None, *rest: Any, **options: Any) -> Any:
        memory = _memory_with(self, x, w)
        if memory is None:
            return method(self, x, w, *rest, **options)
        x, w = (memory.to_host(array) if memory.is_on_device(array) else array for array in (x, w))
        return memory.from_host(method(self, x, w, *rest, **options))

    return cast(_Method, call)


def _memory_with(program: HasResident, x: Any, w: Any) -> DeviceWithMemory | None:
    """The device's memory, if one of the two is in it."""
    memory = program.memory_of_device
    return memory if memory is not None and (memory.is_on_device(x) or memory.is_on_device(w)) else None


def memory_of(device: Device) -> DeviceWithMemory | None:
    """The device, if it has a memory of its own."""
    return device if has_memory(device) else None
