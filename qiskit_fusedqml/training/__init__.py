"""Training that can be interrupted, killed and resumed, and that says what it does.

=============  ================================================================
`loop`         `fit`, from its arguments to its end
`run`          the step, the end of an epoch, the state between them
`batches`      which samples a step sees
`folder`       checkpoint, metrics and lock of a run
`checkpoint`   nested state in one npz file, without pickle, replaced atomically
`resume`       what makes a resumed run the same run
`metrics`      one line of JSON a step, and the picture of them
`progress`     the bar
`signals`      Ctrl-C waits for the end of a step
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
