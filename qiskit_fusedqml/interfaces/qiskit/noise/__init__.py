"""Noise models: those of qiskit-aer, read without importing it, and those of one's own, whose strengths are parameters.

`errors` reads errors as channels, `model` finds those of an operation by Aer's rules, `parametric` is
`ParametricNoiseModel`, `readout` has observables of misread bits, and `backends` makes a model of what a backend's
target reports.
"""

from __future__ import annotations

from .backends import noise_model_from_backend
from .errors import PlacedChannel
from .model import Noise, read_noise
from .options import RANK_ARGUMENTS, engine_options
from .parametric import ParametricNoiseModel
from .readout import measured, misread

__all__ = [
    "RANK_ARGUMENTS",
    "Noise",
    "ParametricNoiseModel",
    "PlacedChannel",
    "engine_options",
    "measured",
    "misread",
    "noise_model_from_backend",
    "read_noise",
]
