"""The garbage collector's pauses."""

from __future__ import annotations

import gc
import threading

import pytest

from qiskit_fusedqml.memory import collector_paused


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
