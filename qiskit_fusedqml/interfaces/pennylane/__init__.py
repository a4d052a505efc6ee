"""PennyLane's devices ``fusedqml.qubit`` and ``fusedqml.mixed``.

A tape is parsed into structure and numbers (`tapes`), the structure compiled to a program (`operations`, `circuits`),
the numbers of tapes of one structure gathered to a batch (`samples`), and the engine called (`simulation`). What is
read off the final states is in `measurements` and `observables`; `gradients` reads cotangents and gives gradients back
by tape. Shots are drawn by `sampling` and, for circuits that measure in the middle, `midcircuit`. `preprocessing` is
the list of the framework's transforms by which a circuit takes the form that the device runs.
"""

from __future__ import annotations

from .device import FusedMixed, FusedQubit

__all__ = ["FusedMixed", "FusedQubit"]
