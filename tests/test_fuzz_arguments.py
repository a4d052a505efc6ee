"""A slice of ``make fuzz``: seeds of `fuzz_arguments`, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_arguments import Case, attempt, cases

SEEDS = 400


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return list(cases(tmp_path_factory.mktemp("fuzz")))


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_wrong_arguments_are_refused_in_words(
    listed: list[Case], first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some of the wrong values are paths
    found = [attempt(seed, listed) for seed in range(first, first + 50)]
    assert not [each for each in found if each is not None]


def test_other_errors_and_unclear_words_are_found() -> None:
    def fail(value: object) -> None:
        if value is not None:
            raise KeyError(0)
        raise ValueError("zip() argument 2 is shorter than argument 1")

    found = [attempt(seed, [("planted", fail, {"value": 0})]) for seed in range(20)]
    assert all(each is not None and "planted" in each for each in found)
