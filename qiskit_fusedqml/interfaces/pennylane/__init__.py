"""PennyLane's door: the device ``fusedqml.qubit``.

A tape becomes a program directly (`operations`, `circuits`), its numbers become rows of a batch (`rows`), and the
engine runs them (`simulation`); `measurements` and `observables` say what is read off the final states, `gradients`
how cotangents come in and gradients go out, `sampling` how shots are drawn, `midcircuit` what becomes of measurements
on the way. `preprocessing` is the framework's part: which of its transforms bring a circuit into the form the device
runs; `whole` is that form where gradients are wanted.
"""

from __future__ import annotations

from .device import FusedQubit

__all__ = ["FusedQubit"]
