"""qiskit-machine-learning: gradients, networks and kernels with the engine inside.

=================  ===================================================================================================
`gradients`        `FusedEstimatorGradient`, `FusedSamplerGradient`, `FusedQGT`
`neural_networks`  `FusedEstimatorQNN`, `FusedSamplerQNN`
`fidelity`         `FusedFidelityKernel`, `FusedFidelity`: kernels from batched states
=================  ===================================================================================================

Nothing is imported here, so that a class brings in only what it needs.
"""
