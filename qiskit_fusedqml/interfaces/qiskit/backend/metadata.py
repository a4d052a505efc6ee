"""What a result says about how it was computed, under the names it has on Aer."""

from __future__ import annotations

from typing import Any

from ....engine.options import EngineOptions
from ....ir.dynamic import Save, walk
from ....memory import default_budget
from ....planner.tape import Block, Diag
from ..sampling import CompiledCircuit, RunnerOptions


def experiment_metadata(
    compiled: CompiledCircuit, options: RunnerOptions, num_rows: int, *, verbose: bool
) -> dict[str, Any]:
    """The metadata that all experiments of one circuit share.

    Args:
        compiled: The circuit, which has been run.
        options: How it was compiled.
        num_rows: Number of rows of parameter values.
        verbose: Whether the plans are printed.
    """
    runner, engine = compiled.runner, options.engine
    saves = [node for node in walk(runner.dynamic.nodes) if isinstance(node, Save)]
    threads = getattr(runner.device, "num_threads", 1)
    metadata: dict[str, Any] = {
        "method": "statevector",
        "device": engine.device,
        "precision": engine.precision,
        "noise": "ideal",
        "num_qubits": runner.dynamic.num_qubits,
        "num_clbits": runner.dynamic.num_clbits,
        "num_bind_params": num_rows,
        "active_input_qubits": list(compiled.qubits),
        "input_qubit_map": [[qubit, k] for k, qubit in enumerate(compiled.qubits)],
        "remapped_qubits": compiled.qubits != tuple(range(len(compiled.qubits))),
        "required_memory_mb": runner.device.state_bytes(runner.dynamic.num_qubits, 1) >> 20,
        "max_memory_mb": memory_mb(engine),
        "parallel_shots": 1,
        "parallel_state_update": threads,
        "measure_sampling": runner.samples,
        "batched_shots_optimization": not runner.samples,
        "runtime_parameter_bind": num_rows > 1,
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
            if "backward" in name:
                continue
            largest = name in ("num_qubits", "tile_qubits")
            fusion[name] = max(fusion.get(name, 0), value) if largest else fusion.get(name, 0) + value
    fusion["max_fused_qubits"] = fusion.get("tile_qubits", 0)
    fusion["threshold"] = options.fusion_threshold
    fusion["parallelization"] = getattr(compiled.runner.device, "num_threads", 1)
    if compiled.num_fused:
        fusion["fused_gates"] = compiled.num_fused
        fusion["partition"] = "planned anew" if compiled.fuses else "kept"
    if verbose:
        fusion["output_ops"] = [_block_account(block) for plan in plans for block in plan.tape.blocks]
        fusion["plan"] = "\n".join(map(str, plans))
    return fusion


def _block_account(block: Block) -> dict[str, Any]:
    """What a block does, under the keys that Aer's list of fused operations has, and ours."""
    diagonal = all(isinstance(operation, Diag) for operation in block.operations)
    return {
        "name": "diagonal" if diagonal else "unitary",
        "num_qubits": len(block.tile),
        "operations": len(block.operations),
    }
