"""The engine's options, with the noise model read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....distributed.shared_device import shared_device
from ....engine.options import EngineOptions, engine_arguments
from ....errors import InvalidInputError
from .errors import checked_scale
from .model import read_noise

RANK_ARGUMENTS = ("comm", "comm_timeout")
"""The options that say which ranks share states."""


def engine_options(given: Mapping[str, Any]) -> EngineOptions:
    """Those of a constructor's arguments, ``locals()`` at its beginning, that are options of the engine.

    A noise model is read: as long as it stays as it is, the options are equal. With ``comm``, a communicator, the
    device is that which its ranks share.

    Raises:
        InvalidInputError: For an option that is not allowed, what is no noise model, and a scale that is none.
    """
    own = engine_arguments(given)
    model = own.get("noise_model")
    own |= {"noise_model": None if model is None else read_noise(model)}
    if "noise_scale" in own:
        own["noise_scale"] = checked_scale(own["noise_scale"])
    comm = given.get("comm")
    if comm is not None:
        given_noise = [name for name in ("noise_model", "trajectories") if own.get(name) is not None]
        if given_noise:
            raise InvalidInputError(
                f"{given_noise[0]} and comm were both given; ranks share pure states without noise. Leave comm out, or "
                "the noise."
            )
        own["device"] = shared_device(
            own.get("device", "CPU"),
            comm,
            given.get("comm_timeout"),
            precision=own.get("precision", "double"),
            num_threads=own.get("num_threads"),
        )
    return EngineOptions(**own)
