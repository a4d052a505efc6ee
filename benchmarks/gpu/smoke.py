"""The first five seconds on a GPU: one of each thing that everything else is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from qiskit_fusedqml.devices.gpu.runtime import Runtime

COUNT = 1024
SET_STATE = "fusedqml::set_state<float>"


def run(item: str, runtime: Runtime, cupy: Any) -> dict[str, Any]:
    """One of `ITEMS`; raises if it does not work."""
    with runtime.current():
        return {"smoke": item} | ITEMS[item](runtime, cupy)


def _set(runtime: Runtime, buffer: Any) -> None:
    """The state |0> of 10 qubits."""
    values = [buffer, None, np.int64(0), np.int32(10), np.int64(COUNT)]
    runtime.launch(SET_STATE, (COUNT // 256, 1), 256, 0, values)


def _check(buffer: Any, runtime: Runtime) -> None:
    found = runtime.download(buffer)
    if not np.array_equal(found, np.eye(1, COUNT, dtype=np.complex64)[0]):
        raise RuntimeError(f"a state of 10 qubits begins {found[:4]}; 1, 0, 0, 0 is expected")


def _kernel(runtime: Runtime, _: Any) -> dict[str, Any]:
    buffer = runtime.empty(COUNT, np.complex64)
    _set(runtime, buffer)
    _check(buffer, runtime)
    return {"registers": int(runtime.kernel(SET_STATE).num_regs)}


def _graph(runtime: Runtime, _: Any) -> dict[str, Any]:
    buffer = runtime.empty(COUNT, np.complex64)
    replay = runtime.capture(lambda: _set(runtime, buffer))
    replay()
    _check(buffer, runtime)
    return {}


def _shared_memory(runtime: Runtime, _: Any) -> dict[str, Any]:
    """As much as a block may have."""
    bytes_of_block, buffer = runtime.limits.shared_bytes, runtime.empty(COUNT, np.complex64)
    values = [buffer, None, np.int64(0), np.int32(10), np.int64(COUNT)]
    runtime.launch(SET_STATE, (COUNT // 256, 1), 256, bytes_of_block, values)
    _check(buffer, runtime)
    return {"shared_bytes": bytes_of_block}


def _dlpack(runtime: Runtime, cupy: Any) -> dict[str, Any]:
    """Through PyTorch, where there is one with CUDA."""
    array = cupy.asarray(np.arange(8.0))
    try:
        import torch
    except ImportError:
        return {"through": None}
    if not torch.cuda.is_available():
        return {"through": None}
    back = runtime.download(runtime.take(2 * torch.from_dlpack(array)))
    if not np.array_equal(back, 2 * np.arange(8.0)):
        raise RuntimeError(f"an array came back from PyTorch as {back}")
    return {"through": f"torch {torch.__version__}"}


ITEMS = {"kernel": _kernel, "graph": _graph, "shared memory": _shared_memory, "dlpack": _dlpack}
"""In their order."""
