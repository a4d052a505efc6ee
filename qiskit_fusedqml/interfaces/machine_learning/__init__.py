"""qiskit-machine-learning: gradients, networks and kernels with the engine inside.

====================  ================================================================================================
`neural_networks`     `FusedEstimatorQNN`, `FusedSamplerQNN`
`gradients`           `FusedEstimatorGradient`, `FusedSamplerGradient`, and `FusedQGT` for the Fisher information
`entries`             what a call of these three asks for, in batches by circuit
`outcomes`            which classical bits an outcome is made of, and in which order
`kernel`              `FusedFidelityKernel`: kernel matrices, for support vector machines, and their gradients
`fidelities`          `FusedFidelity`: pairs of circuits, for what takes a ``BaseStateFidelity``
`overlaps`            states in batches, overlaps in matrix products
====================  ================================================================================================

Nothing is imported here, so that a class brings in only what it needs.
"""
