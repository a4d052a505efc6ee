"""`EngineOptions`: where and how a program runs, the same for every interface."""

from __future__ import annotations

from dataclasses import dataclass

from ..devices import Device


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
    """

    device: str | Device = "CPU"
    precision: str = "double"
    max_memory_mb: float | None = None
    num_threads: int | None = None
    checkpoint: str | int | None = None
