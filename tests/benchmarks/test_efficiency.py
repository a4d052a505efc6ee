"""The table of efficiencies counts what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ceilings
import efficiency
import machine
import workloads

from qiskit_fusedqml.planner import fuse
from qiskit_fusedqml.planner.cost import CostModel

MEMORY = [
    efficiency.Level("L1", 2**15, 100.0),
    efficiency.Level("L2", 2**20, 10.0),
    efficiency.Level("memory", 1e99, 1.0),
]


def plan(tile_qubits: int, any_start: bool = True):
    """Two layers of RY and CX on 4 qubits: no diagonal but the ones that carry cosines."""
    from layered import layered

    program = layered(4, 2, "y")
    slots = frozenset(range(program.num_angles))
    model = CostModel(tile_qubits=tile_qubits)
    return fuse(program, model, wanted_slots=slots, keep_phase=False, any_start=any_start)


def test_bytes_are_those_of_passes_over_tiles_and_of_blocks() -> None:
    whole = plan(4)
    (block,) = whole.tape.blocks
    assert {type(operation).__name__ for operation in block.operations} == {"RY"}
    passes = -(-len(block.operations) // efficiency.ROTATIONS_A_PASS)
    inside, between, tile = efficiency.traffic(whole, (1, 1), 2)
    # the ket is read and written forward, ket and bra backward: 16 bytes each way
    assert (inside, between, tile) == (passes * 3 * 32, 3 * 32, 2 * 16 * 2 * 2**4)
    blocks = len(plan(3).tape.blocks)
    assert blocks > 1
    assert efficiency.traffic(plan(3), (1, 0), 1)[1:] == (blocks * 32, 16 * 2 * 2**3)
    # from |0...0> the first block works on one of two tiles
    less, all_tiles = (efficiency.traffic(plan(3, any_start=start), (1, 0), 1) for start in (False, True))
    assert less[1] == all_tiles[1] - 16
    assert less[0] < all_tiles[0]


def test_the_bound_of_a_level_is_bytes_by_its_speed() -> None:
    whole = plan(4)
    found = efficiency.bounds(whole, (1, 1), 64, 1e9, MEMORY, 2)
    amplitudes = 64 * 16
    assert found["arithmetic"] == amplitudes * (whole.work.forward + whole.work.backward) / 1e9
    # one sample a tile: both threads' tiles are in the first level; all states are 2 * 16 * 1024 bytes
    inside, between, _ = efficiency.traffic(whole, (1, 1), 1)
    assert found["L1"] == pytest.approx(amplitudes * (inside + between) / 100e9)
    more = efficiency.bounds(whole, (1, 1), 128, 1e9, MEMORY, 2)
    assert set(more) == {"arithmetic", "L1", "L2"}
    assert more["L2"] == pytest.approx(2 * amplitudes * between / 10e9)


def test_cases_that_are_too_large_are_left_out() -> None:
    arguments = efficiency.parse(["--rows", "4,2;22,1", "--batches", "1,4", "--precision", "single"])
    assert [case.workload for case in efficiency.cases(arguments)] == [
        "hea:n=4,L=2,B=1",
        "hea:n=4,L=2,B=4",
        "hea:n=22,L=1,B=1",
    ]
    assert len(efficiency.cases(efficiency.parse(["--workloads", "shapes"]))) == 2 * len(workloads.GROUPS["shapes"])


def test_shares_are_held_against_the_products_around_them(monkeypatch, tmp_path, capsys) -> None:
    peaks = iter([1e9, 3e9] * 8)
    monkeypatch.setattr(efficiency, "peak", lambda _: next(peaks))
    monkeypatch.setattr(efficiency, "ceilings", SimpleNamespace(stream=lambda *_: 10.0, environment=lambda _: {}))
    path = tmp_path / "found.json"
    cases = ["--workloads", "hea:n=4,L=2,B=3;jacobian:n=4,L=1,B=2", "--precision", "double", "--threads", "1"]
    efficiency.main([*cases, "--rounds", "2", "--seconds", "0", "--json", str(path)])
    first, second = json.loads(path.read_text())["results"]
    assert first["peak_gfma_per_s"] == 2.0
    assert first["useful_fma"] == (10 * 4 + 14) * 16 * 2 * 3
    shares = [first["useful_fma"] / turn["step_seconds"] / 2e9 for turn in first["turns"]]
    assert first["spread"] == pytest.approx(sorted(shares))
    # a Jacobian of ten observables is two sweeps forward and ten back, by the plan's count
    assert second["useful_fma"] == second["plan_fma"]
    work = efficiency.Contender(efficiency.Case(second["workload"], "double"), 1).plan.work
    assert second["plan_fma"] == (2 * work.forward + 10 * work.backward) * 2 * 16
    printed = capsys.readouterr().out
    assert "| circuit | double, B = 3 | double, B = 2 |" in printed


def test_caches_are_those_of_the_system() -> None:
    found = machine.caches()
    assert [name for name, _, _ in found] == sorted(name for name, _, _ in found)
    assert all(size >= 2**12 for _, size, _ in found)


def test_a_process_with_other_threads_is_replaced() -> None:
    assert ceilings.environment(3)["OPENBLAS_NUM_THREADS"] == "3"
