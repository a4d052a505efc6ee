"""The options of `FusedSimulator`, under Aer's names."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from operator import is_
from typing import Any, TypeAlias

import numpy as np
from qiskit.providers import Options

from ....arrays import MAX_INT, real_number, shown, whole_number
from ....devices.checks import MAX_THREADS, PRECISIONS
from ....distributed.circuit import check_executor
from ....engine.options import EngineOptions
from ....errors import InvalidInputError
from ....memory import default_budget
from ..compiled import RunnerOptions
from ..noise import engine_options, read_noise

Check: TypeAlias = Callable[[str, Any], Any]
"""From an option's name and a value given to the value it has; raises InvalidInputError for one that is not allowed."""

METHODS = ("automatic", "statevector", "density_matrix")
DEVICES = ("CPU", "GPU")


def _one_of(*choices: Any) -> Check:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, (str, int)) and value in choices:
            return value
        allowed = ", ".join(map(repr, choices))
        raise InvalidInputError(f"{name}={shown(value)} is not available; choose one of {allowed}.")

    return check


def _whole(least: int, most: int = MAX_INT) -> Check:
    return lambda name, value: whole_number(value, name, least=least, most=most)


def _flag(name: str, value: Any) -> Any:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInputError(f"{name} is {shown(value)}; True or False is expected.")
    return value


def _shots(name: str, value: Any) -> int:
    """Shots such as 1e4 or "300" as integers, which Aer does with the same warning."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    if whole or (isinstance(value, str) and value.isdecimal() and len(value) < 20):
        number = whole_number(int(value), name, least=1)
        warnings.warn(f"shots={value!r} is taken for {number}; give an integer.", DeprecationWarning, stacklevel=5)
        return number
    return whole_number(value, name, least=1)


def _executor(_name: str, value: Any) -> Any:
    check_executor(value)
    return value


def _noise_model(_name: str, value: Any) -> Any:
    read_noise(value)
    return value


OPTIONS: dict[str, tuple[Any, Check]] = {
    "shots": (1024, _shots),
    "method": ("automatic", _one_of(*METHODS)),
    "device": ("CPU", _one_of(*DEVICES)),
    "precision": ("double", _one_of(*PRECISIONS)),
    "memory": (None, _flag),
    "seed_simulator": (None, _whole(0)),
    "max_memory_mb": (None, lambda _, value: EngineOptions(max_memory_mb=value).max_memory_mb),
    "max_parallel_threads": (None, _whole(0, MAX_THREADS)),
    "meas_level": (2, _one_of(2)),
    "enable_truncation": (True, _flag),
    "executor": (None, _executor),
    "comm": (None, lambda _name, value: value),
    "comm_timeout": (None, lambda name, value: real_number(value, name, "a positive number of seconds", least=1e-3)),
    "blocking_enable": (None, _flag),
    "blocking_qubits": (None, _whole(1)),
    "fusion_enable": (True, _flag),
    "fusion_max_qubit": (None, _whole(1)),
    "fusion_threshold": (None, _whole(0)),
    "fusion_verbose": (False, _flag),
    "max_job_size": (None, _whole(1)),
    "noise_model": (None, _noise_model),
    "noise_scale": (1.0, lambda name, value: real_number(value, name, "a number >= 0", least=0.0)),
    "zero_threshold": (1e-10, lambda name, value: real_number(value, name, "a number >= 0", least=0.0)),
}
"""Options that are obeyed: their defaults, and what checks values other than None."""

DEFAULTS: dict[str, Any] = {name: default for name, (default, _) in OPTIONS.items()}

ENGINE_NAMES = {
    "device": "device",
    "precision": "precision",
    "max_memory_mb": "max_memory_mb",
    "max_parallel_threads": "num_threads",
    "noise_model": "noise_model",
    "noise_scale": "noise_scale",
    "comm": "comm",
    "comm_timeout": "comm_timeout",
}
"""The options that are the engine's, and their names there."""

WITHOUT_EFFECT: dict[str, Any] = {
    "accept_distributed_results": None,
    "batched_shots_gpu": False,
    "batched_shots_gpu_max_qubits": 16,
    "chunk_swap_buffer_qubits": None,
    "cuStateVec_enable": False,
    "max_parallel_experiments": None,
    "max_parallel_shots": None,
    "max_shot_size": None,
    "num_threads_per_device": 1,
    "runtime_parameter_bind_enable": False,
    "shot_branching_enable": False,
    "shot_branching_sampling_enable": False,
    "statevector_parallel_threshold": 14,
    "statevector_sample_measure_opt": 10,
    "target_gpus": None,
    "validation_threshold": None,
}
"""Options of Aer that tune its way of working and change no result: accepted, with a warning when they are set."""

OTHER_METHODS = ("density_matrix_", "extended_stabilizer_", "mps_", "stabilizer_", "tensor_network_")
"""Prefixes of options for Aer's other methods: accepted likewise."""

_DEFAULTS = DEFAULTS | WITHOUT_EFFECT

_WARNED: set[str] = set()
"""Options without effect that have been warned of."""


def default_options() -> Options:
    """All options with their defaults."""
    return Options(**_DEFAULTS)


def is_option(name: str) -> bool:
    """Whether there is such an option here or on Aer."""
    return name in DEFAULTS or name in WITHOUT_EFFECT or name.startswith(OTHER_METHODS)


def unknown_fields(fields: Iterable[str]) -> list[str]:
    """The names that are no option, each with the nearest one that is."""
    described = []
    for field in itertools.filterfalse(is_option, fields):
        near = get_close_matches(field, [*DEFAULTS, *WITHOUT_EFFECT], n=1)
        described.append(f"{field!r} (did you mean {near[0]!r}?)" if near else repr(field))
    return described


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Known options, checked; None stands for the default."""
    unknown = unknown_fields(fields)
    if unknown:
        raise InvalidInputError(
            f"FusedSimulator has no option {', '.join(unknown)}; the options are {', '.join(DEFAULTS)}."
        )
    checked = {name: _DEFAULTS.get(name) if value is None else value for name, value in fields.items()}
    for name, value in checked.items():
        if name in OPTIONS and value is not None:
            checked[name] = OPTIONS[name][1](name, value)
    tuned = [name for name, value in checked.items() if name not in DEFAULTS and not _is_default(name, value)]
    tuned = [name for name in tuned if name not in _WARNED]
    if tuned:
        _WARNED.update(tuned)
        warnings.warn(f"FusedSimulator has nothing to do for {', '.join(tuned)}; results are the same.", stacklevel=4)
    return checked


def _is_default(name: str, value: Any) -> bool:
    """Whether an option of Aer's that has no effect is as it is on Aer; arrays and the like are not."""
    default = WITHOUT_EFFECT.get(name)
    return value is default or (isinstance(value, (bool, int, float, str)) and bool(value == default))


def engine_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are the engine's, under its names, without those that stand for its defaults."""
    found = {engine: options.get(name) for name, engine in ENGINE_NAMES.items()}
    if options.get("blocking_enable") is False:  # as on Aer, where chunks of states are what ranks share
        found["comm"] = None
    # Aer's 0 threads are all of them
    return {name: value for name, value in found.items() if value is not None and (value or name != "num_threads")}


COMPILING = (
    *ENGINE_NAMES,
    "method",
    "blocking_enable",
    "blocking_qubits",
    "enable_truncation",
    "fusion_enable",
    "fusion_max_qubit",
    "fusion_threshold",
)
"""The options that decide how circuits are compiled."""


class OptionsReader:
    """Reads how circuits are compiled, once for as long as the options that decide it are the same objects."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], RunnerOptions] | None = None

    def __reduce__(self) -> tuple[type[OptionsReader], tuple[()]]:
        """Copies and pickles read anew: devices stay where they are."""
        return OptionsReader, ()

    def read(self, options: Mapping[str, Any]) -> RunnerOptions:
        """See `runner_options`; a noise model can be changed in place and is read every time."""
        values, last = tuple(map(options.get, COMPILING)), self._last
        if last is None or options["noise_model"] is not None or not all(map(is_, values, last[0])):
            last = self._last = values, runner_options(options)
        return last[1]


def runner_options(options: Mapping[str, Any]) -> RunnerOptions:
    """How circuits are compiled."""
    return RunnerOptions(
        engine_options(engine_fields(options)),
        options["fusion_enable"],
        options["fusion_max_qubit"],
        options["fusion_threshold"] or 0,
        options["enable_truncation"],
        options["method"],
        options["blocking_qubits"] or 0,
    )


def memory_mb(engine: EngineOptions) -> int:
    """MiB that states may take."""
    return int(engine.max_memory_mb) if engine.max_memory_mb is not None else default_budget() >> 20


def run_metadata(engine: EngineOptions, executing: float, binding: float = 0.0) -> dict[str, Any]:
    """What Aer says about a run: seconds that running circuits and binding parameters took, and the memory allowed."""
    return {
        "time_taken_parameter_binding": binding,
        "time_taken_execute": executing,
        "omp_enabled": False,  # threads of our own
        "max_gpu_memory_mb": 0,
        "max_memory_mb": memory_mb(engine),
        "parallel_experiments": 1,
    }
