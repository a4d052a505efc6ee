"""Gradients for qiskit-machine-learning's networks and algorithms.

=============  ======================================================================================================
`estimator`    `FusedEstimatorGradient`: expectation values, by the adjoint method
`sampler`      `FusedSamplerGradient`: probabilities of outcomes, by the cheaper of forward and reverse mode
`geometry`     `FusedQGT`: the quantum geometric tensor, of which the Fisher information is the real part
`requests`     what a call asks for, sorted by circuit
=============  ======================================================================================================
"""

from __future__ import annotations

from .estimator import FusedEstimatorGradient
from .geometry import FusedQGT
from .sampler import FusedSamplerGradient

__all__ = ["FusedEstimatorGradient", "FusedQGT", "FusedSamplerGradient"]
