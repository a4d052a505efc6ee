"""Fidelities of states, for kernels and algorithms of qiskit-machine-learning.

``|<phi(x)|phi(y)>|**2`` for N and M samples costs N + M simulations, not N * M circuits.

==========  ==========================================================================================================
`kernel`    `FusedFidelityKernel`: kernel matrices, for support vector machines, and their gradients
`pairs`     `FusedFidelity`: pairs of circuits, for what takes a ``BaseStateFidelity``
`store`     states that are kept from call to call
`overlaps`  states in batches, overlaps in matrix products, both within a memory budget
==========  ==========================================================================================================
"""

from __future__ import annotations

from .kernel import FusedFidelityKernel
from .pairs import FusedFidelity

__all__ = ["FusedFidelity", "FusedFidelityKernel"]
