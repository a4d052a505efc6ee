"""Batches and runs spread by Dask and by MPI, for real, on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sharded import COTANGENTS, W, check, doomed, ghz

from qiskit_fusedqml import FusedSimulator, ShardedCircuit
from qiskit_fusedqml.errors import WorkerError

ROW_WEIGHTS = W + 0.1 * np.arange(len(COTANGENTS))[:, None]


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    from dask import config
    from distributed import Client, LocalCluster

    config.set({"distributed.scheduler.allowed-failures": 2, "distributed.comm.timeouts.connect": "60s"})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.mark.parametrize("shards", [2, 5])
def test_dask_gives_the_sum_by_hand(dask: Any, shards: int) -> None:
    check(dask, shards)


def test_dask_runs_circuits(dask: Any) -> None:
    circuits = [ghz(n) for n in (2, 3, 4)]
    found = FusedSimulator(seed_simulator=3, executor=dask, max_job_size=1).run(circuits).result()
    expected = FusedSimulator(seed_simulator=3).run(circuits).result()
    assert [each.data.counts for each in found.results] == [each.data.counts for each in expected.results]


def test_dask_repeats_what_a_killed_worker_had(dask: Any, tmp_path: Path) -> None:
    f = doomed(tmp_path / "flag", deaths=1)
    found = ShardedCircuit(f, dask, shards=4).value_and_vjp(None, ROW_WEIGHTS, COTANGENTS)[2]
    assert (tmp_path / "flag").read_text() == ""  # one was killed
    np.testing.assert_allclose(found, f.value_and_vjp(None, ROW_WEIGHTS, COTANGENTS)[2], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_dask_gives_up_on_work_that_kills_every_worker(dask: Any, tmp_path: Path) -> None:
    f = doomed(tmp_path / "flag", deaths=100)
    with pytest.raises(WorkerError, match=r"ClientExecutor\) lost a part of a job: KilledWorker"):
        ShardedCircuit(f, dask, shards=1).value_and_vjp(None, W, COTANGENTS[:1])


# On the other ranks sys.argv begins with mpi4py's arguments, and the script is imported without being __main__; the
# executor tells them where `support` lies.
MPI = """
import sys
from pathlib import Path
from mpi4py.futures import MPIPoolExecutor
from qiskit_fusedqml import FusedSimulator, ShardedCircuit

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from support.sharded import COTANGENTS, W, check, doomed, ghz

    with MPIPoolExecutor(path=[sys.argv[1]]) as executor:
        for shards in (1, 2, 5):
            check(executor, shards)
        circuits = [ghz(n) for n in (2, 3, 4)]
        found = FusedSimulator(seed_simulator=3, executor=executor, max_job_size=1).run(circuits).result()
        expected = FusedSimulator(seed_simulator=3).run(circuits).result()
        assert [each.data.counts for each in found.results] == [each.data.counts for each in expected.results]
        print("all right", flush=True)
        if len(sys.argv) > 2:
            f = doomed(Path(sys.argv[2]), deaths=1)
            print(ShardedCircuit(f, executor, shards=1).value_and_vjp(None, W, COTANGENTS[:1]))
"""


def mpi(ranks: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program above as one asks mpi4py to: one rank sends, the others compute."""
    script = folder / "program.py"
    script.write_text(MPI)
    mpiexec = Path(sys.prefix) / "bin" / "mpiexec"
    # without -P: on the first rank mpi4py puts the script's folder where it takes the current one to be
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py.futures", script, Path(__file__).parents[1]]
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_mpi_gives_the_sum_by_hand(tmp_path: Path, ranks: int) -> None:
    answer = mpi(ranks, tmp_path)
    assert (answer.returncode, answer.stdout) == (0, "all right\n"), answer.stderr


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_with_an_error(tmp_path: Path) -> None:
    answer = mpi(2, tmp_path, str(tmp_path / "flag"))
    assert answer.returncode != 0
    assert answer.stdout.startswith("all right\n")
    assert "array" not in answer.stdout
    assert re.search(r"signal:? 9", answer.stdout + answer.stderr, re.IGNORECASE)
