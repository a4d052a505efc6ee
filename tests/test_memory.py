"""The garbage collector's pauses, caches, the machine's memory."""

from __future__ import annotations

import ctypes
import gc
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from qiskit_fusedqml.memory import BoundedCache, collector_paused, physical_memory


def test_overlapping_pauses_end_with_the_last() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_paused():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with collector_paused():
        thread.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_errors_end_a_pause_and_a_collector_that_was_off_stays_off() -> None:
    @collector_paused()
    def fails() -> None:
        assert not gc.isenabled()
        raise KeyError("x")

    for _ in range(2):
        with pytest.raises(KeyError):
            fails()
        assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_bounded_cache_keeps_most_of_a_few_more_than_fit() -> None:
    cache: BoundedCache[int, int] = BoundedCache(100)
    made: list[int] = []
    for _ in range(20):
        for key in range(110):
            assert cache.get(key, lambda key=key: made.append(key) or key * key) == key * key
    assert len(cache) == cache.size == 100
    assert len(made) < 110 + 19 * 55  # every time all of them, if the least recently used one went


def test_a_bounded_cache_counts_sizes() -> None:
    cache: BoundedCache[str, str] = BoundedCache(10, len)
    cache.put("a", "1234")
    cache.put("a", "123456")
    cache.put("b", "1234")
    assert (len(cache), cache.size) == (2, 10)
    cache.put("c", "x" * 50)
    assert cache.values() == ["x" * 50]  # larger than the bound, but the newest
    assert (cache.drop("c"), cache.drop("c")) == ("x" * 50, None)
    assert (cache.find("c"), cache.size) == (None, 0)


@pytest.mark.parametrize(("succeeds", "expected"), [(1, 24 << 30), (0, 2**62)])
def test_windows_says_how_much_memory_there_is(succeeds: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(pointer: Any) -> int:
        found = pointer._obj
        assert found.size == ctypes.sizeof(found) == 64  # as Windows' documentation has it
        found.total = 24 << 30
        return succeeds

    windows = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=status))
    monkeypatch.setattr(ctypes, "windll", windows, raising=False)
    assert physical_memory.__wrapped__() == expected
