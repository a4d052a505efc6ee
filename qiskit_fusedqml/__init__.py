"""Fast values and gradients of variational quantum circuits for Qiskit.

A circuit flows in one direction, and every step is data that can be printed::

    QuantumCircuit --lowering--> Program --fusion--> Plan --engine(device)--> numbers --interfaces--> Qiskit | torch

============================  ========================================================================================
`gates`                       gate name -> product of controlled Pauli rotations; a gate is a row of a table
`program`, `dynamic`          what a circuit means: rotations, diagonals, matrices; measurements, branches, loops
`classical`                   classical bits, variables and expressions of a dynamic program
`angles`, `encoding`          parameter values -> rotation angles for a whole batch, and the way back; amplitudes
`observables`                 sums of controlled Pauli strings
`lowering`                    the only reader of Qiskit circuits
`plan`, `fusion`              what a device runs, and the planner that groups gates so that the state moves seldom
`cost`, `calibrate`           what work costs on a device, and the command that measures it
`coefficients`                angles -> the numbers of a plan; overlaps -> gradients
`devices`                     the reference device, which defines the meaning, and the CPU device, which is fast
`plans`, `budget`, `recall`   a program's plans, its memory, and states kept from values for derivatives
`engine`                      values, gradients, probabilities, statevectors of a program for a batch of samples
`states`, `second_order`      derivatives of states and probabilities; Hessian products, the geometric tensor
`sharding`                    batches and jobs spread over processes and machines
`trajectories`                runs dynamic programs: shots that part where an outcome is random
`interfaces`                  Qiskit's doors: `DifferentiableCircuit`, backend, transpiler pass, primitives, gradients,
                              networks, kernels; torch's: `FusedLayer`; PennyLane's: `FusedQubit`
`training`                    `fit`: training that can be killed and resumed; metrics and their picture; MNIST's files
============================  ========================================================================================

The public names are resolved on first use, so that ``import qiskit_fusedqml`` costs next to nothing and needs no extra;
``from qiskit_fusedqml import *`` takes those whose extras are installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .interfaces.backend import FusedSimulator as FusedSimulator
    from .interfaces.circuit import DifferentiableCircuit as DifferentiableCircuit
    from .interfaces.fidelity import FusedFidelity as FusedFidelity, FusedFidelityKernel as FusedFidelityKernel
    from .interfaces.gradients import (
        FusedEstimatorGradient as FusedEstimatorGradient,
        FusedQGT as FusedQGT,
        FusedSamplerGradient as FusedSamplerGradient,
    )
    from .interfaces.neural_networks import (
        FusedEstimatorQNN as FusedEstimatorQNN,
        FusedSamplerQNN as FusedSamplerQNN,
    )
    from .interfaces.pennylane import FusedQubit as FusedQubit
    from .interfaces.primitives import FusedEstimator as FusedEstimator
    from .interfaces.samplers import FusedSampler as FusedSampler
    from .interfaces.torch import FusedLayer as FusedLayer
    from .interfaces.transpiler import FusedGate as FusedGate, FusionPass as FusionPass, transpile as transpile
    from .sharding import ShardedCircuit as ShardedCircuit
    from .training import fit as fit

    __version__: str

_HOME = {
    "DifferentiableCircuit": ".interfaces.circuit",
    "FusedEstimator": ".interfaces.primitives",
    "FusedEstimatorGradient": ".interfaces.gradients",
    "FusedEstimatorQNN": ".interfaces.neural_networks",
    "FusedFidelity": ".interfaces.fidelity",
    "FusedFidelityKernel": ".interfaces.fidelity",
    "FusedGate": ".interfaces.transpiler",
    "FusedLayer": ".interfaces.torch",
    "FusedQGT": ".interfaces.gradients",
    "FusedQubit": ".interfaces.pennylane",
    "FusedSampler": ".interfaces.samplers",
    "FusedSamplerGradient": ".interfaces.gradients",
    "FusedSamplerQNN": ".interfaces.neural_networks",
    "FusedSimulator": ".interfaces.backend",
    "FusionPass": ".interfaces.transpiler",
    "ShardedCircuit": ".sharding",
    "fit": ".training",
    "transpile": ".interfaces.transpiler",
}
"""Public name -> the module it lives in."""

_EXTRA = {
    "cupy": "cuda12",
    "pennylane": "pennylane",
    "qiskit_aer": "aer",
    "qiskit_machine_learning": "ml",
    "torch": "torch",
}
"""Optional package -> the extra of this distribution that brings it."""

_NEEDS = {
    ".interfaces.fidelity": "qiskit_machine_learning",
    ".interfaces.gradients": "qiskit_machine_learning",
    ".interfaces.neural_networks": "qiskit_machine_learning",
    ".interfaces.pennylane": "pennylane",
    ".interfaces.torch": "torch",
    ".training": "torch",
}
"""Module of public names -> the optional package that it imports."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name == "__all__":  # asked for by ``import *``, which must not fail where an extra is missing
        value = [*_available(), "__version__"]
    elif name in _HOME:
        value = _resolve(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})


def _available() -> list[str]:
    """The public names whose extras are installed."""
    from importlib.util import find_spec

    missing = {module for module, package in _NEEDS.items() if find_spec(package) is None}
    return [name for name, module in _HOME.items() if module not in missing]


def _resolve(name: str) -> Any:
    try:
        return getattr(import_module(_HOME[name], __name__), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        from .errors import MissingExtraError

        raise MissingExtraError(
            f"{name} needs {package}, which is not installed: install qiskit-fusedqml[{_EXTRA[package]}]"
        ) from error


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("qiskit-fusedqml")
    except PackageNotFoundError:
        return "0+not.installed"  # a source tree on the path
