"""Options: those that the primitives have in common, and those that are taken from a primitive."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
from qiskit.providers import Options

from ...engine.options import EngineOptions
from ...errors import InvalidInputError


class EnginePrimitive:
    """A primitive whose options are some of its own and those of the engine.

    Attributes:
        OWN_OPTIONS: The names of its own; ``seed`` is one of them.
    """

    OWN_OPTIONS: ClassVar[tuple[str, ...]]
    _options: Options

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
        fields = {name: value for name, value in dict(self._options).items() if name not in self.OWN_OPTIONS}
        try:
            return EngineOptions(**fields)
        except TypeError:
            known = [*self.OWN_OPTIONS, *EngineOptions.__slots__]
            unknown = sorted(set(fields) - set(known))
            raise InvalidInputError(
                f"{type(self).__name__} has no options {unknown}; the options are {known}."
            ) from None


class LentEngineOptions:
    """The engine's options of a class that has been given a primitive: those given, else the primitive's."""

    _given: dict[str, Any]

    @property
    def engine_options(self) -> EngineOptions:
        """The options handed to the engine."""
        primitive = getattr(self, "_estimator", None) or getattr(self, "_sampler", None)
        lent = getattr(primitive, "engine_options", None)
        fields = asdict(lent) if isinstance(lent, EngineOptions) else {}
        return EngineOptions(**(fields | self._given))

    def _engine_options_given(
        self,
        device: str | None,
        precision: str | None,
        max_memory_mb: float | None,
        num_threads: int | None,
        checkpoint: str | int | None = None,
    ) -> None:
        given = zip(EngineOptions.__slots__, (device, precision, max_memory_mb, num_threads, checkpoint), strict=True)
        self._given = {name: value for name, value in given if value is not None}


def local_options(primitive: object, options: Mapping[str, Any]) -> Options:
    """A primitive's options overridden by a gradient's, also for primitives whose ``options`` are no `Options`."""
    own = getattr(primitive, "options", None)
    merged = copy(own) if isinstance(own, Options) else Options(**(vars(own) if hasattr(own, "__dict__") else {}))
    merged.update_options(**options)
    return merged
