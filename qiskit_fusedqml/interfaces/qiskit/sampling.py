"""Circuits compiled for sampling, shared by the backend and the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from ...devices.registry import make_device
from ...engine.options import EngineOptions
from ...ir.classical import WIDEST_FIXED
from ...simulation import Runner, Shots
from .cache import KnownCircuit
from .lowering import active_qubits, lower_dynamic


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How circuits are compiled for sampling.

    Attributes:
        engine: The engine's options.
        fusion_enable: Whether gates are fused; if not, every gate, or fused gate of the circuit, is a sweep by itself.
        fusion_max_qubit: The tile's number of qubits; None for the device's.
        fusion_threshold: Circuits of at most this many qubits are not fused either.
        truncate: Whether qubits that no gate acts on are left out.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    fusion_enable: bool = True
    fusion_max_qubit: int | None = None
    fusion_threshold: int = 0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class CompiledCircuit:
    """A circuit ready to be sampled.

    Attributes:
        runner: Runs it; parameter values are in the order of ``circuit.parameters``.
        qubits: The circuit's qubits that the runner's stand for, in order.
        num_fused: Number of fused gates in the circuit.
        fuses: Whether gates are fused.
    """

    runner: Runner
    qubits: tuple[int, ...]
    num_fused: int
    fuses: bool


def compile_runner(known: KnownCircuit, options: RunnerOptions) -> CompiledCircuit:
    """A circuit ready to be sampled, made now if the cache does not have it.

    Raises:
        UnsupportedInstructionError: Naming the instruction and its position.
        SimulationError: If the circuit's saves cannot be carried out.
    """

    def build(source: QuantumCircuit) -> CompiledCircuit:
        qubits = active_qubits(source) if options.truncate else tuple(range(source.num_qubits))
        fuses = options.fusion_enable and len(qubits) > options.fusion_threshold
        lowered = lower_dynamic(source, qubits, fuse=fuses, lift=True)
        engine = options.engine
        device = make_device(engine.device, precision=engine.precision, num_threads=engine.num_threads)
        if options.fusion_max_qubit is not None:
            device.cost_model = replace(device.cost_model, tile_qubits=options.fusion_max_qubit, whole_qubits=0)
        runner = Runner(
            lowered.dynamic,
            lowered.angle_map,
            lowered.constants,
            device=device,
            precision=engine.precision,
            max_memory_mb=engine.max_memory_mb,
        )
        return CompiledCircuit(runner, qubits, _num_fused(source), fuses)

    return known.get(("runner", options), build)


def _num_fused(circuit: QuantumCircuit) -> int:
    """Number of fused gates, those in the blocks of control flow included."""
    counts = circuit.count_ops()
    outside: int = counts.get("fused", 0)
    if CONTROL_FLOW_OP_NAMES.isdisjoint(counts):
        return outside
    flow = [each.operation for each in circuit.data if isinstance(each.operation, ControlFlowOp)]
    return outside + sum(_num_fused(block) for operation in flow for block in operation.blocks)


def packed_bits(shots: Shots | None, clbits: Sequence[int]) -> NDArray[np.uint8] | int:
    """Some classical bits of every shot as `BitArray` holds them.

    Args:
        shots: What was drawn, in order.
        clbits: The bits, the first one lowest.

    Returns:
        Bytes (number of shots, number of bytes), the most significant byte first; 0 if nothing was drawn.
    """
    num_bytes = -(-len(clbits) // 8)
    if shots is None or shots.sequence is None:
        return 0
    distinct = np.zeros((len(shots.outcomes), num_bytes), dtype=np.uint8)
    if len(clbits) < WIDEST_FIXED and _consecutive(clbits) and shots.outcomes.dtype != object:
        values = shots.outcomes >> clbits[0] & ((1 << len(clbits)) - 1)
        for byte in range(num_bytes):
            distinct[:, num_bytes - 1 - byte] = values >> 8 * byte & 0xFF
    else:
        for position, clbit in enumerate(clbits):
            byte, bit = divmod(position, 8)
            distinct[:, num_bytes - 1 - byte] |= (shots.outcomes >> clbit & 1).astype(np.uint8) << bit
    return distinct[shots.sequence]


def _consecutive(clbits: Sequence[int]) -> bool:
    return bool(clbits) and list(clbits) == list(range(clbits[0], clbits[0] + len(clbits)))
