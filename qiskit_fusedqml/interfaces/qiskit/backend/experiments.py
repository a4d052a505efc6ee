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
from ....simulation import Outcomes
from ..batches import check_finite
from ..cache import CACHE
from ..compiled import RunnerOptions, compile_runner
from ..lowering import free_parameters
from .metadata import circuit_header, experiment_metadata
from .saves import saved_value

SEED_STRIDE = 2113
"""Experiment k of a job is seeded with the job's seed plus k strides, so that its counts can be had again alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What a run needs to know besides the options by which circuits are compiled."""

    shots: int
    memory: bool
    seed: int
    verbose: bool = False
    zero_threshold: float = 1e-10


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
    circuits: Sequence[QuantumCircuit], binds: Sequence[Mapping[Any, Any]] | None
) -> list[Experiments]:
    """The circuits with the parameter sets that they are run at.

    Raises:
        InvalidInputError: If there is not one dictionary of ``binds`` per circuit, or parameters are missing, unknown,
            not finite, or have unequal numbers of values.
    """
    if binds is not None and len(binds) != len(circuits):
        raise InvalidInputError(
            f"{len(circuits)} circuits and {len(binds)} dictionaries of parameter_binds were given; equal numbers are "
            "expected."
        )
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
    known: dict[Any, Parameter] = {parameter.name: parameter for parameter in parameters}
    known.update((parameter, parameter) for parameter in parameters)
    given = {}
    for key, values in binds.items():
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
    shapes = {parameter.name: values.shape for parameter, values in given.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise InvalidInputError(f"The parameters of a circuit need equal numbers of values, got shapes {shapes}.")
    if not parameters:
        return np.empty((1, 0))
    sets = np.stack([given[parameter] for parameter in parameters], axis=1)
    check_finite(sets, parameters)
    return sets


def run_all(experiments: Sequence[Experiments], options: RunnerOptions, run: RunOptions) -> list[ExperimentResult]:
    """Run circuits one after the other; the arguments can be pickled."""
    return [result for each in experiments for result in _run(each, options, run)]


def _run(experiments: Experiments, options: RunnerOptions, run: RunOptions) -> list[ExperimentResult]:
    """Run a circuit at every parameter set.

    Too little memory or contradictory saves make failed experiments, as they do on Aer; a circuit with something in
    it that is not known raises.
    """
    circuit, count = experiments.circuit, len(experiments.sets)
    header = circuit_header(circuit)
    seeds = [run.seed + SEED_STRIDE * (experiments.first + k) for k in range(count)]
    try:
        compiled = compile_runner(CACHE.known(circuit), options)
        began = time.perf_counter()
        generators = [np.random.default_rng(seed) for seed in seeds]
        outcomes = compiled.runner.run(experiments.sets, run.shots, generators, keep=run.memory)
        share = (time.perf_counter() - began) / max(count, 1)
        metadata = experiment_metadata(compiled, options, count, verbose=run.verbose) | {"time_taken": share}
        counted = compiled.runner.dynamic.num_clbits > 0
        return [
            ExperimentResult(
                shots=run.shots,
                success=True,
                data=ExperimentResultData(**_data(outcome, run, counted=counted)),
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
        return [ExperimentResult(run.shots, False, data, status=status, header=dict(header)) for _ in seeds]


def _data(outcome: Outcomes, run: RunOptions, *, counted: bool) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if outcome.shots is not None and counted:
        names = list(map(hex, outcome.shots.outcomes.tolist()))
        data["counts"] = dict(zip(names, outcome.shots.counts.tolist(), strict=True))
        if run.memory and outcome.shots.sequence is not None:
            data["memory"] = np.array(names, dtype=object)[outcome.shots.sequence].tolist()
    for label, saved in outcome.saved.items():
        data[label] = saved_value(saved, run.zero_threshold)
    return data
