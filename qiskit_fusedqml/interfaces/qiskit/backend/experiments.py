"""One circuit's way from parameter values to experiment results and their metadata, under the names of Aer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.result.models import ExperimentResult, ExperimentResultData

from ....arrays import real_array, shown
from ....devices import Device
from ....errors import InvalidInputError, OutOfMemoryError, SimulationError
from ....ir.dynamic import Save, walk
from ....planner import Plan
from ....planner.tape import Block, Diag
from ....simulation import Outcomes, Request
from ..batches import check_finite
from ..cache import CACHE
from ..compiled import CompiledCircuit, RunnerOptions, compile_runner
from ..lowering import free_parameters
from ..noise import Noise
from .options import memory_mb, runner_options
from .saves import saved_value

SEED_STRIDE = 2113
"""Experiment k of a job is seeded with the job's seed plus k strides, so that its counts can be had again alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiments:
    """A circuit and the parameter sets that it is run at.

    Attributes:
        circuit: The circuit.
        sets: Values (B, num_parameters).
        first: Number of the run's experiments before these.
    """

    circuit: QuantumCircuit
    sets: NDArray[np.float64]
    first: int


def list_experiments(
    circuits: Sequence[QuantumCircuit], binds: Sequence[Mapping[Any, Any] | None] | None
) -> list[Experiments]:
    """The circuits with the parameter sets that they are run at."""
    expected = "a list of one dictionary per circuit, [{parameter: [value, ...]}],"
    if not isinstance(binds, list | tuple | None):
        raise InvalidInputError(f"parameter_binds is {shown(binds)}; {expected} is expected.")
    if binds is not None and len(binds) != len(circuits):
        raise InvalidInputError(
            f"{len(circuits)} circuits and {len(binds)} dictionaries of parameter_binds were given; equal numbers are "
            "expected."
        )
    for each in binds or ():
        if each is not None and not isinstance(each, Mapping):
            raise InvalidInputError(f"parameter_binds holds {shown(each)}; {expected} is expected.")
    listed: list[Experiments] = []
    first = 0
    for k, circuit in enumerate(circuits):
        sets = _bound_sets(circuit, {} if binds is None else binds[k] or {})
        listed.append(Experiments(circuit, sets, first))
        first += len(sets)
    return listed


def _bound_sets(circuit: QuantumCircuit, binds: Mapping[Any, Any]) -> NDArray[np.float64]:
    """The parameter sets (B, num_parameters) that a dictionary of ``parameter_binds`` stands for."""
    parameters = free_parameters(circuit)
    if not parameters and not binds:
        return np.empty((1, 0))
    known: dict[Any, Parameter] = {parameter.name: parameter for parameter in parameters}
    known.update((parameter, parameter) for parameter in parameters)
    given = {}
    for key, values in binds.items():
        if key not in known:
            raise InvalidInputError(
                f"parameter_binds names {key!r}, which is no parameter of circuit {circuit.name!r}."
            )
        given[known[key]] = values
    missing = [parameter.name for parameter in parameters if parameter not in given]
    if missing:
        raise InvalidInputError(
            f"Circuit {circuit.name!r} has parameters without values: {missing}. Bind them with assign_parameters, or "
            "give parameter_binds=[{parameter: [value, ...]}], one dictionary per circuit."
        )
    if not parameters:
        return np.empty((1, 0))
    columns = [given[parameter] for parameter in parameters]
    sets = _stacked(columns)
    if sets is None:
        sets = _stacked_one_by_one([parameter.name for parameter in parameters], columns)
    check_finite(sets, parameters)
    return sets


def _stacked(columns: Sequence[Any]) -> NDArray[np.float64] | None:
    """Lists of equally many numbers as the columns of an array; None where they are something else."""
    if not all(type(column) in (list, np.ndarray) for column in columns):
        return None
    try:
        rows = np.array(columns)
    except ValueError:  # lists of unequal lengths
        return None
    is_real = rows.ndim == 2 and rows.size and rows.dtype.kind in "iuf"
    return np.ascontiguousarray(rows.T, np.float64) if is_real else None


def _stacked_one_by_one(names: Sequence[str], columns: Sequence[Any]) -> NDArray[np.float64]:
    """The same of whatever numbers can be read from; what is wrong is found out."""
    arrays = [
        np.atleast_1d(real_array(column, f"parameter_binds, values of {name}", copy=False))
        for name, column in zip(names, columns, strict=True)
    ]
    shapes = {name: array.shape for name, array in zip(names, arrays, strict=True)}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise InvalidInputError(
            f"The parameters of a circuit need equal numbers of values, a list [value, ...] each, got shapes {shapes}."
        )
    if any(not array.size for array in arrays):
        raise InvalidInputError(
            f"parameter_binds has empty lists of values for {[*shapes]}: there is nothing to run. Give one or more."
        )
    return np.stack(arrays, axis=1)


def run_all(
    experiments: Sequence[Experiments], options: Mapping[str, Any], compiling: RunnerOptions | None = None
) -> list[ExperimentResult]:
    """Run circuits one after the other by the backend's options, with a seed; the arguments can be pickled.

    ``compiling`` is what `runner_options` makes of the options, where that is known.
    """
    compiling = compiling or runner_options(options)
    return [result for each in experiments for result in _run(each, options, compiling)]


def _run(experiments: Experiments, options: Mapping[str, Any], compiling: RunnerOptions) -> list[ExperimentResult]:
    """Run a circuit at every parameter set.

    Too little memory or contradictory saves make failed experiments, as they do on Aer; a circuit with something in
    it that is not known raises.
    """
    circuit, count, shots = experiments.circuit, len(experiments.sets), options["shots"]
    header = _header(circuit)
    seeds = [options["seed_simulator"] + SEED_STRIDE * (experiments.first + k) for k in range(count)]
    try:
        compiled = compile_runner(CACHE.known(circuit), compiling, shots)
        began = time.perf_counter()
        is_random = compiled.runner.is_random  # a generator takes ten microseconds
        generators = [np.random.default_rng(seed) if is_random else None for seed in seeds]
        outcomes = compiled.run(
            Request(experiments.sets, np.arange(count), shots, generators, keep=bool(options["memory"]))
        )
        share = (time.perf_counter() - began) / max(count, 1)
        metadata = _metadata(compiled, compiling, count, verbose=options["fusion_verbose"]) | {"time_taken": share}
        counted = compiled.runner.dynamic.num_clbits > 0
        return [
            ExperimentResult(
                shots=shots,
                success=True,
                data=ExperimentResultData(**_data(outcome, options, counted=counted)),
                status="DONE",
                seed=seed,
                header=dict(header),
                seed_simulator=seed,
                time_taken=share,
                metadata=dict(metadata),
            )
            for outcome, seed in zip(outcomes, seeds, strict=True)
        ]
    except (OutOfMemoryError, SimulationError) as error:
        logger.warning("Experiment %r failed: %s", circuit.name, error)
        data, status = ExperimentResultData(), f"ERROR: {error.message}"
        return [ExperimentResult(shots, False, data, status=status, header=dict(header)) for _ in seeds]


def _data(outcome: Outcomes, options: Mapping[str, Any], *, counted: bool) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if outcome.shots is not None and counted:
        names = list(map(hex, outcome.shots.outcomes.tolist()))
        data["counts"] = dict(zip(names, outcome.shots.counts.tolist(), strict=True))
        if options["memory"] and outcome.shots.sequence is not None:
            data["memory"] = np.array(names, dtype=object)[outcome.shots.sequence].tolist()
    for label, saved in outcome.saved.items():
        data[label] = saved_value(saved, options["zero_threshold"])
    return data


def _header(circuit: QuantumCircuit) -> dict[str, Any]:
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


def _metadata(compiled: CompiledCircuit, options: RunnerOptions, num_sets: int, *, verbose: bool) -> dict[str, Any]:
    """The metadata that all experiments of a circuit share, which has been run at so many parameter sets."""
    runner, engine = compiled.runner, options.engine
    dynamic, device = runner.dynamic, runner.device
    saves = [node for node in walk(dynamic.nodes) if isinstance(node, Save)] if runner.saves else []
    metadata: dict[str, Any] = {
        "method": compiled.method,
        "device": engine.device if isinstance(engine.device, str) else engine.device.name,
        "precision": engine.precision,
        "noise": _noise(compiled, engine.noise_model),
        "num_qubits": dynamic.num_qubits,
        "num_clbits": dynamic.num_clbits,
        "num_bind_params": num_sets,
        "active_input_qubits": list(compiled.qubits),
        "input_qubit_map": [[qubit, k] for k, qubit in enumerate(compiled.qubits)],
        "remapped_qubits": compiled.qubits != tuple(range(len(compiled.qubits))),
        "required_memory_mb": device.state_bytes(dynamic.num_qubits, 1) >> 20,
        "max_memory_mb": memory_mb(engine),
        "parallel_shots": 1,
        "parallel_state_update": num_threads(device),
        "measure_sampling": runner.samples,
        "batched_shots_optimization": not runner.samples,
        "runtime_parameter_bind": num_sets > 1,
        "fusion": _fusion(compiled, options, verbose=verbose),
    }
    if saves:
        metadata["result_types"] = {save.label: f"save_{save.kind}" for save in saves}
        metadata["result_subtypes"] = {save.label: save.subtype for save in saves}
    return metadata


def num_threads(device: Device) -> int:
    """Threads of a device, of the one inside for mixed states."""
    found: int = getattr(getattr(device, "inner", device), "num_threads", 1)
    return found


def _noise(compiled: CompiledCircuit, noise: Noise | None) -> str:
    """How the noise model's errors are simulated, as Aer says it.

    "ideal" or "readout" where there are none; "superop" on density matrices; "kraus" on pure states whose operators are
    chosen by the norms that they leave, "circuit" if all channels are mixtures of unitaries.
    """
    if noise is None or not noise.has_errors:
        return "readout" if noise is not None and noise.readout else "ideal"
    if compiled.method == "density_matrix":
        return "superop"
    return "circuit" if compiled.runner.mixes_unitaries else "kraus"


def _fusion(compiled: CompiledCircuit, options: RunnerOptions, *, verbose: bool) -> dict[str, Any]:
    """The account of the plans that were run: counts add up over segments, sizes are the largest one's."""
    plans = [plan for each in compiled.runner.plans.values() for plan in each]
    fusion: dict[str, Any] = {"enabled": options.fusion_enable, "applied": compiled.fuses and bool(plans)}
    for plan in plans[:1]:
        fusion |= _forward_account(plan)
    for plan in plans[1:]:
        for name, value in _forward_account(plan).items():
            is_largest = name in ("num_qubits", "tile_qubits", "tile_bits")
            fusion[name] = max(fusion.get(name, 0), value) if is_largest else fusion.get(name, 0) + value
    fusion["max_fused_qubits"] = fusion.get("tile_qubits", fusion.get("tile_bits", 0) // 2)
    fusion["threshold"] = options.fusion_threshold
    fusion["parallelization"] = num_threads(compiled.runner.device)
    if compiled.num_fused:
        fusion["fused_gates"] = compiled.num_fused
        fusion["partition"] = "planned anew" if compiled.fuses else "kept"
    if verbose:
        fusion["output_ops"] = [_operation(block) for plan in plans for block in plan.tape.blocks]
        fusion["plan"] = "\n".join(map(str, plans))
    return fusion


def _forward_account(plan: Plan) -> dict[str, float | int]:
    """What of a plan's account is about its forward sweep."""
    return {name: value for name, value in plan.summary().items() if "backward" not in name}


def _operation(block: Block) -> dict[str, Any]:
    """What a block does, under the keys of Aer's list of fused operations, and ours."""
    diagonal = all(isinstance(operation, Diag) for operation in block.operations)
    name = "diagonal" if diagonal else "unitary"
    return {"name": name, "num_qubits": len(block.tile), "operations": len(block.operations)}
