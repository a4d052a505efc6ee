"""What a result says about its circuit and about how it was computed, under the names it has on Aer."""

from __future__ import annotations

from typing import Any

from qiskit import QuantumCircuit

from ....engine.options import EngineOptions
from ....ir.dynamic import Save, walk
from ....memory import default_budget
from ....planner.tape import Block, Diag
from ..compiled import CompiledCircuit, RunnerOptions


def circuit_header(circuit: QuantumCircuit) -> dict[str, Any]:
    """What a result says about its circuit."""
    in_registers = [bit for register in circuit.cregs for bit in register]
    # Qiskit splits the bits by these sizes, which makes sense only if the registers hold all bits in order
    split = in_registers == list(circuit.clbits)
    try:
        phase: float | str = float(circuit.global_phase)
    except TypeError:  # a parametrised phase
        phase = str(circuit.global_phase)
    return {
        "name": circuit.name,
        "n_qubits": circuit.num_qubits,
        "memory_slots": circuit.num_clbits,
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs] if split else [],
        "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
        "global_phase": phase,
        "metadata": circuit.metadata,
    }


def experiment_metadata(
    compiled: CompiledCircuit, options: RunnerOptions, num_sets: int, *, verbose: bool
) -> dict[str, Any]:
    """The metadata that all experiments of a circuit share, which has been run at so many parameter sets."""
    runner, engine = compiled.runner, options.engine
    dynamic, device = runner.dynamic, runner.device
    saves = [node for node in walk(dynamic.nodes) if isinstance(node, Save)]
    metadata: dict[str, Any] = {
        "method": "statevector",
        "device": engine.device,
        "precision": engine.precision,
        "noise": "ideal",
        "num_qubits": dynamic.num_qubits,
        "num_clbits": dynamic.num_clbits,
        "num_bind_params": num_sets,
        "active_input_qubits": list(compiled.qubits),
        "input_qubit_map": [[qubit, k] for k, qubit in enumerate(compiled.qubits)],
        "remapped_qubits": compiled.qubits != tuple(range(len(compiled.qubits))),
        "required_memory_mb": device.state_bytes(dynamic.num_qubits, 1) >> 20,
        "max_memory_mb": memory_mb(engine),
        "parallel_shots": 1,
        "parallel_state_update": getattr(device, "num_threads", 1),
        "measure_sampling": runner.samples,
        "batched_shots_optimization": not runner.samples,
        "runtime_parameter_bind": num_sets > 1,
        "fusion": _fusion(compiled, options, verbose=verbose),
    }
    if saves:
        metadata["result_types"] = {save.label: f"save_{save.kind}" for save in saves}
        metadata["result_subtypes"] = {save.label: save.subtype for save in saves}
    return metadata


def memory_mb(engine: EngineOptions) -> int:
    """MiB that states may take."""
    return int(engine.max_memory_mb) if engine.max_memory_mb is not None else default_budget() >> 20


def _fusion(compiled: CompiledCircuit, options: RunnerOptions, *, verbose: bool) -> dict[str, Any]:
    """The account of the plans that were run: counts add up over segments, sizes are the largest one's."""
    plans = list(compiled.runner.plans.values())
    fusion: dict[str, Any] = {"enabled": options.fusion_enable, "applied": compiled.fuses and bool(plans)}
    for plan in plans:
        for name, value in plan.summary().items():
            if "backward" not in name:
                largest = name in ("num_qubits", "tile_qubits")
                fusion[name] = max(fusion.get(name, 0), value) if largest else fusion.get(name, 0) + value
    fusion["max_fused_qubits"] = fusion.get("tile_qubits", 0)
    fusion["threshold"] = options.fusion_threshold
    fusion["parallelization"] = getattr(compiled.runner.device, "num_threads", 1)
    if compiled.num_fused:
        fusion["fused_gates"] = compiled.num_fused
        fusion["partition"] = "planned anew" if compiled.fuses else "kept"
    if verbose:
        fusion["output_ops"] = [_operation(block) for plan in plans for block in plan.tape.blocks]
        fusion["plan"] = "\n".join(map(str, plans))
    return fusion


def _operation(block: Block) -> dict[str, Any]:
    """What a block does, under the keys of Aer's list of fused operations, and ours."""
    diagonal = all(isinstance(operation, Diag) for operation in block.operations)
    name = "diagonal" if diagonal else "unitary"
    return {"name": name, "num_qubits": len(block.tile), "operations": len(block.operations)}
