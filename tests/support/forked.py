"""Running a function in a child process that may be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

# children of a server without threads: those of a process that has computed may hang on the locks of its threads
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "qiskit.circuit.library",
        "torch._dynamo",
        "qiskit_fusedqml.training.loop",
        "qiskit_fusedqml.interfaces.torch",
    ]
)


def in_child(function: Callable[..., object], *arguments: Any) -> int:
    """Run a function, which can be imported, in another process; its exit code, negative for a signal."""
    process = CONTEXT.Process(target=_run, args=(function, *arguments))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def kill_me() -> None:
    """What a power cut does to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def _run(function: Callable[..., object], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell inherit an ignored Ctrl-C
    function(*arguments)
