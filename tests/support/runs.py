"""Small training runs, for tests that cut them off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from support.forked import kill_me

from qiskit_fusedqml import FusedLayer, fit
from qiskit_fusedqml.errors import InvalidInputError
from qiskit_fusedqml.training import IdxImages

torch.set_num_threads(1)  # several would fight for the cores, over nothing

SAMPLES, BATCH, EPOCHS = 22, 5, 3
STEPS = EPOCHS * 5
X = torch.linspace(-1, 1, SAMPLES * 3).reshape(SAMPLES, 3).sin()
Y = (X[:, :1] * 2 - X[:, 1:2]).cos()


class Cut(Exception):  # noqa: N818 (nothing is wrong)
    """The end of a process, for tests in which another one would take too long."""


class Data:
    """X and Y; what is called with the number of the batch may cut training off."""

    def __init__(self, at: int = -1, act: Callable[[], object] = kill_me) -> None:
        self.at, self.act, self.reads = at, act, 0

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        if self.reads == self.at:
            self.act()
        self.reads += 1
        return X[rows], Y[rows]


def cut() -> None:
    raise Cut


def small_model() -> torch.nn.Module:
    """One that uses random numbers and has buffers."""
    torch.manual_seed(11)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    )


Optimizer = Callable[[Any], torch.optim.Optimizer]


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.05, amsgrad=True)


def train(
    folder: Path | None, data: Any = None, optimizer: Optimizer = adam, schedule: Any = None, **options: Any
) -> tuple[torch.nn.Module, list[Any]]:
    model = small_model()
    made = optimizer(model.parameters())
    options = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 8, "folder": folder, "save_every": 2} | options
    if schedule is not None:
        options["scheduler"] = schedule(made)
    epochs = fit(model, made, torch.nn.MSELoss(), data or Data(), **options)
    return model, epochs


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": adam,
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
}
SCHEDULES: dict[str, Any] = {
    "none": None,
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS),
    "milestones": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [4, 9, 9]),
    "sequence": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4)],
        milestones=[3],
    ),
}


def intrude(folder: Path) -> None:
    """Try to train where another process does."""
    with pytest.raises(InvalidInputError, match="Another process is training in"):
        train(folder)


def quantum(folder: Path, mnist: Path, at: int) -> None:
    """Train a network with a circuit on streamed images, and be killed in the ``at``-th batch."""
    torch.manual_seed(2)
    reads = 0

    def features(images: np.ndarray) -> np.ndarray:
        nonlocal reads
        reads += 1
        if reads == at:
            kill_me()
        return images.reshape(len(images), 4, -1).mean(axis=2).astype(np.float32) / 8

    encoding, ansatz = zz_feature_map(4, 1), real_amplitudes(4, reps=1)
    layer = FusedLayer(encoding.compose(ansatz), ["ZIII", "IIZX"], inputs=encoding.parameters, num_threads=1)
    model = torch.nn.Sequential(layer, torch.nn.Dropout(0.1), torch.nn.Linear(2, 10))
    fit(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.02),
        torch.nn.CrossEntropyLoss(),
        IdxImages(mnist, "test", features),
        epochs=3,
        batch_size=8,
        folder=folder,
        save_every=4,
    )
