"""Qiskit: circuits, backend, primitives, transpiler pass.

===============  =====================================================================================================
`lowering`       the only reader of Qiskit circuits
`noise`          noise models of qiskit-aer, of backends, and `ParametricNoiseModel`
`circuit`        `DifferentiableCircuit`, the engine for a circuit
`estimator`      `FusedEstimator`, a V2 estimator: exact expectation values of many circuits, values and observables
`sampler`        `FusedSampler`, a V2 sampler: shots of any circuit, dynamic ones too
`backend`        `FusedSimulator`, a backend: circuits in, counts out
`transpiler`     `FusionPass` and `FusedGate`, the planner as a transpiler pass
`compiled`       circuits compiled for values and gradients, or for shots
`cache`          what was compiled from a circuit, shared by all of them
`snapshot`       copies of circuits, and whether a circuit still is what was copied
`batches`        pubs and entries joined by circuit into batches of distinct parameter sets
`options`        options of primitives and of classes that are given one
`tasks`          walks through what is nested deeper than Python's calls
`jobs`           the handle that a primitive's or a gradient's ``run`` returns
===============  =====================================================================================================

Nothing is imported here, so that a class brings in only what it needs.
"""
