"""The engine's options, with the noise model read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engine.options import EngineOptions, engine_arguments
from .model import read_noise


def engine_options(given: Mapping[str, Any]) -> EngineOptions:
    """Those of a constructor's arguments, ``locals()`` at its beginning, that are options of the engine.

    A noise model is read: as long as it stays as it is, the options are equal.

    Raises:
        InvalidInputError: For an option that is not allowed, and for what is no noise model.
    """
    own = engine_arguments(given)
    model = own.get("noise_model")
    return EngineOptions(**own | {"noise_model": None if model is None else read_noise(model)})
