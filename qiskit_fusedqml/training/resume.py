"""What makes a resumed run the same run: equal settings, and the random numbers where they were."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InvalidInputError


def random_state() -> dict[str, Any]:
    """The states of the global random number generators of torch, of its devices, of NumPy and of Python."""
    state = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (what other people's code may draw from)
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set the generators back to what `random_state` found."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def describe_settings(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, **more: Any
) -> dict[str, Any]:
    """What a trajectory depends on, by name, as numbers and strings."""
    settings = {
        **more,
        "optimizer": type(optimizer).__name__,
        "scheduler": None if scheduler is None else type(scheduler).__name__,
    }
    for name, parameter in model.named_parameters():
        settings[f"parameter {name}"] = f"{str(parameter.dtype).removeprefix('torch.')} {tuple(parameter.shape)}"
    return settings | describe_options(optimizer.state_dict())


def describe_options(state: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an optimiser, from its ``state_dict()``, group by group, as strings."""
    return {
        f"{name} of parameter group {k}": repr(value)
        for k, group in enumerate(state["param_groups"])
        for name, value in group.items()
    }


def check_settings(path: Path, given: Mapping[str, Any], *allowed: Mapping[str, Any]) -> None:
    """Refuse to resume another run.

    Args:
        path: The checkpoint.
        given: The settings now.
        *allowed: The settings at the start of the run, and those that it changed since.

    Raises:
        InvalidInputError: The message lists what differs.
    """
    names = dict.fromkeys([*given, *(name for settings in allowed[:1] for name in settings)])
    missing = object()
    differing = [
        f"{name} is {given.get(name)} and was {allowed[0].get(name)}"
        for name in names
        if given.get(name, missing) not in [settings.get(name, missing) for settings in allowed if name in settings]
    ]
    if differing:
        raise InvalidInputError(
            f"{path} is of another run: {'; '.join(differing)}. Give the same settings to resume it, or another folder "
            "to train from the beginning."
        )
