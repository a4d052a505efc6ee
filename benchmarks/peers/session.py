"""The runner's end of the protocol in `__main__`: one process a peer and workload, with a time limit on every reply."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peers import Peer

BENCHMARKS = Path(__file__).resolve().parent.parent


class PeerError(Exception):
    """The peer is missing, refused, failed or did not answer in time.

    Attributes:
        status: "missing", "unsupported", "error" or "timeout".
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Session:
    """A running adapter. Use as a context manager: leaving it ends the process."""

    def __init__(self, peer: Peer, venvs: Path, threads: int, log: Path | None = None) -> None:
        """Start the process.

        Raises:
            PeerError: When the peer has no environment.
        """
        python = _interpreter(peer, venvs)
        self._log = log.open("a") if log else subprocess.DEVNULL
        # a session of its own, so that Ctrl-C reaches the runner alone and it can put things in order
        self._process = subprocess.Popen(
            [python, "-m", "peers", peer.module],
            cwd=BENCHMARKS,
            env=_environment(threads, own=peer.venv is None),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, command: str, timeout: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            PeerError: When there is none in time, or it is a refusal or a failure.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"command": command, **request}) + "\n")
            stdin.flush()
            line = self._replies.get(timeout=timeout)
        except queue.Empty:
            raise PeerError("timeout", f"no answer to '{command}' within {timeout:.0f} s") from None
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError("error", f"the process ended with status {self._process.wait()} during '{command}'")
        reply: dict[str, Any] = json.loads(line)
        if reply["status"] in {"unsupported", "error"}:
            raise PeerError(reply["status"], reply["reason"])
        return reply

    def __enter__(self) -> Self:
        """The session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.end()

    def end(self) -> None:
        """End the process; what it is busy with is lost. May be called again."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        if not isinstance(self._log, int):
            self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line)
        self._replies.put("")


def _interpreter(peer: Peer, venvs: Path) -> str:
    if peer.venv is None:
        return sys.executable
    # not resolved: the link's own place is what makes it the environment's interpreter
    python = venvs / peer.venv / "bin" / "python"
    if not python.exists():
        raise PeerError("missing", f"no environment at {venvs / peer.venv}; run benchmarks/setup_peers.sh")
    return str(python)


def _environment(threads: int, *, own: bool) -> dict[str, str]:
    environment = dict(os.environ)
    names = ("OMP", "OPENBLAS", "MKL", "BLIS", "QULACS", "NUMEXPR")
    environment.update({f"{name}_NUM_THREADS": str(threads) for name in names})
    environment["JAX_PLATFORMS"] = "cpu"
    environment.pop("PYTHONSAFEPATH", None)  # adapters are found in the folder where they are started
    if not own:
        environment.pop("PYTHONPATH", None)
    return environment
