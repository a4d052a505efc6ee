"""``python -m qiskit_fusedqml demo``: a quantum neural network learns to read handwritten digits.

=============  ================================================================
`data`         images -> rotation angles, by principal components
`model`        the circuit and its stock `EstimatorQNN`
`training`     the torch loop
`timing`       one step beside the stock parameter-shift gradient
`picture`      loss, accuracy, confusion matrix
`run`          the story, told on the terminal
=============  ================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import InvalidInputError, MissingExtraError

_NEEDED = ("matplotlib", "qiskit_machine_learning", "sklearn", "torch", "tqdm")


@dataclass(frozen=True)
class Options:
    """What the demo does.

    Attributes:
        qubits: Number of qubits, each with one feature.
        layers: Layers of weights.
        classes: The first so many labels are told apart.
        epochs: Passes through the training images.
        batch_size: Samples in a step.
        samples: At most so many training images, all when None.
        stock_samples: Samples on which the stock gradient is really run.
        seed: Seed of everything random.
        threads: Threads of the CPU device; by default the cores there are.
        data: Folder with MNIST-format IDX files; scikit-learn's digits when None.
        output: Where the picture goes.
    """

    qubits: int = 8
    layers: int = 6
    classes: int = 4
    epochs: int = 15
    batch_size: int = 32
    samples: int | None = None
    stock_samples: int = 2
    seed: int = 0
    threads: int | None = None
    data: Path | None = None
    output: Path = Path("demo-output/digits.png")

    def __post_init__(self) -> None:
        if self.classes >= 1 << self.qubits:
            raise InvalidInputError(
                f"--classes {self.classes}: {self.qubits} qubits have only {(1 << self.qubits) - 1} Z observables; "
                "ask for fewer classes or more qubits."
            )


def require_extras() -> None:
    """Refuse at once, and in full, where an optional dependency of the demo is missing.

    Raises:
        MissingExtraError: The message names what is missing and what to install.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"The demo needs {', '.join(missing)}: install qiskit-fusedqml[ml,torch,demo]")
