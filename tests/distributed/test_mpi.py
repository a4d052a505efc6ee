"""One state over the ranks of MPI, and what becomes of the others when one of them fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "support" / "mpi_program.py"


def mpi(ranks: int, *arguments: str, module: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the program; nothing takes longer than two minutes, whatever fails."""
    mpiexec = Path(sys.prefix) / "bin" / "mpiexec"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [mpiexec, "-n", str(ranks), sys.executable, *(["-m", "mpi4py"] if module else []), PROGRAM, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("what", ["compare", "disagree", "fail"])
def test_two_ranks(what: str) -> None:
    answer = mpi(2, what)
    assert (answer.returncode, answer.stdout) == (0, "all right\n" * 2), answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [4, 8])
def test_more_ranks(ranks: int) -> None:
    answer = mpi(ranks, "compare")
    assert (answer.returncode, answer.stdout) == (0, "all right\n" * ranks), answer.stderr


@pytest.mark.parametrize("where", ["forward", "backward", "swap"])
def test_a_killed_rank_ends_the_job(where: str) -> None:
    answer = mpi(2, "killed", where)
    assert answer.returncode != 0
    assert "finished" not in answer.stdout


@pytest.mark.parametrize(("what", "words"), [("raises", "something of the user's"), ("leaves", "has waited 4 s for")])
def test_a_rank_that_is_gone_ends_the_job(what: str, words: str) -> None:
    """By the hook of our own, without ``-m mpi4py``."""
    began = time.monotonic()
    answer = mpi(2, what, module=False)
    assert answer.returncode != 0
    assert "finished" not in answer.stdout
    assert words in answer.stderr
    assert time.monotonic() - began < 50


def test_three_ranks_are_refused() -> None:
    answer = mpi(3, "three")
    assert (answer.returncode, answer.stdout) == (0, "refused\n" * 3), answer.stderr


@pytest.mark.parametrize("what", ["piece", "status"])
def test_sabotage_is_seen(what: str) -> None:
    answer = mpi(2, "sabotage", what)
    assert answer.returncode != 0
    assert "all right" not in answer.stdout
