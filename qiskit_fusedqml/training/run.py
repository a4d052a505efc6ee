"""A training run: the step, the end of an epoch, and the state that leads from one to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch

from ..errors import DivergedError, InvalidInputError
from .batches import Batches
from .resume import describe_settings, random_state, restore_random_state


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


class Log(Protocol):
    """Where lines of metrics go."""

    def write(self, record: dict[str, Any]) -> None:
        """Take a line."""


class Run:
    """Model, optimiser and scheduler on their way through the data; the arguments are those of `fit`.

    Attributes:
        epoch: Number of finished epochs.
        batch: Number of finished steps in this one.
        step: Number of finished steps in all.
        epochs: The finished epochs.
        settings: What the trajectory depends on.
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
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self._loss, self._batches, self._schedule_by = loss, batches, schedule_by
        self.epoch = self.batch = self.step = 0
        self.epochs: list[Epoch] = []
        self._loss_sum = self._seconds = 0.0
        self.settings = describe_settings(
            model,
            optimizer,
            scheduler,
            batch_size=batches.batch_size,
            seed=batches.seed,
            samples=batches.samples,
            schedule_by=schedule_by,
        )
        self.log: Log | None = None
        self.last_good = ""
        model.train()

    @property
    def samples_done(self) -> int:
        """Number of samples that finished steps have seen, epoch by epoch."""
        return self.epoch * self._batches.samples + self.batch * self._batches.batch_size

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
        losses: list[float] = []

        def evaluate() -> torch.Tensor:
            self.optimizer.zero_grad()
            value = self._loss(self.model(x), y)
            if value.numel() != 1:
                raise InvalidInputError(f"The loss has shape {tuple(value.shape)}; a scalar is expected.")
            losses.append(float(value.detach()))
            if not torch.isfinite(value.detach()):
                raise self._diverged(f"the loss is {losses[-1]}")
            value.backward()
            if not _all_finite(p.grad for p in self.model.parameters()):
                raise self._diverged("the loss is finite, and a gradient is not")
            return value

        self.optimizer.step(evaluate)
        if not _all_finite(self.model.parameters()):
            raise self._diverged("the gradients are finite, and the optimiser made a parameter that is not")
        if self.scheduler is not None and self._schedule_by == "step":
            self._schedule(losses[0])
        self.batch += 1
        self.step += 1
        seconds = time.perf_counter() - began
        self._loss_sum += losses[0] * len(rows)
        self._seconds += seconds
        rate = self.optimizer.param_groups[0].get("lr")
        self._write(
            {
                "step": self.step,
                "epoch": self.epoch,
                "loss": losses[0],
                "learning_rate": None if rate is None else float(rate),
                "samples_per_second": float(f"{len(rows) / seconds:.6g}"),
            }
        )
        return len(rows), losses[0]

    def finish_epoch(self, callback: Callable[[Epoch], Mapping[str, float] | None] | None) -> Epoch:
        """Sum an epoch up, and ask the callback about it."""
        loss = self._loss_sum / self._batches.samples
        epoch = Epoch(self.epoch + 1, self.step, loss, self._seconds)
        if self.scheduler is not None and self._schedule_by == "epoch":
            self._schedule(loss)
        if callback is not None:
            self.model.eval()
            with torch.no_grad():
                found = callback(epoch)
            self.model.train()
            metrics = {name: float(value) for name, value in (found or {}).items()}
            epoch = Epoch(epoch.number, epoch.step, epoch.loss, epoch.seconds, metrics)
        self.epoch, self.batch = epoch.number, 0
        self._loss_sum = self._seconds = 0.0
        self.epochs.append(epoch)
        record = {"step": epoch.step, "epoch": epoch.number, "mean_loss": epoch.loss, "seconds": epoch.seconds}
        self._write(record | dict(epoch.metrics))
        return epoch

    def state(self) -> dict[str, Any]:
        """All that the rest of the trajectory depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": random_state(),
            "place": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "sums": {"loss": self._loss_sum, "seconds": self._seconds},
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "settings": self.settings,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        restore_random_state(state["random"])
        self.epoch, self.batch, self.step = (state["place"][name] for name in ("epoch", "batch", "step"))
        self._loss_sum, self._seconds = state["sums"]["loss"], state["sums"]["seconds"]
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.settings = state["settings"]

    def _schedule(self, loss: float) -> None:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(loss)
        else:
            self.scheduler.step()

    def _write(self, record: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(record)

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
