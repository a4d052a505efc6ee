"""The stand-in for CuPy's streams, devices and memory pools sees what goes wrong on a GPU."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from support.emulation import fake_cupy

SEEDS = range(12)
NUMBERS = np.arange(8.0)


def across_streams(seed: int, *, waits: bool) -> np.ndarray:
    """Numbers written on one stream, doubled on another."""
    cupy = fake_cupy.make(seed=seed)
    one, two = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    with one:
        array, done = cupy.asarray(NUMBERS), cupy.cuda.Event()
        done.record()
    with two:
        if waits:
            two.wait_event(done)
        return (array * 2.0).get()


def freed(seed: int, *, elsewhere: bool) -> np.ndarray:
    """Numbers whose memory is freed while work on them waits."""
    cupy = fake_cupy.make(seed=seed)
    one, two = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
    with one:
        array = cupy.asarray(NUMBERS)
        one.synchronize()
    with two if elsewhere else one:
        result = array * 2.0
        del array
        gc.collect()
        return result.get()


def test_work_on_one_stream_is_done_in_order():
    for seed in SEEDS:
        assert np.array_equal(across_streams(seed, waits=True), 2 * NUMBERS)
        assert np.array_equal(freed(seed, elsewhere=False), 2 * NUMBERS)


def test_streams_that_do_not_wait_are_seen():
    assert any(np.isnan(across_streams(seed, waits=False)).any() for seed in SEEDS)


def test_memory_that_is_freed_too_early_is_seen():
    assert any(np.isnan(freed(seed, elsewhere=True)).any() for seed in SEEDS)


def test_the_default_stream_and_streams_that_block_wait_for_one_another():
    for seed in SEEDS:
        cupy = fake_cupy.make(seed=seed)
        array = cupy.asarray(NUMBERS)
        with cupy.cuda.Stream():
            doubled = array * 2.0
        assert np.array_equal((doubled + doubled).get(), 4 * NUMBERS)


def test_nothing_is_done_before_somebody_waits():
    cupy = fake_cupy.make()
    array = cupy.zeros(3)
    assert np.isnan(array.host).all()
    cupy.cuda.get_current_stream().synchronize()
    assert not array.host.any()


def test_a_graph_does_not_keep_its_buffers():
    cupy = fake_cupy.make()
    stream = cupy.cuda.Stream(non_blocking=True)
    kernel = cupy.RawModule(
        code="set_state", options=("-std=c++17",), name_expressions=("fusedqml::set_state<double>",)
    )
    with stream:
        state, source = cupy.empty(4, np.complex128), cupy.asarray(np.ones(4, np.complex128))
        function = kernel.get_function("fusedqml::set_state<double>")
        assert function.num_regs
        stream.begin_capture()
        function((1, 1), (32,), (state, source, np.int64(0), np.int32(2), np.int64(4)), shared_mem=0)
        graph = stream.end_capture()
        graph.launch()
        assert np.array_equal(state.get(), np.ones(4))
        del source
        gc.collect()
        graph.launch()
        assert np.isnan(state.get()).any()


def test_devices_do_not_reach_one_another():
    cupy = fake_cupy.make(devices=2)
    with cupy.cuda.Device(1):
        array = cupy.asarray(NUMBERS)
        assert np.array_equal((array + array).get(), 2 * NUMBERS)
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        array + array
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        cupy.cuda.Device(2)
