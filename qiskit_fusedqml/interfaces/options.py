"""The options that the primitives have in common."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from qiskit.providers import Options

from ..errors import InvalidInputError
from .cache import EngineOptions


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
