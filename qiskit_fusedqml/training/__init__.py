"""Training that can be killed and resumed, and the files that it reads and writes.

=============  ================================================================
`loop`         `fit`: its arguments, Ctrl-C, the progress bar
`run`          batches, the step, the end of an epoch, the state between them
`checkpoint`   a run's folder: checkpoint, metrics, lock
`metrics`      one line of JSON a step, and the plot of them
`idx`          images and labels in MNIST's format, whole or streamed
=============  ================================================================

Torch is imported when `fit` is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .idx import IdxImages, read_idx, read_split
from .metrics import plot, read_metrics

if TYPE_CHECKING:
    from .loop import fit as fit
    from .run import Epoch as Epoch

__all__ = ["Epoch", "IdxImages", "fit", "plot", "read_idx", "read_metrics", "read_split"]


def __getattr__(name: str) -> Any:
    if name not in {"Epoch", "fit"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import loop, run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from ..errors import MissingExtraError

        raise MissingExtraError(
            f"{name} needs torch, which is not installed: install qiskit-fusedqml[torch]"
        ) from error
    return loop.fit if name == "fit" else run.Epoch
