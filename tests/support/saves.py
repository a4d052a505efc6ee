"""Saves of checkpoints, in processes that are killed on the way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.forked import kill_me

from qiskit_fusedqml.training import checkpoint
from qiskit_fusedqml.training.checkpoint import save_checkpoint


def state(number: int) -> dict[str, Any]:
    return {"number": number, "model": {"weight": torch.full((2000,), float(number))}}


def save_and_die(path: Path, at: int, told: Path | None = None) -> None:
    """Save, and be killed at the ``at``-th call of any function on the way; the number of all calls is told."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        if event in {"call", "c_call", "c_return"}:
            calls += 1
            if calls == at:
                kill_me()

    sys.setprofile(count)
    save_checkpoint(path, state(2))
    sys.setprofile(None)
    if told is not None:
        told.write_text(str(calls))


def save_in_place_and_die(path: Path) -> None:
    """What `save_checkpoint` must not do."""
    checkpoint.replacing = lambda path: path.open("wb")
    np.lib.format.write_array = lambda *arguments, **options: kill_me()
    save_checkpoint(path, state(2))
