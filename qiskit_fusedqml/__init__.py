"""Fast values and gradients of variational quantum circuits for Qiskit.

A circuit flows in one direction, and every step is data that can be printed::

    QuantumCircuit --lowering--> Program --planner--> Plan --engine(device)--> numbers
                                            numbers --interfaces--> Qiskit | torch | PennyLane

=============  =======================================================================================================
`ir`           what is computed: gates, programs, angles, observables, dynamic programs; no device, no Qiskit
`planner`      from a program to a plan: gates grouped so that the state moves seldom; needs no compiled code
`devices`      run plans: the reference device, which defines the meaning, the CPU, the GPU
`engine`       values, gradients, probabilities, states of a program for a batch of samples, within a memory budget
`simulation`   runs dynamic programs: shots that part where an outcome is random
`distributed`  batches and jobs spread over processes and machines, states shared by several ranks
`interfaces`   Qiskit, qiskit-machine-learning, torch, PennyLane
`training`     `fit`: training that can be killed and resumed; metrics and their plot; MNIST's files
`demo`         handwritten digits, from the command line
`calibrate`    the command that measures what work costs on this machine
=============  =======================================================================================================

Beside them: `errors`, `arrays` (types, and reading numbers), `memory`, `files`. Imports point one way, from the bottom
of the table to its top.

The public names are resolved on first use, so that ``import qiskit_fusedqml`` costs next to nothing and needs no extra;
``from qiskit_fusedqml import *`` takes those whose extras are installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .distributed import ShardedCircuit as ShardedCircuit
    from .interfaces.machine_learning.fidelities import FusedFidelity as FusedFidelity
    from .interfaces.machine_learning.gradients import (
        FusedEstimatorGradient as FusedEstimatorGradient,
        FusedQGT as FusedQGT,
        FusedSamplerGradient as FusedSamplerGradient,
    )
    from .interfaces.machine_learning.kernel import FusedFidelityKernel as FusedFidelityKernel
    from .interfaces.machine_learning.neural_networks import (
        FusedEstimatorQNN as FusedEstimatorQNN,
        FusedSamplerQNN as FusedSamplerQNN,
    )
    from .interfaces.pennylane import FusedMixed as FusedMixed, FusedQubit as FusedQubit
    from .interfaces.qiskit.backend import FusedSimulator as FusedSimulator
    from .interfaces.qiskit.circuit import DifferentiableCircuit as DifferentiableCircuit
    from .interfaces.qiskit.estimator import FusedEstimator as FusedEstimator
    from .interfaces.qiskit.noise import (
        ParametricNoiseModel as ParametricNoiseModel,
        noise_model_from_backend as noise_model_from_backend,
    )
    from .interfaces.qiskit.sampler import FusedSampler as FusedSampler
    from .interfaces.qiskit.transpiler import FusedGate as FusedGate, FusionPass as FusionPass, transpile as transpile
    from .interfaces.torch import FusedLayer as FusedLayer
    from .training import fit as fit

__version__ = "0.1.0"

_HOME = {
    "DifferentiableCircuit": ".interfaces.qiskit.circuit",
    "FusedEstimator": ".interfaces.qiskit.estimator",
    "FusedEstimatorGradient": ".interfaces.machine_learning.gradients",
    "FusedEstimatorQNN": ".interfaces.machine_learning.neural_networks",
    "FusedFidelity": ".interfaces.machine_learning.fidelities",
    "FusedFidelityKernel": ".interfaces.machine_learning.kernel",
    "FusedGate": ".interfaces.qiskit.transpiler",
    "FusedLayer": ".interfaces.torch",
    "FusedQGT": ".interfaces.machine_learning.gradients",
    "FusedMixed": ".interfaces.pennylane",
    "FusedQubit": ".interfaces.pennylane",
    "FusedSampler": ".interfaces.qiskit.sampler",
    "FusedSamplerGradient": ".interfaces.machine_learning.gradients",
    "FusedSamplerQNN": ".interfaces.machine_learning.neural_networks",
    "FusedSimulator": ".interfaces.qiskit.backend",
    "FusionPass": ".interfaces.qiskit.transpiler",
    "ParametricNoiseModel": ".interfaces.qiskit.noise",
    "ShardedCircuit": ".distributed",
    "fit": ".training",
    "noise_model_from_backend": ".interfaces.qiskit.noise",
    "transpile": ".interfaces.qiskit.transpiler",
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
    ".interfaces.machine_learning": "qiskit_machine_learning",
    ".interfaces.pennylane": "pennylane",
    ".interfaces.torch": "torch",
    ".training": "torch",
}
"""Modules of public names, by the start of their name -> the optional package that they import."""


def __getattr__(name: str) -> Any:
    if name == "__all__":  # asked for by ``import *``, which must not fail where an extra is missing
        value: Any = [*_available(), "__version__"]
    elif name in _HOME:
        value = _resolve(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


def _available() -> list[str]:
    """The public names whose extras are installed."""
    from importlib.util import find_spec

    missing = tuple(modules for modules, package in _NEEDS.items() if find_spec(package) is None)
    return [name for name, module in _HOME.items() if not module.startswith(missing)]


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
