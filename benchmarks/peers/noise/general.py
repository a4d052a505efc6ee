"""This package with a state for every sample, as where the encoding does not precede all weights."""

from __future__ import annotations

from noise_workloads import NoisyWorkload

from peers.adapter import UnsupportedError
from peers.noise.fusedqml import Adapter as Collapsing


class Adapter(Collapsing):
    """See `peers.adapter.Adapter`."""

    note = "DifferentiableCircuit.value_and_vjp, a state for every sample"

    def __init__(self, workload: NoisyWorkload, precision: str, threads: int, step_limit: float) -> None:
        """See `peers.adapter.Adapter`."""
        if workload.trajectories or workload.shots:
            raise UnsupportedError("trajectories and counts have no state of a batch")
        super().__init__(workload, precision, threads, step_limit)
        # there is no such option: nobody would want it
        self.function.passes.plans._collapsed = lambda request: None  # type: ignore[method-assign]  # noqa: ARG005, SLF001
