"""The engine behind other packages' interfaces, each imported only where it is used.

==================  ==================================================================================================
`qiskit`            `DifferentiableCircuit`, backend, primitives, transpiler pass
`machine_learning`  gradients, networks and kernels of qiskit-machine-learning
`torch`             `FusedLayer`, a circuit as a layer of a PyTorch network
`pennylane`         `FusedQubit`, a device
==================  ==================================================================================================
"""
