"""Saves of checkpoints, in processes that are killed on the way."""

from __future__ import annotations

import pathlib
import sys
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import torch
from support.forked import kill_me

from qiskit_fusedqml.training import checkpoint
from qiskit_fusedqml.training.checkpoint import save_checkpoint


def state(number: int) -> dict[str, Any]:
    return {"number": number, "model": {"weight": torch.full((2000,), float(number))}}


def save_and_die(path: Path, at: int, told: Path | None = None) -> None:
    """Save, and be killed at the ``at``-th call of a function, pathlib's apart; the number of all calls is told."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        if event in {"call", "c_call", "c_return"} and frame.f_code.co_filename != pathlib.__file__:
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

    def save_half(state: object, file: BinaryIO) -> None:
        save(state, whole := BytesIO())
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        kill_me()

    save, torch.save = torch.save, save_half
    checkpoint.replacing = lambda path, **_: path.open("wb")
    save_checkpoint(path, state(2))
