"""One state over the ranks of torch.distributed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "support" / "gloo_program.py"


def test_two_ranks_of_gloo(tmp_path: Path) -> None:
    """Values and gradients as of one process, a layer of two states; and a rank that has left is not waited for."""
    commands = [[sys.executable, str(PROGRAM), str(rank), "2", str(tmp_path / "store")] for rank in range(2)]
    ranks = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in commands]
    for rank in ranks:
        out, err = rank.communicate(timeout=120)
        assert (rank.returncode, out) == (0, "all right\n"), err
