"""`EngineOptions`: where and how a program runs, the same for every interface."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options every interface hands to the engine.

    Attributes:
        device: "CPU" or "GPU".
        precision: "double" or "single".
        max_memory_mb: Memory the states of one call may take, or None for what the machine has.
        num_threads: Number of threads, or None for every core this process may use.
        checkpoint: States kept on the way forward for the sweep back: None, a number, or "auto".
    """

    device: str = "CPU"
    precision: str = "double"
    max_memory_mb: float | None = None
    num_threads: int | None = None
    checkpoint: str | int | None = None
