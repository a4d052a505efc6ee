"""qiskit-machine-learning: gradients, networks and kernels with the engine inside.

=================  ===================================================================================================
`gradients`        `FusedEstimatorGradient`, `FusedSamplerGradient`, `FusedQGT`
`neural_networks`  `FusedEstimatorQNN`, `FusedSamplerQNN`
`kernel`           `FusedFidelityKernel`: kernel matrices, for support vector machines, and their gradients
`fidelities`       `FusedFidelity`: pairs of circuits, for what takes a ``BaseStateFidelity``
`overlaps`         states in batches, overlaps in matrix products
=================  ===================================================================================================

Nothing is imported here, so that a class brings in only what it needs.
"""
