"""The benchmark of states that ranks share measures what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import distributed_state as benchmark


def test_counts_are_those_of_plans() -> None:
    found = benchmark.counts(14, 2)
    assert {name.split()[0] for name in found} == set(benchmark.KINDS)
    for name, entry in found.items():
        least = 48 * (1 - 0.5 ** min(entry["exchanges"])) / 2  # one exchange, forward and twice back, over two layers
        assert entry["bytes"] >= least > 0, name


def test_ranks_and_a_process_take_turns() -> None:
    """The comparison of answers and bytes is within; here it is seen to fail, too."""
    found = benchmark.compare(2, 8, 2, "ring", turns=1)
    assert found["bytes_sent"] > 0
    assert found["gradient_difference"] < 1e-12
    assert found["ratio"] > 0
    assert found["peak_mib_of_a_rank"] > 50


def test_other_bytes_than_counted_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = benchmark.Contestant.turn

    def wrong(self: benchmark.Contestant) -> dict:
        answer = turn(self)
        return answer | {"bytes_counted": answer["bytes_counted"] + 16}

    monkeypatch.setattr(benchmark.Contestant, "turn", wrong)
    with pytest.raises(AssertionError, match="more or fewer bytes"):
        benchmark.compare(2, 8, 1, "linear", turns=0)
