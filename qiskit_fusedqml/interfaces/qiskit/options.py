"""Options: those of a primitive, and those that a class takes from the primitive it has been given."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from qiskit.providers import BackendV2, Options

from ...arrays import check_seed, shown
from ...distributed import DistributedDevice
from ...engine.options import ENGINE_ARGUMENTS, EngineOptions, engine_arguments
from ...errors import InvalidInputError
from .backend.options import DEFAULTS, checked_fields, engine_fields, is_option, runner_options
from .backend.simulator import FusedSimulator
from .compiled import RunnerOptions
from .noise import RANK_ARGUMENTS, engine_options

AER_OPTIONS = ("backend_options", "run_options")
"""What the ``options`` of qiskit-aer's V2 primitives hold: the simulator's, and those of its runs, which come first."""


class EnginePrimitive:
    """A primitive whose options are some of its own and those of the engine, also under the names of qiskit-aer.

    Attributes:
        OWN_OPTIONS: The names of its own; ``seed`` is one of them.
        IN_AER_OPTIONS: Those of its own that Aer has among ``options``.
    """

    OWN_OPTIONS: ClassVar[tuple[str, ...]]
    IN_AER_OPTIONS: ClassVar[tuple[str, ...]] = ()
    _options: Options

    def _set_options(self, arguments: Mapping[str, Any]) -> None:
        """Take the constructor's arguments, its ``locals()``, checked; ``options`` are those given as on Aer."""
        own = {name: arguments[name] for name in self.OWN_OPTIONS}
        own |= engine_arguments(arguments) | {name: arguments[name] for name in RANK_ARGUMENTS}
        self._options = Options(**own, backend_options={}, run_options={})
        given, allowed = arguments["options"], (*self.IN_AER_OPTIONS, *AER_OPTIONS)
        if given is not None and not (isinstance(given, Mapping) and set(allowed).issuperset(given)):
            raise InvalidInputError(f"options is {shown(given)}; a dictionary with keys among {allowed} is expected.")
        self._options.update_options(**(given or {}))
        check_seed(self._options.seed)
        _ = self.engine_options

    @classmethod
    def from_backend(cls, backend: BackendV2, **options: Any) -> Self:
        """A primitive that runs as a backend does.

        Args:
            backend: A `FusedSimulator`, whose options are taken over (but for an executor), or any other backend, which
                is simulated with its noise.
            **options: As for the constructor.

        Raises:
            InvalidInputError: If it is no `BackendV2`.
        """
        primitive = cls(**options)
        simulator = backend if isinstance(backend, FusedSimulator) else FusedSimulator.from_backend(backend)
        default = DEFAULTS | {"executor": simulator.options.executor}
        own = {name: getattr(simulator.options, name) for name in DEFAULTS}
        changed = {name: value for name, value in own.items() if value != default[name]}
        primitive._options.update_options(backend_options=changed)
        return primitive

    @property
    def options(self) -> Options:
        """The constructor's arguments; ``options.update_options(...)`` changes them for later calls."""
        return self._options

    @property
    def seed(self) -> np.random.Generator | int | None:
        """The seed of what is random; where ranks share states and none was given, one that they agree on."""
        seed: np.random.Generator | int | None = self._options.seed
        if seed is None:
            seed = self._simulator_options().get("seed_simulator")
        device = self.engine_options.device
        if seed is None and isinstance(device, DistributedDevice):
            return np.random.default_rng(device.agreed(secrets.randbits(62)))
        return seed

    @property
    def runner_options(self) -> RunnerOptions:
        """How circuits are compiled for sampling."""
        return replace(runner_options(DEFAULTS | self._simulator_options()), engine=self.engine_options)

    def _simulator_options(self) -> dict[str, Any]:
        """The simulator's options that are not its defaults, checked."""
        found: dict[str, Any] = {}
        for name in AER_OPTIONS:
            given = getattr(self._options, name)
            if given is not None and not isinstance(given, Mapping):
                raise InvalidInputError(f"{name} is {shown(given)}; a dictionary is expected.")
            of_run = name == "run_options"  # `FusedSimulator.run` ignores names that it does not know
            found |= {key: value for key, value in (given or {}).items() if not of_run or is_option(key)}
        return {key: value for key, value in checked_fields(found).items() if value is not None} if found else found

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine; fields of `options` that do not exist are refused here."""
        own = (*self.OWN_OPTIONS, *AER_OPTIONS)
        given = {name: value for name, value in vars(self._options).items() if name not in own}
        unknown = sorted(given.keys() - {*ENGINE_ARGUMENTS, *RANK_ARGUMENTS})
        if unknown:
            known = [*self.OWN_OPTIONS, *ENGINE_ARGUMENTS, *RANK_ARGUMENTS]
            raise InvalidInputError(f"{type(self).__name__} has no options {unknown}; the options are {known}.")
        return engine_options(given | engine_fields(self._simulator_options()))


class LentEngineOptions:
    """A class that has been given a primitive: its engine options are those given, else the primitive's.

    Attributes:
        _given: The engine options given, by name; None stands for the primitive's.
    """

    _given: Mapping[str, Any]

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine."""
        lent = getattr(self._primitive, "engine_options", None)
        given = {name: value for name, value in self._given.items() if value is not None}
        own = lent if isinstance(lent, EngineOptions) else EngineOptions()
        return engine_options(own.arguments() | given)

    @property
    def _primitive(self) -> object:
        return getattr(self, "_estimator", None) or getattr(self, "_sampler", None)

    def _get_local_options(self, options: Mapping[str, Any]) -> Options:
        """The primitive's options overridden by others, also for primitives whose ``options`` are no `Options`."""
        own = getattr(self._primitive, "options", None)
        merged = copy(own) if isinstance(own, Options) else Options(**(vars(own) if hasattr(own, "__dict__") else {}))
        merged.update_options(**options)
        return merged
