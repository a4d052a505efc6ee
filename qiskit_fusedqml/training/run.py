"""A training run: its batches, the step, the end of an epoch, and the state that leads from one to the next."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from ..arrays import whole_number
from ..errors import DivergedError, InvalidInputError


@dataclass(frozen=True)
class Epoch:
    """A finished pass through the data.

    Attributes:
        number: Number of finished epochs, this one included.
        step: Number of finished steps.
        loss: Mean loss over the samples, each before its step.
        seconds: Time of the steps; the callback and checkpoints are not counted.
        metrics: What the callback returned for it.
    """

    number: int
    step: int
    loss: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        metrics = "".join(f", {name}={value:.4g}" for name, value in self.metrics.items())
        return f"epoch {self.number}: loss={self.loss:.4g}{metrics}"


class Batches:
    """The batches of a data set: which samples batch k of epoch e holds is a function of the seed.

    The arguments are those of `fit`; an epoch has ``samples`` samples in ``per_epoch`` batches.
    """

    def __init__(self, data: Any, batch_size: int, seed: int, collate: Callable[[list[Any]], Any] | None) -> None:
        # Python's numbers, as products of NumPy's small ones overflow
        self.batch_size = whole_number(batch_size, "batch_size", least=1)
        self.seed = whole_number(seed, "seed", "an integer >= 0 of at most 128 bits", least=0, most=2**128 - 1)
        self._pair = isinstance(data, (tuple, list))
        if self._pair and (len(data) != 2 or len(data[0]) != len(data[1])):
            sizes = [len(part) for part in data]
            raise InvalidInputError(f"data holds arrays of {sizes} rows; a pair (x, y) with equally many is expected.")
        self._data, self._collate = data, collate
        self.samples = len(data[0]) if self._pair else len(data)
        if not self.samples:
            raise InvalidInputError("data holds no samples.")
        self.per_epoch = -(-self.samples // self.batch_size)
        self._epoch, self._order = -1, np.empty(0, np.intp)

    def rows(self, epoch: int, batch: int) -> NDArray[np.intp]:
        """Row numbers of a batch; both numbers count from 0."""
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
            self._epoch, self._order = epoch, order.astype(np.intp, copy=False)
        return self._order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def read(self, rows: NDArray[np.intp], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the given rows, on a device."""
        if self._collate is not None:
            found = self._collate([self._data[int(row)] for row in rows])
        else:
            found = [part[rows] for part in self._data] if self._pair else self._data[rows]
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise InvalidInputError(
                f"data gives a {type(found).__name__} for an array of row numbers; a pair (x, y) of batches is "
                "expected. Data that gives one sample at a time needs collate=torch.utils.data.default_collate."
            )
        x, y = (torch.as_tensor(part, device=device) for part in found)
        return x, y


class Run:
    """A model in training: ``epoch`` epochs and ``batch`` steps of the next are finished, ``step`` steps in all.

    The arguments are those of `fit`.

    Attributes:
        epochs: The finished epochs.
        settings: What the trajectory depends on, by name.
        log: Where lines of metrics go, if anywhere.
        last_good: What to say, when training diverges, of the state to go back to.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        batches: Batches,
        scheduler: Any,
        schedule_by: str,
    ) -> None:
        if schedule_by not in ("step", "epoch"):
            raise InvalidInputError(f"schedule_by is {schedule_by!r}; 'step' or 'epoch' is expected.")
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self._loss, self._batches, self._schedule_by = loss, batches, schedule_by
        self.epoch = self.batch = self.step = 0
        self.epochs: list[Epoch] = []
        self._loss_sum = self._seconds = 0.0
        self.settings: dict[str, Any] = {
            "batch_size": batches.batch_size,
            "seed": batches.seed,
            "samples": batches.samples,
            "schedule_by": schedule_by,
            "optimizer": type(optimizer).__name__,
            "scheduler": None if scheduler is None else type(scheduler).__name__,
            **{f"parameter {name}": f"{str(p.dtype)[6:]} {tuple(p.shape)}" for name, p in model.named_parameters()},
            **_describe_options(optimizer.state_dict()),
        }
        self.log: TextIO | None = None
        self.last_good = ""
        model.train()

    def take_step(self) -> tuple[int, float]:
        """One optimiser step; the number of its samples, and the loss before it.

        Raises:
            DivergedError: If the loss or a gradient is not finite, before the optimiser uses it, or a parameter is
                not, after it has.
        """
        began = time.perf_counter()
        rows = self._batches.rows(self.epoch, self.batch)
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        x, y = self._batches.read(rows, device)
        losses: list[float] = []  # LBFGS evaluates several times
        self.optimizer.step(lambda: self._evaluated(x, y, losses))
        if not _all_finite(self.model.parameters()):
            raise self._diverged("the gradients are finite, and the optimiser made a parameter that is not")
        loss = losses[0]
        if self._schedule_by == "step":
            self._schedule(loss)
        self.batch, self.step = self.batch + 1, self.step + 1
        seconds = time.perf_counter() - began
        self._loss_sum, self._seconds = self._loss_sum + loss * len(rows), self._seconds + seconds
        rate = self.optimizer.param_groups[0].get("lr")
        self._write(
            {
                "step": self.step,
                "epoch": self.epoch,
                "loss": loss,
                "learning_rate": None if rate is None else float(rate),
                "samples_per_second": float(f"{len(rows) / seconds:.6g}"),
            }
        )
        return len(rows), loss

    def _evaluated(self, x: torch.Tensor, y: torch.Tensor, losses: list[float]) -> torch.Tensor:
        """The loss, whose gradients are then in the parameters; it is appended to the list."""
        self.optimizer.zero_grad()
        value = self._loss(self.model(x), y)
        if value.numel() != 1:
            raise InvalidInputError(f"The loss has shape {tuple(value.shape)}; a scalar is expected.")
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            raise self._diverged(f"the loss is {losses[-1]}")
        value.backward()
        if not _all_finite(p.grad for p in self.model.parameters()):
            raise self._diverged("the loss is finite, and a gradient is not")
        return value

    def finish_epoch(self, callback: Callable[[Epoch], Mapping[str, float] | None] | None) -> None:
        """Sum an epoch up, and ask the callback about it."""
        epoch = Epoch(self.epoch + 1, self.step, self._loss_sum / self._batches.samples, self._seconds)
        if self._schedule_by == "epoch":
            self._schedule(epoch.loss)
        if callback is not None:
            self.model.eval()
            with torch.no_grad():
                found = callback(epoch) or {}
            self.model.train()
            epoch = replace(epoch, metrics={name: float(value) for name, value in found.items()})
        self.epoch, self.batch, self._loss_sum, self._seconds = epoch.number, 0, 0.0, 0.0
        self.epochs.append(epoch)
        record = {"step": epoch.step, "epoch": epoch.number, "mean_loss": epoch.loss, "seconds": epoch.seconds}
        self._write(record | dict(epoch.metrics))

    def state(self) -> dict[str, Any]:
        """All that the rest of the trajectory depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": {name: read() for name, (read, _) in _generators().items()},
            "place": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "sums": {"loss": self._loss_sum, "seconds": self._seconds},
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "settings": self.settings,
        }

    def resume(self, state: Mapping[str, Any], path: Path) -> None:
        """Go to where `state` was taken, which stands in a file.

        Raises:
            InvalidInputError: If it is the state of another run; the message lists what differs.
        """
        started, now = state["settings"], _describe_options(state["optimizer"])
        differing = [
            f"{name} is {self.settings.get(name)} and was {started.get(name)}"
            for name in self.settings | started
            if self.settings.get(name) not in [known[name] for known in (started, now) if name in known]
        ]
        if differing:
            raise InvalidInputError(
                f"{path} is of another run: {'; '.join(differing)}. Give the same settings to resume it, or another "
                "folder to train from the beginning."
            )
        epoch, batch, step = (int(state["place"][name]) for name in ("epoch", "batch", "step"))
        if epoch < 0 or not 0 <= batch < self._batches.per_epoch or step != epoch * self._batches.per_epoch + batch:
            raise ValueError(f"there is no step {step} in batch {batch} of epoch {epoch}")
        epochs = [Epoch(**each) for each in state["epochs"]]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        random_states = state["random"]
        for name, (_, restore) in _generators().items():
            if name in random_states:  # a GPU may be new
                restore(random_states[name])
        self._loss_sum, self._seconds = state["sums"]["loss"], state["sums"]["seconds"]
        self.epoch, self.batch, self.step, self.epochs, self.settings = epoch, batch, step, epochs, started

    def _schedule(self, loss: float) -> None:
        if self.scheduler is None:
            return
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(loss)
        else:
            self.scheduler.step()

    def _write(self, record: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(json.dumps(record) + "\n")

    def _diverged(self, what: str) -> DivergedError:
        found = []
        for name, parameter in self.model.named_parameters():
            for kind, tensor in (("parameter", parameter), ("gradient of", parameter.grad)):
                if tensor is not None and (bad := int((~torch.isfinite(tensor)).sum())):
                    found.append(f"{kind} {name!r} ({bad} of {tensor.numel()} entries)")
        where = f"Not finite: {', '.join(found)}." if found else "All parameters and gradients are finite."
        return DivergedError(
            f"Training diverged in step {self.step + 1} (epoch {self.epoch + 1}): {what}. {where} {self.last_good}"
            "A smaller learning rate, clipped gradients or a look at the step's samples may help."
        )


def _all_finite(tensors: Iterable[torch.Tensor | None]) -> bool:
    """Whether all entries are, asked with one transfer from a GPU."""
    checks = [torch.isfinite(tensor.detach()).all() for tensor in tensors if tensor is not None]
    return not checks or bool(torch.stack([check.to(checks[0].device) for check in checks]).all())


def _describe_options(state: Mapping[str, Any]) -> dict[str, str]:
    """The options of an optimiser, from its ``state_dict()``, group by group."""
    return {
        f"{name} of parameter group {k}": repr(value.item() if isinstance(value, np.generic) else value)
        for k, group in enumerate(state["param_groups"])
        for name, value in group.items()
    }


def _generators() -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How the state of each global random number generator is read and set."""
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "torch": (torch.get_rng_state, torch.set_rng_state),
        "numpy": (_numpy_state, np.random.set_state),
        "python": (random.getstate, random.setstate),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state, torch.mps.set_rng_state
    return found


def _numpy_state() -> dict[str, Any]:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (what other people's code may draw from)
    state["state"]["key"] = state["state"]["key"].tolist()
    return state  # type: ignore[no-any-return]
