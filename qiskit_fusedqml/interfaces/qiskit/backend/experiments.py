"""One circuit's way from parameter values to experiment results."""

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

from ....errors import InvalidInputError, OutOfMemoryError, SimulationError
from ....simulation import RowResult, Runner
from ..batches import check_finite
from ..cache import CACHE
from ..lowering import free_parameters
from ..sampling import CompiledCircuit, RunnerOptions, compile_runner
from .metadata import experiment_metadata
from .saves import saved_value

SEED_STRIDE = 2113
"""Experiment k of a job is seeded with the job's seed plus k strides, so that its counts can be had again alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What a run needs to know besides the engine's options."""

    shots: int
    memory: bool
    seed: int
    verbose: bool = False
    zero_threshold: float = 1e-10


@dataclass(frozen=True)
class Experiments:
    """A circuit and the rows of values that it is run at.

    Attributes:
        circuit: The circuit.
        rows: Values (B, num_parameters).
        first: Number of the run's experiments before these.
    """

    circuit: QuantumCircuit
    rows: NDArray[np.float64]
    first: int


def bound_rows(circuit: QuantumCircuit, binds: Mapping[Any, Any] | None) -> NDArray[np.float64]:
    """The rows (B, num_parameters) that a dictionary of ``parameter_binds`` stands for.

    Raises:
        InvalidInputError: If parameters are missing, unknown, not finite, or have unequal numbers of values.
    """
    parameters = free_parameters(circuit)
    known: dict[Any, Parameter] = {parameter.name: parameter for parameter in parameters}
    known.update((parameter, parameter) for parameter in parameters)
    given = {}
    for key, values in (binds or {}).items():
        if key not in known:
            raise InvalidInputError(
                f"parameter_binds names {key!r}, which is no parameter of circuit {circuit.name!r}."
            )
        given[known[key]] = np.atleast_1d(np.asarray(values, float))
    missing = [parameter.name for parameter in parameters if parameter not in given]
    if missing:
        raise InvalidInputError(
            f"Circuit {circuit.name!r} has parameters without values: {missing}. Bind them with assign_parameters, or "
            "give parameter_binds=[{parameter: [value, ...]}], one dictionary per circuit."
        )
    lengths = {parameter.name: values.shape for parameter, values in given.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise InvalidInputError(f"The parameters of a circuit need equal numbers of values, got shapes {lengths}.")
    if not parameters:
        return np.empty((1, 0))
    rows = np.stack([given[parameter] for parameter in parameters], axis=1)
    check_finite(rows, parameters)
    return rows


def run_experiments(
    circuit: QuantumCircuit, rows: NDArray[np.float64], options: RunnerOptions, run: RunOptions, first: int
) -> list[ExperimentResult]:
    """Run a circuit at every row of values.

    Too little memory or contradictory saves make failed experiments, as they do on Aer; a circuit with something in
    it that is not known raises.

    Args:
        circuit: The circuit.
        rows: Values (B, num_parameters).
        options: How it is compiled.
        run: The run's options.
        first: Number of the job's experiments before these.
    """
    header = _header(circuit)
    try:
        compiled = compile_runner(CACHE.known(circuit), options)
        return _results(compiled, rows, options, run, first, header)
    except (OutOfMemoryError, SimulationError) as error:
        logger.warning("Experiment %r failed: %s", circuit.name, error)
        failed = {
            "shots": run.shots,
            "success": False,
            "data": ExperimentResultData(),
            "status": f"ERROR: {error.message}",
        }
        return [ExperimentResult(**failed, header=dict(header)) for _ in rows]


def run_all(experiments: Sequence[Experiments], options: RunnerOptions, run: RunOptions) -> list[ExperimentResult]:
    """Run circuits one after the other; the arguments can be pickled."""
    return [
        result for each in experiments for result in run_experiments(each.circuit, each.rows, options, run, each.first)
    ]


def _results(
    compiled: CompiledCircuit,
    rows: NDArray[np.float64],
    options: RunnerOptions,
    run: RunOptions,
    first: int,
    header: Mapping[str, Any],
) -> list[ExperimentResult]:
    seeds = [run.seed + SEED_STRIDE * (first + k) for k in range(len(rows))]
    began = time.perf_counter()
    found = compiled.runner.run(rows, run.shots, [np.random.default_rng(seed) for seed in seeds], keep=run.memory)
    share = (time.perf_counter() - began) / max(len(rows), 1)
    metadata = experiment_metadata(compiled, options, len(rows), verbose=run.verbose) | {"time_taken": share}
    return [
        ExperimentResult(
            shots=run.shots,
            success=True,
            data=ExperimentResultData(**_data(result, compiled.runner, run)),
            status="DONE",
            seed=seed,
            header=dict(header),
            seed_simulator=seed,
            time_taken=share,
            metadata=dict(metadata),
        )
        for result, seed in zip(found, seeds, strict=True)
    ]


def _data(result: RowResult, runner: Runner, run: RunOptions) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if result.shots is not None and runner.dynamic.num_clbits:
        names = list(map(hex, result.shots.outcomes.tolist()))
        data["counts"] = _merged(names, result.shots.counts.tolist())
        if run.memory and result.shots.sequence is not None:
            data["memory"] = np.array(names, dtype=object)[result.shots.sequence].tolist()
    for label, saved in result.saved.items():
        data[label] = saved_value(saved, run.zero_threshold)
    return data


def _merged(names: list[str], numbers: list[int]) -> dict[str, int]:
    """Counts by name; outcomes share a name where a bit was overwritten."""
    counts = dict(zip(names, numbers, strict=True))
    if len(counts) < len(names):
        counts = dict.fromkeys(counts, 0)
        for name, number in zip(names, numbers, strict=True):
            counts[name] += number
    return counts


def _header(circuit: QuantumCircuit) -> dict[str, Any]:
    in_registers = [bit for register in circuit.cregs for bit in register]
    # Qiskit splits the bits by these sizes, which makes sense only if the registers hold all bits in order
    split = in_registers == list(circuit.clbits)
    return {
        "name": circuit.name,
        "n_qubits": circuit.num_qubits,
        "memory_slots": circuit.num_clbits,
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs] if split else [],
        "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
        "global_phase": _plain(circuit.global_phase),
        "metadata": circuit.metadata,
    }


def _plain(phase: Any) -> float | str:
    try:
        return float(phase)
    except TypeError:  # a parametrised phase
        return str(phase)


def list_experiments(
    circuits: Sequence[QuantumCircuit], binds: Sequence[Mapping[Any, Any]] | None
) -> list[Experiments]:
    """The circuits with the rows that they are run at.

    Raises:
        InvalidInputError: If there is not one dictionary per circuit; also as `bound_rows`.
    """
    if binds is not None and len(binds) != len(circuits):
        raise InvalidInputError(
            f"{len(circuits)} circuits and {len(binds)} dictionaries of parameter_binds were given; equal numbers are "
            "expected."
        )
    listed: list[Experiments] = []
    first = 0
    for k, circuit in enumerate(circuits):
        listed.append(Experiments(circuit, bound_rows(circuit, None if binds is None else binds[k]), first))
        first += len(listed[-1].rows)
    return listed
