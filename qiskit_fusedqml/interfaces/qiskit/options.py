"""Options: those of a primitive, and those that a class takes from the primitive it has been given."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
from qiskit.providers import Options

from ...arrays import check_seed
from ...engine.options import EngineOptions
from ...errors import InvalidInputError


class EnginePrimitive:
    """A primitive whose options are some of its own and those of the engine.

    Attributes:
        OWN_OPTIONS: The names of its own; ``seed`` is one of them.
    """

    OWN_OPTIONS: ClassVar[tuple[str, ...]]
    _options: Options

    def _set_options(self, **options: Any) -> None:
        """Take the constructor's arguments, checked."""
        self._options = Options(**options)
        check_seed(self._options.seed)
        _ = self.engine_options

    @property
    def options(self) -> Options:
        """The constructor's arguments; ``options.update_options(...)`` changes them for later calls."""
        return self._options

    @property
    def seed(self) -> np.random.Generator | int | None:
        """The seed of what is random."""
        seed: np.random.Generator | int | None = self._options.seed
        return seed

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine.

        Raises:
            InvalidInputError: If `options` has been given a field that does not exist.
        """
        given = {name: value for name, value in vars(self._options).items() if name not in self.OWN_OPTIONS}
        known = [field.name for field in fields(EngineOptions)]
        unknown = sorted(given.keys() - known)
        if unknown:
            raise InvalidInputError(
                f"{type(self).__name__} has no options {unknown}; the options are {[*self.OWN_OPTIONS, *known]}."
            )
        return EngineOptions(**given)


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
        return replace(lent if isinstance(lent, EngineOptions) else EngineOptions(), **given)

    @property
    def _primitive(self) -> object:
        return getattr(self, "_estimator", None) or getattr(self, "_sampler", None)

    def _get_local_options(self, options: Mapping[str, Any]) -> Options:
        """The primitive's options overridden by others, also for primitives whose ``options`` are no `Options`."""
        own = getattr(self._primitive, "options", None)
        merged = copy(own) if isinstance(own, Options) else Options(**(vars(own) if hasattr(own, "__dict__") else {}))
        merged.update_options(**options)
        return merged
