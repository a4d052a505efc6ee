"""``python -m qiskit_fusedqml demo``: a quantum neural network learns to read handwritten digits.

=============  ================================================================
`data`         images -> rotation angles, by principal components
`network`      the stock `EstimatorQNN`, its training, and one step beside the stock parameter-shift gradient
`run`          what is printed, and the picture of it
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
    """What the demo does; ``python -m qiskit_fusedqml demo --help`` describes each option."""

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
    """Raise `MissingExtraError`, with all that is missing, where an optional dependency of the demo is."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"The demo needs {', '.join(missing)}: install qiskit-fusedqml[ml,torch,demo]")
