"""`EngineOptions`: where and how a program runs, the same for every interface.

An option is a field here and an argument of every public constructor; nothing between them names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..arrays import real_number, shown, whole_number
from ..devices import Device
from ..devices.checks import check_options
from ..devices.registry import check_device, make_device, make_mixed_device
from ..errors import DeviceUnavailableError, InvalidInputError

LARGEST_BUDGET = 2.0**42
"""MiB of 2**62 bytes, as good as infinity: bytes are counted in 64 bits."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options that every interface passes to the engine.

    Attributes:
        device: "CPU", "GPU", "reference", or a `Device`.
        precision: "double" or "single".
        max_memory_mb: Memory in MiB that the states of one call may take, or None for half of the machine's, or of what
            is free on a GPU.
        num_threads: Threads of the CPU device, or None for every core this process may use, capped by
            OMP_NUM_THREADS.
        checkpoint: States kept in the forward sweep, from which the backward sweep goes on instead of from what it has
            undone so far: None for none, a number of them, evenly spaced, or "auto"
            (`qiskit_fusedqml.engine.memory.MemoryBudget.checkpoints`).
        noise_model: The noise that circuits are lowered with, as an interface has read it; None for none. The engine
            itself runs what programs hold.
        noise_scale: What the noise is multiplied by.
        readout: Whether expectation values are those of misread bits.
        trajectories: For programs with noise: None for exact values by Pauli vectors, or the number of trajectories of
            pure states that values and gradients are estimated from (`qiskit_fusedqml.engine.trajectories` for mixtures
            of Pauli strings, `qiskit_fusedqml.engine.kraus_trajectories` for other noise).
        noise_seed: What trajectories are drawn from, the same ones in every call; None for a random one.

    Raises:
        InvalidInputError: For another device or precision, or a number that is not allowed; whatever interface the
            options were given to.
    """

    device: str | Device = "CPU"
    precision: str = "double"
    max_memory_mb: float | None = None
    num_threads: int | None = None
    checkpoint: str | int | None = None
    noise_model: Any = None
    noise_scale: Any = 1.0
    readout: bool = False
    trajectories: int | None = None
    noise_seed: int | None = None

    def __post_init__(self) -> None:
        """Check, and keep NumPy's numbers as Python's."""
        check_device(self.device)
        self._set("num_threads", check_options(self.precision, self.num_threads))
        if self.max_memory_mb is not None:
            expected = "a positive number of MiB up to 2**42, or None for half of the machine's memory,"
            least = 2.0**-20  # a byte
            memory = real_number(self.max_memory_mb, "max_memory_mb", expected, least=least, most=LARGEST_BUDGET)
            self._set("max_memory_mb", memory)
        if self.checkpoint is not None and not (isinstance(self.checkpoint, str) and self.checkpoint == "auto"):
            expected = "None, 'auto' or a number of states (0 or more)"
            self._set("checkpoint", whole_number(self.checkpoint, "checkpoint", expected, least=0))
        for name, least in (("trajectories", 1), ("noise_seed", 0)):
            if getattr(self, name) is not None:
                expected = f"None or an integer >= {least}"
                self._set(name, whole_number(getattr(self, name), name, expected, least=least))
        if not isinstance(self.readout, bool | np.bool_):
            raise InvalidInputError(f"readout is {shown(self.readout)}; True or False is expected.")

    def arguments(self) -> dict[str, Any]:
        """The options that are not the defaults, by name, as a constructor takes them; a device is not copied."""
        values = [(field.name, getattr(self, field.name), field.default) for field in fields(self)]
        return {name: value for name, value, default in values if value != default}

    def make_device(self, *, mixed: bool = False) -> Device:
        """The device that is meant, or that was given; for mixed states, the one that goes with it.

        Where there is none for mixed states, trajectories still run on the device itself.
        """
        if not (mixed or isinstance(self.device, str)):
            return self.device
        if mixed:
            try:
                return make_mixed_device(self.device, precision=self.precision, num_threads=self.num_threads)
            except DeviceUnavailableError:
                if self.trajectories is None:
                    raise
        return make_device(self.device, precision=self.precision, num_threads=self.num_threads)

    def with_device(self, device: Device) -> EngineOptions:
        """The same options, for a device that has been made by them."""
        if device is self.device:
            return self
        found = object.__new__(EngineOptions)
        for name in ENGINE_ARGUMENTS:
            found._set(name, getattr(self, name))
        found._set("device", device)
        return found

    def budget(self, device: Device) -> int:
        """Bytes that the states of one call may take on a device."""
        return device.memory_budget() if self.max_memory_mb is None else int(self.max_memory_mb * 2**20)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


ENGINE_ARGUMENTS = tuple(field.name for field in fields(EngineOptions))
"""The names of the engine's options."""


def engine_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a constructor's arguments, ``locals()`` at its beginning, that are options of the engine."""
    return {name: given[name] for name in ENGINE_ARGUMENTS if name in given}
