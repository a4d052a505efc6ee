"""The engine behind Qiskit's own doors.

=================  ==================================================================================================
`circuit`          `DifferentiableCircuit`, the engine for a circuit
`primitives`       `FusedEstimator`, a V2 estimator: exact expectation values of many circuits, values and observables
`samplers`         `FusedSampler`, a V2 sampler: shots of any circuit, dynamic ones too
`gradients`        `FusedEstimatorGradient`, `FusedSamplerGradient`, `FusedQGT` for qiskit-machine-learning
`neural_networks`  `FusedEstimatorQNN`, `FusedSamplerQNN`, its networks with the engine inside
`fidelity`         `FusedFidelityKernel`, `FusedFidelity`: kernels from batched states
`torch`            `FusedLayer`, a circuit as a layer of a PyTorch network
`backend`          `FusedSimulator`, a backend: circuits in, counts out
`transpiler`       `FusionPass` and `FusedGate`, the planner as a transpiler pass
`cache`, `rows`    what was compiled from a circuit, shared by all of them; distinct rows of values
`options`          options of primitives and of classes that are given one
`sampling`         circuits compiled for sampling, shared by sampler and backend
`jobs`             the handle that a primitive's or a gradient's ``run`` returns
=================  ==================================================================================================

Nothing is imported here, so that one interface does not pull in the packages another one needs.
"""
