"""qiskit-machine-learning: gradients, networks and kernels with the engine inside.

====================  ================================================================================================
`neural_networks`     `FusedEstimatorQNN`, `FusedSamplerQNN`
`estimator_gradient`  `FusedEstimatorGradient`: expectation values, by the adjoint method
`sampler_gradient`    `FusedSamplerGradient`: probabilities, by the cheaper of forward and reverse mode
`geometric_tensor`    `FusedQGT`, of which the Fisher information is the real part
`entries`             what a call of these three asks for, in batches by circuit
`kernel`              `FusedFidelityKernel`: kernel matrices, for support vector machines, and their gradients
`fidelities`          `FusedFidelity`: pairs of circuits, for what takes a ``BaseStateFidelity``
`overlaps`            states in batches, overlaps in matrix products
====================  ================================================================================================

Nothing is imported here, so that a class brings in only what it needs.
"""
