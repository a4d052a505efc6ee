"""One circuit's way from parameter values to experiment results."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.result.models import ExperimentResult, ExperimentResultData

from ...engine import DifferentiableProgram, Measurement
from ...errors import InvalidInputError, OutOfMemoryError
from ..cache import CACHE, EngineOptions, lowered
from ..rows import check_finite
from .sampling import draw, hex_names

CHUNK_OUTCOMES = 1 << 24
"""Probabilities held at a time."""

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


@dataclass(frozen=True, eq=False)
class Sampler:
    """A compiled circuit that is sampled.

    Attributes:
        engine: Gives the probabilities of the measured qubits, bit j of the outcome for the j-th of them.
        sources: Pairs (bit of the outcome, classical bit it is written to); empty if nothing is measured.
        num_clbits: Number of classical bits.
    """

    engine: DifferentiableProgram
    sources: tuple[tuple[int, int], ...]
    num_clbits: int


def compile_sampler(circuit: QuantumCircuit, options: EngineOptions) -> Sampler:
    """The sampler of a circuit, from the cache if it is there.

    Raises:
        UnsupportedInstructionError: Naming the instruction and its position.
    """

    def build(_: QuantumCircuit) -> Sampler:
        source = lowered(circuit)
        qubits = sorted({qubit for qubit, _ in source.measurements})
        # only measured qubits get a place in the outcome: a circuit may have far more classical bits than fit an array
        places = Measurement(tuple((qubit, bit) for bit, qubit in enumerate(qubits)), len(qubits))
        engine = DifferentiableProgram(source.program, source.angle_map, None, measurement=places, **asdict(options))
        sources = tuple((qubits.index(qubit), clbit) for qubit, clbit in source.measurements)
        return Sampler(engine, sources, source.num_clbits)

    return CACHE.get(circuit, ("sampler", options), build)


def bound_rows(circuit: QuantumCircuit, binds: Mapping[Any, Any] | None) -> NDArray[np.float64]:
    """The rows (B, num_parameters) that a dictionary of ``parameter_binds`` stands for.

    Raises:
        InvalidInputError: If parameters are missing, unknown, not finite, or have unequal numbers of values.
    """
    parameters = list(circuit.parameters)
    given = {
        _parameter(circuit, key): np.atleast_1d(np.asarray(values, float)) for key, values in (binds or {}).items()
    }
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


def _parameter(circuit: QuantumCircuit, key: Any) -> Parameter:
    for parameter in circuit.parameters:
        if key in (parameter, parameter.name):
            return parameter
    raise InvalidInputError(f"parameter_binds names {key!r}, which is no parameter of circuit {circuit.name!r}.")


def run_experiments(
    circuit: QuantumCircuit, rows: NDArray[np.float64], options: EngineOptions, run: RunOptions, first: int
) -> list[ExperimentResult]:
    """Sample a circuit at every row of values.

    Too little memory makes failed experiments, as it does on Aer; a circuit that cannot be run at all raises.

    Args:
        circuit: The circuit.
        rows: Values (B, num_parameters).
        options: The engine's options.
        run: The run's options.
        first: Number of the job's experiments before these.
    """
    header = _header(circuit)
    try:
        sampler = compile_sampler(circuit, options)
        return _sampled(sampler, rows, options, run, first, header)
    except OutOfMemoryError as error:
        logger.warning("Experiment %r failed: %s", circuit.name, error)
        failed = {"shots": run.shots, "success": False, "data": ExperimentResultData(), "status": f"ERROR: {error}"}
        return [ExperimentResult(**failed, header=dict(header)) for _ in rows]


def _sampled(
    sampler: Sampler,
    rows: NDArray[np.float64],
    options: EngineOptions,
    run: RunOptions,
    first: int,
    header: Mapping[str, Any],
) -> list[ExperimentResult]:
    num_outcomes = 2**sampler.engine.measurement.num_clbits
    chunk = max(1, CHUNK_OUTCOMES // num_outcomes)
    results = []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        began = time.perf_counter()
        # without measurements there is nothing to compute
        table = sampler.engine.probabilities(None, part) if sampler.sources else [None] * len(part)
        share = (time.perf_counter() - began) / len(part)
        for offset, probabilities in enumerate(table):
            seed = run.seed + SEED_STRIDE * (first + start + offset)
            began = time.perf_counter()
            data = ExperimentResultData(**_data(sampler, probabilities, run, seed))
            sampling = time.perf_counter() - began
            results.append(
                ExperimentResult(
                    shots=run.shots,
                    success=True,
                    data=data,
                    status="DONE",
                    seed=seed,
                    header=dict(header),
                    seed_simulator=seed,
                    time_taken=share + sampling,
                    metadata=_metadata(sampler, options, sampling, verbose=run.verbose),
                )
            )
    return results


def _data(sampler: Sampler, probabilities: NDArray[np.float64] | None, run: RunOptions, seed: int) -> dict[str, Any]:
    if probabilities is None:
        return {}
    shots = draw(probabilities, run.shots, np.random.default_rng(seed), keep=run.memory)
    names = hex_names(shots.outcomes, sampler.sources, sampler.num_clbits)
    counts: dict[str, int] = {}
    for name, count in zip(names, shots.counts.tolist(), strict=True):
        counts[name] = counts.get(name, 0) + count  # outcomes may share a name where a classical bit was overwritten
    data: dict[str, Any] = {"counts": counts}
    if shots.sequence is not None:
        data["memory"] = np.array(names, dtype=object)[shots.sequence].tolist()
    return data


def _metadata(sampler: Sampler, options: EngineOptions, sampling: float, *, verbose: bool) -> dict[str, Any]:
    engine = sampler.engine
    fusion: dict[str, Any] = {"applied": True, "enabled": True}
    fusion |= {name: value for name, value in engine.plan.summary().items() if "backward" not in name}
    if verbose:
        fusion["plan"] = str(engine.plan)
    return {
        "method": "statevector",
        "device": options.device,
        "precision": options.precision,
        "noise": "ideal",
        "num_qubits": engine.num_qubits,
        "num_clbits": sampler.num_clbits,
        "num_bind_params": engine.num_weights,
        "measure_sampling": bool(sampler.sources),
        "sample_measure_time": sampling,
        "fusion": fusion,
    }


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


def all_rows(
    circuits: Sequence[QuantumCircuit], binds: Sequence[Mapping[Any, Any]] | None
) -> list[NDArray[np.float64]]:
    """The rows of every circuit.

    Raises:
        InvalidInputError: If there is not one dictionary per circuit; also as `bound_rows`.
    """
    if binds is None:
        return [bound_rows(circuit, None) for circuit in circuits]
    if len(binds) != len(circuits):
        raise InvalidInputError(
            f"{len(circuits)} circuits and {len(binds)} dictionaries of parameter_binds were given; equal numbers are "
            "expected."
        )
    return [bound_rows(circuit, each) for circuit, each in zip(circuits, binds, strict=True)]
